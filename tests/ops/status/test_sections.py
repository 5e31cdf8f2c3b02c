"""Each section tells its part of a status, and says so where there is nothing to tell."""

import re
from typing import Any

import pytest
from attrs import evolve

from tests.ops.notes import sample
from tests.ops.status.samples import DAY, LISTEN, NOW, POLICY, PROCESS, SERVICE
from tlsproxy import notes
from tlsproxy.ops.merge import families_of
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.status import sections
from tlsproxy.ops.status.model import (
    BackendStatus,
    CertificateStatus,
    ListenStatus,
    ProcessStatus,
    ReloadStatus,
    ServerStatus,
    ServiceStatus,
    ShadowReport,
)
from tlsproxy.ops.status.sections import MAX_ROWS, View


def view(status: ServiceStatus = SERVICE, report: ShadowReport | None = None) -> View:
    return View(status, NOW, report)


def with_process(**changes: Any) -> View:
    return view(evolve(SERVICE, processes=(evolve(PROCESS, **changes),)))


def counted(*happened: notes.Note) -> View:
    metrics = Metrics()
    for note in happened:
        metrics.take(note)
    return with_process(families=families_of(metrics.registry))


def words(markup: str | None) -> str:
    """The text, as read."""
    assert markup is not None
    return " ".join(re.sub(r"<[^>]*>", " ", markup).split())


def test_the_figures_at_a_glance() -> None:
    established = sample(notes.TlsEstablished, listen=LISTEN, resumed=True)
    refused = sample(notes.TlsRefused, listen=LISTEN, reason="handshake_failed")
    shown = words(sections.glance(counted(established, refused)))
    assert "TLS handshakes 1 100 % resumed" in shown
    assert "Refused by TLS 1 50 % of all attempts" in shown
    assert "Servers up 1 of 2 1 backend" in shown


def test_a_listen_tells_its_policy_and_the_scope_that_set_it() -> None:
    shown = words(sections.listeners(view()))
    assert f"{LISTEN} esmtp to old-mta 6 20 all STARTTLS offered TLSv1.2 TLSv1.3 global refused" in shown


def test_networks_with_policies_of_their_own_have_rows_of_their_own() -> None:
    scanners = evolve(POLICY, network="10.3.0.0/16", tls_protocols="TLSv1", renegotiation="allowed")
    listen = ListenStatus(name=LISTEN, kind="esmtp", backend="b", policies=(POLICY, scanners))
    made = sections.listeners(with_process(listens=(listen,)))
    assert 'rowspan="2"' in made
    assert "all others STARTTLS offered" in words(made)
    assert "10.3.0.0/16 STARTTLS offered TLSv1 global allowed" in words(made)


def test_a_listen_without_tls_has_no_versions() -> None:
    plain = evolve(POLICY, tls="never", tls_protocols="")
    listen = ListenStatus(name=LISTEN, kind="http", backend="b", policies=(plain,))
    assert "all never – global –" in words(sections.listeners(with_process(listens=(listen,))))  # noqa: RUF001


def test_many_networks_are_cut_short() -> None:
    policies = (POLICY, *(evolve(POLICY, network=f"10.{number}.0.0/16") for number in range(30)))
    listen = ListenStatus(name=LISTEN, kind="esmtp", backend="b", policies=policies)
    made = sections.listeners(with_process(listens=(listen,)))
    assert "11 more networks" in words(made)
    assert 'rowspan="21"' in made


def test_tables_are_bounded() -> None:
    listens = tuple(
        ListenStatus(name=f"unix:/{number}", kind="esmtp", backend="b", policies=(POLICY,))
        for number in range(MAX_ROWS + 5)
    )
    made = sections.listeners(with_process(listens=listens))
    assert made.count("unix:/") == MAX_ROWS
    assert "5 more rows: see /status.json" in words(made)


def test_versions_ciphers_groups_and_names() -> None:
    established = sample(
        notes.TlsEstablished,
        version="TLSv1.2",
        cipher="ECDHE-RSA-AES128-GCM-SHA256",
        group="X25519",
        resumed=False,
        server_name_known=False,
    )
    shown = words(sections.tls(counted(established)))
    assert "TLSv1.2 100 % 1" in shown
    assert "ECDHE-RSA-AES128-GCM-SHA256 100 % 1" in shown
    assert "X25519 100 % 1" in shown
    assert "unknown 100 % 1" in shown
    assert "full 100 % 1" in shown


def test_a_version_that_nobody_thought_of_is_shown_too() -> None:
    assert "TLSv9" in words(sections.tls(counted(sample(notes.TlsEstablished, version="TLSv9"))))


def test_refusals_by_reason_and_what_there_was_none_of() -> None:
    shown = words(
        sections.refusals(
            counted(
                sample(notes.FrontReported, what="starttls_injection"),
                sample(notes.RenegotiationAttempted, outcome="closed"),
            )
        )
    )
    assert "STARTTLS injection 100 % 1" in shown
    assert "Renegotiation attempts closed 100 % 1" in shown
    assert "None so far: TLS refused, Limits hit, KeyUpdate floods" in shown


