"""Tests for tlsproxy.service.service: how the service stops."""

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from tests.support.transports import RecordingTransport
from tlsproxy.notes import ConfigurationRefused, Note, ServiceStopped, SessionEnded
from tlsproxy.service.control_client import Predecessor
from tlsproxy.service.prepare import prepare
from tlsproxy.service.reload import ReloadResult
from tlsproxy.service.service import LATE, MAX_RETIRED, ProxyService
from tlsproxy.service.serving import SESSIONS_END

DRAIN_TIMEOUT = 20.0
CLOSE_TIMEOUT = 2.0

CONFIG = f"""
drain_timeout = {DRAIN_TIMEOUT}
close_timeout = {CLOSE_TIMEOUT}
idle_timeout = 1000
smtp_hostname = "mx.example.org"
[backend.mta]
servers = ["127.0.0.1:2525"]
[[esmtp_listener]]
backend = "mta"
tls_security_level = "none"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:0"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:0"
  proxy_protocol_from = ["192.0.2.0/24"]
"""

UNAVAILABLE = b"421 4.3.2 mx.example.org Service not available, try again later\r\n"

BALANCER = IPv4Address("TCP", "192.0.2.7", 40001)
CLIENT = IPv4Address("TCP", "198.51.100.9", 40002)


class Transport(RecordingTransport):
    """One with addresses."""

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 25)

    def take(self) -> bytes:
        """What was written since the last look."""
        written = bytes(self.written)
        self.written.clear()
        return written


