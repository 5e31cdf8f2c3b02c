"""A listening TCP socket whose connections are :class:`~tlsproxy.net.reactor.connection.Connection`."""

from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any

from twisted.internet import tcp

from tlsproxy.net.reactor.connection import Connection


def _accepted(opened: socket, protocol: Any, peer: Any, _port: Any, _number: int, reactor: Any) -> Connection:
    connection = Connection(opened, protocol, reactor, peer)
    connection.resumeProducing()
    return connection


class Port(tcp.Port):
    """As Twisted's, but for the transport."""

    transport: Any = staticmethod(_accepted)

    def startListening(self) -> None:
        """See ``IListeningPort``."""
        super().startListening()
        # Linux hands it down to what is accepted: one system call for all of them.
        self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, True)
