"""Where tlsproxy's time goes in one case: ``python -m benchmarks.profiled CASE``, with Python's own profiler.

It says which functions take part and how often they are called. The profiler makes calls dearer than they are, so how
much each takes is a hint, not a figure.
"""

import argparse
import pstats
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define

from benchmarks.__main__ import bench
from benchmarks.cases import CASES
from benchmarks.peers import Setting, Tlsproxy

WARM_UP = 0.3


@define
class Profiled(Tlsproxy):
    """One that writes its profile when it ends."""

    def commands(self, setting: Setting, ports: Mapping[str, int]) -> list[list[str | Path]]:
        """As any, with twistd's options for it."""
        [[twistd, *options]] = super().commands(setting, ports)
        profile: list[str | Path] = [
            "--profiler",
            "cprofile",
            "--savestats",
            "--profile",
            setting.directory / "profile",
        ]
        return [[twistd, *profile, *options]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the functions that take most time by themselves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiled", description=__doc__)
    parser.add_argument("case", choices=[case.name for case in CASES])
    parser.add_argument("--functions", type=int, default=40, help="how many")
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args(arguments)
    case = next(each for each in CASES if each.name == options.case)
    with bench(options.seconds) as measuring:
        peer = Profiled()
        setting = measuring.fresh(peer)
        running = peer.start(setting)
        try:
            measuring.sample(running, case, WARM_UP)
            sample = measuring.sample(running, case)
        finally:
            running.stop()
        print(f"{case.title}: {sample['units']} units, {sample['errors']} errors")
        pstats.Stats(str(setting.directory / "profile")).sort_stats("tottime").print_stats(options.functions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
