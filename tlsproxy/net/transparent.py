"""``identity = "transparent"``: connections to a server that come from the client's own address.

``IP_TRANSPARENT`` (ip(7)) lets a socket have an address that this machine doesn't have. Nothing brings back here what the
server sends to that address, unless routes and a rule do: ``docs/transparent.md``.

Twisted's ``connectTCP`` makes its socket itself, so one is connected here and adopted (``IReactorSocket``) when it is up.
"""

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final, Protocol

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
    IWriteDescriptor,
)
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from tlsproxy.errors import TlsproxyError
from tlsproxy.identity.client import ClientAddress, IpAddress

_IPV6_TRANSPARENT: Final = 75  # linux/in6.h; the socket module doesn't name it

_OPTIONS: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TRANSPARENT),
    socket.AF_INET6: (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT),
}
_ADDRESS_TYPES: Final = {4: IPv4Address, 6: IPv6Address}


class TransparencyError(TlsproxyError):
    """A connection can't come from the client's address."""


class AdoptingReactor(Protocol):
    """The parts of a reactor used here: of ``IReactorSocket``, ``IReactorFDSet``, ``IReactorTime``, and its resolver."""

    nameResolver: IHostnameResolver

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any: ...

    def addWriter(self, writer: Any) -> None: ...

    def removeWriter(self, writer: Any) -> None: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall: ...  # noqa: A002 - Twisted's name

    def seconds(self) -> float: ...


def why_unavailable() -> str | None:
    """Why this process can't make such connections, for its operator; None: it can."""
    try:
        _transparent_socket(4).close()
    except TransparencyError as refused:
        return str(refused)
    return None


class TransparentReactor:
    """Opens the connections of one client, which come from its address. ``bindAddress`` has no meaning here.

    The factory makes the protocol, and is told when no connection came about. The end of a connection is its protocol's.

    :ivar refused: None came about because of the client's address or this process's privileges: no fault of the server's.
    """

    def __init__(self, reactor: AdoptingReactor, client: ClientAddress) -> None:
        self.nameResolver = reactor.nameResolver
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self._reactor = reactor
        self._source = client.ip
        self.refused = False

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: object = None,  # noqa: ARG002
    ) -> "_Connecting":
        """See ``IReactorTCP``."""
        connecting = self._connecting(factory, timeout)
        if self._source is None:
            return connecting.refuse("a client on a Unix socket has no address to come from")
        return connecting.start(self._source, host, port)

    def connectUNIX(self, address: str, factory: ClientFactory, timeout: float = 30) -> "_Connecting":  # noqa: ARG002
        """See ``IReactorUNIX``."""
        return self._connecting(factory, timeout).refuse("a Unix socket has no address to come from")

    def _connecting(self, factory: ClientFactory, timeout: float) -> "_Connecting":
        return _Connecting(self._reactor, factory, timeout, self._refused)

    def _refused(self) -> None:
        self.refused = True


def _transparent_socket(version: int) -> socket.socket:
    """A socket that can be bound to an address of another machine.

    :raises TransparencyError: It can't.
    """
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(*_OPTIONS[family], 1)
    except OSError as refused:
        made.close()
        if refused.errno == errno.EPERM:
            raise TransparencyError(
                "it needs CAP_NET_ADMIN or CAP_NET_RAW, and this process has neither "
                "(a systemd unit gives one by AmbientCapabilities=)"
            ) from refused
        raise TransparencyError(f"IP_TRANSPARENT: {refused.strerror}") from refused
    return made


