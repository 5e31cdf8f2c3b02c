"""Writes the measured parts of docs/performance.md, and its charts: ``python -m benchmarks.document [RESULTS.json]``.

The document marks such a part with ``<!-- measured: NAME -->`` and ``<!-- end -->``; what stands between is replaced.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.cases import CASES, GROWING, IDLE, Case
from benchmarks.plots import Group, Line, bars, lines
from benchmarks.report import (
    OURS,
    Figures,
    Results,
    best,
    cost,
    cost_rows,
    figures,
    idle,
    ratio,
    start,
    table,
    targets,
)

ROOT = Path(__file__).parents[1]
PUBLISHED = Path(__file__).parent / "results" / "published.json"
DOCUMENT = ROOT / "docs" / "performance.md"
CHARTS = ROOT / "docs" / "performance"

BUSY = 0.95
"""A core that is busy for this part of the time limits what goes on."""

_PART = re.compile(r"(<!-- measured: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def machine(results: Results) -> Iterator[str]:
    """Where and when, and with what."""
    facts = results["machine"]
    counts = [len(samples) for peers in results["cases"].values() for samples in peers.values()]
    yield (
        f"Measured on {results['date'][:10]}: {facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']},"
        f" Python {facts['python']}; {min(counts, default=0)} rounds, {results['seconds']:g} s for each figure.\n"
    )
    if facts["shared"] == "True":
        yield (
            "Other programs ran on the machine; the benchmarks ran before them, at real-time priority. What a unit costs is"
            " more, and differs more from round to round, than on a quiet machine: compare columns.\n"
        )
    rows = [[name, each["version"], each["openssl"]] for name, each in results["peers"].items()]
    yield from table(("", "Version", "OpenSSL"), rows)


def target_table(results: Results) -> Iterator[str]:
    """Each target, and whether it is met."""
    found = list(targets(results))
    yield f"{sum(each.met for each in found)} of {len(found)} are met.\n"
    rows = [[each.subject, each.wanted, each.measured, "yes" if each.met else "**no**"] for each in found]
    yield from table(("", "Target", "Measured", "Met"), rows)


def costs(results: Results) -> Iterator[str]:
    """CPU per unit."""
    peers = list(results["peers"])
    yield from table(("CPU per unit", *peers), list(cost_rows(results, peers, cost)))


def ratios(results: Results) -> Iterator[str]:
    """Our cost as a part of each peer's."""
    peers = [peer for peer in results["peers"] if not peer.startswith(OURS)]
    rows = []
    for case in CASES:
        if case.name in results["cases"]:
            first = best(results, case.name)
            cells = [(peer, ratio(results, case.name, peer)) for peer in peers]
            texts = ["" if value is None else f"{value:.2f}" for _, value in cells]
            marked = [
                f"**{text}**" if text and peer == first else text
                for (peer, _), text in zip(cells, texts, strict=True)
            ]
            rows.append([case.title, *marked])
    yield from table(("CPU per unit of tlsproxy, as a part of", *peers), rows)


def rates(results: Results) -> Iterator[str]:
    """Units per second, and how long each took."""
    peers = [peer for peer in results["peers"] if "," not in peer]
    heads = ("Per second; p50 / p99 in ms", *peers)
    yield from table(heads, list(cost_rows(results, peers, _rate)))


def _rate(_: Case, found: Figures) -> str:
    limited = "≥ " if found.client_busy > BUSY > found.proxy_busy else ""
    return f"{limited}{_digits(found.rate)}; {_digits(found.p50 / 1000)} / {_digits(found.p99 / 1000)}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def memory(results: Results) -> Iterator[str]:
    """Memory and start."""
    rows = [
        [
            peer,
            _cell(
                base / 1024 if (base := idle(results, IDLE[0], peer, "base_kib")) is not None else None,
                "{:.1f}",
            ),
            *(_cell(idle(results, count, peer), "{:.1f}") for count in IDLE),
            _cell(start(results, peer), "{:.2f}"),
        ]
        for peer in results["peers"]
        if any(idle(results, count, peer) is not None for count in IDLE) or start(results, peer) is not None
    ]
    heads = ("", "MiB without connections", *(f"KiB per idle connection, {count}" for count in IDLE))
    yield from table((*heads, "Start, s"), rows)


def growth(results: Results) -> Iterator[str]:
    """The same work by more and more connections; a large configuration."""
    grown = results.get("growth", {})
    rows = []
    for mode, title in GROWING.items():
        for peer in (OURS, "nginx"):
            found = [Figures.of(samples.get(peer, ())) for samples in grown.get(mode, {}).values()]
            rows.append(
                [f"{title}, {peer}, us", *(_cell(each.cpu if each else None, "{:.0f}") for each in found)]
            )
    for peer in (OURS, "nginx"):
        cells = [
            samples[peer][0]["kib"] if peer in samples else None
            for samples in grown.get("memory", {}).values()
        ]
        rows.append([f"KiB per connection, {peer}", *(_cell(each, "{:.1f}") for each in cells)])
    counts = list(grown.get("memory", {}))
    if counts:
        yield from table(("Connections that are open", *counts), rows)
    crowd = results.get("crowd", {})
    if all(Figures.of(samples) for samples in crowd.values()) and crowd:
        plain, crowded, shared = (
            median(other["cpu_us"] / one["cpu_us"] for one, other in zip(crowd[OURS], samples, strict=True))
            for samples in crowd.values()
        )
        assert plain == 1
        yield (
            "\nWith a thousand peers (client networks) in each listen and certificates for a thousand names, a full"
            f" handshake by 32 clients costs {crowded:.2f} of what it does without. With two workers that share a core it"
            f" costs {shared:.2f} of what it does with one: on cores of their own, two do {2 / shared:.1f} times the work."
        )


