"""A status on a terminal: complete, aligned, and nothing in it that could move a cursor."""

import re
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.notes import sample
from tests.ops.status.samples import LISTEN, NOW, POLICY, PROCESS, SERVICE
from tests.ops.status.test_page import poisoned
from tlsproxy import notes
from tlsproxy.ops.merge import families_of
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.status.model import ListenStatus, ServiceStatus, service_from_values, service_to_values
from tlsproxy.ops.status.text import as_text


def lines(status: ServiceStatus = SERVICE) -> list[str]:
    return list(as_text(status, NOW))


def squeezed(status: ServiceStatus = SERVICE) -> list[str]:
    return [" ".join(line.split()) for line in lines(status)]


def with_process(**changes: Any) -> ServiceStatus:
    return evolve(SERVICE, processes=(evolve(PROCESS, **changes),))


def test_what_is_wrong_comes_first() -> None:
    assert squeezed()[:7] == [
        "tlsproxy 0.1.0 with OpenSSL 4.0.3: running, generation 2, up 1 d 0 h, 2 workers",
        "configuration /etc/tlsproxy/tlsproxy.toml",
        "last reload refused at 2026-11-23 07:50:00 UTC, by signal",
        "tls_protocols: unknown",
        "PROBLEM: The last reload was refused: what was in force before still is",
        "warning: Backend old-mta: server 127.0.0.1:2526 is out",
        "",
    ]


def test_every_subject_has_its_table() -> None:
    shown = squeezed()
    assert f"{LISTEN} esmtp old-mta 6 20 all STARTTLS offered TLSv1.2 TLSv1.3 global refused" in shown
    assert "old-mta 127.0.0.1:2525 up 6 2 0 0 – – 0 0" in shown  # noqa: RUF001
    assert "mx.example.org ECDSA 2027-01-22 60 days /etc/tlsproxy/mx.pem" in shown
    assert "4711 0 1 serving 3 –" in shown  # noqa: RUF001


def test_networks_stand_below_their_listen() -> None:
    plain = evolve(POLICY, network="10.3.0.0/16", tls="never", tls_protocols="")
    listen = ListenStatus(name=LISTEN, kind="esmtp", backend="b", policies=(POLICY, plain))
    shown = squeezed(with_process(listens=(listen,)))
    assert f"{LISTEN} esmtp b 3 10 all others STARTTLS offered TLSv1.2 TLSv1.3 global refused" in shown
    assert "10.3.0.0/16 never – global –" in shown  # noqa: RUF001


def test_counts_are_told_in_a_line_each() -> None:
    metrics = Metrics()
    metrics.take(sample(notes.TlsEstablished, version="TLSv1.3"))
    metrics.take(sample(notes.TlsRefused, reason="handshake_failed"))
    shown = lines(with_process(families=families_of(metrics.registry)))
    assert "versions: TLSv1.3 1 (100 %)" in shown
    assert "refused by TLS: handshake_failed 1 (100 %)" in shown
    assert "limits hit: none" in shown
    assert any(re.search("serving +3 +[0-9.]+ MiB", line) for line in shown)


def test_a_service_with_nothing_says_so() -> None:
    shown = lines(evolve(SERVICE, last_reload=None, processes=()))
    assert shown.count("  none") == 4
    assert "PROBLEM: Nothing listens" in shown


def test_columns_are_aligned() -> None:
    shown = lines()
    begin = shown.index("Backends")
    head, first, second = shown[begin + 1 : begin + 4]
    assert head.index("server") == first.index("127.0.0.1:2525") == second.index("127.0.0.1:2526")
    assert head.rindex("outages") + len("outages") == len(first) == len(second)


@given(st.text(max_size=80))
def test_names_are_printable_and_end_no_line(text: str) -> None:
    shown, harmless = (
        lines(service_from_values(poisoned(service_to_values(SERVICE), each))) for each in (text, "x")
    )
    assert all(line.isprintable() for line in shown)
    assert len(shown) == len(harmless)
