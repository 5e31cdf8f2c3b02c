"""From samples to figures, and from figures to targets met or not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Self

from attrs import frozen

from benchmarks.cases import CASES, Case

OURS = "tlsproxy"
BEST_OF = ("hitch", "nginx", "HAProxy")

Results = Mapping[str, Any]
Samples = Sequence[Mapping[str, Any]]


@frozen
class Figures:
    """Medians over the rounds of one case."""

    cpu: float
    """CPU of the proxy per unit, us."""
    spread: float
    """Half of the distance between the quartiles, as a part of the median."""
    rate: float
    """Units per second."""
    p50: float
    """Of a unit's duration, us."""
    p99: float
    proxy_busy: float
    """Of one core."""
    client_busy: float
    """Of one core, with the backend."""

    @classmethod
    def of(cls, samples: Samples) -> Self | None:
        """None if any round had an error: what is left is no figure."""
        if not samples or any(each["errors"] or each["cpu_us"] is None for each in samples):
            return None

        def middle(key: str) -> float:
            return float(median(each[key] for each in samples))

        costs = sorted(each["cpu_us"] for each in samples)
        quarter = len(costs) // 4
        spread = (costs[-1 - quarter] - costs[quarter]) / 2 / median(costs)
        rest = ("rate", "p50_us", "p99_us", "proxy_busy", "client_busy")
        return cls(median(costs), spread, *map(middle, rest))


def figures(results: Results, case: str, peer: str) -> Figures | None:
    """Of one case and peer."""
    return Figures.of(results["cases"].get(case, {}).get(peer, ()))


def ratio(results: Results, case: str, peer: str, key: str = "cpu_us", ours: str = OURS) -> float | None:
    """Our figure as a part of a peer's: the median over rounds, each round's figures taken one after the other."""
    if figures(results, case, peer) is None or figures(results, case, ours) is None:
        return None
    samples = results["cases"][case]
    return float(
        median(one[key] / other[key] for one, other in zip(samples[ours], samples[peer], strict=True))
    )


def best(results: Results, case: str) -> str | None:
    """The one of hitch, nginx and HAProxy that takes the least CPU."""
    costs = {peer: found.cpu for peer in BEST_OF if (found := figures(results, case, peer))}
    return min(costs, key=lambda peer: costs[peer]) if costs else None


def idle(results: Results, connections: int, peer: str, key: str = "kib") -> float | None:
    """KiB per idle connection, or of the process before there were any (``base_kib``)."""
    samples = results.get("memory", {}).get(str(connections), {}).get(peer, ())
    values = [each[key] for each in samples if each[key] is not None]
    return median(values) if values else None


def start(results: Results, peer: str) -> float | None:
    """Seconds to the first connection."""
    values = [
        each["seconds"] for each in results.get("start", {}).get(peer, ()) if each["seconds"] is not None
    ]
    return median(values) if values else None


@frozen
class Target:
    """What is wanted, and what there is."""

    subject: str
    wanted: str
    measured: str
    met: bool


def _at_most(
    subject: str, measured: float | None, limit: float, unit: str, detail: str = ""
) -> Iterator[Target]:
    if measured is not None:
        text = f"{measured:.2f} {unit}".strip() + (f" ({detail})" if detail else "")
        yield Target(subject, f"at most {limit:g} {unit}".strip(), text, measured <= limit)


_OF_BEST: Mapping[str, float] = {
    "handshake": 1.0,
    "resume-1.3": 1.0,
    "resume-1.2": 1.5,
    "bulk": 0.7,
    "roundtrip": 1.3,
    "https": 1.5,
}
"""CPU per unit as a part of the best of hitch, nginx and HAProxy, by the beginning of a case's name."""


def targets(results: Results) -> Iterator[Target]:
    """All that the results have figures for."""
    for case in CASES:
        yield from _costs(results, case)
    yield from _whole_sessions(results)
    yield from _latency(results)
    mib = _scaled(idle(results, 5000, OURS, "base_kib"), 1 / 1024)
    yield from _at_most("idle TLS connection, 5000 connections", idle(results, 5000, OURS), 24, "KiB")
    yield from _at_most("a worker without connections", mib, 45, "MiB")
    yield from _at_most("start to first connection", start(results, OURS), 0.5, "s")


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _costs(results: Results, case: Case) -> Iterator[Target]:
    limit = next((most for name, most in _OF_BEST.items() if case.name.startswith(name)), None)
    peer = best(results, case.name)
    if limit is not None and peer is not None:
        yield from _at_most(case.title, ratio(results, case.name, peer), limit, f"of {peer}")
    if case.name.startswith("smtp-"):
        yield from _at_most(case.title, ratio(results, case.name, "nginx"), 0.9, "of nginx")
        yield from _at_most(case.title, ratio(results, case.name, "Postfix"), 0.3, "of Postfix")
    below = ratio(results, case.name, "stunnel")
    if below is not None:
        yield Target(case.title, "less than stunnel", f"{below:.2f} of stunnel", below < 1)


def _whole_sessions(results: Results) -> Iterator[Target]:
    if alone := figures(results, "smtp-1", OURS):
        yield from _at_most("one client's STARTTLS session, median", alone.p50 / 1000, 3, "ms")
    if (times := ratio(results, "smtp-20", "nginx", "rate")) is not None:
        yield Target(
            "STARTTLS sessions per second, 20 clients",
            "at least 4 of nginx",
            f"{times:.2f} of nginx",
            times >= 4,
        )


def _latency(results: Results) -> Iterator[Target]:
    found = {
        case.title: value
        for case in CASES
        if (value := ratio(results, case.name, "nginx", "p99_us")) is not None
    }
    if found:
        worst = max(found, key=lambda title: found[title])
        yield from _at_most("p99 of a unit's duration, worst case", found[worst], 1.5, "of nginx", worst)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown, figures to the right."""
    yield f"| {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * (len(heads) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def cost_rows(
    results: Results, peers: Sequence[str], show: Callable[[Case, Figures], str]
) -> Iterator[list[str]]:
    """A row for each case measured: its title, and a figure for each peer."""
    for case in CASES:
        if case.name in results["cases"]:
            cells = [figures(results, case.name, peer) for peer in peers]
            yield [
                case.title,
                *(
                    show(case, cell) if cell else _gap(results, case, peer)
                    for cell, peer in zip(cells, peers, strict=True)
                ),
            ]


def _gap(results: Results, case: Case, peer: str) -> str:
    return "errors" if results["cases"][case.name].get(peer) else ""


def cost(case: Case, found: Figures) -> str:
    """CPU per unit, in the case's measure."""
    return f"{found.cpu / 1000:.0f} ms" if case.figure == "ms" else f"{_short(found.cpu)} us"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
