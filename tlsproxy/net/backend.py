"""Connecting to a backend's server."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import frozen
from twisted.internet import error
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from tlsproxy.config.addresses import ServerAddress, UnixAddress
from tlsproxy.config.backend import Backend
from tlsproxy.net.leg import Leg

_DETAILS: Final = (
    (error.ConnectionRefusedError, "connection refused"),
    (error.TimeoutError, "no connection within {timeout:g} s"),
    (error.DNSLookupError, "host name not found"),
    (error.NoRouteError, "no route to host"),
    (error.UserError, "given up"),
)


class ConnectingReactor(Protocol):
    """The part of a reactor that opens connections (``IReactorTCP``, ``IReactorUNIX``)."""

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = ...,
        bindAddress: tuple[str, int] | None = ...,
    ) -> Any: ...

    def connectUNIX(self, address: str, factory: ClientFactory, timeout: float = ...) -> Any: ...


@frozen
class BackendConnector:
    """Opens connections to one backend."""

    backend: Backend
    reactor: ConnectingReactor

    @property
    def server(self) -> ServerAddress:
        """The server that the next connection goes to."""
        return self.backend.servers[0].address

    def connect(self, leg: Leg, on_failure: Callable[[str], None]) -> IConnector:
        """Connect ``leg`` to the backend.

        :param on_failure: Called with the reason, in words, when no connection came about.
        :returns: Its ``disconnect()`` gives the attempt up.
        """
        timeout = self.backend.connect_timeout
        factory = _OneConnection(leg, on_failure, timeout)
        server = self.server
        connector: IConnector
        if isinstance(server, UnixAddress):
            connector = self.reactor.connectUNIX(server.path, factory, timeout=timeout)
        else:
            source = self.backend.source_address
            bind = (source, 0) if source is not None else None
            connector = self.reactor.connectTCP(
                server.host, server.port, factory, timeout=timeout, bindAddress=bind
            )
        return connector


class _OneConnection(ClientFactory):
    """Makes the one protocol of one connection."""

    noisy = False

    def __init__(self, leg: Leg, on_failure: Callable[[str], None], timeout: float) -> None:
        self._leg = leg
        self._on_failure = on_failure
        self._timeout = timeout

    def buildProtocol(self, addr: IAddress) -> Leg:  # type: ignore[override]  # noqa: ARG002 - a leg is an IProtocol
        return self._leg

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:  # noqa: ARG002
        self._on_failure(_in_words(reason, self._timeout))


def _in_words(reason: Failure, timeout: float) -> str:
    for kind, words in _DETAILS:
        if reason.check(kind):
            return words.format(timeout=timeout)
    return reason.getErrorMessage()
