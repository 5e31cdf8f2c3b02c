"""Tests for :mod:`tlsproxy.fronts.http_exchange`."""

import pytest

from tlsproxy.fronts.http_exchange import CONNECTIONS_LIMIT, HELD_LIMIT, Exchange
from tlsproxy.fronts.http_request import parse_request_line
from tlsproxy.fronts.http_request import understand as understand_request
from tlsproxy.fronts.http_response import understand as understand_response
from tlsproxy.fronts.http_syntax import HttpError, parse_fields

NO_LIMIT = 0


def exchange(*fields: str, line: str = "PUT / HTTP/1.1") -> Exchange:
    text = "".join(f"{field}\r\n" for field in ("Host: a", *fields)).encode()
    request = understand_request(parse_request_line(line.encode()), parse_fields(text, 100), size=50)
    return Exchange(request, request.size)


def responding(*fields: str, minor: int = 1, asked: str = "GET / HTTP/1.1") -> Exchange:
    begun = exchange(line=asked)
    text = "".join(f"{field}\r\n" for field in fields).encode()
    begun.begin_response(understand_response(200, b"", minor, parse_fields(text, 100), b"GET"), closes=False)
    return begun


def test_what_is_behind_a_body_isn_t_part_of_it() -> None:
    under_way = exchange("Content-Length: 5")
    assert under_way.take_body(b"he", NO_LIMIT) == (b"he", None)
    assert under_way.take_body(b"lloGET", NO_LIMIT) == (b"llo", b"GET")
    assert (under_way.bytes_in, under_way.content, under_way.held) == (55, 5, b"hello")


def test_chunks_are_counted_by_their_content_and_held_as_they_were_sent() -> None:
    under_way = exchange("Transfer-Encoding: chunked")
    assert under_way.take_body(b"5;x\r\nhello\r\n", NO_LIMIT) == (b"5\r\nhello\r\n", None)
    assert under_way.take_body(b"0\r\nA: b\r\n\r\nGET", NO_LIMIT) == (b"0\r\nA: b\r\n\r\n", b"GET")
    assert (under_way.bytes_in, under_way.content) == (50 + 12 + 11, 5)
    assert under_way.held == b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"


def test_a_body_has_a_limit_in_content() -> None:
    under_way = exchange("Transfer-Encoding: chunked")
    assert under_way.take_body(b"5\r\nhello\r\n", 5)[0]
    with pytest.raises(HttpError) as raised:
        under_way.take_body(b"1\r\n!\r\n", 5)
    assert raised.value.status == 413


def test_as_much_is_held_as_the_limit_allows() -> None:
    under_way = exchange(f"Content-Length: {HELD_LIMIT + 2}")
    under_way.take_body(b"a" * HELD_LIMIT, NO_LIMIT)
    assert under_way.resendable
    under_way.take_body(b"a", NO_LIMIT)
    assert not under_way.resendable
    under_way.take_body(b"a", NO_LIMIT)
    assert under_way.held == b""


@pytest.mark.parametrize(
    ("line", "resendable"),
    [
        *((f"{method} / HTTP/1.1", True) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")),
        *((f"{method} / HTTP/1.1", False) for method in ("POST", "PATCH", "get", "MKCOL")),
    ],
)
def test_only_what_is_idempotent_is_sent_again(line: str, *, resendable: bool) -> None:
    assert exchange(line=line).resendable is resendable


def test_it_is_sent_again_so_often() -> None:
    under_way = exchange()
    under_way.connections = CONNECTIONS_LIMIT - 1
    assert under_way.resendable
    under_way.connections = CONNECTIONS_LIMIT
    assert not under_way.resendable


def test_it_isn_t_sent_again_once_a_response_has_begun() -> None:
    assert not responding("Content-Length: 5").resendable


def test_a_counted_response_goes_on_as_it_is() -> None:
    under_way = responding("Content-Length: 5")
    assert under_way.take_response(b"he") == (b"he", None)
    assert under_way.end_response() is None
    assert under_way.take_response(b"llo!") == (b"llo", b"!")


def test_a_response_without_a_body_is_over_with_its_head() -> None:
    assert responding("Content-Length: 0").take_response(b"") == (b"", b"")
    assert responding("Content-Length: 0").take_response(b"!") == (b"", b"!")


def test_a_chunked_response_is_chunked_anew() -> None:
    under_way = responding("Transfer-Encoding: chunked")
    assert under_way.take_response(b"2 \r\nhe\r\n3\r\nllo\r\n") == (b"5\r\nhello\r\n", None)
    assert under_way.end_response() is None
    assert under_way.take_response(b"0\r\nA: b\r\n\r\n!") == (b"0\r\nA: b\r\n\r\n", b"!")


@pytest.mark.parametrize(
    ("asked", "data", "end"), [("1.1", b"2\r\nhe\r\n", b"0\r\n\r\n"), ("1.0", b"he", b"")]
)
def test_a_response_until_close_ends_with_the_connection(asked: str, data: bytes, end: bytes) -> None:
    under_way = responding(minor=0, asked=f"GET / HTTP/{asked}")
    assert under_way.take_response(b"he") == (data, None)
    assert under_way.end_response() == end


def test_without_a_response_there_is_nothing_to_end() -> None:
    assert exchange().end_response() is None
