"""Responses: what a backend may say, and where it ends.

Old servers are heard out: folded lines, white space before a colon, a reason that is missing, two equal lengths. But a
response whose end isn't plain is none, because what follows it would be taken for the answer to somebody else's request.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from attrs import define

from tlsproxy.fronts.http_body import Framing
from tlsproxy.fronts.http_request import is_of_connection
from tlsproxy.fronts.http_syntax import (
    OF_ONE_CONNECTION,
    OF_PERSISTENCE,
    PLAIN_FIELDS,
    Field,
    HeadBuffer,
    HttpError,
    connection_options,
    parse_lenient_fields,
    splice,
)

LINE_LIMIT: Final = 8192
"""Bytes of a status line."""

HEADER_LIMIT: Final = 65536
"""Bytes of a response's fields: cookies of 4 KiB by the dozen, and the tokens of Kerberos. curl takes 300 KiB."""

_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9]{2})(?: ([^\r]*))?")
_READ: Final = frozenset(
    {b"connection", b"content-length", b"date", b"transfer-encoding", b"upgrade", b"www-authenticate"}
)
_PLAIN: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ([\t -~\x80-\xff]*+)(%b)\r\n\r\n" % PLAIN_FIELDS)
_SPECIAL: Final = re.compile(rb"\r\n((?i:connection|content-length|keep-alive|transfer-encoding)): ([^\r]*+)")
_DATE: Final = b"Date"  # as nearly everybody writes it
_REPLACED: Final = b"strict-transport-security"  # by ours, where it is configured

_DIGITS: Final = re.compile(rb"[0-9]{1,18}")


_NONE: Final = Framing.NONE
_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE


@define
class Response:
    """The head of a response."""

    status: int
    reason: bytes
    minor: int
    """Of its version."""
    fields: list[Field]
    """All of them, or none: then those to be sent on are in ``plain``."""
    options: frozenset[bytes]
    """Those of ``Connection``, in lower case."""
    framing: Framing
    length: int | None
    """``Content-Length``, also of a body that isn't sent to HEAD; None where there is none or mustn't be."""
    upgrade: bytes
    """The protocol that the backend goes on with, in lower case."""
    binds_connection: bool
    """It asks for credentials for the connection, as with NTLM."""
    dated: bool
    """It has a ``Date``."""
    plain: bytes = b""
    """Fields to be sent on as they came, each behind a CRLF."""

    @property
    def informational(self) -> bool:
        """Another response to the same request follows."""
        return self.status < 200

    @property
    def persistent(self) -> bool:
        """Whether the connection may be used again, once the body is over."""
        return self.minor > 0 and b"close" not in self.options and self.framing is not _UNTIL_CLOSE


class ResponseReader:
    """The heads of responses out of what a backend sends.

    :ivar begun: Something has come.
    """

    __slots__ = ("_buffer", "_line", "begun")

    def __init__(self) -> None:
        self._buffer = HeadBuffer()
        self._line: re.Match[bytes] | None = None
        self.begun = False

    def begin(self) -> None:
        """Forget what came: another request is sent."""
        self._buffer.take_all()
        self._line = None
        self.begun = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        self.begun = True
        self._buffer.feed(data)

    def take_rest(self) -> bytes:
        """What came behind the head."""
        return self._buffer.take_all()

    def next_response(self, method: bytes) -> Response | None:
        """The next head; None while it isn't whole.

        :param method: That of the request, which tells whether there is a body.
        :raises HttpError: This is no response. Nothing more can be read.
        """
        if self._line is None:
            if (plain := self._next_plain(method)) is not None:
                return plain
            text = self._buffer.next_line(LINE_LIMIT, too_long=502)
            if text is None:
                return None
            self._line = _LINE.fullmatch(text)
            if self._line is None:
                raise HttpError(502, "the first line is no status line")
        lines = self._buffer.next_fields(HEADER_LIMIT)
        if lines is None:
            return None
        minor, status, reason = self._line.groups(b"")
        self._line = None
        return understand(int(status), reason, int(minor), parse_lenient_fields(lines), method)

    def _next_plain(self, method: bytes) -> Response | None:
        """The next final response, if its head is there and plain, and within all limits."""
        matched = self._buffer.match_fresh(_PLAIN)
        if matched is None:
            return None
        status, reason, fields = matched.groups()
        if matched.start(3) > LINE_LIMIT or len(fields) + 2 > HEADER_LIMIT:
            return None
        response = understand_plain(int(status), reason, fields, method)
        if response is not None:
            self._buffer.drop(matched.end())
        return response


