"""Log lines on their way from a worker to its supervisor, who alone writes to the log.

Each worker has a pipe of its own, so that no line is torn however long it is; a line in it is its level's letter, its text
and a NUL, which no text has.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tlsproxy.notes import Level

KEPT: Final = 1024 * 1024
"""Bytes of lines kept for a reader that is late: a second's worth from a busy process."""

END: Final = b"\0"

READ_SIZE: Final = 65536
"""Bytes read at once: what a pipe holds."""

_LETTERS = {Level.INFO: b"i", Level.WARNING: b"w", Level.ERROR: b"e"}
_LEVELS = {letter: level for level, letter in _LETTERS.items()}


@implementer(IWriteDescriptor)
class PipeSink:
    """A pipe to a process that writes the lines where they belong, one with a :class:`LogReader`.

    Never waits. What a late reader leaves is kept, up to :data:`KEPT`; beyond that lines are lost.
    """

    def __init__(self, descriptor: int, reactor: Any) -> None:
        """:param descriptor: The writing end; the sink's from here on."""
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._reactor = reactor
        self._kept = bytearray()

    def write(self, level: Level, line: str) -> None:
        """Take the line.

        :raises OSError: It is lost: the reader is too late.
        """
        data = _LETTERS[level] + line.encode() + END
        if len(self._kept) + len(data) > KEPT:
            raise BlockingIOError("the log isn't read")
        self._kept += data

    def flush(self) -> None:
        """Send what was taken; what the pipe has no room for follows by itself.

        :raises OSError: It is lost: the reader is gone.
        """
        if self._kept:
            self._send()

    def wait(self, timeout: float) -> None:
        """Wait for the reader to take what is kept, ``timeout`` seconds at most: at the end of a process."""
        deadline = time.monotonic() + timeout
        while self._kept and (left := deadline - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll(left * 1000)
            self.doWrite()

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return self._descriptor

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "log"

    def doWrite(self) -> None:
        """See ``IWriteDescriptor``."""
        with contextlib.suppress(OSError):
            self._send()

    def _send(self) -> None:
        try:
            del self._kept[: os.write(self._descriptor, self._kept)]
        except BlockingIOError:
            pass
        except OSError:
            self._kept.clear()  # the reader is gone
            self._reactor.removeWriter(self)
            raise
        if self._kept:
            self._reactor.addWriter(self)
        else:
            self._reactor.removeWriter(self)

    def connectionLost(self, _reason: Failure) -> None:
        """See ``IFileDescriptor``: nobody reads any more."""
        self._kept.clear()
        self._reactor.removeWriter(self)


@define
class LineDecoder:
    """The lines in what :class:`PipeSink` wrote."""

    _buffer: bytearray = field(factory=bytearray, init=False)

    def feed(self, data: bytes) -> Iterator[tuple[Level, str]]:
        """Take what was read; yields each line that is whole, with its level.

        A line longer than :data:`KEPT` comes in parts.
        """
        self._buffer += data
        *lines, rest = bytes(self._buffer).split(END)
        if len(rest) > KEPT:
            lines, rest = [*lines, rest], b""
        self._buffer[:] = rest
        for line in lines:
            yield _LEVELS.get(line[:1], Level.ERROR), line[1:].decode(errors="replace")


@implementer(IReadDescriptor)
class LogReader:
    """The supervisor's end of a worker's pipe."""

    def __init__(
        self, descriptor: int, *, reactor: Any, write: Callable[[Level, str], None], ended: Callable[[], None]
    ) -> None:
        """
        :param descriptor: The reading end; the reader's from here on.
        :param write: Takes each line. Must not raise.
        :param ended: Called once there are no more.
        """
        os.set_blocking(descriptor, False)
        self._descriptor: int | None = descriptor
        self._reactor = reactor
        self._write = write
        self._ended = ended
        self._lines = LineDecoder()
        reactor.addReader(self)

    def fileno(self) -> int:
        """See ``IFileDescriptor``."""
        return -1 if self._descriptor is None else self._descriptor

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "log"

    def doRead(self) -> None:
        """See ``IReadDescriptor``."""
        if self._descriptor is None:
            return
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            self._close()
            return
        for level, line in self._lines.feed(data):
            self._write(level, line)

    def connectionLost(self, _reason: Failure) -> None:
        """See ``IFileDescriptor``."""
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = None
            self._ended()
