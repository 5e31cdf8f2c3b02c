"""Tests for tlsproxy.service.worker_handle."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.service.test_channel import Reactor
from tlsproxy.notes import Level
from tlsproxy.ops.status.model import ProcessStatus, process_to_values
from tlsproxy.service.channel import BlockingChannel, socket_pair
from tlsproxy.service.worker_handle import WorkerHandle

STATUS = ProcessStatus(pid=77, worker=3, sessions=5)


class ReactorClock(Clock, Reactor):
    def __init__(self) -> None:
        Clock.__init__(self)  # type: ignore[no-untyped-call]
        Reactor.__init__(self)


class World:
    """A handle, its worker's ends, and what was heard: a Watcher."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.reactor = ReactorClock()
        channel, workers_own = socket_pair()
        log, self.log = os.pipe()
        self.worker = BlockingChannel(workers_own)
        self.handle = WorkerHandle(
            number=3,
            pid=77,
            fds=(channel.detach(), log),
            reactor=self.reactor,
            watcher=self,
            write_line=lambda level, line: self.heard.append((level, line)),
        )

    def says(self, kind: str, **values: Any) -> None:
        self.worker.send(kind, **values)
        self.handle._channel.doRead()

    def worker_ready(self, _worker: WorkerHandle) -> None:
        self.heard.append("ready")

    def worker_leaving(self, _worker: WorkerHandle) -> None:
        self.heard.append("leaving")

    def worker_draining(self, _worker: WorkerHandle) -> None:
        self.heard.append("draining")

    def worker_told(self, _worker: WorkerHandle, status: ProcessStatus) -> None:
        self.heard.append(status)

    def worker_reported(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self.heard.append(entries)

    def worker_gone(self, _worker: WorkerHandle) -> None:
        self.heard.append("gone")


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.worker.close()
    world.handle._channel.doRead()
    os.close(world.log)
    for reader in set(world.reactor.readers):
        reader.doRead()


def test_what_a_worker_says_is_heard(world: World) -> None:
    world.says("ready")
    world.says("status", status=process_to_values(STATUS))
    world.says("report", entries=[{"a": 1}])
    world.says("leaving")
    world.says("draining")
    world.says("draining")
    assert world.heard == ["ready", STATUS, [{"a": 1}], "leaving", "draining"]
    assert (world.handle.ready, world.handle.draining, world.handle.finished) == (True, True, False)


def test_the_last_word_has_the_figures_and_the_sessions_cut(world: World) -> None:
    world.says("final", status=process_to_values(STATUS), cut=2)
    assert (world.handle.finished, world.handle.sessions_cut) == (True, 2)
    world.worker.close()
    world.handle._channel.doRead()
    assert world.heard == [STATUS, "gone"]
    assert world.handle.gone


def test_lines_are_passed_on(world: World) -> None:
    os.write(world.log, b"wone\0itwo\0")
    for reader in world.reactor.readers - {world.handle._channel}:
        reader.doRead()
    assert world.heard == [(Level.WARNING, "one"), (Level.INFO, "two")]


def test_whoever_asks_is_answered_by_the_next_word(world: World) -> None:
    answers: list[object] = []
    for _ in range(2):
        world.handle.ask().addCallback(answers.append)
    assert [world.worker.receive(5).type for _ in range(2)] == ["status", "status"]
    assert answers == []
    world.says("status", status=process_to_values(STATUS))
    assert answers == [None, None]


def test_whoever_asks_is_answered_by_the_end_as_well(world: World) -> None:
    answers: list[object] = []
    world.handle.ask().addCallback(answers.append)
    world.worker.close()
    world.handle._channel.doRead()
    assert answers == [None]


def test_every_word_ends_the_silence(world: World) -> None:
    world.reactor.advance(20)
    assert world.handle.silence == 20
    world.says("ready")
    assert world.handle.silence == 0
    world.reactor.advance(7)
    world.handle.forgive()
    assert world.handle.silence == 0


def test_orders_are_passed_on(world: World) -> None:
    world.handle.retire()
    world.handle.drain(queued=True)
    world.handle.cut()
    assert [world.worker.receive(5).type for _ in range(3)] == ["retire", "drain", "cut"]


def test_a_worker_that_speaks_another_language_is_given_up(world: World) -> None:
    world.says("sing")
    assert world.heard == ["gone"]
