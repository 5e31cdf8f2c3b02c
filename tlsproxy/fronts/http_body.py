"""Bodies of messages: where each ends in a stream of bytes (RFC 9112 §6 and §7).

A body goes past, it isn't kept. What was chunked is chunked anew: no chunk extension, and no chunk size in an unusual
spelling, reaches the next reader, who may read it otherwise.
"""

import re
from enum import Enum, auto
from typing import Final, Protocol

from tlsproxy.fronts.http_syntax import Field, HeadBuffer, HttpError, parse_fields

CHUNK_LINE_LIMIT: Final = 1024
"""Bytes of a line with a chunk's size. Extensions are all but unknown; nginx and Go take a few KiB."""

OVERHEAD_LIMIT: Final = 16384
"""Bytes of chunk sizes and extensions beyond 16 for each chunk and two for each byte of content, as in Go: a chunked body
is there for its content (CVE-2023-39326)."""

TRAILER_LIMIT: Final = 8192
"""Bytes of a trailer section. It holds a checksum or a status, no more."""

TRAILER_FIELDS_LIMIT: Final = 32

LAST_CHUNK: Final = b"0\r\n"

_EXTENSION: Final = rb"[ \t]*;[\t -~]*"
_STRICT_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:%b)?\r\n" % _EXTENSION)
_STRICT_PART: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:[ \t]*|%b)\r?)?" % _EXTENSION)
_LENIENT_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*|%b)\r\n" % _EXTENSION)


class Framing(Enum):
    """What tells where a body ends (RFC 9112 §6.3)."""

    NONE = auto()
    """There is no body."""
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()
    """The end of the connection: in responses alone."""


_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE


class Body(Protocol):
    """A body on its way.

    :ivar rest: None until the body is over, then the bytes received behind it.
    :ivar trailers: The fields behind a chunked body.
    """

    rest: bytes | None
    trailers: list[Field]

    def receive(self, data: bytes) -> bytes:
        """Take bytes as they came; what of them is content. Not called once ``rest`` is there.

        :raises HttpError: The framing is broken: where the body ends can't be known.
        """


class LengthBody:
    """As many bytes as ``Content-Length`` said; none at all where there is no body."""

    __slots__ = ("_left", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self._left = length
        self.rest: bytes | None = None if length else b""
        self.trailers: list[Field] = []

    def receive(self, data: bytes) -> bytes:
        """See :class:`Body`."""
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            return data
        self._left = 0
        self.rest = data[left:]
        return data[:left]


class UntilClose:
    """A response's body that ends with the connection (RFC 9112 §6.3 point 8)."""

    __slots__ = ("rest", "trailers")

    def __init__(self) -> None:
        self.rest: bytes | None = None
        self.trailers: list[Field] = []

    def receive(self, data: bytes) -> bytes:
        """See :class:`Body`."""
        return data


class ChunkedBody:
    """Chunks, the last of which is empty, and trailers."""

    __slots__ = ("_at_end", "_held", "_left", "_line", "_overhead", "_trailer", "rest", "trailers")

    def __init__(self, *, lenient: bool = False) -> None:
        """
        :param lenient: Take white space behind a chunk's size, with which old servers fill it up to a fixed width.
        """
        self._line = _LENIENT_LINE if lenient else _STRICT_LINE
        self._held = b""  # part of a line
        self._left = 0  # content of the chunk
        self._at_end = False  # of the chunk, where its CRLF stands
        self._overhead = 0
        self._trailer: HeadBuffer | None = None
        self.rest: bytes | None = None
        self.trailers: list[Field] = []

    def receive(self, data: bytes) -> bytes:
        """See :class:`Body`."""
        if self._held:
            data = self._held + data
            self._held = b""
        content: list[bytes] = []
        at = 0
        while self._trailer is None and at < len(data):
            if self._left:
                part = data[at : at + self._left]
                content.append(part)
                at += len(part)
                self._left -= len(part)
                self._at_end = not self._left
            elif (end := self._end_of_chunk(data, at) if self._at_end else self._size(data, at)) > at:
                at = end
            else:
                self._held = data[at:]
                break
        if self._trailer is not None:
            self._read_trailer(self._trailer, data[at:])
        return content[0] if len(content) == 1 else b"".join(content)

    def _end_of_chunk(self, data: bytes, at: int) -> int:
        """Where the next line begins; ``at`` while that isn't known."""
        if data.startswith(b"\r\n", at):
            self._at_end = False
            return at + 2
        if data[at:] != b"\r":
            raise HttpError(400, "a chunk is longer than its size")
        return at

    def _size(self, data: bytes, at: int) -> int:
        """Where the content begins; ``at`` while that isn't known."""
        line = self._line.match(data, at)
        if line is None:
            part = data[at : at + CHUNK_LINE_LIMIT + 1]
            if len(part) > CHUNK_LINE_LIMIT or not _STRICT_PART.fullmatch(part):
                raise HttpError(400, "a chunk size is malformed or too long")
            return at
        end = line.end()
        self._left = int(line[1], 16)
        self._overhead = max(self._overhead + end - at - 16 - 2 * self._left, 0)
        if end - at > CHUNK_LINE_LIMIT or self._overhead > OVERHEAD_LIMIT:
            raise HttpError(400, "chunk extensions are too long")
        if not self._left:
            self._trailer = HeadBuffer()
        return end

    def _read_trailer(self, trailer: HeadBuffer, data: bytes) -> None:
        trailer.feed(data)
        lines = trailer.next_fields(TRAILER_LIMIT)
        if lines is not None:
            self.trailers = parse_fields(lines, TRAILER_FIELDS_LIMIT)
            self.rest = trailer.take_all()


_NO_BODY: Final = LengthBody(0)


def body(framing: Framing, length: int, *, lenient: bool = False) -> Body:
    """What reads a body.

    :param length: Its ``Content-Length``.
    :param lenient: See :class:`ChunkedBody`.
    """
    if framing is _CHUNKED:
        return ChunkedBody(lenient=lenient)
    if framing is _UNTIL_CLOSE:
        return UntilClose()
    return LengthBody(length) if framing is _LENGTH and length else _NO_BODY


def chunk(content: bytes) -> bytes:
    """Content as a chunk; nothing of nothing, which would be the last one."""
    return b"%x\r\n%b\r\n" % (len(content), content) if content else b""
