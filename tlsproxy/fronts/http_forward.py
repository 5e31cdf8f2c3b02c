"""Heads as they are sent on: what belongs to one connection is taken out (RFC 9110 §7.6.1), what the proxy knows is put in.

A field that ``Connection`` names is taken out before the proxy's own are put in: a client can't have those taken out by
naming them.
"""

from collections.abc import Iterable
from typing import Final

from tlsproxy.fronts.http_body import LAST_CHUNK, Framing
from tlsproxy.fronts.http_request import Request
from tlsproxy.fronts.http_response import Response
from tlsproxy.fronts.http_syntax import OF_ONE_CONNECTION, Field
from tlsproxy.identity.forwarded import Forwarding, Trust, trust

# What the proxy says itself, of which a request has exactly one or none.
_WRITTEN_ANEW: Final = OF_ONE_CONNECTION | {b"content-length", b"expect", b"host", b"max-forwards"}

_NOT_IN_RESPONSES: Final = OF_ONE_CONNECTION | {b"content-length"}

_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED

FORWARDS_COUNTED: Final = frozenset({b"OPTIONS", b"TRACE"})
"""Methods whose ``Max-Forwards`` counts (RFC 9110 §7.6.2)."""

_SWITCHING_PROTOCOLS: Final = 101

# RFC 9110 §6.5.1: what decides how a message is read comes too late behind it, and may be taken for more than it is.
_NO_TRAILER: Final = _WRITTEN_ANEW | {
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"cookie",
    b"date",
    b"location",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"set-cookie",
    b"strict-transport-security",
    b"trailer",
    b"vary",
    b"www-authenticate",
}


def carried(request: Request) -> dict[bytes, bytes]:
    """What a request says of where it came from, for :class:`~tlsproxy.identity.forwarded.Forwarding`."""
    values: dict[bytes, bytes] = {}
    for name, _, value in request.fields:
        if value and trust(name) is Trust.CARRIED:
            values[name] = b"%b, %b" % (values[name], value) if name in values else value
    return values


def request_head(
    request: Request, forwarding: Forwarding, *, host: bytes, upgrade: bool = False, last: bool = False
) -> bytes:
    """A request's head for the backend.

    :param host: The one to name for a client of HTTP/1.0 that named none.
    :param upgrade: The backend may go on with ``request.upgrade``.
    :param last: The backend is to close the connection behind its response.
    """
    line, options = request.line, request.options
    kept = [
        b"%b %b HTTP/1.1\r\nHost: %b%b\r\n" % (line.method, line.target, request.host or host, request.plain)
    ]
    for lower, name, value in request.fields:
        if lower in _WRITTEN_ANEW or lower in options:
            continue
        worth = trust(lower)
        if worth is Trust.ORDINARY or (worth is Trust.PROXYS and forwarding.trusted):
            kept.append(b"%b: %b\r\n" % (name, value))
    received = carried(request) if forwarding.trusted else {}
    kept += (forwarding.fields(request.host, line.minor, received), _request_framing(request))
    if upgrade:
        kept.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
    elif last:
        kept.append(b"Connection: close\r\n")
    kept.append(b"\r\n")
    return b"".join(kept)


def _request_framing(request: Request) -> bytes:
    """The fields that a request has one of, or none."""
    written = b""
    if request.framing is _CHUNKED:
        written = b"Transfer-Encoding: chunked\r\n"
    elif request.framing is _LENGTH:
        written = b"Content-Length: %d\r\n" % request.length
    if request.expects_continue and request.has_body:
        written += b"Expect: 100-continue\r\n"
    if request.max_forwards is not None:
        used = request.line.method in FORWARDS_COUNTED
        written += b"Max-Forwards: %d\r\n" % (request.max_forwards - used)
    return written


def response_head(
    response: Response,
    *,
    chunked: bool = False,
    close: bool = False,
    added: bytes = b"",
    replaced: bytes = b"",
) -> bytes:
    """A response's head for the client.

    :param chunked: The body is sent in chunks.
    :param close: The connection is closed behind it.
    :param added: Lines to add.
    :param replaced: Name, in lower case, of a field to leave out for it.
    """
    options = response.options
    kept = [b"HTTP/1.1 %d %b%b\r\n" % (response.status, response.reason, response.plain)]
    for lower, name, value in response.fields:
        if lower not in _NOT_IN_RESPONSES and lower not in options and lower != replaced:
            kept.append(b"%b: %b\r\n" % (name, value))
    if chunked:
        kept.append(b"Transfer-Encoding: chunked\r\n")
    elif response.length is not None:
        kept.append(b"Content-Length: %d\r\n" % response.length)
    if response.status == _SWITCHING_PROTOCOLS:
        kept.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % response.upgrade)
    elif close:
        kept.append(b"Connection: close\r\n")
    kept += (added, b"\r\n")
    return b"".join(kept)


def end_of_chunks(trailers: Iterable[Field]) -> bytes:
    """The last chunk, with the trailers that mean the same behind a message as they would before it."""
    kept = [
        b"%b: %b\r\n" % (name, value)
        for lower, name, value in trailers
        if lower not in _NO_TRAILER and trust(lower) is Trust.ORDINARY
    ]
    return b"%b%b\r\n" % (LAST_CHUNK, b"".join(kept))