@implementer(IResolutionReceiver, IWriteDescriptor)
class _Connecting:
    """One connection: a look-up, attempts at one address after another, and a socket that is adopted or a failure."""

    _source: IpAddress

    def __init__(
        self, reactor: AdoptingReactor, factory: ClientFactory, timeout: float, refused: Callable[[], None]
    ) -> None:
        """:param refused: Called, before the factory is told, where it fails with a :class:`TransparencyError`."""
        self._reactor = reactor
        self._factory = factory
        self._refused = refused
        self._addresses: deque[tuple[str, int]] = deque()
        self._socket: socket.socket | None = None
        self._failure: Exception = error.DNSLookupError()
        self._over = False
        self._deadline = reactor.callLater(timeout, self._fail, error.TimeoutError())

    def refuse(self, why: str) -> "_Connecting":
        """Fail, as soon as this has returned."""
        self._reactor.callLater(0, self._fail, TransparencyError(why))
        return self

    def start(self, source: IpAddress, host: str, port: int) -> "_Connecting":
        """Begin. The factory isn't called before this returns."""
        self._source = source
        version = source.version
        try:
            of_server = ip_address(host).version
        except ValueError:
            self._failure = TransparencyError(
                f"{host} has no IPv{version} address, for an IPv{version} client"
            )
            self._reactor.nameResolver.resolveHostName(self, host, port, [_ADDRESS_TYPES[version]])
            return self
        if of_server != version:
            return self.refuse(f"an IPv{version} client can't come to {host} from its own address")
        self._addresses.append((host, port))
        self._reactor.callLater(0, self._try_next)
        return self

    # IResolutionReceiver

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See ``IResolutionReceiver``."""

    def addressResolved(self, address: IAddress) -> None:
        """See ``IResolutionReceiver``."""
        assert isinstance(address, IPv4Address | IPv6Address)  # noqa: S101 - asked for
        self._addresses.append((address.host, address.port))

    def resolutionComplete(self) -> None:
        """See ``IResolutionReceiver``."""
        self._reactor.callLater(0, self._try_next)

    # Attempts

    def _try_next(self) -> None:
        if self._over:
            return
        if not self._addresses:
            self._fail(self._failure)
            return
        try:
            self._socket = opened = _transparent_socket(self._source.version)
            # The port is chosen at connect(2), so that it need not be free for every server (ip(7)).
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
            opened.bind((str(self._source), 0))
        except TransparencyError as refused:
            self._fail(refused)
        except OSError as refused:
            self._fail(TransparencyError(f"can't come from {self._source}: {refused.strerror}"))
        else:
            self._connect(opened)

    def _connect(self, opened: socket.socket) -> None:
        result = opened.connect_ex(self._addresses.popleft())
        if result in (0, errno.EINPROGRESS):
            self._reactor.addWriter(self)
        else:
            self._attempt_failed(result)

    def _decided(self) -> None:
        """The kernel knows how the attempt ended."""
        opened = self._socket
        if opened is None:
            return
        result = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            self._attempt_failed(result)
            return
        self._reactor.removeWriter(self)
        self._socket = None
        self._end()
        with opened:  # it is duplicated
            try:
                self._reactor.adoptStreamConnection(opened.fileno(), opened.family, self._factory)
            except OSError as lost:  # reset at once, so that it has no peer
                self._tell(error.ConnectError(lost.errno, lost.strerror))

    def _attempt_failed(self, number: int) -> None:
        self._failure = error.getConnectError((number, os.strerror(number)))
        self._close()
        self._try_next()

    # The end

    def _fail(self, why: Exception) -> None:
        if not self._over:
            self._end()
            self._close()
            self._tell(why)

    def _end(self) -> None:
        self._over = True
        if self._deadline.active():
            self._deadline.cancel()

    def _close(self) -> None:
        if self._socket is not None:
            self._reactor.removeWriter(self)
            self._socket.close()
            self._socket = None

    def _tell(self, why: Exception) -> None:
        if isinstance(why, TransparencyError):
            self._refused()
        connector: Any = self
        self._factory.clientConnectionFailed(connector, Failure(why))

    # IWriteDescriptor

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return -1 if self._socket is None else self._socket.fileno()

    def doWrite(self) -> None:
        """See ``IWriteDescriptor``: the attempt has ended."""
        self._decided()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002
        """See ``IFileDescriptor``: the attempt has failed."""
        self._decided()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return type(self).__name__

    # As of IConnector

    def disconnect(self) -> None:
        """Give it up, which the factory is told."""
        self._fail(error.UserError())
