"""Opening a connection to one server: by address, by name, over a Unix socket.

Twisted's endpoint tries the addresses of a name as RFC 8305 says. It stands between transport and protocol while it does;
once the connection is up, the transport is given the protocol that it is for, and nothing stands between.
"""

from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from ipaddress import ip_address
from typing import Any, Final, Protocol

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IProtocol,
    IReactorPluggableNameResolver,
)
from twisted.internet.protocol import ClientFactory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tlsproxy.config.addresses import ServerAddress, TcpAddress, UnixAddress
from tlsproxy.net.names import RememberingResolver

_DETAILS: Final = (
    (error.ConnectionRefusedError, "connection refused"),
    (error.TimeoutError, "no connection within {timeout:g} s"),
    (error.DNSLookupError, "host name not found"),
    (error.NoRouteError, "no route to host"),
)

SHORTAGE: Final = "no file descriptor or memory left for a connection"
"""The reason of a failure that is this machine's own, and no server's."""

_SHORT: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})


class DialingReactor(Protocol):
    """The part of a reactor that opens connections: of ``IReactorTCP``, ``IReactorUNIX``, ``IReactorTime``."""

    nameResolver: IHostnameResolver

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = ...,
        bindAddress: tuple[str, int] | None = ...,
    ) -> Any: ...

    def connectUNIX(self, address: str, factory: ClientFactory, timeout: float = ...) -> Any: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall: ...  # noqa: A002 - Twisted's name

    def seconds(self) -> float: ...


class Dialing(Protocol):
    """A connection being opened."""

    def cancel(self) -> None:
        """Give it up. Nothing is told any more."""


class Dialer:
    """Opens connections to one server."""

    def __init__(
        self,
        server: ServerAddress,
        reactor: DialingReactor,
        *,
        timeout: float,
        source_address: str | None = None,
        resolver: RememberingResolver | None = None,
    ) -> None:
        """
        :param timeout: Seconds for a connection to come up.
        :param source_address: Where it comes from.
        :param resolver: Looks host names up. Without one, ``reactor`` deals with names itself.
        """
        self._server = server
        self._by_name = isinstance(server, TcpAddress) and not _is_ip(server.host)
        self._reactor = reactor
        self._timeout = timeout
        self._bind = (source_address, 0) if source_address is not None else None
        self._resolver = resolver

    def dial(
        self, protocol: IProtocol, on_failure: Callable[[str], None], reactor: DialingReactor | None = None
    ) -> Dialing:
        """Connect ``protocol``.

        :param on_failure: Called with the reason, in words, when no connection came about.
        :param reactor: Opens this one, in place of the usual one.
        """
        server, resolver = self._server, self._resolver
        if isinstance(server, UnixAddress):
            return _Direct(protocol, on_failure, self._timeout).unix(reactor or self._reactor, server)
        if resolver is None or reactor is not None or not self._by_name:
            direct = _Direct(protocol, on_failure, self._timeout)
            return direct.tcp(reactor or self._reactor, server, self._bind)
        return _ByName(protocol, on_failure, self._timeout, server, resolver).start(self._reactor, self._bind)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _in_words(reason: Failure, timeout: float) -> str:
    if reason.check(error.ConnectError) and reason.value.osError in _SHORT:  # type: ignore[union-attr]
        return SHORTAGE
    for kind, words in _DETAILS:
        if reason.check(kind):
            return words.format(timeout=timeout)
    return reason.getErrorMessage()


class _Direct(ClientFactory):
    """A connection to an address; makes its one protocol."""

    noisy = False

    def __init__(self, protocol: IProtocol, on_failure: Callable[[str], None], timeout: float) -> None:
        self._protocol = protocol
        self._on_failure: Callable[[str], None] | None = on_failure
        self._timeout = timeout
        self._connector: IConnector | None = None

    def tcp(self, reactor: DialingReactor, server: TcpAddress, bind: tuple[str, int] | None) -> "_Direct":
        self._connector = reactor.connectTCP(
            server.host, server.port, self, timeout=self._timeout, bindAddress=bind
        )
        return self

    def unix(self, reactor: DialingReactor, server: UnixAddress) -> "_Direct":
        self._connector = reactor.connectUNIX(server.path, self, timeout=self._timeout)
        return self

    def buildProtocol(self, addr: IAddress) -> IProtocol:  # type: ignore[override]  # noqa: ARG002 - not only Protocol is one
        # Twisted keeps a factory as long as its connection: who waited for that, with all it knows, isn't to stay so long.
        self._on_failure = self._connector = None
        return self._protocol

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:  # noqa: ARG002
        if self._on_failure is not None:
            self._on_failure(_in_words(reason, self._timeout))

    def cancel(self) -> None:
        """See :class:`Dialing`."""
        self._on_failure = None
        if self._connector is not None:
            self._connector.disconnect()


@implementer(IReactorPluggableNameResolver)
class _NamingReactor:
    """A reactor as Twisted's endpoint sees it, with another resolver."""

    def __init__(self, reactor: DialingReactor, resolver: IHostnameResolver) -> None:
        self.nameResolver = resolver
        self.connectTCP = reactor.connectTCP
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """See ``IReactorPluggableNameResolver``."""
        previous, self.nameResolver = self.nameResolver, resolver
        return previous


class _Placeholder(TwistedProtocol):
    """Holds a transport until the connection is chosen."""


class _Placeholders(ClientFactory):
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> _Placeholder:  # noqa: ARG002
        return _Placeholder()


class _ByName:
    """A connection to a name."""

    def __init__(
        self,
        protocol: IProtocol,
        on_failure: Callable[[str], None],
        timeout: float,
        server: TcpAddress,
        resolver: RememberingResolver,
    ) -> None:
        self._protocol = protocol
        self._on_failure: Callable[[str], None] | None = on_failure
        self._timeout = timeout
        self._server = server
        self._resolver = resolver
        self._connecting: Deferred[Any] | None = None
        self._deadline: IDelayedCall | None = None

    def start(self, reactor: DialingReactor, bind: tuple[str, int] | None) -> "_ByName":
        server = self._server
        endpoint = HostnameEndpoint(
            _NamingReactor(reactor, self._resolver), server.host, server.port, self._timeout, bind
        )
        # The look-up and all addresses together have no longer than one address by itself.
        self._deadline = reactor.callLater(self._timeout, self._timed_out)
        connecting = endpoint.connect(_Placeholders())
        self._connecting = connecting
        connecting.addCallbacks(self._connected, self._failed)
        return self

    def cancel(self) -> None:
        """See :class:`Dialing`."""
        self._on_failure = None
        self._stop()

    def _stop(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._connecting is not None:
            self._connecting.cancel()

    def _timed_out(self) -> None:
        on_failure, self._on_failure = self._on_failure, None
        self._stop()
        if on_failure is not None:
            on_failure(f"no connection within {self._timeout:g} s")

    def _connected(self, placeholder: _Placeholder) -> None:
        transport: Any = placeholder.transport
        if self._deadline is not None:
            self._deadline.cancel()
        self._resolver.prefer(self._server.host, self._server.port, transport.getPeer())
        transport.protocol = self._protocol
        self._protocol.makeConnection(transport)

    def _failed(self, reason: Failure) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._on_failure is not None:
            self._on_failure(_in_words(reason, self._timeout))
