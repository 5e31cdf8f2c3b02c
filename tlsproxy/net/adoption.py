"""Accepting on sockets that are open already, and that others listen on as well."""

import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure


def adopt(reactor: Any, opened: socket.socket, factory: IProtocolFactory) -> IListeningPort:
    """Accept on a duplicate of ``opened``, which stays the caller's; so does the file of a Unix socket."""
    if opened.family is not socket.AF_UNIX:
        port: IListeningPort = reactor.adoptStreamPort(opened.fileno(), opened.family, factory)
        return port
    # As adoptStreamPort() does it; Twisted's ports have no annotations.
    from_descriptor: Any = UnixPort._fromListeningDescriptor  # noqa: SLF001
    unix_port: UnixPort = from_descriptor(reactor, opened.fileno(), factory)
    unix_port.startListening()
    return unix_port


class UnixPort(unix.Port):
    """A Unix socket that another has bound.

    Twisted's own port gives its file the mode 0666, lowers its backlog to 50, and when it stops, removes the file and shuts
    the socket down for everybody who listens on it.
    """

    _shouldShutdown = False

    factory: Any
    socket: Any
    fileno: Any

    def startListening(self) -> None:
        """See ``IListeningPort``."""
        self.factory.doStart()
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self.fileno = self.socket.fileno
        self.numberAccepts = 100  # as Twisted's
        self.connected = True
        self.startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        """See ``IFileDescriptor``."""
        tcp.Port.connectionLost(self, reason)
