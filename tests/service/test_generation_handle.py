"""Tests for tlsproxy.service.generation_handle: the supervisor's side, with a generation that a test plays."""

import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field
from twisted.python.failure import Failure

from tests.service.test_worker_handle import STATUS, ReactorClock
from tlsproxy.errors import ConfigurationError, Problem
from tlsproxy.notes import Note, WorkerDied, WorkerEnded, WorkersLost, WorkerStarted, WorkerStuck
from tlsproxy.ops.status.model import process_to_values
from tlsproxy.service import generation_handle
from tlsproxy.service.channel import MAX_FDS, BlockingChannel, close_all, socket_pair
from tlsproxy.service.generation_handle import (
    START_TIMEOUT,
    GenerationError,
    GenerationHandle,
    ListenSockets,
    Orders,
)
from tlsproxy.service.sockets import ListeningSocket
from tlsproxy.service.worker_handle import SILENCE, WorkerHandle


@define
class Process:
    """A ``Popen`` of nothing."""

    status: int | None = None
    stubborn: bool = False
    pid: int = 4711

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.status = -9

    def wait(self, timeout: float | None = None) -> int:
        if self.status is None:
            raise subprocess.TimeoutExpired("it", timeout or 0)
        return self.status


@define
class Employer:
    """Remembers what it heard."""

    heard: list[tuple[str, Any]] = field(factory=list)

    def __getattr__(self, name: str) -> Any:
        return lambda *what: self.heard.append((name, what))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


class World:
    """A handle, and its generation's end of the channel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.process = Process()

        def start(descriptor: int) -> Process:
            self.generation = BlockingChannel(socket.socket(fileno=os.dup(descriptor)))
            return self.process

        monkeypatch.setattr(generation_handle, "_start", start)
        self.reactor = ReactorClock()
        self.employer = Employer()
        self.notes: list[Note] = []
        self.workers: dict[int, BlockingChannel] = {}
        self.logs: list[int] = []
        self.handle = GenerationHandle(
            "the.toml",
            Orders(uid=7),
            replacing={"a.pem": ["a"]},
            reactor=self.reactor,
            employer=self.employer,
            notify=self.notes.append,
            write_line=lambda _level, _line: None,
        )
        self.came_up: list[Any] = []

    def serve(self, *, workers: int = 2, listens: list[ListenSockets] | None = None) -> None:
        serving = self.handle.serve(5, listens or [], workers=workers, slots=[1, 2], counts=None)
        serving.addBoth(self.came_up.append)

    def read(self) -> None:
        """What was written has come: everybody who wants to read does."""
        for reader in list(self.reactor.readers):
            reader.doRead()

    def says(self, kind: str, **values: Any) -> None:
        self.generation.send(kind, **values)
        self.read()

    def starts(self, number: int, pid: int, *, ready: bool = True) -> None:
        channel, workers_own = socket_pair()
        reading, writing = os.pipe()
        self.logs.append(writing)
        self.workers[pid] = BlockingChannel(workers_own)
        self.says("worker", worker=number, pid=pid, fds=[channel.fileno(), reading])
        channel.close()
        os.close(reading)
        if ready:
            self.worker_says(pid, "ready")

    def worker_says(self, pid: int, kind: str, **values: Any) -> None:
        self.workers[pid].send(kind, **values)
        self.read()

    def worker_ends(
        self, pid: int, status: int, restart: float | None = None, *, cut: int | None = None
    ) -> None:
        if cut is not None:
            self.worker_says(pid, "final", cut=cut, status=process_to_values(STATUS))
        self.workers.pop(pid).close()
        self.says("ended", worker=0, pid=pid, status=status, restart=restart)

    def dies(self, status: int) -> None:
        self.process.status = status
        self.generation.close()
        self.read()

    @property
    def failure(self) -> str:
        """Why it didn't come up."""
        [failure] = self.came_up
        assert isinstance(failure, Failure)
        assert failure.check(GenerationError)
        return failure.getErrorMessage()

    def close(self) -> None:
        for channel in (self.generation, *self.workers.values()):
            channel.close()
        close_all(self.logs)
        self.process.status = 0
        self.read()
        self.handle.abandon()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    yield world
    world.close()


