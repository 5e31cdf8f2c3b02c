"""``python -m benchmarks``: measure, and write results as JSON; or write docs/performance.md from results."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import asdict

from benchmarks import peers as every
from benchmarks.cases import CASES, GROUPS, GROWTH, IDLE
from benchmarks.machine import Cores, described, raise_file_limit
from benchmarks.measure import Bench, growth, memory, rounds, start_time
from benchmarks.peers import Peer, Running, Setting
from benchmarks.programs import Backend, Certificate, MeasurementError, Programs
from benchmarks.report import Figures

RESULTS = Path(__file__).parent / "results"
FILES_PER_CONNECTION = 2
"""A proxy's: one to the client, one to the backend."""
FILES_SPARE = 2000
"""Proxies keep some back."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        results = _run(options)
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.add and options.output.exists():
        results = _merged(json.loads(options.output.read_text()), results)
    options.output.write_text(_written(results) + "\n")
    print(f"{options.output}")
    return 0


def _merged(before: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """The earlier results, with what was measured in place of what they had of it."""
    together = {name: {**before.get(name, {}), **results[name]} for name in ("peers", "cases")}
    return {**before, **results, **together}


def _written(results: Any, indent: str = "") -> str:
    """JSON, with a line for each sample, and no more digits than were measured."""
    deeper = indent + " "
    if isinstance(results, dict) and any(isinstance(value, dict | list) for value in results.values()):
        parts = [f"{deeper}{json.dumps(key)}: {_written(value, deeper)}" for key, value in results.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if isinstance(results, dict):
        return json.dumps({key: _rounded(value) for key, value in results.items()})
    if isinstance(results, list):
        return "[\n" + ",\n".join(deeper + _written(each, deeper) for each in results) + f"\n{indent}]"
    return json.dumps(results)


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", type=_listed(GROUPS), default=GROUPS, help=f"of {','.join(GROUPS)}")
    parser.add_argument("--cases", type=lambda text: text.split(","), help="these alone, by name")
    names = [peer.label for peer in every.ALL]
    parser.add_argument(
        "--peers", type=_listed(names), default=names, help=f"of {'; '.join(names)}; separated by ;"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each figure")
    parser.add_argument(
        "--realtime", action="store_true", help="run before all else (root): others use this machine, too"
    )
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument(
        "--add", action="store_true", help="keep what the output has of other cases and groups"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json")
    return parser


def _listed(known: Sequence[str]) -> Any:
    separator = ";" if any("," in each for each in known) else ","

    def parse(text: str) -> list[str]:
        chosen = [each.strip() for each in text.split(separator)]
        if unknown := [each for each in chosen if each not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return chosen

    return parse


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if options.quick:
        options.rounds, options.seconds = 1, 0.1
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    files = raise_file_limit()
    chosen = _available([peer for peer in every.ALL if peer.label in options.peers])
    with bench(options.seconds) as measuring:
        results: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {
                **described(),
                "files": str(files),
                "cores_apart": str(measuring.cores.apart),
                "shared": str(options.realtime),
            },
            "rounds": options.rounds,
            "seconds": options.seconds,
            "peers": {},
            "cases": {},
        }
        _measure_cases(measuring, chosen, options, results)
        _measure_fresh(measuring, chosen, options, results, files)
    return results


def _available(peers: Sequence[Peer]) -> list[Peer]:
    found = []
    for peer in peers:
        if reason := peer.missing():
            print(f"without {peer.label}: {reason}", file=sys.stderr)
        else:
            found.append(peer)
    return found


@contextmanager
def bench(seconds: float) -> Iterator[Bench]:
    """Client, backend and certificates, for as long as it lasts; ``seconds`` is the time for a figure."""
    cores = Cores.choose()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        programs = Programs.compile(directory)
        backend = Backend.start(programs, cores.backend)
        try:
            ecdsa, rsa = (Certificate.make(directory, stem) for stem in ("ecdsa", "rsa"))
            setting = Setting(directory, ecdsa, rsa, backend.ports, cores.proxy)
            yield Bench(programs, backend, cores, setting, seconds)
        finally:
            backend.stop()


def _measure_cases(
    bench: Bench, peers: Sequence[Peer], options: argparse.Namespace, results: dict[str, Any]
) -> None:
    cases = [case for case in CASES if case.group in options.only]
    if options.cases:
        cases = [case for case in cases if case.name in options.cases]
    with ExitStack() as stack:
        running: list[Running] = []
        for peer in peers:
            try:
                running.append(stack.enter_context(bench.started(peer)))
            except MeasurementError as error:
                print(f"without {error}", file=sys.stderr)
                continue
            results["peers"][peer.label] = {"version": peer.version()}
        for case in cases:
            samples = rounds(bench, case, running, options.rounds)
            results["cases"][case.name] = samples
            print(case.title, flush=True)
            for name, taken in samples.items():
                print(f"  {_line(name, taken)}", flush=True)
        for each in running:
            results["peers"][each.name]["openssl"] = each.openssl()


def _line(name: str, samples: Sequence[dict[str, Any]]) -> str:
    figures = Figures.of(samples)
    if figures is None:
        errors = next((each["first_error"] for each in samples if each["errors"]), "no figure")
        return f"{name:32} {errors}"
    return (
        f"{name:32} {figures.cpu:10.1f} us (±{figures.spread:4.1%}) {figures.rate:10.1f}/s"
        f"  p50 {figures.p50:8.0f} us  p99 {figures.p99:8.0f} us"
        f"  busy {figures.proxy_busy:4.0%} client {figures.client_busy:4.0%}"
    )


def _measure_fresh(
    bench: Bench, peers: Sequence[Peer], options: argparse.Namespace, results: dict[str, Any], files: int
) -> None:
    """What is measured with proxies that were just started."""
    raw = [peer for peer in peers if "raw" in peer.services]
    if "start" in options.only:
        results["start"] = {peer.label: [] for peer in raw}
        for _ in range(options.rounds):
            for peer in bench.order.sample(raw, len(raw)):
                results["start"][peer.label].append(start_time(bench, peer))
    if "memory" in options.only:
        results["memory"] = {}
        for count in [100] if options.quick else IDLE:
            found = {peer.label: [memory(bench, peer, count)] for peer in raw}
            results["memory"][str(count)] = found
            print(f"memory, {count} connections, KiB each")
            for name, [taken] in found.items():
                print(
                    f"  {name:32} {taken['kib'] or taken['first_error']} (without: {taken['base_kib']})",
                    flush=True,
                )
    if "growth" in options.only:
        _measure_growth(bench, raw, options, results, files)
    if "crowd" in options.only and any(peer.label == "tlsproxy" for peer in raw):
        with ExitStack() as stack:
            case = next(case for case in CASES if case.name == "handshake-ecdsa-32")
            running = [stack.enter_context(bench.started(peer)) for peer in every.VARIANTS]
            results["crowd"] = rounds(bench, case, running, options.rounds)


def _measure_growth(
    bench: Bench, peers: Sequence[Peer], options: argparse.Namespace, results: dict[str, Any], files: int
) -> None:
    chosen = [peer for peer in peers if peer.label in {"tlsproxy", "nginx"}]
    most = (files - FILES_SPARE) // FILES_PER_CONNECTION
    results["growth"] = {"handshake": {}, "roundtrip": {}, "memory": {}}
    for count in GROWTH[:1] if options.quick else GROWTH:
        grown = growth(bench, chosen, min(count, most), options.rounds)
        for name, found in asdict(grown).items():
            results["growth"][name][str(min(count, most))] = found
        print(f"growth, {min(count, most)} connections")
        for work in (grown.handshake, grown.roundtrip):
            for name, samples in work.items():
                print(f"  {_line(name, samples)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