@define
class Connected:
    """One end of a connection to the proxy, or from it, in memory."""

    protocol: Any
    transport: Transport = field(init=False, factory=Transport)

    def __attrs_post_init__(self) -> None:
        self.protocol.makeConnection(self.transport)

    def says(self, *lines: str) -> None:
        self.transport.protocol = self.protocol  # type: ignore[attr-defined]  # set by whoever takes the connection over
        self.protocol.dataReceived("".join(f"{line}\r\n" for line in lines).encode())
        self.protocol = self.transport.protocol  # type: ignore[attr-defined]

    def ends(self) -> None:
        """The socket is closed on both sides."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class InlineThreads:
    """What the reactor has for work in threads: done at once, in this one."""

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any
    ) -> None:
        try:
            result = work(*args)
        except Exception:  # noqa: BLE001 - whatever it is, it is the result
            done(False, Failure())
        else:
            done(True, result)


class Reactor(MemoryReactorClock):
    """One with threads."""

    def getThreadPool(self) -> InlineThreads:
        return InlineThreads()

    def callFromThread(self, work: Callable[..., Any], *args: Any) -> None:
        work(*args)


class World:
    """A service in memory, and its clock."""

    def __init__(self, config: Path) -> None:
        self.reactor = Reactor()  # type: ignore[no-untyped-call]
        self.service = ProxyService(prepare(config), reactor=self.reactor)
        self.service.startService()
        self.notes: list[Note] = []
        self.stopped = False

    def hear(self, event: dict[str, Any]) -> None:
        if isinstance(event.get("tlsproxy_note"), Note):
            self.notes.append(event["tlsproxy_note"])

    def client(self, listen: int = 0, address: IPv4Address = CLIENT) -> Connected:
        factory = self.reactor.adoptedPorts[listen][2]
        return Connected(factory.buildProtocol(address))

    def backend(self) -> Connected:
        """The backend's end of the last connection that was asked for."""
        return Connected(self.reactor.tcpClients[-1][2].buildProtocol(None))

    def in_a_message(self) -> tuple[Connected, Connected]:
        """A client in the middle of its message, and its backend."""
        client = self.client()
        backend = self.backend()
        backend.says("220 old.example")
        for command, reply in {
            "EHLO client.example": "250 old.example",
            "MAIL FROM:<a@b.example>": "250 sender",
            "RCPT TO:<c@d.example>": "250 recipient",
            "DATA": "354 go on",
        }.items():
            client.says(command)
            backend.says(reply)
        client.says("Subject: half of it")
        client.transport.take()
        backend.transport.take()
        return client, backend

    def stop(self) -> None:
        def note_it(_result: object) -> None:
            self.stopped = True

        self.service.stopService().addCallback(note_it)

    @property
    def sessions_cut(self) -> int:
        (note,) = [note for note in self.notes if isinstance(note, ServiceStopped)]
        return note.sessions_cut

    @property
    def reasons(self) -> list[str]:
        return [note.reason for note in self.notes if isinstance(note, SessionEnded)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    config = tmp_path / "tlsproxy.toml"
    config.write_text(CONFIG)
    world = World(config)
    globalLogPublisher.addObserver(world.hear)
    yield world
    globalLogPublisher.removeObserver(world.hear)
    world.service._sockets.close()


def test_without_sessions_a_stop_is_done_at_once(world: World) -> None:
    world.stop()
    assert world.stopped
    assert world.sessions_cut == 0
    assert not world.reactor.getDelayedCalls()


def test_a_session_between_messages_is_told_and_ended(world: World) -> None:
    client = world.client()
    backend = world.backend()
    backend.says("220 old.example")
    client.transport.take()
    world.stop()
    assert client.transport.take() == UNAVAILABLE
    assert client.transport.half_closed
    assert not world.stopped
    client.ends()
    backend.ends()
    assert world.stopped
    assert (world.sessions_cut, world.reasons) == (0, ["draining"])
    world.reactor.advance(3600)  # deadlines that were given up
    assert not world.reactor.getDelayedCalls()
    assert world.reasons == ["draining"]


def test_a_message_under_way_is_delivered_first(world: World) -> None:
    client, backend = world.in_a_message()
    world.stop()
    assert client.transport.take() == b""
    world.reactor.advance(DRAIN_TIMEOUT - 1)
    client.says("", "the other half", ".")
    assert backend.transport.take().endswith(b"the other half\r\n.\r\n")
    assert client.transport.take() == b""
    backend.says("250 queued")
    assert client.transport.take() == b"250 queued\r\n" + UNAVAILABLE
    client.ends()
    backend.ends()
    assert world.stopped
    assert (world.sessions_cut, world.reasons) == (0, ["draining"])


def test_what_takes_longer_than_the_drain_timeout_is_cut_and_counted(world: World) -> None:
    ending, ending_backend = world.client(), world.backend()
    client, backend = world.in_a_message()
    world.stop()
    world.reactor.advance(DRAIN_TIMEOUT)
    assert client.transport.half_closed
    assert backend.transport.aborted
    assert b"\r\n.\r\n" not in backend.transport.take(), "half a message must not be taken for a whole one"
    for each in (ending, ending_backend, client, backend):
        each.ends()
    assert world.stopped
    assert world.sessions_cut == 1, "the other one was ending already"


def test_what_does_not_end_when_it_is_cut_is_reset(world: World) -> None:
    client, backend = world.in_a_message()
    world.stop()
    world.reactor.advance(DRAIN_TIMEOUT)
    world.reactor.advance(2 * CLOSE_TIMEOUT + SESSIONS_END)
    assert client.transport.aborted
    assert backend.transport.aborted
    client.ends()
    backend.ends()
    assert world.stopped
    assert world.sessions_cut == 1


def test_a_session_that_begins_while_the_service_stops_is_told(world: World) -> None:
    """Its PROXY header was still on the way."""
    world.in_a_message()
    late = world.client(listen=1, address=BALANCER)
    world.stop()
    late.says("PROXY TCP4 198.51.100.9 203.0.113.1 40003 25")
    assert late.transport.take() == UNAVAILABLE
    assert late.transport.half_closed


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the service manager is told."""
    told: list[dict[str, Any]] = []
    tell: Callable[..., None] = lambda **fields: told.append(fields)  # noqa: E731 - one expression
    monkeypatch.setattr("tlsproxy.service.base.tell_manager", tell)
    return told


def test_the_service_manager_is_told_of_start_and_stop(manager: list[dict[str, Any]], world: World) -> None:
    world.stop()
    started, stopping = manager
    assert started["ready"] is True
    assert started["status"].startswith("listening on 127.0.0.1:")
    assert stopping == {"stopping": True}


def reload(world: World) -> None:
    results: list[ReloadResult] = []
    world.service.reload("command").addCallback(results.append)
    [result] = results
    assert result.problems == ()


def test_a_session_outlives_reloads_and_is_told_at_the_stop(world: World) -> None:
    client, backend = world.in_a_message()
    reload(world)
    reload(world)
    assert client.transport.take() == b""
    client.says("", "the other half", ".")
    backend.says("250 queued")
    assert client.transport.take() == b"250 queued\r\n"
    world.stop()
    assert client.transport.take() == UNAVAILABLE
    assert not world.stopped
    client.ends()
    backend.ends()
    assert world.stopped
    assert world.sessions_cut == 0


def test_nothing_stays_of_a_configuration_whose_sessions_have_ended(world: World) -> None:
    """Timers, callbacks, health checks: whatever knew it, ten reloads take no more memory than one."""
    generations = []
    for _ in range(10):
        client, backend = world.in_a_message()
        generations.append(weakref.ref(world.service._serving))
        reload(world)
        client.ends()
        backend.ends()
        del client, backend
        world.reactor.advance(LATE)
        # What the reactor in memory keeps of each that it was ever given.
        del world.reactor.adoptedPorts[:2], world.reactor.tcpClients[:]
    gc.collect()
    # The last is forgotten at the next reload.
    assert [each() for each in generations[:-1]] == [None] * 9


def test_a_session_from_many_reloads_ago_is_asked_to_end(world: World) -> None:
    old = []
    for _ in range(MAX_RETIRED + 1):
        client, backend = world.client(), world.backend()
        backend.says("220 old.example")
        client.transport.take()
        old.append((client, backend))
        reload(world)
        world.reactor.adoptedPorts[:2] = []
    told = [client.transport.take() for client, _ in old]
    assert told == [UNAVAILABLE, *[b""] * MAX_RETIRED]


def test_sessions_of_every_configuration_are_cut(world: World) -> None:
    first = world.in_a_message()
    reload(world)
    world.reactor.adoptedPorts[:2] = []
    second = world.in_a_message()
    world.stop()
    world.reactor.advance(DRAIN_TIMEOUT)
    for each in (*first, *second):
        each.ends()
    assert world.stopped
    assert world.sessions_cut == 2


def test_what_uses_a_listen_of_before_goes_on_when_a_reload_is_refused(world: World) -> None:
    path = Path(world.service.path)
    path.write_text(path.read_text().replace("idle_timeout = 1000", "idle_timeout = true"))
    results: list[ReloadResult] = []
    world.service.reload("command").addCallback(results.append)
    [result] = results
    assert [problem.path for problem in result.problems] == ["idle_timeout"]
    assert world.service.generation == 1
    assert world.service.last_reload is result
    assert [note.path for note in world.notes if isinstance(note, ConfigurationRefused)] == ["idle_timeout"]
    client = world.client()
    world.backend().says("220 old.example")
    assert client.transport.take().startswith(b"220 ")


def test_who_fails_to_take_over_leaves_the_sockets_to_who_has_them(tmp_path: Path) -> None:
    config = tmp_path / "tlsproxy.toml"
    config.write_text(CONFIG.replace('"127.0.0.1:0"', f'"unix:{tmp_path / "listen"}"', 1))
    world = World(config)
    world.service._predecessor = Predecessor((), None)  # type: ignore[arg-type]
    world.stop()
    world.reactor.advance(1)
    assert world.stopped
    assert (tmp_path / "listen").exists()


def test_a_reload_comes_too_late_for_a_service_that_stops(world: World) -> None:
    client, backend = world.in_a_message()
    world.stop()
    results: list[ReloadResult] = []
    world.service.reload("command").addCallback(results.append)
    assert [problem.message for problem in results[0].problems] == ["the service stops"]
    client.ends()
    backend.ends()
    assert world.stopped
