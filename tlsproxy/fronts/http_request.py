"""Requests: what a client may ask, and the one way to understand it (RFC 9110, RFC 9112).

A request is refused when a server behind might read it otherwise than the proxy: see where it ends (``Content-Length``,
``Transfer-Encoding``), or whom it is for (``Host``). RFC 9112 §6.3 lets a server repair some of these; so do old servers,
each in its way, which is how requests are smuggled.

============================================================  =====================================================
a request with                                                is answered
============================================================  =====================================================
a first line that isn't method, target and version            400
a version other than HTTP/1.0 and HTTP/1.1                    505
a method longer than all that are known                       501
a first line, or header, above its limit                      414, 431
a target in a form that isn't the method's; ``#`` in it       400
no ``Host`` (HTTP/1.1), two, a malformed one, or another one  400
than the target's
``Content-Length`` repeated, a list, or no plain number       400
``Content-Length`` beside ``Transfer-Encoding``               400
``Transfer-Encoding`` repeated, or in HTTP/1.0                400
``Transfer-Encoding`` with other codings than ``chunked``     501
a field that a CGI server takes for one of these              400
``Connection`` naming one of these                            400
``Expect`` other than ``100-continue``                        417
============================================================  =====================================================
"""

import re
from enum import Enum, auto
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from attrs import define

from tlsproxy.fronts.http_body import Framing
from tlsproxy.fronts.http_referee import agrees
from tlsproxy.fronts.http_syntax import (
    OF_ONE_CONNECTION,
    OF_PERSISTENCE,
    PLAIN_FIELDS,
    Field,
    HeadBuffer,
    HttpError,
    connection_options,
    elements,
    is_token,
    parse_fields,
    splice,
)
from tlsproxy.identity.forwarded import Trust, cgi_form, trust

LINE_LIMIT: Final = 8192
"""Bytes of a request's first line. RFC 9112 §3 recommends 8000 at least; Apache takes 8190."""

METHOD_LIMIT: Final = 32
"""Bytes of a method: half as long again as the longest that is registered, UPDATEREDIRECTREF."""


HOST_LIMIT: Final = 261
"""Bytes of a host and port: 255 for the name (RFC 1123 §2.1)."""

PATH_LIMIT: Final = 256
"""Characters of a path in the log."""

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})  # RFC 9110 §9.2.2

_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9](?:\.[0-9])?)")
_PLAIN: Final = re.compile(rb"((GET|HEAD) (/[!\"$-~]*+) HTTP/1\.1)(%b)\r\n\r\n" % PLAIN_FIELDS)
_SPECIAL: Final = re.compile(rb"\r\n((?i:host|connection)): ([^\r]*+)")

REMEMBERED_LIMIT: Final = 1024
"""Bytes of the fields that are remembered until the next request, which has the same in it more often than not."""

_ABSOLUTE: Final = re.compile(rb"(?i:http(s)?)://([^/?]+)(.*)")
_HOST: Final = re.compile(
    rb"(?:([0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_.])?)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?"
)
_NO_FIELDS: Final = 2  # bytes of the empty line
_FORWARDS: Final = re.compile(rb"[0-9]{1,9}")
_MAX_LENGTH_DIGITS: Final = 18  # less than 2^63, where the next reader may overflow

_MINOR: Final = {b"1.0": 0, b"1.1": 1}

_DECISIVE: Final = frozenset({b"content-length", b"host", b"transfer-encoding"})
_READ: Final = frozenset({b"authorization", b"connection", b"expect", b"max-forwards", b"upgrade"})

# Credentials that are taken for the connection's, not for the request's (RFC 4559 §6).
_OF_CONNECTIONS: Final = (b"ntlm", b"negotiate")


_NONE: Final = Framing.NONE
_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED


@define
class RequestLine:
    """The first line of a request."""

    text: bytes
    """As it came, without its CRLF."""
    method: bytes
    target: bytes
    """In the form that an origin server gets: path and query, ``*``, or for CONNECT the authority."""
    minor: int
    """Of its version: 0 or 1."""
    authority: bytes | None = None
    """Of a target that had one."""
    default_port: int = 0
    """Of its scheme; 0 where there is none."""

    @property
    def path(self) -> str:
        """The target without its query, which may hold secrets: for the log."""
        return self.target.partition(b"?")[0][:PATH_LIMIT].decode("ascii")


