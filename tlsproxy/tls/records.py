"""Where TLS records end in a byte stream (RFC 8446 §5.1, RFC 5246 §6.2).

The engine counts the records that it hands to OpenSSL. So it asks OpenSSL for plaintext only while a record can be there
(asking in vain costs an exception), and can bound how many it hands over at once.
"""

from typing import Final

from tlsproxy.tls.wire import ContentType

HEADER_SIZE: Final = 5

MAX_FRAGMENT: Final = 2**14 + 2048
"""Longest fragment that any TLS version allows (RFC 5246 §6.2.3). OpenSSL refuses longer ones by the header alone."""

_FIRST_TYPE: Final = int(min(ContentType))
_LAST_TYPE: Final = int(max(ContentType))


class RecordCounter:
    """Follows one direction of a connection from its first byte.

    :ivar lost: The bytes are no TLS records (any more): counting has ended for good.
    :ivar longest: Bytes in the longest fragment that ended in the last :meth:`take`; no plaintext from it is longer, since
        nothing compresses.
    """

    __slots__ = ("_header", "_length", "_missing", "longest", "lost")

    def __init__(self) -> None:
        self.lost = False
        self.longest = 0
        self._header = b""
        # The beginning of a header that isn't complete.
        self._length = 0
        # Bytes in the fragment of the record begun last …
        self._missing = 0
        # … and how many of them are still to come; 0 between records.

    def take(self, data: bytes, start: int, limit: int) -> tuple[int, int]:
        """Count the records in ``data`` from ``start`` on.

        :param limit: Stop where this many records have ended.
        :returns: Where it stopped (the end of ``data``; of the last record counted; or, when ``lost``, at latest the bytes
            that are no record), and how many records ended.
        """
        position, end, complete, longest = start, len(data), 0, 0
        while complete < limit and position < end:
            missing = self._missing
            if not missing:
                position, length = self._read_header(data, position)
                if length is None:
                    break
                self._length = missing = length
            if end - position < missing:
                self._missing = missing - (end - position)
                position = end
                break
            position += missing
            self._missing = 0
            complete += 1
            if self._length > longest:
                longest = self._length
        self.longest = longest
        return position, complete

    def _read_header(self, data: bytes, position: int) -> tuple[int, int | None]:
        """Where the fragment begins and how long it is; None when that isn't known, or can't be."""
        header = self._header
        if header or len(data) - position < HEADER_SIZE:
            fresh = data[position : position + HEADER_SIZE - len(header)]
            header += fresh
            position += len(fresh)
            if len(header) < HEADER_SIZE:
                self._header = header
                return position, None
            self._header = b""
            length = _fragment_length(header, 0)
        else:
            length = _fragment_length(data, position)
            if length is not None:
                position += HEADER_SIZE
        if length is None:
            self.lost = True
        return position, length


def _fragment_length(data: bytes, at: int) -> int | None:
    length = data[at + 3] << 8 | data[at + 4]
    if _FIRST_TYPE <= data[at] <= _LAST_TYPE and data[at + 1] == 3 and length <= MAX_FRAGMENT:
        return length
    return None
