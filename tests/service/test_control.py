"""The control socket: who may command, what they may say, and how much of it."""

import json
import os
import socket
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tlsproxy.errors import Problem
from tlsproxy.notes import ControlRefused, Note
from tlsproxy.ops.status.model import ProcessStatus, ServiceStatus
from tlsproxy.service.control import IDLE_TIMEOUT, MAX_CONNECTIONS, MAX_REQUEST, ControlFactory
from tlsproxy.service.reload import ReloadResult
from tlsproxy.service.socket_set import HandedOver


class Transport(StringTransport):
    """A Unix socket's, whose peer is ``uid``."""

    def __init__(self, uid: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uid = uid
        self.descriptors: list[int] = []
        self.aborted = False

    def getHandle(self) -> "Transport":
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_PEERCRED)
        return struct.pack("iII", 4711, self.uid, 0)

    def sendFileDescriptor(self, descriptor: int) -> None:
        self.descriptors.append(descriptor)

    def abortConnection(self) -> None:
        self.aborted = True


@define
class Service:
    """Notes what it is commanded."""

    waiting: list[Deferred[ReloadResult]] = field(factory=list)
    sockets: list[HandedOver] = field(factory=list)
    drained: bool = False
    pid: int = 0

    def reload(self, trigger: str) -> Deferred[ReloadResult]:
        assert trigger == "command"
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def hand_over(self, pid: int) -> list[HandedOver]:
        self.pid = pid
        return self.sockets

    def drain_for_successor(self) -> None:
        self.drained = True

    def service(self) -> ServiceStatus:
        return ServiceStatus(version="1", tls_library="OpenSSL", config="/etc/x.toml", started=1.0)

    def processes(self) -> Deferred[list[ProcessStatus]]:
        return succeed([ProcessStatus(pid=7)])


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.notes: list[Note] = []
        self.service = Service()
        self.factory = ControlFactory(self.service, clock=self.clock, notify=self.notes.append)

    def connect(self, uid: int = 0) -> "Connection":
        return Connection(self, uid)


class Connection:
    def __init__(self, world: World, uid: int) -> None:
        self.transport = Transport(uid)
        self.protocol: Any = world.factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def says(self, text: str | bytes) -> list[dict[str, Any]]:
        self.protocol.dataReceived(text.encode() if isinstance(text, str) else text)
        return self.answers()

    def answers(self) -> list[dict[str, Any]]:
        written = self.transport.value()
        self.transport.clear()
        return [json.loads(line) for line in written.splitlines()]

    def ends(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def world() -> World:
    return World()


def result(*problems: Problem) -> ReloadResult:
    return ReloadResult(
        trigger="command", when=datetime.now(UTC), duration=0.1, problems=problems, generation=3
    )


def test_a_reload_is_answered_when_it_is_over(world: World) -> None:
    connection = world.connect()
    assert connection.says('{"command": "reload"}\n') == []
    world.service.waiting[0].callback(result())
    assert connection.answers() == [{"ok": True, "generation": 3, "problems": []}]


def test_problems_are_answered_with_their_paths(world: World) -> None:
    connection = world.connect()
    connection.says('{"command": "reload"}\n')
    world.service.waiting[0].callback(result(Problem("idle_timeout", "must be a number")))
    assert connection.answers() == [
        {"ok": False, "generation": 3, "problems": [{"path": "idle_timeout", "message": "must be a number"}]}
    ]


def test_commands_are_answered_in_order_one_at_a_time(world: World) -> None:
    connection = world.connect()
    connection.says('{"command": "reload"}\n{"command": "reload"}\n')
    assert len(world.service.waiting) == 1
    assert connection.transport.producerState == "paused"
    world.service.waiting[0].callback(result())
    assert len(world.service.waiting) == 2
    world.service.waiting[1].callback(result())
    assert len(connection.answers()) == 2


def test_the_status_is_that_of_the_page(world: World) -> None:
    [answer] = world.connect().says('{"command": "status"}\n')
    assert answer["ok"]
    assert [process["pid"] for process in answer["status"]["processes"]] == [7]


def test_sockets_are_handed_over_in_the_order_of_the_answer(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        world.service.sockets = [HandedOver("a", "A", one), HandedOver("b", "B", two)]
        connection = world.connect()
        [answer] = connection.says('{"command": "take_over"}\n')
        assert answer == {
            "ok": True,
            "sockets": [{"address": "a", "name": "A"}, {"address": "b", "name": "B"}],
        }
        assert connection.transport.descriptors == [one.fileno(), two.fileno()]
    assert world.service.pid == 4711
    assert not world.service.drained
    assert connection.says('{"command": "drain"}\n') == [{"ok": True}]
    assert world.service.drained


@pytest.mark.parametrize(
    "line",
    [
        "",
        "reload",
        "[]",
        "7",
        '{"comand": "reload"}',
        '{"command": ["reload"]}',
        '{"command": "stop"}',
        "\udcff",
    ],
)
def test_what_is_no_command_is_answered_and_harmless(world: World, line: str) -> None:
    connection = world.connect()
    [answer] = connection.says(line.encode("utf-8", "surrogateescape") + b"\n")
    assert not answer["ok"]
    assert answer["problems"][0]["message"]
    assert connection.says('{"command": "drain"}\n') == [{"ok": True}]


def test_a_command_comes_byte_by_byte(world: World) -> None:
    connection = world.connect()
    answers = [answer for byte in b'{"command": "drain"}\n' for answer in connection.says(bytes([byte]))]
    assert answers == [{"ok": True}]


def test_the_length_of_a_line_is_bounded(world: World) -> None:
    connection = world.connect()
    [answer] = connection.says("x" * (MAX_REQUEST + 1))
    assert not answer["ok"]
    assert connection.transport.disconnecting


def test_only_root_and_the_service_s_user_may_command(world: World) -> None:
    stranger = world.connect(uid=os.geteuid() + 1)
    [answer] = stranger.answers()
    assert not answer["ok"]
    assert stranger.transport.disconnecting
    assert stranger.says('{"command": "drain"}\n') == []
    assert not world.service.drained
    assert world.notes == [ControlRefused(uid=os.geteuid() + 1)]
    assert world.connect(uid=os.geteuid()).says('{"command": "drain"}\n') == [{"ok": True}]


def test_who_says_nothing_is_disconnected_but_not_while_an_answer_is_owed(world: World) -> None:
    idle, busy = world.connect(), world.connect()
    busy.says('{"command": "reload"}\n')
    world.clock.advance(IDLE_TIMEOUT + 1)
    assert idle.transport.aborted
    assert not busy.transport.aborted


def test_the_number_of_connections_is_bounded(world: World) -> None:
    connections = [world.connect() for _ in range(MAX_CONNECTIONS)]
    assert not world.connect().answers()[0]["ok"]
    for connection in connections[:2]:
        connection.ends()
    assert len(world.factory.connections) == MAX_CONNECTIONS - 1


def test_who_left_is_not_answered(world: World) -> None:
    connection = world.connect()
    connection.says('{"command": "reload"}\n')
    connection.ends()
    connection.protocol.connected = 0
    world.service.waiting[0].callback(result())
    assert connection.answers() == []
    assert world.clock.getDelayedCalls() == []


def test_an_error_nobody_expected_is_answered(world: World) -> None:
    connection = world.connect()
    connection.says('{"command": "reload"}\n')
    world.service.waiting[0].errback(RuntimeError("odd"))
    assert connection.answers() == [
        {"ok": False, "problems": [{"path": "", "message": "internal error: odd"}]}
    ]