def sizing(results: Results) -> Iterator[str]:
    """What an operator counts with."""
    cases = (
        ("smtp-20", "SMTP sessions over STARTTLS with a message of 10 kB"),
        ("smtps-20", "SMTP sessions over implicit TLS with a message of 10 kB"),
        ("handshake-ecdsa-32", "connections with a full handshake, ECDSA P-256"),
        ("handshake-rsa-32", "connections with a full handshake, RSA 2048"),
        ("resume-1.3", "connections with a resumed handshake, TLS 1.3"),
        ("https-64", "HTTPS requests on kept connections"),
    )
    rows = []
    for case, title in cases:
        if found := figures(results, case, f"{OURS}, logging") or figures(results, case, OURS):
            rows.append([title, f"{1e6 / found.cpu:.0f}", f"{0.6e6 / found.cpu:.0f}"])
    yield from table(
        ("One worker (one core), with logging", "Per second at most", "To plan with (60 %)"), rows
    )
    base, each = idle(results, IDLE[-1], OURS, "base_kib"), idle(results, IDLE[-1], OURS)
    if base is not None and each is not None:
        thousands = (base + 10000 * each) / 1024
        yield (
            f"\nMemory: {base / 1024:.0f} MiB for a worker, and {each:.0f} KiB for each connection; ten thousand"
            f" connections take {thousands:.0f} MiB."
        )


PARTS: Mapping[str, Callable[[Results], Iterator[str]]] = {
    "machine": machine,
    "targets": target_table,
    "costs": costs,
    "ratios": ratios,
    "rates": rates,
    "memory": memory,
    "growth": growth,
    "sizing": sizing,
}


def filled(text: str, results: Results) -> str:
    """``text`` with its measured parts as ``results`` have them."""

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}\n" + "\n".join(PARTS[match["name"]](results)).strip() + f"\n\n{match[3]}"

    return _PART.sub(part, text)


def _bars(results: Results, title: str, note: str, cases: Sequence[str]) -> str:
    peers = [peer for peer in results["peers"] if "," not in peer]
    titles = {case.name: case for case in CASES}
    return bars(title, note, [_group(results, titles[name].title, name, peers) for name in cases], OURS)


def _group(results: Results, title: str, case: str, peers: Sequence[str]) -> Group:
    scale = 1000 if case.startswith("bulk") else 1
    return Group(
        title,
        {peer: found.cpu / scale if (found := figures(results, case, peer)) else None for peer in peers},
    )


def charts(results: Results) -> dict[str, str]:
    """Files' names and contents."""
    per_unit = "CPU time of the proxy, microseconds; less is better"
    peers = [peer for peer in results["peers"] if "," not in peer]
    return {
        "handshakes.svg": _bars(
            results,
            "Connections: handshake, one round trip, close",
            per_unit,
            ("handshake-ecdsa-32", "handshake-rsa-32", "resume-1.3", "resume-1.2"),
        ),
        "bulk.svg": _bars(
            results,
            "One GiB",
            "CPU time of the proxy, milliseconds; less is better",
            ("bulk-up-1", "bulk-up-16", "bulk-down-1", "bulk-down-16"),
        ),
        "requests.svg": _bars(
            results,
            "Round trips and HTTPS requests",
            per_unit,
            ("roundtrip-1", "roundtrip-64", "https-64", "https-new-32"),
        ),
        "smtp.svg": _bars(
            results,
            "SMTP sessions with a message of 10 kB",
            per_unit,
            ("smtp-1", "smtp-20", "smtp-200", "smtps-20"),
        ),
        "memory.svg": bars(
            "Memory of an idle TLS connection",
            "KiB; less is better",
            [
                Group(f"{count} connections", {peer: idle(results, count, peer) for peer in peers})
                for count in IDLE
            ],
            OURS,
        ),
        "growth.svg": lines(
            "The same work, with more and more connections open",
            "A flat line: the cost of one doesn't depend on how many there are",
            {
                **{
                    f"{title}: CPU, us": _lines(
                        results, mode, lambda s: f.cpu if (f := Figures.of(s)) else None
                    )
                    for mode, title in GROWING.items()
                },
                "memory per connection, KiB": _lines(results, "memory", lambda s: s[0]["kib"] if s else None),
            },
            OURS,
        ),
    }


def _lines(
    results: Results, mode: str, value: Callable[[Sequence[Mapping[str, float]]], float | None]
) -> list[Line]:
    grown = results.get("growth", {}).get(mode, {})
    return [
        Line(
            peer,
            [
                (int(count), found)
                for count, samples in grown.items()
                if (found := value(samples.get(peer, ()))) is not None
            ],
        )
        for peer in (OURS, "nginx")
    ]


def main(arguments: Sequence[str]) -> None:
    """Write the document and the charts."""
    results = json.loads((Path(arguments[0]) if arguments else PUBLISHED).read_text())
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), results))
    CHARTS.mkdir(exist_ok=True)
    for name, content in charts(results).items():
        (CHARTS / name).write_text(content)


if __name__ == "__main__":
    main(sys.argv[1:])
