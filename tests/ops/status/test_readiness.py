"""Ready is a service that may be given sessions; and one that isn't says why."""

import pytest
from attrs import evolve

from tests.ops.status.samples import PROCESS, SERVICE
from tlsproxy.ops.status.model import BackendStatus, ProcessStatus, ServerStatus, ServiceState, ServiceStatus
from tlsproxy.ops.status.readiness import why_not_ready


def backend(name: str, *standings: str) -> BackendStatus:
    servers = tuple(
        ServerStatus(address=f"127.0.0.1:{2500 + n}", standing=s) for n, s in enumerate(standings)
    )
    return BackendStatus(name=name, policy="failover", checked=True, servers=servers)


def process(*backends: BackendStatus, generation: int = 1, listens: bool = True) -> ProcessStatus:
    return evolve(
        PROCESS, backends=backends, generation=generation, listens=PROCESS.listens if listens else ()
    )


def service(*processes: ProcessStatus, state: ServiceState = ServiceState.RUNNING) -> ServiceStatus:
    return evolve(SERVICE, processes=processes, state=state)


@pytest.mark.parametrize("state", [ServiceState.RUNNING, ServiceState.RELOADING])
def test_a_service_with_a_server_is_ready_also_while_it_reloads(state: ServiceState) -> None:
    assert why_not_ready(service(process(backend("mta", "up")), state=state)) is None


def test_a_service_that_drains_is_not_ready() -> None:
    assert why_not_ready(service(process(backend("mta", "up")), state=ServiceState.DRAINING)) == "draining"


def test_a_service_that_listens_nowhere_is_not_ready() -> None:
    assert why_not_ready(service()) == "nothing listens"
    assert why_not_ready(service(process(backend("mta", "up"), listens=False))) == "nothing listens"


def test_a_service_that_could_serve_nobody_is_not_ready() -> None:
    status = service(process(backend("mta", "down", "down"), backend("web", "down")))
    assert why_not_ready(status) == "no backend has a server that is up"


def test_one_backend_of_several_that_is_gone_does_not_stop_the_others() -> None:
    assert why_not_ready(service(process(backend("mta", "down"), backend("web", "up")))) is None


@pytest.mark.parametrize("standing", ["up", "returning", "ejected"])
def test_only_an_active_check_takes_a_service_out(standing: str) -> None:
    """An ejected server comes back by a session that succeeds: whoever gets none would never be ready again."""
    assert why_not_ready(service(process(backend("mta", "down", standing)))) is None


def test_a_backend_is_up_while_one_worker_finds_it_so() -> None:
    assert why_not_ready(service(process(backend("mta", "down")), process(backend("mta", "up")))) is None


def test_what_a_generation_that_drains_finds_does_not_count() -> None:
    status = service(process(backend("mta", "up")), process(backend("mta", "down"), generation=2))
    assert why_not_ready(status) == "no backend has a server that is up"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", None),
        ("mta", "backend mta has no server that is up"),
        ("none", "there is no backend none"),
    ],
)
def test_who_asks_for_one_backend_is_told_of_that_one(name: str, expected: str | None) -> None:
    assert why_not_ready(service(process(backend("mta", "down"), backend("web", "up"))), name) == expected
