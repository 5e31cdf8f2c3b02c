"""A TCP connection as Twisted's protocols know it (``ITCPTransport``), that writes to its socket at once.

What Twisted's interfaces leave open is as in Twisted's own TCP transport, which protocols were written against: nothing
is told to the protocol from within a call of its own, but after it; a producer is paused at once when the buffer is full.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EAGAIN, EINTR, EWOULDBLOCK
from functools import partial
from socket import (
    IPPROTO_TCP,
    NI_NUMERICHOST,
    NI_NUMERICSERV,
    SHUT_WR,
    SO_KEEPALIVE,
    SO_LINGER,
    SOL_SOCKET,
    TCP_NODELAY,
    getnameinfo,
    socket,
)
from struct import pack
from typing import Any, Final

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    ILoggingContext,
    IPushProducer,
    IReadWriteDescriptor,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

READ_SIZE: Final = 128 * 1024
"""Bytes read at once: more than the receive buffer of a socket on loopback holds of most senders, eight full TLS records.
CPython allocates as much for each read, and gives back what it didn't need."""

WRITE_LIMIT: Final = 64 * 1024
"""Bytes held for the kernel beyond which a producer is paused, as in Twisted."""

GATHERED: Final = 64
"""Pieces sent in one system call at most; Linux takes 1024 (``IOV_MAX``)."""

_DONE: Final = Failure(error.ConnectionDone())
_LOST: Final = Failure(error.ConnectionLost())

_NOT_NOW: Final = frozenset({EAGAIN, EWOULDBLOCK, EINTR})

_log = Logger()


def address_of(name: Any) -> IPv4Address | IPv6Address:
    """What a socket calls an address of its own, as Twisted's protocols see it."""
    if len(name) == 2:
        return IPv4Address("TCP", *name)
    if name[3]:  # a link-local address means nothing without its interface
        return IPv6Address("TCP", getnameinfo(name, NI_NUMERICHOST | NI_NUMERICSERV)[0], *name[1:])
    return IPv6Address("TCP", *name)