def test_servers_tell_how_they_stand_and_what_connecting_costs() -> None:
    reached = sample(
        notes.BackendReached, backend="old-mta", server="127.0.0.1:2525", duration=0.004, reused=False
    )
    shown = words(sections.backend_servers(counted(reached)))
    assert "old-mta failover, checked actively, 1 client waiting" in shown
    assert "127.0.0.1:2525 up 3 1 0 1 ≤ 5 ms ≤ 5 ms 0 0" in shown
    assert "127.0.0.1:2526 down 0 0 0 0" in shown


def test_workers_that_see_a_server_differently_are_counted() -> None:
    def process(standing: str) -> ProcessStatus:
        server = ServerStatus(address="s", standing=standing)
        return evolve(
            PROCESS,
            backends=(BackendStatus(name="b", policy="round_robin", checked=False, servers=(server,)),),
        )

    shown = words(
        sections.backend_servers(view(evolve(SERVICE, processes=(process("up"), process("ejected")))))
    )
    assert "round robin, not checked actively" in shown
    assert "s ejected in 1 of 2 workers" in shown


@pytest.mark.parametrize(
    ("days", "shown", "look"),
    [(60.5, "60 days", "good"), (9.5, "9 days", "warn"), (-3.0, "ended", "bad")],
)
def test_a_certificate_tells_how_long_it_lasts(days: float, shown: str, look: str) -> None:
    certificate = CertificateStatus(
        path="/etc/mx.pem",
        names=tuple(f"n{number}.example" for number in range(6)),
        not_after=NOW + days * DAY,
        key_type="RSA",
        sha256="ab" * 32,
    )
    made = sections.certificate_list(with_process(certificates=(certificate,)))
    assert f'<span class="pill {look}">{shown}</span>' in made
    assert "n0.example, n1.example, n2.example, n3.example and 2 more /etc/mx.pem" in words(made)


CLIENT = {
    "listen": LISTEN,
    "candidate": "TLSv1.2 TLSv1.3",
    "network": "10.3.7.0/24",
    "version": "TLSv1",
    "helo": "copier.example",
    "server_name": None,
    "offered": "TLSv1",
    "cipher": "AES128-SHA",
    "sessions": 12,
    "first_seen": NOW - DAY,
    "last_seen": NOW,
}
SUMMARY = {"listen": LISTEN, "candidate": "TLSv1.2 TLSv1.3", "sessions": 100, "refused": 12, "networks": 1}


def test_the_shadow_report_tells_who_would_break() -> None:
    shown = words(sections.shadow(view(report=ShadowReport(clients=[CLIENT], summary=[SUMMARY]))))
    assert "would be refused 12 % 12" in shown
    assert "From 1 network." in shown
    assert f"10.3.7.0/24 copier.example TLSv1 AES128-SHA {LISTEN} 12 2026-11-23 08:00:00 UTC" in shown


def test_a_client_without_a_name_has_none() -> None:
    nameless = ShadowReport(clients=[{**CLIENT, "helo": None}] * 25)
    shown = words(sections.shadow(view(report=nameless)))
    assert "10.3.7.0/24 nothing TLSv1" in shown
    assert "5 more clients: see tlsproxy report" in shown


@pytest.mark.parametrize("report", [None, ShadowReport()])
def test_without_candidates_there_is_no_shadow_report(report: ShadowReport | None) -> None:
    assert sections.shadow(view(report=report)) is None


def test_the_last_reload_tells_why_it_was_refused() -> None:
    shown = words(sections.service(view()))
    assert "Last reload refused 2026-11-23 07:50:00 UTC (10 min ago), by signal, in 0.25 s." in shown
    assert "tls_protocols unknown" in shown


def test_a_reload_that_went_well_and_none_at_all() -> None:
    done = ReloadStatus(when=NOW - 5, trigger="certificate", ok=True, duration=0.1)
    assert "Last reload carried out" in words(sections.service(view(evolve(SERVICE, last_reload=done))))
    assert "No reload since the start." in words(sections.service(view(evolve(SERVICE, last_reload=None))))


def test_processes_of_an_older_generation_drain() -> None:
    status = evolve(SERVICE, processes=(PROCESS, evolve(PROCESS, pid=4712, worker=1, generation=2)))
    shown = words(sections.service(view(status)))
    assert "Generation 2, 1 process draining" in shown
    assert "4711 0 1 draining 3" in shown
    assert "4712 1 2 serving 3" in shown


def test_a_process_tells_memory_and_time() -> None:
    metrics = Metrics()
    shown = words(sections.service(with_process(families=families_of(metrics.registry))))
    assert re.search(r"serving 3 [\d.]+ MiB \d+ s", shown)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (sections.listeners, "Nothing listens."),
        (sections.tls, "No handshake yet."),
        (sections.backend_servers, "There is none."),
        (sections.certificate_list, "None is in use."),
        (sections.service, "No process answers."),
    ],
)
def test_a_service_with_nothing_says_so(section: Any, message: str) -> None:
    assert message in words(section(view(evolve(SERVICE, processes=()))))
