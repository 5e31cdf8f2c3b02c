"""Figures that only the service as a whole has."""

from attrs import evolve

from tests.ops.status.samples import NOW, SERVICE
from tlsproxy.ops.merge import merged_families
from tlsproxy.ops.service_figures import DECLARED, service_families
from tlsproxy.ops.status.model import ServiceState, ServiceStatus


def figures(status: ServiceStatus) -> dict[str, float]:
    return {sample.name: sample.value for family in service_families(status) for sample in family.samples}


def test_workers_restarts_and_the_last_reload_are_told() -> None:
    assert figures(evolve(SERVICE, worker_restarts=3)) == {
        "tlsproxy_workers": 2,
        "tlsproxy_processes": 2,
        "tlsproxy_processes_draining": 0,
        "tlsproxy_worker_restarts_total": 3,
        "tlsproxy_draining": 0,
        "tlsproxy_generation": 2,
        "tlsproxy_reloads_total": 1,
        "tlsproxy_reloads_refused_total": 1,
        "tlsproxy_last_reload_timestamp_seconds": NOW - 600,
        "tlsproxy_last_reload_successful": 0,
        "tlsproxy_last_reload_duration_seconds": 0.25,
    }


def test_processes_of_before_a_reload_are_told_apart() -> None:
    old, new = SERVICE.processes
    found = figures(evolve(SERVICE, processes=(old, evolve(new, generation=2))))
    assert (found["tlsproxy_processes"], found["tlsproxy_processes_draining"]) == (1, 1)


def test_a_service_that_drains_says_so() -> None:
    assert figures(evolve(SERVICE, state=ServiceState.DRAINING))["tlsproxy_draining"] == 1


def test_before_the_first_reload_nothing_is_told_of_it() -> None:
    assert not [name for name in figures(evolve(SERVICE, last_reload=None)) if "last_reload" in name]


def test_each_is_declared_and_among_the_service_s_figures() -> None:
    assert [family.name for family in service_families(SERVICE)] == [family.name for family in DECLARED]
    assert {each.name for each in DECLARED} <= {family.name for family in merged_families(SERVICE)}