@implementer(
    ITCPTransport,
    IConsumer,
    IPushProducer,
    IReadWriteDescriptor,
    IHalfCloseableDescriptor,
    ISystemHandle,
    ILoggingContext,
)
class Connection:
    """A TCP connection that is up.

    :ivar connected: It is.
    :ivar disconnected: It is gone, and the protocol was told.
    :ivar bufferSize: Bytes held for the kernel beyond which a producer is paused; Twisted's name.
    :ivar disconnecting: It ends as soon as all that was written is with the kernel.
    :ivar socket: It.
    :ivar on_lost: Called when the connection is gone, after the protocol.
    """

    __slots__ = (
        "__weakref__",
        "_aborting",
        "_broken",
        "_number",
        "_paused_producer",
        "_peer",
        "_producer",
        "_pulls",
        "_reactor",
        "_reading",
        "_unsent",
        "_unsent_size",
        "_watched",
        "_write_finished",
        "_write_finishing",
        "_writing",
        "bufferSize",
        "connected",
        "disconnected",
        "disconnecting",
        "on_lost",
        "protocol",
        "socket",
    )

    def __init__(self, opened: socket, protocol: Any, reactor: Any, peer: Any) -> None:
        """
        :param opened: Connected, and doesn't block.
        :param peer: Its address, as ``getpeername()`` gives it.
        """
        self.socket = opened
        self._number = opened.fileno()
        self._reactor = reactor
        self._peer = peer
        self.protocol = protocol
        # Only while there is something: an empty one takes 0.7 KiB of every idle connection.
        self._unsent: deque[bytes | memoryview] | None = None
        self._unsent_size = 0
        self._producer: Any = None
        self._pulls = False
        # The producer is a pull producer: it is asked for more each time that all was taken.
        self._paused_producer = False
        self._reading = False
        # Input is wanted, and …
        self._watched = False
        # … the reactor watches for it.
        self._writing = False
        self._write_finishing = False
        self._write_finished = False
        self._aborting = False
        self._broken: Exception | None = None
        self.on_lost: Callable[[Failure], None] | None = None
        self.bufferSize = WRITE_LIMIT
        self.connected = True
        self.disconnected = False
        self.disconnecting = False

    def take_over(self) -> None:
        """Read from a socket that the reactor watches for another: whoever waited for the connection to come up."""
        self._reading = self._watched = True
        self._reactor.hand_over(self)

    # IFileDescriptor, ILoggingContext, ISystemHandle

    def fileno(self) -> int:
        """See ``IFileDescriptor``. -1 when the socket is closed."""
        return self._number

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return type(self.protocol).__name__

    def getHandle(self) -> socket:
        """See ``ISystemHandle``."""
        return self.socket

    @property
    def unsent(self) -> int:
        """Bytes written that the kernel hasn't taken."""
        return self._unsent_size

    # ITCPTransport

    def getHost(self) -> IPv4Address | IPv6Address:
        """See ``ITransport``."""
        return address_of(self.socket.getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:
        """See ``ITransport``."""
        return address_of(self._peer)

    def getTcpNoDelay(self) -> bool:
        """See ``ITCPTransport``."""
        return bool(self.socket.getsockopt(IPPROTO_TCP, TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ``ITCPTransport``."""
        self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """See ``ITCPTransport``."""
        return bool(self.socket.getsockopt(SOL_SOCKET, SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See ``ITCPTransport``."""
        self.socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, enabled)

    # Writing

    def write(self, data: bytes) -> None:
        """Send as much as the kernel takes, and keep the rest."""
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if not data or not self.connected or self._write_finished or self._aborting:
            return
        if self._unsent:
            self._keep(data)
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as failed:
            self._break(failed)
            return
        if sent < len(data):
            self._keep(memoryview(data)[sent:] if sent else data)

    def _break(self, failed: OSError) -> None:
        """The system tells of a reset once, and then of an end of file as if all were well: keep it until it is told."""
        if self._broken is None:
            self._broken = error.ConnectionLost(str(failed))
            self._reactor.soon(partial(self.connectionLost, Failure(self._broken)))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See ``ITransport``."""
        pieces = list(data)
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError("Data must be bytes")
        self.write(b"".join(pieces))

    def _keep(self, data: bytes | memoryview) -> None:
        if self._unsent is None:
            self._unsent = deque()
        self._unsent.append(data)
        self._unsent_size += len(data)
        if not self._writing:
            self._start_writing()
        if self._unsent_size > self.bufferSize and self._producer is not None and not self._pulls:
            self._paused_producer = True
            self._producer.pauseProducing()

    def doWrite(self) -> Any:
        """See ``IWriteDescriptor``: send what is kept."""
        if self._unsent is not None:
            failed = self._send_kept(self._unsent)
            if failed is not None or self._unsent:
                return failed
            self._unsent = None
        if self._producer is not None and (self._pulls or self._paused_producer):
            self._paused_producer = False
            if not self._pulls:
                self._stop_writing()
            self._producer.resumeProducing()
            return None
        self._stop_writing()
        if self.disconnecting:
            return error.ConnectionDone()
        if self._write_finishing and not self._write_finished:
            self._finish_writing()
        return None

    def _send_kept(self, unsent: deque[bytes | memoryview]) -> Exception | None:
        try:
            if len(unsent) == 1:
                sent = self.socket.send(unsent[0])
            else:
                sent = self.socket.sendmsg([unsent[at] for at in range(min(len(unsent), GATHERED))])
        except OSError as failed:
            return None if failed.errno in _NOT_NOW else error.ConnectionLost(str(failed))
        self._unsent_size -= sent
        while sent:
            piece = unsent.popleft()
            if len(piece) > sent:
                unsent.appendleft(memoryview(piece)[sent:])
                break
            sent -= len(piece)
        return None

    def loseWriteConnection(self) -> None:
        """See ``IHalfCloseableDescriptor``: FIN, after all that was written; told to the protocol."""
        if self._write_finishing or not self.connected:
            return
        self._write_finishing = True
        if not self._unsent:
            self._reactor.soon(self._finish_writing)

    def _finish_writing(self) -> None:
        if self._write_finished or not self.connected:
            return
        self._write_finished = True
        with suppress(OSError):  # the peer's reset was here first
            self.socket.shutdown(SHUT_WR)
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            self._tell(protocol.writeConnectionLost)

    def loseConnection(self) -> None:
        """See ``ITransport``: close, after all that was written."""
        if not self.connected or self.disconnecting or self._aborting:
            return
        self.disconnecting = True
        self._stop_reading()
        if self._write_finished or not (self._unsent or self._produces()):
            self._reactor.soon(self._close)
        elif not self._writing:
            self._start_writing()

    def _produces(self) -> bool:
        """A pull producer is written out before a connection is closed, as in Twisted."""
        return self._producer is not None and self._pulls

    def _close(self) -> None:
        if not self._aborting:
            self.connectionLost(_DONE)

    def abortConnection(self) -> None:
        """See ``ITCPTransport``: reset."""
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        self._stop_reading()
        self._stop_writing()
        self._reactor.soon(self._abort)

    def _abort(self) -> None:
        self.connectionLost(Failure(error.ConnectionAborted()))

    # Reading

    def doRead(self) -> Any:
        """See ``IReadDescriptor``."""
        try:
            data = self.socket.recv(READ_SIZE)
        except OSError as failed:
            return None if failed.errno in _NOT_NOW else error.ConnectionLost(str(failed))
        if data:
            self.protocol.dataReceived(data)
            return None
        return self._broken or error.ConnectionDone()

    def readConnectionLost(self, reason: Failure) -> None:
        """See ``IHalfCloseableDescriptor``."""
        self._reading = False
        self.unwatch()
        protocol: Any = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self.connectionLost(reason)
        else:
            self._tell(protocol.readConnectionLost)

    def writeConnectionLost(self, reason: Failure) -> None:
        """See ``IHalfCloseableDescriptor``."""
        self.connectionLost(reason)

    def _tell(self, call: Any) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - a fault of the protocol's ends this connection
            _log.failure("Unhandled error in the protocol")
            self.connectionLost(Failure())

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""
        if self._producer is not None:
            raise RuntimeError(
                f"Cannot register producer {producer}, because producer {self._producer} was never unregistered."
            )
        if self.disconnected:
            producer.stopProducing()
            return
        self._producer = producer
        self._pulls = not streaming
        self._paused_producer = False
        if not streaming:
            self._start_writing()
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self._producer = None
        if self.connected and self.disconnecting and not self._unsent:
            self._reactor.soon(self._close)

    def stopConsuming(self) -> None:
        """What Twisted's consumers have beside ``IConsumer``."""
        self.unregisterProducer()
        self.loseConnection()

    # IPushProducer

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""
        self._stop_reading()

    def resumeProducing(self) -> None:
        """See ``IPushProducer``."""
        if self.connected and not self.disconnecting and not self._aborting:
            self._start_reading()

    def stopProducing(self) -> None:
        """See ``IProducer``."""
        self.loseConnection()

    # What the reactor is asked for

    def _start_reading(self) -> None:
        self._reading = True
        if not self._watched:
            self._watched = True
            self._reactor.addReader(self)

    def _stop_reading(self) -> None:
        """The reactor is told when something comes: most often reading goes on before that."""
        self._reading = False

    def unwatch(self) -> None:
        """Have the reactor watch for input no more, until that is wanted again."""
        if self._watched:
            self._watched = False
            self._reactor.removeReader(self)

    def _start_writing(self) -> None:
        if not self._writing:
            self._writing = True
            self._reactor.addWriter(self)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._reactor.removeWriter(self)

    startReading = resumeProducing
    stopReading = pauseProducing

    def startWriting(self) -> None:
        """As Twisted's transports have it, for what knows them better than their interfaces."""
        if self.connected:
            self._start_writing()

    def stopWriting(self) -> None:
        """See ``startWriting``."""
        self._stop_writing()

    # The end

    def connectionLost(self, reason: Failure) -> None:
        """See ``IReadDescriptor``: close the socket, and tell the protocol. Only the first call does."""
        if self.disconnected:
            return
        self.disconnected = True
        self.connected = False
        self._reading = False
        self.unwatch()
        self._stop_writing()
        self._unsent = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self._aborting:
            self.socket.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))  # RST instead of FIN, socket(7)
        self._number = -1
        self.socket.close()
        protocol, self.protocol = self.protocol, None
        protocol.connectionLost(reason)
        # What is told holds this connection: no cycle is left to the collector.
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(reason)


def failure_of(why: Exception) -> Failure:
    """The failure that a protocol is told, where ``why`` is what a read or a write ended with."""
    if type(why) is error.ConnectionDone:
        return _DONE
    if type(why) is error.ConnectionLost and not why.args:
        return _LOST
    return Failure(why)
