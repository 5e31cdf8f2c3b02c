"""Rounds: in each, every peer does the same work, one after the other, in an order of its own."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import Any

from attrs import define, evolve, field

from benchmarks.cases import CASES, Case
from benchmarks.machine import Cores, cpu_seconds, rss_kib
from benchmarks.peers import Peer, Running, Setting
from benchmarks.programs import Backend, Load, MeasurementError, Programs

WARM_UP = 0.2
"""Seconds of work before a peer's first figure of a case."""

SETTLING = 0.5
"""Seconds at most in which a proxy may finish what a client has left."""

COUNTABLE = 100
"""So many connections at least show in a process's memory."""

Sample = dict[str, Any]


@define
class Bench:
    """What every measurement needs."""

    programs: Programs
    backend: Backend
    cores: Cores
    setting: Setting
    seconds: float
    order: random.Random = field(factory=lambda: random.Random(6))  # noqa: S311 - not for keys
    _numbers: "count[int]" = field(factory=count)

    def fresh(self, peer: Peer) -> Setting:
        """A setting with a directory of its own."""
        return evolve(self.setting, directory=self.setting.directory / f"{next(self._numbers)}-{peer.name}")

    @contextmanager
    def started(self, peer: Peer) -> Iterator[Running]:
        """Have ``peer`` run."""
        running = peer.start(self.fresh(peer))
        try:
            yield running
        finally:
            running.stop()

    @contextmanager
    def with_its_own_backend(self) -> Iterator["Bench"]:
        """The same, with a backend that nobody else connects to.

        Each connection to it takes a port of 28 000, and connecting becomes slow when half of them are taken.
        """
        backend = Backend.start(self.programs, self.cores.backend)
        try:
            yield evolve(self, backend=backend, setting=evolve(self.setting, backend=backend.ports))
        finally:
            backend.stop()

    def load(self, port: int, case: Case, *more: object) -> Load:
        """Start the client."""
        where = ("--port", port, "--connections", case.connections)
        return Load.start(self.programs, self.cores.client, case.mode, *where, *case.options, *more)

    def sample(self, running: Running, case: Case, seconds: float | None = None) -> Sample:
        """One figure."""
        load = self.load(running.ports[case.service], case, "--seconds", seconds or self.seconds)
        try:
            load.wait_until_ready()
            return self.sample_of(running, load, case.per)
        finally:
            load.stop()

    def sample_of(self, running: Running, load: Load, per: float = 1.0) -> Sample:
        """One figure, of a client whose connections are up."""
        settle(running.pids)
        cpu, client = cpu_seconds(running.pids), cpu_seconds([load.pid, self.backend.pid])
        result = load.go()
        client_taken = cpu_seconds([load.pid, self.backend.pid]) - client
        settle(running.pids)
        taken = cpu_seconds(running.pids) - cpu
        units = result["units"] / per
        elapsed = max(result["seconds"], 1e-9)
        return {
            **{key: value for key, value in result.items() if key != "ready"},
            "cpu_us": taken / units * 1e6 if units and not result["errors"] else None,
            "rate": units / elapsed,
            "proxy_busy": taken / elapsed,
            "client_busy": client_taken / elapsed,
        }


def settle(pids: Sequence[int]) -> None:
    """Wait until these processes have nothing to do."""
    deadline = time.monotonic() + SETTLING
    before, pause = cpu_seconds(pids), threading.Event()
    while time.monotonic() < deadline:
        pause.wait(0.02)
        now = cpu_seconds(pids)
        if now - before < 0.0002:
            return
        before = now


def rounds(bench: Bench, case: Case, peers: Sequence[Running], number: int) -> dict[str, list[Sample]]:
    """``number`` paired rounds of a case."""
    taking_part = [peer for peer in peers if case.service in peer.ports]
    samples: dict[str, list[Sample]] = {peer.name: [] for peer in taking_part}
    for each in taking_part:
        with suppress(MeasurementError):
            bench.sample(each, case, WARM_UP)
    for _ in range(number):
        for peer in bench.order.sample(taking_part, len(taking_part)):
            try:
                samples[peer.name].append(bench.sample(peer, case))
            except MeasurementError as error:
                samples[peer.name].append({"errors": 1, "first_error": str(error), "cpu_us": None})
    return samples


@define
class Grown:
    """What it costs with so many connections open, for each peer."""

    handshake: dict[str, list[Sample]] = field(factory=dict)
    """By 32 clients, beside the open connections."""
    roundtrip: dict[str, list[Sample]] = field(factory=dict)
    """On all of the connections at a time."""
    memory: dict[str, list[Sample]] = field(factory=dict)
    """Nothing where the few are lost among what was used before and is free."""


def growth(bench: Bench, peers: Sequence[Peer], connections: int, number: int) -> Grown:
    """``number`` paired rounds with so many connections to each peer open."""
    handshake = next(case for case in CASES if case.name == "handshake-ecdsa-32")
    case = Case("growth", "growth", "", "raw", "roundtrip", connections)
    grown = Grown()
    for found in (grown.handshake, grown.roundtrip):
        found.update({peer.label: [] for peer in peers})
    with ExitStack() as stack:
        loads = []
        for peer in peers:
            own = stack.enter_context(bench.with_its_own_backend())
            running = stack.enter_context(own.started(peer))
            own.sample(running, handshake, WARM_UP)
            base = rss_kib(running.pids)
            load = own.load(running.ports["raw"], case, "--seconds", bench.seconds)
            stack.callback(load.stop)
            load.wait_until_ready()
            settle(running.pids)
            if connections >= COUNTABLE:
                grown.memory[running.name] = [{"kib": (rss_kib(running.pids) - base) / connections}]
            loads.append((own, running, load))
        for _ in range(number):
            for own, running, load in bench.order.sample(loads, len(loads)):
                grown.handshake[running.name].append(own.sample(running, handshake))
                grown.roundtrip[running.name].append(own.sample_of(running, load))
    return grown


def memory(bench: Bench, peer: Peer, connections: int) -> Sample:
    """Memory that so many idle connections cost a peer that has served some already."""
    with bench.started(peer) as running:
        warm = Case("idle", "memory", "", "raw", "handshake", 32, options=("--count", 64))
        bench.sample(running, warm)
        base = rss_kib(running.pids)
        case = Case("idle", "memory", "", "raw", "idle", connections)
        load = bench.load(running.ports["raw"], case)
        try:
            load.wait_until_ready()
            settle(running.pids)
            grown = rss_kib(running.pids)
            result = load.go()
        finally:
            load.stop()
    complete = result["ready"] == connections and not result["errors"]
    return {
        "base_kib": base,
        "kib": (grown - base) / connections if complete else None,
        "errors": result["errors"],
        "first_error": result["first_error"],
    }


def start_time(bench: Bench, peer: Peer) -> Sample:
    """Seconds from starting a peer to the end of its first connection."""
    case = Case(
        "start", "start", "", "raw", "handshake", 1, options=("--count", 1, "--wait", 20, "--seconds", 20)
    )
    begin = time.monotonic()
    running = peer.launch(bench.fresh(peer))
    try:
        load = bench.load(running.ports["raw"], case)
        try:
            load.wait_until_ready()
            result = load.go()
            elapsed = time.monotonic() - begin
        finally:
            load.stop()
    finally:
        running.stop()
    return {
        "seconds": elapsed if result["units"] == 1 and not result["errors"] else None,
        "errors": result["errors"],
        "first_error": result["first_error"],
    }
