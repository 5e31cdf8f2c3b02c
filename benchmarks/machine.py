"""What the kernel tells of processes: CPU time, memory, cores, and what they are linked with."""

import os
import platform
import re
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

TICK = 1 / os.sysconf("SC_CLK_TCK")

_CPUCLOCK_SCHED = 2
"""The clock of a process that counts what it ran, in ns (``include/linux/posix-timers.h``)."""


@frozen
class Cores:
    """Where the client, the backend and the proxies run: the client and the backend share one if there are only two."""

    client: int
    backend: int
    proxy: int

    @classmethod
    def choose(cls) -> "Cores":
        """The first, the second and the last that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1] if len(allowed) > 2 else allowed[0], allowed[-1])

    @property
    def apart(self) -> bool:
        """Whether the proxies have one to themselves."""
        return self.client != self.proxy


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Have what is started meanwhile run on ``core`` alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(pids: Sequence[int], core: int) -> None:
    """Move running processes to ``core``: hitch gives each of its workers another one."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {core})


def parents() -> dict[int, int]:
    """Each process's parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                found[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue
    return found


def tree(roots: Sequence[int]) -> list[int]:
    """Those of ``roots`` that live, and their descendants."""
    parent_of = parents()
    members = {root for root in roots if root in parent_of}
    while True:
        more = {pid for pid, parent in parent_of.items() if parent in members} - members
        if not more:
            return sorted(members)
        members |= more


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time that these processes and their ended children took: all threads, user and system.

    That of a process itself in ns (its CPU clock, which sums up what ``/proc/PID/task/*/schedstat`` has and what threads
    had that are gone), that of ended children in ticks.
    """
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
            total += sum(int(ticks) for ticks in _stat(pid)[13:15]) * TICK
        except OSError:
            continue
    return total


def rss_kib(pids: Sequence[int]) -> int:
    """Resident memory of these processes together."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += sum(int(size) for size in re.findall(r"^VmRSS:\s*(\d+)", status, re.MULTILINE))
    return total


def openssl_version(pids: Sequence[int]) -> str:
    """The OpenSSL that is mapped into these processes."""
    for pid in pids:
        maps = Path(f"/proc/{pid}/maps").read_text()
        # Python has one for hashes as well; cryptography's own is the one that counts.
        paths = re.findall(r"\s(/\S*_rust\.abi3\S*)", maps) or re.findall(r"\s(/\S*libcrypto\S*)", maps)
        for path in sorted(set(paths)):
            if match := re.search(rb"OpenSSL (\d+\.\d+\.\d+\w*) \d+ \w+ \d{4}", Path(path).read_bytes()):
                return match[1].decode()
    return "?"


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def raise_file_limit() -> int:
    """Allow as many open files as may be, and say how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def described() -> dict[str, str]:
    """The machine, for the record."""
    models = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _stat(pid: int) -> list[str]:
    """``/proc/PID/stat`` from the state on; a name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
