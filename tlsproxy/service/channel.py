"""How the supervisor, a generation and its workers talk: messages, and file descriptors, over a stream socket.

A message is a JSON object on one line. Its ``type`` says what it is about, ``fds`` how many descriptors belong to it: those
travel as ``SCM_RIGHTS`` (unix(7)) with the line's first byte, so that they are there whenever the line is whole. Both ends
are ours, but a process is no more trusted than its bugs: what a line may hold, what is kept for a peer that doesn't read,
and how long one waits for it have limits.

:class:`BlockingChannel` is for a process without a reactor, :class:`ReactorChannel` for one with Twisted's.
"""

import array
import contextlib
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tlsproxy.errors import TlsproxyError

MAX_FDS: Final = 253
"""Descriptors in one message: the kernel's ``SCM_MAX_FD``, unix(7)."""

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of one message: a worker's figures with :data:`~tlsproxy.ops.metrics.MAX_SERIES` series of each metric fit."""

MAX_QUEUE: Final = 64 * 1024 * 1024
"""Bytes kept for a peer that doesn't read: a few of the largest messages. Beyond it the peer is given up."""

MAX_WAITING_FDS: Final = 4 * MAX_FDS
"""Descriptors that came ahead of the message they belong to: the kernel hands over at most one message's with a read."""

READ_SIZE: Final = 65536

SEND_TIMEOUT: Final = 30.0
"""Seconds that :class:`BlockingChannel` waits for its peer to take a message: the supervisor reads whenever it isn't
blocked altogether."""


class ChannelError(TlsproxyError):
    """The other end doesn't keep to the protocol, or doesn't read."""


