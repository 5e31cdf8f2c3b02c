"""Who accepts on a socket leaves it as it is for the others."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tlsproxy.config.addresses import UnixAddress
from tlsproxy.net.adoption import UnixPort, adopt
from tlsproxy.net.sockets import open_unix


class Reactor(MemoryReactorClock):
    """Lets a port be read when the test says so."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "listen"


@pytest.fixture
def opened(path: Path) -> Iterator[socket.socket]:
    with open_unix(UnixAddress(str(path)), mode=0o600) as made:
        yield made


def factory(made: list[Protocol]) -> Factory:
    class Remembering(Protocol):
        def connectionMade(self) -> None:
            made.append(self)

    return Factory.forProtocol(Remembering)


def adopted(opened: socket.socket, made: list[Protocol]) -> Any:
    port = adopt(Reactor(), opened, factory(made))  # type: ignore[no-untyped-call]
    assert isinstance(port, UnixPort)
    return port


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


def test_the_file_keeps_its_mode(opened: socket.socket, path: Path) -> None:
    port = adopted(opened, [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    port.connectionLost(Failure(ConnectionDone()))


def test_connections_are_accepted(opened: socket.socket, path: Path) -> None:
    made: list[Any] = []
    port = adopted(opened, made)
    with connect(path):
        port.doRead()
        [protocol] = made
        protocol.transport.connectionLost(Failure(ConnectionDone()))
    port.connectionLost(Failure(ConnectionDone()))


def test_others_go_on_when_one_stops(opened: socket.socket, path: Path) -> None:
    adopted(opened, []).connectionLost(Failure(ConnectionDone()))
    with connect(path):
        accepted, _ = opened.accept()
        accepted.close()


def test_a_tcp_socket_is_the_reactor_s_business() -> None:
    reactor = Reactor()  # type: ignore[no-untyped-call]
    with socket.create_server(("127.0.0.1", 0)) as opened:
        made = factory([])
        adopt(reactor, opened, made)
        assert reactor.adoptedPorts == [(opened.fileno(), socket.AF_INET, made)]
