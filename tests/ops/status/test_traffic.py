"""What went through the service is drawn as it was counted."""

from typing import Any

import pytest
from attrs import evolve

from tests.ops.notes import sample
from tests.ops.status.samples import LISTEN, SERVICE
from tests.ops.status.views import counted, view, words
from tlsproxy import notes
from tlsproxy.ops.status import traffic


def test_the_figures_at_a_glance() -> None:
    established = sample(notes.TlsEstablished, listen=LISTEN, resumed=True)
    refused = sample(notes.TlsRefused, listen=LISTEN, reason="handshake_failed")
    shown = words(traffic.glance(counted(established, refused)))
    assert "TLS handshakes 1 100 % resumed" in shown
    assert "Refused by TLS 1 50 % of all attempts" in shown
    assert "Servers up 1 of 2 1 backend" in shown


def test_versions_ciphers_groups_and_names() -> None:
    established = sample(
        notes.TlsEstablished,
        version="TLSv1.2",
        cipher="ECDHE-RSA-AES128-GCM-SHA256",
        group="X25519",
        resumed=False,
        server_name_known=False,
    )
    shown = words(traffic.tls(counted(established)))
    assert "TLSv1.2 100 % 1" in shown
    assert "ECDHE-RSA-AES128-GCM-SHA256 100 % 1" in shown
    assert "X25519 100 % 1" in shown
    assert "unknown 100 % 1" in shown
    assert "full 100 % 1" in shown


def test_a_version_that_nobody_thought_of_is_shown_too() -> None:
    assert "TLSv9" in words(traffic.tls(counted(sample(notes.TlsEstablished, version="TLSv9"))))


def test_refusals_by_reason_and_what_there_was_none_of() -> None:
    shown = words(
        traffic.refusals(
            counted(
                sample(notes.FrontReported, what="starttls_injection"),
                sample(notes.RenegotiationAttempted, outcome="closed"),
            )
        )
    )
    assert "STARTTLS injection 100 % 1" in shown
    assert "Renegotiation attempts closed 100 % 1" in shown
    assert "None so far: TLS refused, Limits hit, KeyUpdate floods" in shown


def test_how_sessions_ended_is_no_refusal() -> None:
    made = traffic.refusals(counted(sample(notes.SessionEnded, reason="client_closed")))
    assert "How sessions ended client closed 100 % 1" in words(made)
    assert 'class="refusal"' not in made


@pytest.mark.parametrize(
    ("section", "message"),
    [(traffic.tls, "No handshake yet.")],
)
def test_a_service_with_nothing_says_so(section: Any, message: str) -> None:
    assert message in words(section(view(evolve(SERVICE, processes=()))))
