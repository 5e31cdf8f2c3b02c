"""Lines out of a stream of bytes, however it is split, within a limit."""

from typing import Final

TOO_LONG: Final = b""
"""Stands for a line above the limit. A line itself is never empty: it ends with its LF."""


class LineBuffer:
    """Bytes received and not dealt with yet. A line ends at LF; whether a CR must stand before it is the reader's rule.

    The buffer itself has no limit: who holds bytes back in it has to pause their sender.
    """

    __slots__ = ("_buffer", "_scanned", "_skipping")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # no LF before it, so that a line in single bytes isn't searched again with each
        self._skipping = False

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return
            self._skipping = False
            data = data[end + 1 :]
        self._buffer += data

    def starts_with(self, word: bytes) -> bool:
        """Whether the next line begins with ``word`` (capitals), in any case."""
        return self._buffer[: len(word)].upper() == word

    def next_line(self, limit: int) -> bytes | None:
        """The next line with its LF; None while it isn't whole.

        ``TOO_LONG``: it is longer than ``limit`` bytes, LF included. That is said once, and all of it is thrown away.
        """
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned <= limit:
                return None
            self._clear()
            self._skipping = True
            return TOO_LONG
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line if len(line) <= limit else TOO_LONG

    def take_all(self) -> bytes:
        """Everything that is there."""
        data = bytes(self._buffer)
        self._clear()
        return data

    def _clear(self) -> None:
        self._buffer.clear()
        self._scanned = 0
