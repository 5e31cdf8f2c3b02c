"""What the proxy itself answers with: short, in plain text, and without a byte of the request in it."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

METHODS: Final = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
"""For ``Allow`` (RFC 9110 §10.2.1): the methods of RFC 9110 and RFC 5789, as far as the proxy sends them on. Those of
WebDAV, which it sends on too, are for the backend to name."""


NO_STORE: Final = b"Cache-Control: no-store\r\n"
"""Some errors may be cached by default (RFC 9110 §15.1), 405 and 414 among them."""

REASONS: Final = {
    200: b"OK",
    301: b"Moved Permanently",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
"""Every status that the proxy answers with (RFC 9110 §15, RFC 6585 §4 and §5)."""


def date_field(now: datetime) -> bytes:
    """The ``Date`` field (RFC 9110 §6.6.1).

    :param now: With its time zone.
    """
    return b"Date: %b\r\n" % format_datetime(now.astimezone(UTC), usegmt=True).encode("ascii")


def answer(
    status: int,
    text: bytes,
    *,
    now: datetime,
    fields: bytes = b"",
    media_type: bytes = b"text/plain; charset=utf-8",
    head: bool = False,
    close: bool = True,
) -> bytes:
    """A whole response.

    :param text: Its body.
    :param now: With its time zone.
    :param fields: Lines to add to its header.
    :param media_type: Of the body.
    :param head: Leave the body out, as HEAD asks.
    :param close: The connection is closed behind it.
    """
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\n" % (status, REASONS[status]),
            date_field(now),
            b"Content-Type: %b\r\nContent-Length: %d\r\n" % (media_type, len(text)),
            fields,
            b"Connection: close\r\n" if close else b"",
            b"\r\n",
            b"" if head else text,
        )
    )


def explanation(status: int, detail: str) -> bytes:
    """A body that says what is wrong.

    :param detail: ASCII.
    """
    return b"%d %b: %b\n" % (status, REASONS[status], detail.encode("ascii"))
