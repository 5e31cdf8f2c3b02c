"""Tests for :mod:`tlsproxy.fronts.http_referee`."""

import pytest

from tlsproxy.fronts.http_referee import agrees
from tlsproxy.fronts.http_syntax import Field, parse_fields

LINE = b"POST /x HTTP/1.1"
LINES = b"Host: a\r\nTransfer-Encoding: Chunked\r\nX:  y z \r\n"


def test_it_agrees_to_what_is_plain() -> None:
    assert agrees(LINE, LINES, parse_fields(LINES, 9))


@pytest.mark.parametrize(
    ("line", "lines", "fields"),
    [
        (LINE, LINES, parse_fields(LINES, 9)[:2]),
        (LINE, LINES, [*parse_fields(LINES, 9)[:2], (b"x", b"X", b"y")]),
        (LINE, b"Host: a\r\n b\r\n", [(b"host", b"Host", b"a")]),
        (LINE, b"Host: a\nX: y\r\n", [(b"host", b"Host", b"a")]),
        (LINE, b"Host : a\r\n", [(b"host", b"Host", b"a")]),
        (LINE, b"Host: a\r\n\r\n", [(b"host", b"Host", b"a")]),
        (LINE, b"Host: a\r\nContent-Length: 1, 2\r\n", []),
        (b"POST /x  HTTP/1.1", b"Host: a\r\n", [(b"host", b"Host", b"a")]),
        (b"POST /x", b"Host: a\r\n", [(b"host", b"Host", b"a")]),
    ],
)
def test_it_disagrees_when_it_reads_otherwise(line: bytes, lines: bytes, fields: list[Field]) -> None:
    assert not agrees(line, lines, fields)