def test_it_is_told_what_to_prepare_and_tells_what_it_has(world: World) -> None:
    order = world.generation.receive(5)
    assert (order.type, order.values["config"], order.values["uid"]) == ("prepare", "the.toml", 7)
    assert order.values["replacing"] == {"a.pem": ["a"]}
    warnings = [{"path": "x", "message": "odd"}]
    world.generation.send("prepared", listens=["a", "b"], names={"a.pem": ["a", "b"]}, warnings=warnings)
    facts = world.handle.prepare()
    assert facts.listens == ("a", "b")
    assert facts.names == {"a.pem": ["a", "b"]}
    assert facts.warnings == (Problem("x", "odd"),)


def test_every_problem_is_raised(world: World) -> None:
    problems = [{"path": "x", "message": "bad"}, {"path": "y", "message": "worse"}]
    world.generation.send("failed", problems=problems)
    with pytest.raises(ConfigurationError) as raised:
        world.handle.prepare()
    assert raised.value.problems == (Problem("x", "bad"), Problem("y", "worse"))


def test_one_that_dies_instead_is_an_error(world: World) -> None:
    world.process.status = -11
    world.generation.close()
    with pytest.raises(GenerationError, match="was killed by SIGSEGV"):
        world.handle.prepare()


def test_one_that_takes_too_long_is_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_handle, "PREPARE_TIMEOUT", 0.01)
    with pytest.raises(GenerationError, match="took too long"):
        world.handle.prepare()
    assert world.process.status == -9