@frozen(eq=False)
class Message:
    """What came."""

    type: str
    values: Mapping[str, Any]
    fds: tuple[int, ...] = ()
    """Descriptors, the receiver's to close. They don't pass to programs it starts."""

    def close(self) -> None:
        """Close the descriptors."""
        close_all(self.fds)


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors, even if some are closed already."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def encode(kind: str, values: Mapping[str, Any], fds: int = 0) -> bytes:
    """A message as it goes over the wire.

    :raises ChannelError: It is too large.
    """
    line = json.dumps({"type": kind, "fds": fds, **values}, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE or fds > MAX_FDS:
        raise ChannelError(f"a message of {len(line)} bytes and {fds} descriptors is too large")
    return line


@define
class Decoder:
    """Bytes and descriptors in, messages out."""

    _buffer: bytearray = field(factory=bytearray, init=False)
    _searched: int = field(default=0, init=False)
    _fds: deque[int] = field(factory=deque, init=False)

    def feed(self, data: bytes, fds: Sequence[int] = ()) -> Iterator[Message]:
        """Take what was read.

        :raises ChannelError: It is no message, or too long for one. Nothing more can be read then.
        """
        self._buffer += data
        self._fds.extend(fds)
        if len(self._fds) > MAX_WAITING_FDS:
            raise ChannelError("more descriptors than messages for them")
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            yield self._message(line)
        self._searched = len(self._buffer)
        if self._searched > MAX_LINE:
            raise ChannelError(f"a message of more than {MAX_LINE} bytes")

    def _message(self, line: bytes) -> Message:
        try:
            values = json.loads(line)
            kind, count = values.pop("type"), values.pop("fds")
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            raise ChannelError(f"not a message: {line[:80]!r}") from error
        if not isinstance(kind, str) or not isinstance(count, int) or not 0 <= count <= len(self._fds):
            raise ChannelError(f"a message without its descriptors: {line[:80]!r}")
        return Message(kind, values, tuple(self._fds.popleft() for _ in range(count)))

    def close(self) -> None:
        """Close the descriptors of messages that never became whole."""
        close_all(self._fds)
        self._fds.clear()


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    fds = array.array("i")
    data, ancillary, flags, _ = sock.recvmsg(
        READ_SIZE, socket.CMSG_SPACE(MAX_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if flags & socket.MSG_CTRUNC:  # the limit on open files
        close_all(fds)
        raise ChannelError("descriptors were lost: too many open files")
    return data, list(fds)


def socket_from(fd: int) -> socket.socket:
    """The end of a channel that came as a descriptor."""
    return socket.socket(fileno=fd)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a channel. Neither passes to programs that are started."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


class BlockingChannel:
    """One end, for a process that may wait. Reading waits as the socket's time-out says; writing, :data:`SEND_TIMEOUT`."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._decoder = Decoder()
        self._arrived: deque[Message] = deque()

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._socket.fileno() < 0

    def send(self, kind: str, *, fds: Sequence[int] = (), **values: Any) -> None:
        """Send a message; the descriptors stay the caller's, too.

        :raises ChannelError: It is too large.
        :raises OSError: The peer is gone, or doesn't read.
        """
        line = memoryview(encode(kind, values, len(fds)))
        self._socket.settimeout(SEND_TIMEOUT)
        sent = socket.send_fds(self._socket, [line], list(fds)) if fds else 0
        self._socket.sendall(line[sent:])

    def read(self, timeout: float | None = None) -> list[Message]:
        """What has come, after one wait for it.

        :returns: Perhaps nothing, where a message isn't whole yet.
        :raises EOFError: The peer has closed, or is gone.
        :raises TimeoutError: Nothing came for ``timeout`` seconds.
        :raises ChannelError: See :meth:`Decoder.feed`.
        """
        self._socket.settimeout(timeout)
        try:
            data, fds = _receive(self._socket)
        except ConnectionResetError:
            raise EOFError from None
        if not data:
            raise EOFError
        return list(self._decoder.feed(data, fds))

    def receive(self, timeout: float | None = None) -> Message:
        """The next message. Raises as :meth:`read`; ``timeout`` is that of every wait."""
        while not self._arrived:
            self._arrived.extend(self.read(timeout))
        return self._arrived.popleft()

    def detach(self) -> tuple[socket.socket, Decoder, list[Message]]:
        """Give the socket away, with what was read of it and not yet received."""
        self._socket.setblocking(False)
        return self._socket, self._decoder, list(self._arrived)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._decoder.close()


@implementer(IReadWriteDescriptor)
class ReactorChannel:
    """One end, for a process with a reactor. Never waits."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        reactor: Any,
        received: Callable[[Message], None],
        lost: Callable[[str], None],
        decoder: Decoder | None = None,
    ) -> None:
        """
        :param received: Takes each message.
        :param lost: Called once, with the reason, when the peer is gone or was given up; not after :meth:`close`.
        :param decoder: That of the channel that ``sock`` was detached from.
        """
        sock.setblocking(False)
        self._socket = sock
        self._reactor = reactor
        self._received = received
        self._lost: Callable[[str], None] | None = lost
        self._decoder = decoder or Decoder()
        self._outgoing: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._queued = 0
        reactor.addReader(self)

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._lost is not None

    def send(self, kind: str, *, fds: Sequence[int] = (), **values: Any) -> None:
        """Send a message; the descriptors stay the caller's, too. Nothing happens when the peer is gone.

        :raises ChannelError: It is too large.
        """
        if not self.open:
            return
        line = memoryview(encode(kind, values, len(fds)))
        self._queued += len(line)
        if self._queued > MAX_QUEUE:
            self._give_up("it doesn't read")
            return
        # Duplicates: the caller's may be closed before it is their turn.
        self._outgoing.append((line, tuple(map(os.dup, fds))))
        self.doWrite()

    def flush(self, timeout: float) -> None:
        """Wait, at most ``timeout`` seconds for each part, until all is sent: at the end of a process."""
        try:
            self._socket.settimeout(timeout)
            while self._outgoing:
                self._send_some()
        except OSError:
            self._give_up("it doesn't read")

    def close(self) -> None:
        """Close; nothing is reported any more."""
        if not self.open:
            return
        self._lost = None
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        for _, fds in self._outgoing:
            close_all(fds)
        self._outgoing.clear()
        self._socket.close()
        self._decoder.close()

    # IReadWriteDescriptor

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "channel"

    def doRead(self) -> None:
        """See ``IReadDescriptor``."""
        try:
            data, fds = _receive(self._socket)
        except BlockingIOError:
            return
        except (OSError, ChannelError) as error:
            self._give_up(str(error))
            return
        if not data:
            self._give_up("it has closed")
            return
        try:
            for message in self._decoder.feed(data, fds):
                if self.open:
                    self._received(message)
                else:
                    message.close()
        except ChannelError as error:
            self._give_up(str(error))

    def doWrite(self) -> None:
        """See ``IWriteDescriptor``."""
        try:
            while self._outgoing:
                self._send_some()
        except BlockingIOError:
            self._reactor.addWriter(self)
        except OSError as error:
            self._give_up(str(error))
        else:
            self._reactor.removeWriter(self)

    def _send_some(self) -> None:
        line, fds = self._outgoing[0]
        sent = socket.send_fds(self._socket, [line], list(fds)) if fds else self._socket.send(line)
        close_all(fds)
        self._queued -= sent
        if sent < len(line):
            self._outgoing[0] = line[sent:], ()
        else:
            self._outgoing.popleft()

    def connectionLost(self, reason: Failure) -> None:
        """See ``IFileDescriptor``: the reactor gives the socket up."""
        self._give_up("it has closed" if reason.check(ConnectionDone) else reason.getErrorMessage())

    def _give_up(self, reason: str) -> None:
        lost = self._lost
        if lost is None:
            return
        self.close()
        lost(reason)
