"""Lines out of a stream of bytes, however it is split, within a limit."""

from typing import Final

TOO_LONG: Final = b""
"""Stands for a line above the limit. A line itself is never empty: it ends with its LF."""


class LineBuffer:
    """Bytes received and not dealt with yet. A line ends at LF; whether a CR must stand before it is the reader's rule.

    The buffer itself has no limit: who holds bytes back in it has to pause their sender.

    :ivar held: How many bytes there are.
    """

    __slots__ = ("_data", "_scanned", "_skipping", "_start", "held")

    def __init__(self) -> None:
        # As they came, without a copy, while nothing is left of what came before them.
        self._data: bytes | bytearray = b""
        self._start = 0  # what stands before it has been read
        self._scanned = 0  # no LF before it, so that a line in single bytes isn't searched again with each
        self._skipping = False
        self.held = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return
            self._skipping = False
            data = data[end + 1 :]
        if self.held:
            self._append(data)
        else:
            self._data = data
            self._start = self._scanned = 0
        self.held += len(data)

    def _append(self, data: bytes) -> None:
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        del self._data[: self._start]
        self._scanned -= self._start
        self._start = 0
        self._data += data

    def starts_with(self, word: bytes) -> bool:
        """Whether the next line begins with ``word`` (capitals), in any case."""
        return self._data[self._start : self._start + len(word)].upper() == word

    def next_line(self, limit: int) -> bytes | None:
        """The next line with its LF; None while it isn't whole.

        ``TOO_LONG``: it is longer than ``limit`` bytes, LF included. That is said once, and all of it is thrown away.
        """
        start = self._start
        end = self._data.find(b"\n", self._scanned) + 1
        if not end:
            self._scanned = len(self._data)
            if self._scanned - start <= limit:
                return None
            self._clear()
            self._skipping = True
            return TOO_LONG
        self._start = self._scanned = end
        self.held -= end - start
        return bytes(self._data[start:end]) if end - start <= limit else TOO_LONG

    def take_all(self) -> bytes:
        """Everything that is there."""
        data = bytes(self._data[self._start :])
        self._clear()
        return data

    def _clear(self) -> None:
        self._data = b""
        self._start = self._scanned = self.held = 0