@define
class Request:
    """The head of a request that is understood in one way."""

    line: RequestLine
    host: bytes | None
    """As it came. None where a client of HTTP/1.0 gave none."""
    fields: list[Field]
    """All of them, or none: then those to be sent on are in ``plain``."""
    options: frozenset[bytes]
    """Those of ``Connection``, in lower case."""
    framing: Framing
    length: int
    """``Content-Length``; 0 without it."""
    expects_continue: bool
    upgrade: bytes
    """The protocol that the client would rather speak, in lower case; empty where it asks for none."""
    binds_connection: bool
    """It has credentials for the connection that it comes by, as with NTLM."""
    max_forwards: int | None
    size: int
    """Bytes of the head as it came."""
    plain: bytes = b""
    """Fields to be sent on as they came, each behind a CRLF."""

    @property
    def has_body(self) -> bool:
        return self.framing is _CHUNKED or self.length > 0

    @property
    def persistent(self) -> bool:
        """Whether the connection may carry another request (RFC 9112 §9.3). Clients of HTTP/1.0 are given none."""
        return self.line.minor == 1 and b"close" not in self.options

    @property
    def idempotent(self) -> bool:
        """Whether it may be sent again when its outcome isn't known."""
        return self.line.method in _IDEMPOTENT


class RequestReader:
    """Requests out of what a client sends."""

    __slots__ = ("_blank", "_buffer", "_fields_limit", "_header_limit", "_remembered", "line")

    def __init__(self, buffer: HeadBuffer, *, header_limit: int, fields_limit: int) -> None:
        """
        :param buffer: Holds what the client sent. A request's body begins where its head was taken out.
        :param header_limit: Bytes of a head.
        :param fields_limit: How many there may be.
        :ivar line: Of a request whose fields aren't all there, or were refused.
        """
        self._buffer = buffer
        self._header_limit = header_limit
        self._fields_limit = fields_limit
        self.line: RequestLine | None = None
        self._blank = False
        self._remembered: tuple[bytes, _Plain] | None = None

    @property
    def begun(self) -> bool:
        """Whether part of a request is there."""
        return bool(self._buffer.data) or self.line is not None or self._blank

    def next_request(self) -> Request | None:
        """The next request's head; None while it isn't whole.

        :raises HttpError: It is refused. Nothing more can be read.
        """
        if self.line is None:
            if not self._blank and (plain := self._next_plain()) is not None:
                return plain
            text = self._next_line()
            if text is None:
                return None
            self.line = parse_request_line(text)
        line = self.line
        lines = self._buffer.next_fields(max(self._header_limit - len(line.text), _NO_FIELDS))
        if lines is None:
            return None
        fields = parse_fields(lines, self._fields_limit)
        request = understand(line, fields, size=len(line.text) + len(lines) + 4)
        if request.has_body and not agrees(line.text, lines, fields):
            raise HttpError(400, "two readers of the request disagree")
        self.line = None
        self._blank = False
        return request

    def _next_plain(self) -> Request | None:
        """The next request, if its head is there and plain, and within all limits."""
        matched = self._buffer.match_fresh(_PLAIN)
        if matched is None:
            return None
        text, method, target, fields = matched.groups()
        size = matched.end()
        if (
            len(text) > LINE_LIMIT
            or size - 2 > self._header_limit
            or fields.count(b"\n") > self._fields_limit
        ):
            return None
        plain = self._understand_plain(fields)
        if plain is None:
            return None
        self._buffer.drop(size)
        line = RequestLine(text, method, target, 1)
        return Request(
            line, plain.host, [], plain.options, _NONE, 0, False, b"", False, None, size, plain.lines
        )

    def _understand_plain(self, fields: bytes) -> "_Plain | None":
        if self._remembered is not None and self._remembered[0] == fields:
            return self._remembered[1]
        plain = understand_plain(fields)
        if plain is not None and len(fields) <= REMEMBERED_LIMIT:
            self._remembered = fields, plain
        return plain

    def _next_line(self) -> bytes | None:
        text = self._buffer.next_line(LINE_LIMIT, too_long=414)
        if text == b"" and not self._blank:  # a single one is forgiven (RFC 9112 §2.2)
            self._blank = True
            text = self._buffer.next_line(LINE_LIMIT, too_long=414)
        return text


