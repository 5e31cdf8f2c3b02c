"""Where sessions come in and go to is drawn as it is."""

from typing import Any

import pytest
from attrs import evolve

from tests.ops.notes import sample
from tests.ops.status.samples import DAY, LISTEN, NOW, POLICY, PROCESS, SERVICE
from tests.ops.status.views import counted, view, with_process, words
from tlsproxy import notes
from tlsproxy.ops.status import places
from tlsproxy.ops.status.model import (
    BackendStatus,
    CertificateStatus,
    ListenStatus,
    ProcessStatus,
    ServerStatus,
)
from tlsproxy.ops.status.parts import MAX_ROWS


def test_a_listen_tells_its_policy_and_the_scope_that_set_it() -> None:
    shown = words(places.listeners(view()))
    assert f"{LISTEN} esmtp to old-mta 6 20 all STARTTLS offered TLSv1.2 TLSv1.3 global refused" in shown


def test_networks_with_policies_of_their_own_have_rows_of_their_own() -> None:
    scanners = evolve(POLICY, network="10.3.0.0/16", tls_protocols="TLSv1", renegotiation="allowed")
    listen = ListenStatus(name=LISTEN, kind="esmtp", backend="b", policies=(POLICY, scanners))
    made = places.listeners(with_process(listens=(listen,)))
    assert 'rowspan="2"' in made
    assert "all others STARTTLS offered" in words(made)
    assert "10.3.0.0/16 STARTTLS offered TLSv1 global allowed" in words(made)


def test_a_listen_without_tls_has_no_versions() -> None:
    plain = evolve(POLICY, tls="never", tls_protocols="")
    listen = ListenStatus(name=LISTEN, kind="http", backend="b", policies=(plain,))
    assert "all never – global –" in words(places.listeners(with_process(listens=(listen,))))  # noqa: RUF001


def test_many_networks_are_cut_short() -> None:
    policies = (POLICY, *(evolve(POLICY, network=f"10.{number}.0.0/16") for number in range(30)))
    listen = ListenStatus(name=LISTEN, kind="esmtp", backend="b", policies=policies)
    made = places.listeners(with_process(listens=(listen,)))
    assert "11 more networks" in words(made)
    assert 'rowspan="21"' in made


def test_tables_are_bounded() -> None:
    listens = tuple(
        ListenStatus(name=f"unix:/{number}", kind="esmtp", backend="b", policies=(POLICY,))
        for number in range(MAX_ROWS + 5)
    )
    made = places.listeners(with_process(listens=listens))
    assert made.count("unix:/") == MAX_ROWS
    assert "5 more rows: see /status.json" in words(made)


def test_servers_tell_how_they_stand_and_what_connecting_costs() -> None:
    reached = sample(
        notes.BackendReached, backend="old-mta", server="127.0.0.1:2525", duration=0.004, reused=False
    )
    shown = words(places.backend_servers(counted(reached)))
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
        places.backend_servers(view(evolve(SERVICE, processes=(process("up"), process("ejected")))))
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
    made = places.certificate_list(with_process(certificates=(certificate,)))
    assert f'<span class="pill {look}">{shown}</span>' in made
    assert "n0.example, n1.example, n2.example, n3.example and 2 more /etc/mx.pem" in words(made)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (places.listeners, "Nothing listens."),
        (places.backend_servers, "There is none."),
        (places.certificate_list, "None is in use."),
    ],
)
def test_a_service_with_nothing_says_so(section: Any, message: str) -> None:
    assert message in words(section(view(evolve(SERVICE, processes=()))))
