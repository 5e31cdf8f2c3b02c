"""Figures of several processes as one: counters add up and never fall, each gauge is combined as its meaning asks."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.ops.status.samples import LISTEN, PROCESS, SERVICE, sessions, started
from tlsproxy.ops.merge import GAUGES, FamilyCollector, Ledger, families_of, merged_families
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.service_figures import DECLARED
from tlsproxy.ops.status.model import Family, ProcessStatus, Sample, ServiceStatus


def service(*processes: ProcessStatus, families: tuple[Family, ...] = ()) -> ServiceStatus:
    return evolve(SERVICE, processes=processes, families=families)


def process(pid: int, *families: Family, generation: int = 1) -> ProcessStatus:
    return evolve(PROCESS, pid=pid, generation=generation, families=families)


def values(families: tuple[Family, ...]) -> dict[str, float]:
    """Without those of the service as a whole."""
    whole = {family.name for family in DECLARED}
    return {
        sample.name + "".join(f",{name}={value}" for name, value in sample.labels): sample.value
        for family in families
        for sample in family.samples
        if family.name not in whole
    }


def gauge(name: str, value: float) -> Family:
    return Family(name, "gauge", "", (Sample(name, (), value),))


def test_counters_and_gauges_add_up() -> None:
    merged = merged_families(
        service(process(1, sessions(2), started(5)), process(2, sessions(1), started(7)))
    )
    assert values(merged) == {
        f"tlsproxy_sessions,listen={LISTEN}": 3,
        f"tlsproxy_sessions_started_total,listen={LISTEN},kind=esmtp": 12,
    }


def test_series_that_one_process_alone_has_stay() -> None:
    merged = merged_families(service(process(1, started(5, "a")), process(2, started(7, "b"))))
    assert sorted(values(merged).values()) == [5, 7]


def test_histograms_add_up_bucket_by_bucket() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    for registry, observed in zip(registries, (0.2, 3.0), strict=True):
        Histogram("h", "", registry=registry, buckets=(1.0, 5.0)).observe(observed)
    merged = merged_families(
        service(*(process(pid, *families_of(each)) for pid, each in enumerate(registries)))
    )
    assert values(merged) == {
        "h_bucket,le=1.0": 1,
        "h_bucket,le=5.0": 2,
        "h_bucket,le=+Inf": 2,
        "h_count": 2,
        "h_sum": 3.2,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tlsproxy_build_info", 7),
        ("process_max_fds", 3),
        ("process_open_fds", 7),
        ("process_start_time_seconds", 3),
        ("process_resident_memory_bytes", 10),
        ("tlsproxy_sessions", 10),
    ],
)
def test_a_gauge_is_combined_as_its_meaning_asks(name: str, expected: float) -> None:
    merged = merged_families(service(process(1, gauge(name, 3)), process(2, gauge(name, 7))))
    assert values(merged) == {name: expected}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("tlsproxy_backend_server_down", 1), ("tlsproxy_certificate_expiry_timestamp_seconds", 0)],
)
def test_of_two_workers_the_worse_news_count(name: str, expected: float) -> None:
    merged = merged_families(service(process(1, gauge(name, 0)), process(2, gauge(name, 1))))
    assert values(merged) == {name: expected}


@pytest.mark.parametrize(
    "name", ["tlsproxy_backend_server_down", "tlsproxy_certificate_expiry_timestamp_seconds"]
)
@pytest.mark.parametrize("old_first", [True, False])
def test_what_a_process_that_drains_says_of_servers_and_certificates_does_not_count(
    name: str, old_first: bool
) -> None:
    processes = [process(1, gauge(name, 0)), process(2, gauge(name, 1), generation=2)]
    merged = merged_families(service(*(processes if old_first else processes[::-1])))
    assert values(merged) == {name: 1}


def test_the_supervisor_s_own_figures_are_among_them() -> None:
    merged = merged_families(service(process(1, started(5)), families=(started(2), gauge("g", 1))))
    assert sorted(values(merged).values()) == [1, 7]


def test_every_gauge_with_a_rule_exists() -> None:
    known = {family.name for family in families_of(Metrics().registry)}
    assert GAUGES.keys() <= known


def test_prometheus_client_writes_what_it_would_have_written_of_the_registry() -> None:
    registry = CollectorRegistry()
    Counter("c", "With a \\ and\na newline.", ["l"], registry=registry).labels('"quoted"\n').inc(3)
    Gauge("g", "A gauge.", registry=registry).set(1.5)
    Histogram("h", "A histogram.", registry=registry).observe(0.1)
    assert generate_latest(FamilyCollector(families_of(registry))) == generate_latest(registry)


def test_the_merged_figures_are_read_by_prometheus() -> None:
    metrics = Metrics()
    families = families_of(metrics.registry)
    merged = merged_families(service(process(1, *families), process(2, *families)))
    text = generate_latest(FamilyCollector(merged)).decode()
    read = [each.name for each in text_string_to_metric_families(text)]
    assert read == [each.name for each in (*families, *DECLARED)]


# The ledger


def test_what_a_process_counted_stays_when_it_ends_and_its_gauges_go() -> None:
    ledger = Ledger()
    ledger.seen(process(1, sessions(2), started(5)))
    ledger.seen(process(2, sessions(1), started(7)))
    ledger.gone(1)
    assert [each.pid for each in ledger.latest] == [2]
    assert list(values(ledger.ended).values()) == [5]


def test_those_that_ended_add_up() -> None:
    ledger = Ledger()
    for pid in (1, 2):
        ledger.seen(process(pid, started(5)))
        ledger.gone(pid)
    assert list(values(ledger.ended).values()) == [10]


def test_a_process_that_never_told_anything_ends_without_a_trace() -> None:
    ledger = Ledger()
    ledger.gone(1)
    assert ledger.ended == ()


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    ledger = Ledger()
    for count in (5, 2):
        ledger.seen(process(1, started(count)))
        ledger.gone(1)
    assert list(values(ledger.ended).values()) == [7]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("count"), st.integers(1, 3), st.integers(0, 5)),
            st.tuples(st.just("end"), st.integers(1, 3), st.just(0)),
        ),
        max_size=30,
    )
)
def test_no_counter_ever_falls(steps: list[tuple[str, int, int]]) -> None:
    """Whatever workers count, and whenever they are replaced."""
    ledger, counts, last = Ledger(), dict.fromkeys((1, 2, 3), 0), 0.0
    for step, pid, more in steps:
        if step == "count":
            counts[pid] += more
            ledger.seen(process(pid, started(counts[pid])))
        else:
            ledger.gone(pid)
            counts[pid] = 0
        total = sum(values(merged_families(service(*ledger.latest, families=ledger.ended))).values())
        assert total >= last
        last = total