def parse_request_line(text: bytes) -> RequestLine:
    """Read a request's first line.

    :raises HttpError: It is refused.
    """
    matched = _LINE.fullmatch(text)
    if matched is None:
        raise HttpError(400, "the first line isn't a method, a target and a version")
    method, target, version = matched.groups()
    minor = _MINOR.get(version)
    if minor is None:
        raise HttpError(505, "a version other than 1.0 and 1.1")
    if len(method) > METHOD_LIMIT:
        raise HttpError(501, "the method is too long")
    if b"#" in target:
        raise HttpError(400, "a fragment in the target")
    if target.startswith(b"/") and method != b"CONNECT":
        return RequestLine(text, method, target, minor)
    return RequestLine(text, method, *_other_target(method, target, minor))


def _other_target(method: bytes, target: bytes, minor: int) -> tuple[bytes, int, bytes | None, int]:
    """Of a target that isn't in origin form (RFC 9112 §3.2) the rest of a :class:`RequestLine`."""
    if method == b"CONNECT":
        if (host := parse_host(target)) is not None and host[1] is not None:
            return target, minor, target, 0
    elif method == b"OPTIONS" and target == b"*":
        return target, minor, None, 0
    elif (absolute := _ABSOLUTE.fullmatch(target)) is not None and parse_host(absolute[2]) is not None:
        path = absolute[3]
        if not path.startswith(b"/"):
            path = b"*" if method == b"OPTIONS" and not path else b"/" + path
        return path, minor, absolute[2], 443 if absolute[1] else 80
    raise HttpError(400, "the target's form isn't one for the method")


def parse_host(text: bytes) -> tuple[bytes, int | None] | None:
    """Name and port of a ``Host`` field or an authority; None where it is malformed.

    Names are what host names are made of, and ``_``, which some have. What RFC 3986 §3.2.2 allows beyond that has no use
    in a host, but has some in what old servers make of it: links, redirects, paths.
    """
    return _parse_host(text) if len(text) <= HOST_LIMIT else None


@lru_cache(maxsize=1024)
def _parse_host(text: bytes) -> tuple[bytes, int | None] | None:
    matched = _HOST.fullmatch(text)
    if matched is None:
        return None
    name, ipv6, digits = matched.groups()
    port = int(digits) if digits is not None else None
    if port is not None and not 0 < port < 65536:
        return None
    if ipv6 is not None:
        try:
            return IPv6Address(ipv6.decode("ascii")).compressed.encode("ascii"), port
        except ValueError:
            return None
    return name.lower(), port


def understand(line: RequestLine, fields: list[Field], *, size: int) -> Request:
    """What a request is.

    :param size: Bytes of its head.
    :raises HttpError: It is refused.
    """
    read = _read(fields)
    options = connection_options(read.get(b"connection"))
    if options & _DECISIVE:
        raise HttpError(400, "Connection names a field that no request can do without")
    framing, length = _framing(line.minor, read.get(b"content-length"), read.get(b"transfer-encoding"))
    upgrade = read.get(b"upgrade", b"").lower() if line.minor and b"upgrade" in options else b""
    max_forwards = read.get(b"max-forwards", b"")
    return Request(
        line,
        _host(line, read.get(b"host")),
        fields,
        options,
        framing,
        length,
        expects_continue=_expects_continue(line, read.get(b"expect")),
        upgrade=upgrade,
        binds_connection=is_of_connection(read.get(b"authorization")),
        max_forwards=int(max_forwards) if _FORWARDS.fullmatch(max_forwards) else None,
        size=size,
    )


@define
class _Plain:
    """What the fields of a plain request come to."""

    host: bytes
    options: frozenset[bytes]
    lines: bytes
    """Those to be sent on, each behind a CRLF."""


