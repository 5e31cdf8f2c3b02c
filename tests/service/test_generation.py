"""Tests for tlsproxy.service.generation: the process that workers are forked from, spoken to as its supervisor does."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.processes import run
from tests.support.servers import Server, echo
from tlsproxy.net.shared_counts import SharedCounts
from tlsproxy.service.channel import BlockingChannel, ChannelError, Message, close_all, socket_pair
from tlsproxy.service.generation import main

TIMEOUT = 60

NO_REACTOR = """
import sys
import tlsproxy.service.generation as generation
from tlsproxy.service.prepare import prepare

prepare(sys.argv[1])
assert "twisted.internet.default" in sys.modules
print([name for name in sys.modules if name == "twisted.internet.reactor"])
"""


class World:
    """A generation, and its supervisor's end of everything."""

    def __init__(self, config: Path) -> None:
        ours, its_own = socket_pair()
        self.channel = BlockingChannel(ours)
        with its_own:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tlsproxy.service.generation", str(its_own.fileno())],
                pass_fds=[its_own.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.workers: dict[int, BlockingChannel] = {}
        self.descriptors: list[int] = []
        self.channel.send(
            "prepare", config=str(config), replacing=None, uid=None, gid=None, timed=True, reactor=None
        )

    def receive(self, kind: str) -> Message:
        message = self.channel.receive(TIMEOUT)
        assert message.type == kind, (message.type, message.values)
        return message

    def serve(self, listening: socket.socket, workers: int = 2) -> None:
        self.receive("prepared")
        counts = SharedCounts.create(2 * workers)
        self.channel.send("sockets", fds=[listening.fileno()])
        self.channel.send(
            "serve",
            fds=[counts],
            generation=1,
            workers=workers,
            slots=list(range(2 * workers)),
            listens=[{"names": ["it"], "shared": True}],
        )
        os.close(counts)

    def worker(self) -> tuple[int, BlockingChannel]:
        """The next that is started: its process, and the channel, ready."""
        message = self.receive("worker")
        channel, log = message.fds
        self.descriptors.append(log)
        pid = message.values["pid"]
        self.workers[pid] = BlockingChannel(socket.socket(fileno=channel))
        return pid, self.workers[pid]

    def close(self) -> None:
        self.channel.close()
        for channel in self.workers.values():
            channel.close()
        close_all(self.descriptors)
        try:
            self.process.wait(TIMEOUT)
        finally:
            self.process.kill()
            self.process.wait()


def is_ready(channel: BlockingChannel) -> bool:
    return channel.receive(TIMEOUT).type == "ready"


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.setblocking(False)
        yield opened


@pytest.fixture
def config(tmp_path: Path, authority: Authority) -> Iterator[Path]:
    issued = authority.issue("localhost")
    config = tmp_path / "tlsproxy.toml"
    with Server(echo) as backend:
        config.write_text(
            f'drain_timeout = 0\ntls_certificate = "{issued.chain_path}"\ntls_key = "{issued.key_path}"\n'
            f'[backend.x]\nservers = ["{backend.address}"]\n'
            '[[stream_listener]]\nbackend = "x"\n[[stream_listener.listen]]\naddress = "127.0.0.1:0"\n'
        )
        yield config


@pytest.fixture
def world(config: Path) -> Iterator[World]:
    world = World(config)
    yield world
    world.close()


def test_no_reactor_is_there_when_workers_are_forked(config: Path) -> None:
    """An epoll descriptor that two processes have would wake both, and lose events to either."""
    status, output = run([sys.executable, "-c", NO_REACTOR, config], timeout=TIMEOUT)
    assert (status, output.strip()) == (0, "[]")


def test_workers_have_reactors_of_their_own(world: World, listening: socket.socket) -> None:
    world.serve(listening)
    pids = []
    for _ in range(2):
        pid, channel = world.worker()
        assert is_ready(channel)
        pids.append(pid)
    polls = {pid: epoll_descriptors(pid) for pid in (world.process.pid, *pids)}
    assert not polls[world.process.pid]
    assert all(len(polls[pid]) == 1 for pid in pids)


def epoll_descriptors(pid: int) -> list[str]:
    links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return [link for link in links if "eventpoll" in link]


def test_every_problem_of_a_configuration_is_told(tmp_path: Path) -> None:
    config = tmp_path / "broken.toml"
    config.write_text("idle_timeout = true\nbacklog = 7\n")
    world = World(config)
    problems = world.receive("failed").values["problems"]
    assert {"idle_timeout", "backlog"} <= {problem["path"] for problem in problems}
    assert world.process.wait(TIMEOUT) == 1
    world.close()


def test_what_was_prepared_is_told(world: World) -> None:
    facts = world.receive("prepared").values
    assert facts["listens"] == ["127.0.0.1:0"]
    assert [*facts["names"].values()] == [["localhost"]]


def test_a_worker_that_dies_is_replaced_at_once_and_the_next_time_later(
    world: World, listening: socket.socket
) -> None:
    world.serve(listening, workers=1)
    waits: list[Any] = []
    for _ in range(2):
        pid, channel = world.worker()
        assert is_ready(channel)
        world.channel.send("kill", pid=pid)
        ended = world.receive("ended").values
        assert (ended["pid"], ended["status"]) == (pid, -signal.SIGKILL)
        waits.append(ended["restart"])
        died = time.monotonic()
    assert waits == [0, 1]
    world.worker()
    assert time.monotonic() - died > 0.9


def test_nothing_but_its_workers_can_be_killed_through_it(world: World, listening: socket.socket) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        world.serve(listening, workers=1)
        _, channel = world.worker()
        world.channel.send("kill", pid=other.pid)
        assert is_ready(channel)
        world.channel.send("drain")
        world.receive("closed")
        other.communicate(b"\n", TIMEOUT)
        assert other.returncode == 0
    channel.send("drain", queued=False)


def test_a_worker_that_is_about_to_end_is_replaced_first(world: World, listening: socket.socket) -> None:
    world.serve(listening, workers=1)
    first, channel = world.worker()
    assert is_ready(channel)
    world.channel.send("replace", pid=first)
    world.channel.send("replace", pid=first)
    _, second = world.worker()
    assert is_ready(second)
    channel.send("drain", queued=False)
    ended = world.receive("ended").values
    assert (ended["pid"], ended["status"], ended["restart"]) == (first, 0, None)


def test_after_a_drain_nobody_listens_but_the_workers(world: World, listening: socket.socket) -> None:
    world.serve(listening, workers=1)
    _, channel = world.worker()
    assert is_ready(channel)
    address = listening.getsockname()
    listening.close()
    world.channel.send("drain")
    world.receive("closed")
    channel.send("drain", queued=True)
    world.receive("ended")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    with pytest.raises(EOFError):
        world.channel.receive(TIMEOUT)
    assert world.process.wait(TIMEOUT) == 0


def test_it_ends_with_its_workers_when_the_supervisor_is_gone(world: World, listening: socket.socket) -> None:
    world.serve(listening)
    for _ in range(2):
        assert is_ready(world.worker()[1])
    world.channel.close()
    for channel in world.workers.values():
        channel.close()
    assert world.process.wait(TIMEOUT) == 0


def test_it_ends_when_the_supervisor_does_not_want_it_any_more(world: World) -> None:
    world.channel.close()
    assert world.process.wait(TIMEOUT) == 0


def test_sigterm_drains_it(world: World, listening: socket.socket) -> None:
    world.serve(listening, workers=1)
    _, channel = world.worker()
    assert is_ready(channel)
    world.process.terminate()
    while channel.receive(TIMEOUT).type != "leaving":
        pass
    channel.send("drain", queued=False)
    assert world.process.wait(TIMEOUT) == 0


def test_signals_for_the_supervisor_do_not_touch_it(world: World, listening: socket.socket) -> None:
    """A terminal's Ctrl-C goes to all of the group."""
    world.serve(listening, workers=1)
    pid, channel = world.worker()
    assert is_ready(channel)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        for process in (world.process.pid, pid):
            os.kill(process, number)
    channel.send("status")
    assert channel.receive(TIMEOUT).type == "status"
    assert world.process.poll() is None


def test_a_supervisor_that_speaks_another_language_ends_it() -> None:
    ours, its_own = socket_pair()
    channel = BlockingChannel(ours)
    channel.send("sing")
    with pytest.raises((ChannelError, LookupError)):
        main(["", str(its_own.detach())])
    channel.close()


def test_a_supervisor_that_is_gone_at_once_is_no_error() -> None:
    ours, its_own = socket_pair()
    ours.close()
    assert main(["", str(its_own.detach())]) == 0
