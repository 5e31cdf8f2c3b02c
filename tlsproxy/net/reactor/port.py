"""A listening TCP socket whose connections are :class:`~tlsproxy.net.reactor.connection.Connection`."""

from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any

from twisted.internet import tcp
from twisted.logger import Logger

from tlsproxy.net.reactor.connection import Connection, address_of

_log = Logger()


def _accepted(opened: socket, protocol: Any, peer: Any, _port: Any, _number: int, reactor: Any) -> Connection:
    opened.setblocking(False)
    connection = Connection(opened, protocol, reactor, peer)
    connection.resumeProducing()
    return connection


class Port(tcp.Port):
    """As Twisted's, but for the transport, and for what accepting costs."""

    transport: Any = staticmethod(_accepted)
    factory: Any

    def startListening(self) -> None:
        """See ``IListeningPort``."""
        super().startListening()
        # Linux hands it down to what is accepted: one system call for all of them.
        self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, True)

    def doRead(self) -> None:
        """Accept those who wait, as many as in Twisted; whatever else than a connection comes is dealt with there."""
        accepted = 0
        for _ in range(self.numberAccepts):
            try:
                opened, peer = self.socket.accept()
            except BlockingIOError:
                break
            except OSError:  # no descriptors, or a connection that is gone already
                super().doRead()  # type: ignore[no-untyped-call]
                return
            accepted += 1
            try:
                self._serve(opened, peer)
            except Exception:  # noqa: BLE001 - one connection's fault isn't another's
                _log.failure("Unhandled error in the protocol")
        self.numberAccepts = (
            self.numberAccepts + 20 if accepted == self.numberAccepts else max(1, accepted)
        )  # as in Twisted

    def _serve(self, opened: socket, peer: Any) -> None:
        protocol = self.factory.buildProtocol(address_of(peer))
        if protocol is None:
            opened.close()
            return
        protocol.makeConnection(self.transport(opened, protocol, peer, self, 0, self.reactor))
