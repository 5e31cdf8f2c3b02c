"""Tests for :mod:`tlsproxy.fronts.http_response`."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts.http_body import Framing
from tlsproxy.fronts.http_response import Response, ResponseReader
from tlsproxy.fronts.http_syntax import HttpError


def read(*lines: str, method: bytes = b"GET") -> Response:
    reader = ResponseReader()
    reader.feed("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1"))
    response = reader.next_response(method)
    assert response is not None
    return response


def test_a_response_is_understood() -> None:
    response = read(
        "HTTP/1.1 401 \xdcber alles", "Date: x", "Connection: Close", "Content-Length: 5", "Upgrade: H2C"
    )
    assert (response.status, response.reason, response.minor) == (401, b"\xdcber alles", 1)
    assert (response.framing, response.length, response.upgrade) == (Framing.LENGTH, 5, b"h2c")
    assert (response.dated, response.persistent, response.binds_connection, response.informational) == (
        True,
        False,
        False,
        False,
    )


@pytest.mark.parametrize("line", ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 200  "])
def test_a_reason_may_be_missing(line: str) -> None:
    assert read(line).reason.strip() == b""


@pytest.mark.parametrize(
    ("first", "fields", "method", "framing", "length"),
    [
        ("HTTP/1.1 200 OK", (), b"GET", Framing.UNTIL_CLOSE, None),
        ("HTTP/1.0 200 OK", (), b"GET", Framing.UNTIL_CLOSE, None),
        ("HTTP/1.1 200 OK", ("Content-Length: 5", "Content-Length: 5, 5"), b"GET", Framing.LENGTH, 5),
        ("HTTP/1.1 200 OK", ("Content-Length: 5",), b"HEAD", Framing.NONE, 5),
        ("HTTP/1.1 200 OK", ("Transfer-Encoding: chunked",), b"HEAD", Framing.NONE, None),
        ("HTTP/1.1 200 OK", ("Transfer-Encoding: Chunked",), b"GET", Framing.CHUNKED, None),
        ("HTTP/1.1 304 Same", ("Content-Length: 5",), b"GET", Framing.NONE, 5),
        ("HTTP/1.1 204 None", ("Content-Length: 5",), b"GET", Framing.NONE, None),
        ("HTTP/1.1 205 Reset", ("Content-Length: 0",), b"GET", Framing.LENGTH, 0),
        ("HTTP/1.1 100 Go on", ("Content-Length: 5",), b"GET", Framing.NONE, None),
        ("HTTP/1.1 200 OK", ("Content-Length: 5",), b"CONNECT", Framing.NONE, None),
        ("HTTP/1.1 300 No", ("Content-Length: 5",), b"CONNECT", Framing.LENGTH, 5),
    ],
)
def test_where_a_response_ends(
    first: str, fields: tuple[str, ...], method: bytes, framing: Framing, length: int | None
) -> None:
    response = read(first, *fields, method=method)
    assert (response.framing, response.length) == (framing, length)


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 6",),
        ("Content-Length: 5,",),
        ("Content-Length: x",),
        ("Content-Length:",),
        ("Content-Length: 1234567890123456789",),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: identity",),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_response_without_a_plain_end_is_none(fields: tuple[str, ...], method: bytes) -> None:
    with pytest.raises(HttpError) as raised:
        read("HTTP/1.1 200 OK", *fields, method=method)
    assert raised.value.status == 502


def test_http_1_0_has_no_codings() -> None:
    with pytest.raises(HttpError):
        read("HTTP/1.0 200 OK", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("first", "fields", "persistent"),
    [
        ("HTTP/1.1 200 OK", ("Content-Length: 0",), True),
        ("HTTP/1.7 200 OK", ("Content-Length: 0",), True),
        ("HTTP/1.1 200 OK", ("Content-Length: 0", "Connection: close"), False),
        ("HTTP/1.1 200 OK", (), False),
        ("HTTP/1.0 200 OK", ("Content-Length: 0", "Connection: keep-alive"), False),
    ],
)
def test_which_connections_persist(first: str, fields: tuple[str, ...], *, persistent: bool) -> None:
    assert read(first, *fields).persistent is persistent


@pytest.mark.parametrize("field", ["NTLM", "Basic realm=x, Negotiate", "Negotiate oYGxMIGu"])
def test_what_asks_for_credentials_of_the_connection_is_known(field: str) -> None:
    assert read("HTTP/1.1 401 No", "WWW-Authenticate: Basic x", f"WWW-Authenticate: {field}").binds_connection


def test_one_response_may_follow_another() -> None:
    reader = ResponseReader()
    assert not reader.begun
    reader.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Le")
    assert reader.begun
    first = reader.next_response(b"GET")
    assert first is not None
    assert first.informational
    assert reader.next_response(b"GET") is None
    reader.feed(b"ngth: 2\r\n\r\nok")
    second = reader.next_response(b"GET")
    assert second is not None
    assert (second.status, reader.take_rest()) == (200, b"ok")


FIELDS = st.lists(
    st.sampled_from(
        [
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "Connection: close",
            "X: a\tb",
            "Set-Cookie: \xe4",
            "Y:",
        ]
    ),
    max_size=4,
)


@given(
    st.sampled_from(
        ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 404", "HTTP/1.1 204 None", "HTTP/1.1 304 Same"]
    ),
    FIELDS,
    st.sampled_from([b"GET", b"HEAD"]),
)
def test_a_response_ends_where_h11_sees_its_end(first: str, fields: list[str], method: bytes) -> None:
    try:
        response = read(first, *fields, method=method)
    except HttpError:
        return
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    other.receive_data("".join(f"{line}\r\n" for line in (first, *fields, "")).encode("latin-1"))
    head = other.next_event()
    assert isinstance(head, h11.Response)
    assert (head.status_code, bytes(head.reason)) == (response.status, response.reason)
    ended = isinstance(other.next_event(), h11.EndOfMessage)
    assert ended is (response.framing is Framing.NONE)
