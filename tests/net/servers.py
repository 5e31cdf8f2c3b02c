"""Servers of a backend in memory, for tests without a network."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from tests.support.transports import RecordingTransport
from tlsproxy.errors import HandshakeFailed
from tlsproxy.tls.engine import Engine


class Addressed(RecordingTransport):
    """One with addresses."""

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 40000)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.10", 80)


@define(eq=False)
class Dialled:
    """One connection that was asked for, and what becomes of it."""

    protocol: Any
    on_failure: Callable[[str], None]
    reactor: Any = None
    transport: RecordingTransport = field(init=False, factory=RecordingTransport)
    cancelled: bool = field(init=False, default=False)
    tls: Engine | None = field(init=False, default=None)

    def cancel(self) -> None:
        self.cancelled = True

    def fails(self, detail: str = "connection refused") -> None:
        self.on_failure(detail)

    def connects(self) -> None:
        self.protocol.makeConnection(self.transport)

    def says(self, data: bytes) -> None:
        if self.tls is not None:
            self.tls.send(data)
            data = self.tls.bytes_to_send()
        self.protocol.dataReceived(data)

    def hears(self) -> bytes:
        """What was sent to it since the last look."""
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return data if self.tls is None else self.tls.receive(data, 0.0)

    def handshakes(self, engine: Engine) -> None:
        """Speak TLS from here on, as a server. The client may refuse."""
        self.tls = engine
        for _ in range(4):
            sent = bytes(self.transport.written)
            self.transport.written.clear()
            with suppress(HandshakeFailed):
                engine.receive(sent, 0.0)
            if answer := engine.bytes_to_send():
                self.protocol.dataReceived(answer)

    def finishes(self) -> None:
        """Its FIN comes."""
        self.protocol.readConnectionLost()

    def resets(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))

    def closes(self) -> None:
        """The socket is closed on both sides."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class FakeDialer:
    """Keeps what it is asked to dial."""

    def __init__(self) -> None:
        self.dialled: list[Dialled] = []

    def dial(self, protocol: IProtocol, on_failure: Callable[[str], None], reactor: Any = None) -> Dialled:
        self.dialled.append(Dialled(protocol, on_failure, reactor))
        return self.dialled[-1]
