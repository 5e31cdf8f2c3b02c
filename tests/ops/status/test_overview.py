"""What several processes say, taken together; and what an operator should look at."""

import pytest
from attrs import evolve

from tests.ops.status.samples import DAY, NOW, PROCESS, SERVICE
from tlsproxy.ops.status.model import (
    BackendStatus,
    CertificateStatus,
    ProcessStatus,
    ServerStatus,
    ServiceState,
    ServiceStatus,
)
from tlsproxy.ops.status.overview import backends, certificates, findings, listens, newest


def backend(*standings: str, waiting: int = 0) -> BackendStatus:
    servers = tuple(
        ServerStatus(address=f"s{index}", standing=standing, busy=2, idle=1, pending=3)
        for index, standing in enumerate(standings)
    )
    return BackendStatus(name="mta", policy="failover", checked=True, waiting=waiting, servers=servers)


def certificate(days: float, path: str = "/a.pem", sha256: str = "aa") -> CertificateStatus:
    return CertificateStatus(path=path, names=(), not_after=NOW + days * DAY, key_type="RSA", sha256=sha256)


HEALTHY = evolve(
    SERVICE, last_reload=None, workers=1, processes=(evolve(PROCESS, backends=(backend("up"),)),)
)


def service(*processes: ProcessStatus) -> ServiceStatus:
    return evolve(HEALTHY, processes=processes, workers=len(processes))


def test_the_newest_generation_takes_new_sessions() -> None:
    old, new = evolve(PROCESS, pid=1), evolve(PROCESS, pid=2, generation=2)
    assert newest(service(old, new)) == [new]
    assert newest(service()) == []


def test_connections_of_all_workers_add_up_and_the_worst_standing_is_shown() -> None:
    status = service(
        evolve(PROCESS, backends=(backend("up", waiting=1),)),
        evolve(PROCESS, backends=(backend("ejected", waiting=2),)),
    )
    [view] = backends(status)
    [server] = view.servers.values()
    assert (view.waiting, server.busy, server.idle, server.pending) == (3, 4, 2, 6)
    assert (server.standing, server.standings["ejected"], server.is_out) == ("ejected", 1, False)


def test_a_server_is_out_when_no_worker_uses_it() -> None:
    status = service(*(evolve(PROCESS, backends=(backend(each),)) for each in ("down", "ejected")))
    assert backends(status)[0].servers["s0"].is_out


def test_listens_and_certificates_are_told_once() -> None:
    status = service(PROCESS, evolve(PROCESS, pid=2))
    assert listens(status) == list(PROCESS.listens)
    assert certificates(status) == list(PROCESS.certificates)


def test_the_certificate_that_ends_first_comes_first() -> None:
    late, early = certificate(80, sha256="bb"), certificate(3, sha256="cc")
    assert certificates(service(evolve(PROCESS, certificates=(late, early)))) == [early, late]


def told(status: ServiceStatus) -> list[tuple[bool, str]]:
    return [(each.grave, each.message) for each in findings(status, NOW)]


def test_of_a_healthy_service_there_is_nothing_to_tell() -> None:
    assert told(HEALTHY) == []


def test_nor_of_a_reload_that_went_well() -> None:
    assert SERVICE.last_reload is not None
    assert told(evolve(HEALTHY, last_reload=evolve(SERVICE.last_reload, ok=True))) == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        (
            {"last_reload": SERVICE.last_reload},
            (True, "The last reload was refused: what was in force before still is"),
        ),
        ({"state": ServiceState.DRAINING}, (False, "The service drains: it takes no new sessions")),
        ({"workers": 4}, (False, "1 of 4 workers at work")),
        ({"processes": (evolve(PROCESS, backends=(), listens=()),)}, (True, "Nothing listens")),
        (
            {"processes": (evolve(PROCESS, backends=(backend("up", "down"),)),)},
            (False, "Backend mta: server s1 is out"),
        ),
        (
            {"processes": (evolve(PROCESS, backends=(backend("down", "ejected"),)),)},
            (True, "Backend mta has no server left"),
        ),
        (
            {"processes": (evolve(PROCESS, backends=(), certificates=(certificate(-1),)),)},
            (True, "Certificate /a.pem ended on 2026-11-22"),
        ),
        (
            {"processes": (evolve(PROCESS, backends=(), certificates=(certificate(13.5),)),)},
            (False, "Certificate /a.pem ends in 13 days"),
        ),
        (
            {"processes": (evolve(PROCESS, backends=(), certificates=(certificate(1.5),)),)},
            (False, "Certificate /a.pem ends in 1 day"),
        ),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, object], finding: tuple[bool, str]) -> None:
    assert told(evolve(HEALTHY, **changes)) == [finding]


def test_a_certificate_with_two_weeks_left_is_nothing_to_tell() -> None:
    assert told(service(evolve(PROCESS, backends=(), certificates=(certificate(14.1),)))) == []


def test_the_grave_comes_first() -> None:
    ends_soon = evolve(PROCESS, backends=(backend("down"),), certificates=(certificate(3),))
    assert [grave for grave, _ in told(service(ends_soon))] == [True, False]


def test_a_service_without_a_process_at_work_is_grave() -> None:
    assert told(evolve(HEALTHY, processes=()))[:2] == [
        (True, "Nothing listens"),
        (True, "0 of 1 worker at work"),
    ]