def test_a_program_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a chroot, say, without Python."""
    monkeypatch.setattr("sys.executable", "/nonexistent/python3")
    with pytest.raises(GenerationError, match="can't start /nonexistent/python3 for workers: No such file"):
        GenerationHandle(
            "the.toml",
            Orders(),
            replacing=None,
            reactor=ReactorClock(),
            employer=Employer(),
            notify=lambda _: None,
            write_line=lambda _level, _line: None,
        )


def test_it_has_come_up_when_every_worker_accepts(world: World) -> None:
    world.serve()
    world.starts(0, 100)
    assert world.came_up == []
    world.starts(1, 101)
    assert world.came_up == [None]
    assert world.notes == [WorkerStarted(worker=number, pid=100 + number, generation=5) for number in (0, 1)]
    assert not world.reactor.getDelayedCalls()


def test_any_number_of_sockets_is_handed_over(world: World) -> None:
    count = MAX_FDS + 7
    sockets = [ListeningSocket(socket.socket(), "s") for _ in range(count)]
    world.generation.receive(5)
    world.serve(listens=[ListenSockets(opened=sockets, shared=True)])
    handed_over: list[int] = []
    while (message := world.generation.receive(5)).type == "sockets":
        handed_over += message.fds
    assert len(handed_over) == count
    assert message.values["listens"] == [{"names": ["s"] * count, "shared": True}]
    assert (message.values["generation"], message.values["workers"], message.values["slots"]) == (
        5,
        2,
        [1, 2],
    )
    close_all(handed_over)
    for each in sockets:
        each.close()


def test_it_has_not_come_up_when_a_worker_dies_first(world: World) -> None:
    world.serve()
    world.starts(0, 100)
    world.starts(1, 101, ready=False)
    world.worker_ends(101, 70, 0)
    assert world.failure == "worker 1 ended with exit status 70 before it accepted connections"
    assert not world.reactor.getDelayedCalls()


def test_it_has_not_come_up_when_it_takes_too_long(world: World) -> None:
    world.serve()
    world.starts(0, 100)
    world.reactor.advance(START_TIMEOUT)
    assert world.failure == "workers take too long to accept connections"


def test_it_has_not_come_up_when_it_cannot_fork(world: World) -> None:
    world.serve()
    world.says("trouble", message="can't start a worker: Cannot allocate memory")
    assert world.failure == "can't start a worker: Cannot allocate memory"


def test_a_worker_that_dies_is_told_of_with_what_killed_it(world: World) -> None:
    world.serve(workers=1)
    world.starts(0, 100)
    world.worker_ends(100, -6, 0.0)
    assert world.notes[1:] == [
        WorkerDied(worker=0, pid=100, generation=5, detail="was killed by SIGABRT", restart=0.0)
    ]
    assert world.employer.names == ["worker_ready", "worker_replaced", "worker_gone"]
    assert world.handle.workers == []


def test_a_worker_that_ends_in_order_is_told_of_with_the_sessions_it_cut(world: World) -> None:
    ended: list[int] = []
    world.handle.ended.addCallback(ended.append)
    world.serve(workers=1)
    world.starts(0, 100)
    world.handle.drain(queued=True)
    world.says("closed")
    world.worker_ends(100, 0, cut=3)
    assert world.notes[1:] == [WorkerEnded(worker=0, pid=100, generation=5, sessions_cut=3)]
    assert ended == []
    world.dies(0)
    assert ended == [3]
    assert "generation_lost" not in world.employer.names


def test_workers_are_told_to_drain_when_nobody_else_listens(world: World) -> None:
    world.serve(workers=1)
    world.starts(0, 100)
    world.handle.drain(queued=True)
    world.workers[100]._socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        world.workers[100].read(0)
    world.says("closed")
    order = world.workers[100].receive(5)
    assert (order.type, order.values) == ("drain", {"queued": True})


def test_a_worker_that_somebody_else_told_to_end_is_replaced(world: World) -> None:
    world.serve(workers=1)
    world.starts(0, 100)
    while world.generation.receive(5).type != "serve":
        pass
    world.worker_says(100, "leaving")
    replace = world.generation.receive(5)
    assert (replace.type, replace.values) == ("replace", {"pid": 100})
    order = world.workers[100].receive(5)
    assert (order.type, order.values) == ("drain", {"queued": False})


def test_a_worker_that_is_stuck_is_killed(world: World) -> None:
    world.serve(workers=1)
    world.starts(0, 100)
    while world.generation.receive(5).type != "serve":
        pass
    world.reactor.advance(SILENCE)
    world.handle.look_after(forgiving=False)
    assert len(world.notes) == 1
    world.reactor.advance(1)
    world.handle.look_after(forgiving=False)
    assert world.notes[1:] == [WorkerStuck(worker=0, pid=100, generation=5, silence=SILENCE + 1)]
    kill = world.generation.receive(5)
    assert (kill.type, kill.values) == ("kill", {"pid": 100})
    world.handle.look_after(forgiving=False)
    assert len(world.notes) == 2, "it is given time to die"


def test_a_worker_is_not_stuck_because_the_supervisor_slept(world: World) -> None:
    world.serve(workers=1)
    world.starts(0, 100)
    world.reactor.advance(1000)
    world.handle.look_after(forgiving=True)
    world.handle.look_after(forgiving=False)
    assert len(world.notes) == 1


def test_workers_outlive_the_process_that_they_came_from(world: World) -> None:
    ended: list[int] = []
    world.handle.ended.addCallback(ended.append)
    world.serve(workers=1)
    world.starts(0, 100)
    world.dies(-9)
    assert world.notes[1:] == [WorkersLost(generation=5, detail="was killed by SIGKILL")]
    assert ("generation_lost", (world.handle,)) in world.employer.heard
    [worker] = world.handle.workers
    assert isinstance(worker, WorkerHandle)
    world.handle.drain()
    assert world.workers[100].receive(5).type == "drain"
    world.worker_says(100, "final", cut=1, status=process_to_values(STATUS))
    world.workers.pop(100).close()
    world.read()
    assert ended == [1]


def test_one_that_closes_its_channel_and_stays_is_killed(world: World) -> None:
    world.serve(workers=1)
    world.starts(0, 100)
    world.generation.close()
    world.read()
    assert world.process.status == -9
    assert world.notes[1:] == [WorkersLost(generation=5, detail="was killed by SIGKILL")]


def test_a_worker_that_was_forked_while_others_are_drained_is_drained_too(world: World) -> None:
    world.serve(workers=1)
    world.handle.drain()
    world.starts(0, 100, ready=False)
    assert world.workers[100].receive(5).type == "drain"
