"""Connections that begin with a PROXY protocol header: who the client is, said by a proxy that we trust.

The session begins once the header is read, since policies go by the client's address. Where none comes in time, or it is
malformed or names no client, the connection is closed: the sender's own address would lend the client its rights.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from tlsproxy.errors import ProxyHeaderError
from tlsproxy.identity.client import ClientAddress
from tlsproxy.identity.proxy_header import ProxyHeader, ProxyHeaderParser
from tlsproxy.net.addresses import endpoint_address

Accept = Callable[[ClientAddress, ClientAddress], IProtocol | None]
"""Given the client's address and the one it connected to, makes the protocol that serves it."""


@implementer(IProtocol)
class ProxyHeaderReader:
    """Reads the header, then hands the connection to the session's protocol."""

    def __init__(
        self,
        *,
        sender: ClientAddress,
        accept: Accept,
        refused: Callable[[str], None],
        clock: IReactorTime,
        timeout: float,
        over: Callable[["ProxyHeaderReader"], None] = lambda _: None,
    ) -> None:
        """
        :param over: Called once: when the session has begun, or the connection ends without one.
        """
        self._sender = sender
        self._accept = accept
        self._refused = refused
        self._clock = clock
        self._timeout = timeout
        self._over: Callable[[ProxyHeaderReader], None] | None = over
        self._parser = ProxyHeaderParser()
        self._deadline: IDelayedCall | None = None
        self._transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``, as for all methods here."""
        self._transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        self._deadline = self._clock.callLater(self._timeout, self._timed_out)

    def dataReceived(self, data: bytes) -> None:
        if self._deadline is None:
            return
        try:
            header = self._parser.feed(data)
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        if header is not None:
            self._hand_over(header)

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002 - Twisted's signature
        self._cancel_deadline()
        self._tell_over()

    def abandon(self) -> None:
        """Wait no longer."""
        self._cancel_deadline()
        self._transport.abortConnection()
        self._tell_over()

    def _hand_over(self, header: ProxyHeader) -> None:
        own = endpoint_address(self._transport.getHost())
        client, local = (self._sender, own) if header.local else (header.source, header.destination)
        if client is None:
            self._refuse("the PROXY header names no client")
            return
        self._cancel_deadline()
        protocol = self._accept(client, local or own)
        if protocol is None:
            self._transport.abortConnection()
            self._tell_over()
            return
        self._transport.protocol = protocol
        protocol.makeConnection(self._transport)
        self._tell_over()
        if self._parser.rest:
            protocol.dataReceived(self._parser.rest)

    def _timed_out(self) -> None:
        self._refuse(f"no PROXY header within {self._timeout:g} s")

    def _refuse(self, detail: str) -> None:
        self._cancel_deadline()
        self._refused(detail)
        self._transport.abortConnection()
        self._tell_over()

    def _tell_over(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over(self)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
