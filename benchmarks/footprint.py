"""``python -m benchmarks.footprint``: where the memory of tlsproxy's processes is, by process and by what is mapped.

The figures of ``python -m benchmarks`` are RSS of the whole process tree, in which what processes share counts for each.
Here are also PSS (shared pages in equal parts) and USS (what would be free if this one process ended), smaps(5), before
and with idle connections, and after these were closed.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from benchmarks.__main__ import bench
from benchmarks.cases import Case
from benchmarks.machine import raise_file_limit
from benchmarks.measure import settle
from benchmarks.peers import Running, Tlsproxy

MAPPINGS = 6
"""Of those with most memory, shown for each process."""


@frozen
class Memory:
    """One process's, in KiB."""

    rss: int
    pss: int
    uss: int
    mappings: Counter[str]
    """RSS by file; ``[anon]`` and ``[heap]`` without one."""

    @classmethod
    def of(cls, pid: int) -> "Memory":
        totals: Counter[str] = Counter()
        mappings: Counter[str] = Counter()
        name = ""
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                name = words[5] if len(words) > 5 else "[anon]"
            elif words[1].isdecimal():
                totals[words[0]] += int(words[1])
                mappings[Path(name).name] += int(words[1]) if words[0] == "Rss:" else 0
        private = totals["Private_Clean:"] + totals["Private_Dirty:"]
        return cls(totals["Rss:"], totals["Pss:"], private, mappings)


def told(running: Running) -> Iterator[str]:
    """A line for each process, and one for its largest mappings."""
    for pid in running.pids:
        memory = Memory.of(pid)
        yield f"  {pid}: RSS {memory.rss} KiB, PSS {memory.pss}, USS {memory.uss}"
        yield "    " + ", ".join(f"{name} {size}" for name, size in memory.mappings.most_common(MAPPINGS))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--connections", type=int, default=1000)
    options = parser.parse_args()
    raise_file_limit()
    with bench(1.0) as measuring, measuring.started(Tlsproxy(workers=options.workers)) as running:
        case = Case("idle", "memory", "", "raw", "idle", options.connections)
        settle(running.pids)
        print("started", *told(running), sep="\n")
        load = measuring.load(running.ports["raw"], case)
        try:
            load.wait_until_ready()
            settle(running.pids)
            print(f"{options.connections} idle connections", *told(running), sep="\n")
            load.go()
        finally:
            load.stop()
        settle(running.pids)
        print("closed", *told(running), sep="\n")


if __name__ == "__main__":
    main()
