"""A service's figures, asked by name and label."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tlsproxy.ops.status.model import Family, Sample


class Figures:
    """Figures by their names without ``tlsproxy_``. One that isn't there is 0."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for sample in (sample for family in families for sample in family.samples):
            self._samples[sample.name].append((dict(sample.labels), sample.value))

    def sum(self, name: str, **labels: str) -> float:
        """The series that have all of ``labels``, added up."""
        return sum(value for _, value in self._matching(name, labels))

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The same, for each value of ``label``; greatest first, without those that are 0."""
        found: dict[str, float] = defaultdict(float)
        for own, value in self._matching(name, labels):
            found[own.get(label, "")] += value
        ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return {name: value for name, value in ranked if value}

    def quantile(self, name: str, share: float, **labels: str) -> float | None:
        """Of a histogram, the bound under which ``share`` of what was observed lies; None without any.

        What lies above the last bound is taken for as much.
        """
        buckets = self.by_bound(name, labels)
        total = buckets[-1][1] if buckets else 0.0
        if not total:
            return None
        finite = [(bound, count) for bound, count in buckets if bound != float("inf")]
        reached = (bound for bound, count in finite if count >= share * total)
        return next(reached, finite[-1][0] if finite else None)

    def by_bound(self, name: str, labels: dict[str, str]) -> list[tuple[float, float]]:
        """A histogram's buckets: upper bounds, and how many were at most that."""
        found: dict[float, float] = defaultdict(float)
        for own, value in self._matching(f"{name}_bucket", labels):
            found[float(own["le"])] += value
        return sorted(found.items())

    def _matching(self, name: str, labels: dict[str, str]) -> Iterator[tuple[dict[str, str], float]]:
        wanted = labels.items()
        for own, value in self._samples.get(f"tlsproxy_{name}", ()):
            if wanted <= own.items():
                yield own, value


def process_figure(samples: Iterable[Family], name: str) -> float | None:
    """One figure without labels, such as ``process_resident_memory_bytes``; None where it isn't there."""
    found: Iterator[Sample] = (each for family in samples if family.name == name for each in family.samples)
    return next((each.value for each in found), None)
