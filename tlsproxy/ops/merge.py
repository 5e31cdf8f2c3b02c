"""Figures of several processes as those of one service.

Counters and histograms add up. A gauge adds up too, unless :data:`GAUGES` says otherwise. A counter must never fall, or
Prometheus takes the difference for traffic: :class:`Ledger` goes on counting what processes that ended have counted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from operator import add
from typing import Final

from attrs import Factory, define, frozen
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tlsproxy.ops.service_figures import service_families
from tlsproxy.ops.status.model import Family, ProcessStatus, Sample, ServiceStatus


class Among(Enum):
    """Whose gauges count."""

    ALL = "all"
    NEWEST = "newest"
    """Those of the newest generation: what one that drains says of servers and certificates is out of date."""


@frozen
class GaugeRule:
    """How one gauge of several processes becomes one."""

    combine: Callable[[float, float], float] = add
    among: Among = Among.ALL


GAUGES: Final[Mapping[str, GaugeRule]] = {
    "tlsproxy_backend_server_down": GaugeRule(max, Among.NEWEST),
    "tlsproxy_build_info": GaugeRule(max),
    "tlsproxy_certificate_expiry_timestamp_seconds": GaugeRule(min, Among.NEWEST),
    # The process that is nearest to its limit is the one that counts.
    "process_max_fds": GaugeRule(min),
    "process_open_fds": GaugeRule(max),
    "process_start_time_seconds": GaugeRule(min),
}
"""Gauges that don't simply add up, and how they are combined."""

_SUM: Final = GaugeRule()

_Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@define
class _Merged:
    kind: str
    documentation: str
    series: _Series = Factory(dict)

    def take(self, samples: Iterable[Sample], combine: Callable[[float, float], float]) -> None:
        series = self.series
        for sample in samples:
            key = (sample.name, sample.labels)
            known = series.get(key)
            series[key] = sample.value if known is None else combine(known, sample.value)


@define
class _Merge:
    """Families under their names, in the order in which they were met first."""

    families: dict[str, _Merged] = Factory(dict)

    def take(self, families: Iterable[Family], *, newest: bool = True) -> None:
        for family in families:
            rule = GAUGES.get(family.name, _SUM)
            merged = self.families.get(family.name)
            if merged is None:
                merged = self.families[family.name] = _Merged(family.kind, family.documentation)
            if newest or rule.among is Among.ALL:
                merged.take(family.samples, rule.combine)

    def result(self) -> tuple[Family, ...]:
        return tuple(
            Family(
                name,
                merged.kind,
                merged.documentation,
                tuple(Sample(series, labels, value) for (series, labels), value in merged.series.items()),
            )
            for name, merged in self.families.items()
        )


def merged_families(status: ServiceStatus) -> tuple[Family, ...]:
    """The figures of a service with its processes."""
    merge = _Merge()
    newest = max((each.generation for each in status.processes), default=0)
    for process in status.processes:
        merge.take(process.families, newest=process.generation == newest)
    merge.take(status.families)
    merge.take(service_families(status))
    return merge.result()


def families_of(registry: CollectorRegistry) -> tuple[Family, ...]:
    """The figures of a registry, as values."""
    return tuple(
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            tuple(
                Sample(each.name, tuple(each.labels.items()), float(each.value)) for each in metric.samples
            ),
        )
        for metric in registry.collect()
    )


@frozen
class FamilyCollector(Collector):
    """Families as prometheus_client writes them."""

    families: tuple[Family, ...]

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        for family in self.families:
            metric = Metric(family.name, family.documentation, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric


class Ledger:
    """What processes have counted, beyond their end. A supervisor keeps one.

    What a process counted after its last :meth:`seen` is lost with it; what was once told is never taken back.
    """

    def __init__(self) -> None:
        self._latest: dict[int, ProcessStatus] = {}
        self._ended: tuple[Family, ...] = ()

    @property
    def latest(self) -> list[ProcessStatus]:
        """The last that each process that runs told."""
        return list(self._latest.values())

    @property
    def ended(self) -> tuple[Family, ...]:
        """Counters and histograms of those that ended."""
        return self._ended

    def seen(self, status: ProcessStatus) -> None:
        """Take what a process tells of itself."""
        self._latest[status.pid] = status

    def gone(self, pid: int) -> None:
        """A process ended. Harmless for one that never told anything."""
        status = self._latest.pop(pid, None)
        if status is not None:
            merge = _Merge()
            merge.take(self._ended)
            merge.take(family for family in status.families if family.kind != "gauge")
            self._ended = merge.result()
