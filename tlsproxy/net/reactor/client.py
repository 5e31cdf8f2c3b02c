"""Opening a TCP connection to an IP address."""

from errno import EINPROGRESS
from functools import partial
from os import strerror
from socket import AF_INET, AF_INET6, SO_ERROR, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any

from twisted.internet import error, tcp
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tlsproxy.net.reactor.connection import Connection


class Connector(tcp.Connector):
    """As Twisted's, but for the transport."""

    def _makeTransport(self) -> Any:
        return Attempt(self.host, self.port, self.bindAddress, self, self.reactor)


@implementer(IReadWriteDescriptor)
class Attempt:
    """A connection that isn't up yet. Once it is, a :class:`Connection` takes the socket over."""

    __slots__ = ("__weakref__", "_connector", "_number", "_reactor", "_remote", "_socket", "_waiting")

    def __init__(self, host: str, port: int, bind: Any, connector: Any, reactor: Any) -> None:
        self._connector = connector
        self._reactor = reactor
        self._remote = (host, port, 0, 0) if ":" in host else (host, port)
        self._waiting = False
        self._number = -1
        self._socket: socket | None = None
        try:
            self._socket = opened = socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM | SOCK_NONBLOCK)
            self._number = opened.fileno()
            if bind is not None:
                opened.bind(bind)
        except OSError as refused:
            reactor.soon(partial(self.failIfNotConnected, error.ConnectBindError(*refused.args)))
            return
        failed = opened.connect_ex((host, port))
        if failed and failed != EINPROGRESS:
            reactor.soon(partial(self.failIfNotConnected, error.getConnectError((failed, strerror(failed)))))
            return
        self._waiting = True
        reactor.addWriter(self)

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return self._number

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "-"

    def doRead(self) -> None:
        """See ``IReadDescriptor``. Not asked for."""

    def doWrite(self) -> None:
        """See ``IWriteDescriptor``: the connection is up, or failed."""
        opened, connector = self._socket, self._connector
        if opened is None or connector is None:
            return
        failed = opened.getsockopt(SOL_SOCKET, SO_ERROR)
        if failed:
            self.failIfNotConnected(error.getConnectError((failed, strerror(failed))))
            return
        connection = Connection(opened, None, self._reactor, self._remote)
        connection.take_over()
        self._socket = self._connector = None
        self._waiting = False
        self._number = -1
        connector.transport = connection
        protocol = connector.buildProtocol(connection.getPeer())
        if protocol is None:
            protocol = Protocol()
            connection.loseConnection()
        connection.protocol = protocol
        connection.on_lost = connector.connectionLost
        protocol.makeConnection(connection)

    def failIfNotConnected(self, why: Exception) -> None:
        """What a connector calls when its time is over, or it is told to stop."""
        connector, self._connector = self._connector, None
        if connector is None:
            return
        self._stop_waiting()
        self._number = -1
        if self._socket is not None:
            self._socket.close()
        connector.connectionFailed(Failure(why))

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._reactor.removeWriter(self)

    def connectionLost(self, _reason: Failure) -> None:
        """See ``IReadDescriptor``: the reactor stops."""
        self.failIfNotConnected(error.ConnectionLost())
