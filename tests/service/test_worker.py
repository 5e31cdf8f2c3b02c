"""Tests for tlsproxy.service.worker: what a worker accepts on, and what it tells its supervisor."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from tlsproxy.service.channel import BlockingChannel, Message, socket_pair
from tlsproxy.service.prepare import prepare
from tlsproxy.service.sockets import ListeningSocket
from tlsproxy.service.worker import FAILED, LEAVE_TIMEOUT, STATUS_INTERVAL, Assignment, Worker, sockets_of

CONFIG = """
[backend.x]
servers = ["127.0.0.1:9"]
[[esmtp_listener]]
backend = "x"
tls_security_level = "none"
[[esmtp_listener.listen]]
address = "127.0.0.1:0"
"""


def copies(count: int) -> list[ListeningSocket]:
    return [ListeningSocket(socket.socket(), f"copy {number}") for number in range(count)]


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("workers", range(1, 9))
def test_every_socket_has_a_worker_and_every_worker_a_socket(count: int, workers: int) -> None:
    opened = copies(count)
    shares = [sockets_of(opened, worker, workers, shared=False) for worker in range(workers)]
    assert all(shares)
    assert {each.name for share in shares for each in share} == {each.name for each in opened}
    most = max(map(len, shares))
    assert most - min(map(len, shares)) <= 1
    for each in opened:
        each.close()


def test_sockets_that_are_no_copies_are_everybody_s() -> None:
    opened = copies(3)
    assert all(sockets_of(opened, worker, 2, shared=True) == opened for worker in range(2))
    assert sockets_of([], 0, 2, shared=False) == []
    for each in opened:
        each.close()


class World:
    """A worker in memory, and its supervisor's end of the channel."""

    def __init__(self, config: Path) -> None:
        self.reactor = MemoryReactorClock()  # type: ignore[no-untyped-call]
        channel, its_own = socket_pair()
        self.supervisor = BlockingChannel(channel)
        self.log, log = os.pipe()
        listening = socket.create_server(("127.0.0.1", 0))
        self.listening = ListeningSocket(listening, "127.0.0.1:25")
        self.assignment = Assignment(
            prepared=prepare(config),
            sockets=[[self.listening]],
            worker=1,
            generation=10,
            serial=31,
            channel=its_own,
            log=log,
            timed=True,
            reactor=None,
            counts=None,
            slot=0,
        )
        self.stopped = False
        self.reactor.stop = self.stop
        self.worker = Worker(self.assignment, self.reactor)
        self.close_log = log

    def stop(self) -> None:
        self.stopped = True

    def told(self) -> list[Message]:
        """What the supervisor has been told since the last look."""
        arrived = []
        try:
            while True:
                arrived += self.supervisor.read(0)
        except BlockingIOError:
            return arrived
        except EOFError:
            return arrived

    def types(self) -> list[str]:
        return [message.type for message in self.told()]

    def order(self, kind: str, **values: object) -> None:
        self.supervisor.send(kind, **values)
        self.worker._channel.doRead()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    config = tmp_path / "tlsproxy.toml"
    config.write_text(CONFIG)
    world = World(config)
    yield world
    world.worker._channel.close()
    world.supervisor.close()
    world.listening.close()
    os.close(world.log)
    os.close(world.close_log)


def test_sessions_are_named_by_generation_and_by_the_place_among_its_workers(world: World) -> None:
    assert world.assignment.prefix == "a.1f."
    assert evolve(world.assignment, serial=32).prefix == "a.20."


def test_a_worker_says_that_it_accepts_and_then_every_second_how_it_is(world: World) -> None:
    world.worker.start()
    ready, status = world.told()
    assert (ready.type, status.type) == ("ready", "status")
    assert (status.values["status"]["worker"], status.values["status"]["generation"]) == (1, 10)
    world.reactor.advance(STATUS_INTERVAL)
    assert world.types() == ["status"]
    world.order("status")
    assert world.types() == ["status"]


def test_a_worker_keeps_no_socket_but_those_that_it_accepts_on(world: World) -> None:
    """One kept would keep clients waiting in its queue after a drain."""
    world.worker.start()
    assert world.listening.opened.fileno() == -1
    assert len(world.reactor.adoptedPorts) == 1


def test_a_worker_that_cannot_accept_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.worker._serving, "start", lambda _: 1 / 0)
    world.worker.start()
    assert world.stopped
    assert world.worker.status == FAILED
    assert world.types() == []


@pytest.mark.parametrize(
    ("order", "values"), [("retire", {}), ("drain", {"queued": False}), ("drain", {"queued": True})]
)
def test_a_worker_without_sessions_ends_as_soon_as_it_may(
    world: World, order: str, values: dict[str, bool]
) -> None:
    world.worker.start()
    world.told()
    world.order(order, **values)
    draining, final = world.told()
    assert (draining.type, final.type) == ("draining", "final")
    assert final.values["cut"] == 0
    assert final.values["status"]["pid"] == os.getpid()
    assert world.stopped
    assert world.worker.status == 0


def test_a_worker_that_retires_can_still_be_drained(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    retired: Deferred[None] = Deferred()
    drained: Deferred[int] = Deferred()
    asked: list[bool] = []

    def drain(*, queued: bool) -> Deferred[int]:
        asked.append(queued)
        return drained

    monkeypatch.setattr(world.worker._serving, "retire", lambda: retired)
    monkeypatch.setattr(world.worker._serving, "drain", drain)
    world.worker.start()
    world.order("retire")
    world.order("retire")
    world.order("drain", queued=False)
    world.order("drain", queued=True)
    assert asked == [False]
    retired.callback(None)  # fires as well, and knows nothing of sessions cut
    assert not world.stopped
    drained.callback(3)
    assert world.stopped
    assert [message.values["cut"] for message in world.told() if message.type == "final"] == [3]


def test_sigterm_is_a_question_to_the_supervisor(world: World) -> None:
    world.worker.start()
    world.told()
    world.worker.leave()
    assert world.types() == ["leaving"]
    world.order("drain", queued=False)
    assert world.stopped


def test_a_supervisor_that_does_not_answer_is_not_waited_for(world: World) -> None:
    world.worker.start()
    world.worker.leave()
    world.reactor.advance(LEAVE_TIMEOUT)
    assert world.stopped


def test_a_worker_without_its_supervisor_drains(world: World) -> None:
    world.worker.start()
    world.supervisor.close()
    world.worker._channel.doRead()
    assert world.stopped


def test_a_drain_that_fails_ends_the_worker_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.worker._serving, "drain", lambda **_: 1 / 0)
    world.worker.start()
    world.order("drain", queued=False)
    assert world.stopped
    assert world.worker.status == FAILED


def test_sessions_are_cut_when_the_supervisor_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts: list[None] = []
    monkeypatch.setattr(world.worker._serving, "cut", lambda: cuts.append(None))
    world.worker.start()
    world.order("cut")
    assert len(cuts) == 1


def test_a_supervisor_that_speaks_another_language_is_given_up(world: World) -> None:
    world.worker.start()
    world.order("sing")
    assert world.stopped, "as one that is gone"


def test_lines_go_to_the_supervisor(world: World) -> None:
    world.worker.observer({"log_time": 1.0, "log_namespace": "x", "log_format": "something"})
    assert os.read(world.log, 1000) == b"i1970-01-01T00:00:01.000000Z info twisted namespace=x: something\0"