def understand_plain(fields: bytes) -> _Plain | None:
    """What the fields of a request without a body and with a target in origin form come to.

    :param fields: What matched :data:`~tlsproxy.fronts.http_syntax.PLAIN_FIELDS`.
    :returns: None unless they are ``Host``, maybe ``Connection`` that names no field, and others that don't matter here.
    """
    spliced = splice(fields, _SPECIAL, _is_plain)
    if spliced is None:
        return None
    lines, read = spliced
    host = read.get(b"host")
    options = connection_options(read.get(b"connection"))
    if host is None or parse_host(host) is None or not options <= OF_PERSISTENCE:
        return None
    return _Plain(host, options, lines)


@lru_cache(maxsize=1024)
def _is_plain(name: bytes) -> bool:
    """Whether a field of this name says nothing to a proxy, and is sent on as it came."""
    lower = name.lower()
    return _role(lower) is _Role.OTHER and lower not in OF_ONE_CONNECTION and trust(lower) is Trust.ORDINARY


def _read(fields: list[Field]) -> dict[bytes, bytes]:
    """The values of the fields that say what the request is."""
    read: dict[bytes, bytes] = {}
    for lower, _, value in fields:
        role = _role(lower)
        if role is _Role.OTHER:
            continue
        if role is _Role.MIMICRY:
            raise HttpError(400, "a field that CGI takes for Content-Length, Host or Transfer-Encoding")
        if lower not in read:
            read[lower] = value
        elif role is _Role.DECISIVE:
            raise HttpError(400, f"two {lower.decode().title()} fields")
        else:
            read[lower] += b"," + value
    return read


class _Role(Enum):
    """What a field is to the understanding of a request."""

    DECISIVE = auto()
    READ = auto()
    MIMICRY = auto()
    OTHER = auto()


@lru_cache(maxsize=1024)
def _role(name: bytes) -> _Role:
    if name in _DECISIVE:
        return _Role.DECISIVE
    if name in _READ:
        return _Role.READ
    return _Role.MIMICRY if cgi_form(name) in _DECISIVE else _Role.OTHER


def _framing(minor: int, length: bytes | None, coding: bytes | None) -> tuple[Framing, int]:
    """Where the body ends (RFC 9112 §6.3)."""
    if coding is not None:
        if length is not None:
            raise HttpError(400, "Content-Length beside Transfer-Encoding")
        _check_coding(minor, coding)
        return _CHUNKED, 0
    if length is None:
        return _NONE, 0
    if not length.isdigit():
        raise HttpError(400, "Content-Length is no number")
    if len(length) > _MAX_LENGTH_DIGITS:
        raise HttpError(413, "Content-Length is too large")
    return _LENGTH, int(length)


def _check_coding(minor: int, coding: bytes) -> None:
    if minor == 0:
        raise HttpError(400, "Transfer-Encoding in HTTP/1.0")
    if coding.lower() != b"chunked":
        codings = elements(coding)
        unknown = b"chunked" not in codings[:-1] and all(map(is_token, codings)) and bool(codings)
        raise HttpError(501 if unknown else 400, "Transfer-Encoding isn't chunked alone")


def _host(line: RequestLine, host: bytes | None) -> bytes | None:
    """The host that the request is for."""
    if host is None:
        if line.minor:
            raise HttpError(400, "no Host field")
        return line.authority
    parsed = parse_host(host)
    if parsed is None:
        raise HttpError(400, "a malformed Host field")
    if line.authority is not None and _with_port(parsed, line) != _with_port(
        parse_host(line.authority), line
    ):
        raise HttpError(400, "the Host field names another host than the target")
    return host


def _with_port(host: tuple[bytes, int | None] | None, line: RequestLine) -> tuple[bytes, int]:
    assert host is not None  # noqa: S101 - both were parsed before
    return host[0], host[1] or line.default_port


def _expects_continue(line: RequestLine, expect: bytes | None) -> bool:
    if expect is None or line.minor == 0:  # RFC 9110 §10.1.1
        return False
    if expect.lower() != b"100-continue":
        raise HttpError(417, "an expectation other than 100-continue")
    return True


def is_of_connection(value: bytes | None) -> bool:
    """Whether ``Authorization`` or ``WWW-Authenticate`` is about the connection: NTLM and Negotiate."""
    return value is not None and any(element.startswith(_OF_CONNECTIONS) for element in elements(value))