def understand_plain(status: int, reason: bytes, fields: bytes, method: bytes) -> Response | None:
    """What a final response of HTTP/1.1 is.

    :param fields: What matched :data:`~tlsproxy.fronts.http_syntax.PLAIN_FIELDS`.
    :param method: That of the request.
    :returns: None unless they say no more than how the body is framed, and others that don't matter here.
    :raises HttpError: Where it ends isn't plain.
    """
    spliced = splice(fields, _SPECIAL, _is_plain)
    if spliced is None:
        return None
    lines, read = spliced
    options = connection_options(read.get(b"connection"))
    if not options <= OF_PERSISTENCE:
        return None
    framing, length = _body_of(status, 1, method, read)
    dated = b"\r\nDate: " in lines
    return Response(status, reason, 1, [], options, framing, length, b"", False, dated, lines)


@lru_cache(maxsize=1024)
def _is_plain(name: bytes) -> bool:
    """Whether a field of this name says nothing to a proxy, and is sent on as it came."""
    lower = name.lower()
    return name == _DATE or not (lower in _READ or lower in OF_ONE_CONNECTION or lower == _REPLACED)


def understand(status: int, reason: bytes, minor: int, fields: list[Field], method: bytes) -> Response:
    """What a response is.

    :param method: That of the request.
    :raises HttpError: Where it ends isn't plain.
    """
    read: dict[bytes, bytes] = {}
    for lower, _, value in fields:
        if lower in _READ:
            read[lower] = value if lower not in read else read[lower] + b"," + value
    framing, length = _body_of(status, minor, method, read)
    return Response(
        status,
        reason,
        minor,
        fields,
        connection_options(read.get(b"connection")),
        framing,
        length,
        upgrade=read.get(b"upgrade", b"").lower(),
        binds_connection=is_of_connection(read.get(b"www-authenticate")),
        dated=b"date" in read,
    )


def _body_of(
    status: int, minor: int, method: bytes, read: Mapping[bytes, bytes]
) -> tuple[Framing, int | None]:
    """How the body is framed, and its ``Content-Length``."""
    framing, length = _framing(minor, read.get(b"content-length"), read.get(b"transfer-encoding"))
    if status < 200 or status == 204 or (method == b"CONNECT" and status < 300):
        return _NONE, None  # RFC 9112 §6.3 points 1 and 2, RFC 9110 §8.6
    if status == 304 or method == b"HEAD":
        return _NONE, length
    return framing, length


def _framing(minor: int, lengths: bytes | None, coding: bytes | None) -> tuple[Framing, int | None]:
    """Where the body ends, if there is one (RFC 9112 §6.3)."""
    if coding is not None:
        if coding.lower() != b"chunked" or lengths is not None or minor == 0:
            raise HttpError(
                502, "Transfer-Encoding that isn't chunked alone, beside Content-Length, or in HTTP/1.0"
            )
        return _CHUNKED, None
    if lengths is None:
        return _UNTIL_CLOSE, None
    if _DIGITS.fullmatch(lengths):
        return _LENGTH, int(lengths)
    distinct = {each.strip(b" \t") for each in lengths.split(b",")}
    length = distinct.pop()
    if distinct or not _DIGITS.fullmatch(length):
        raise HttpError(502, "conflicting or malformed Content-Length")
    return _LENGTH, int(length)
