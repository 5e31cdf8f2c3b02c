"""Tests for :mod:`tlsproxy.fronts.http_request`. What it refuses is in the table of ``test_http_smuggling.py``."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts.http_body import Framing
from tlsproxy.fronts.http_request import (
    PATH_LIMIT,
    Request,
    RequestReader,
    is_of_connection,
    parse_host,
    parse_request_line,
)
from tlsproxy.fronts.http_syntax import HeadBuffer, HttpError


def reader(data: bytes) -> RequestReader:
    buffer = HeadBuffer()
    buffer.feed(data)
    return RequestReader(buffer, header_limit=4096, fields_limit=20)


def read(*lines: str) -> Request:
    request = reader("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")).next_request()
    assert request is not None
    return request


def test_a_request_is_understood() -> None:
    request = read(
        "POST http://Example.org:8080/a?b HTTP/1.1",
        "Host: example.ORG:8080",
        "Connection: Close, x",
        "Content-Length: 007",
        "Expect: 100-Continue",
        "Max-Forwards: 3",
    )
    assert (request.line.method, request.line.target, request.line.authority) == (
        b"POST",
        b"/a?b",
        b"Example.org:8080",
    )
    assert (request.host, request.options) == (b"example.ORG:8080", {b"close", b"x"})
    assert (request.framing, request.length, request.has_body) == (Framing.LENGTH, 7, True)
    assert (request.expects_continue, request.max_forwards, request.upgrade) == (True, 3, b"")
    assert (request.persistent, request.idempotent, request.binds_connection) == (False, False, False)
    assert request.size == 151


def test_the_least_that_a_request_can_be() -> None:
    request = read("GET / HTTP/1.0")
    assert (request.host, request.options, request.framing, request.has_body) == (
        None,
        frozenset(),
        Framing.NONE,
        False,
    )
    assert (request.persistent, request.expects_continue, request.idempotent) == (False, False, True)
    assert request.size == 18


@pytest.mark.parametrize(
    ("fields", "persistent"),
    [((), True), (("Connection: close",), False), (("Connection: x", "Connection: CLOSE"), False)],
)
def test_http_1_1_persists_unless_asked_not_to(fields: tuple[str, ...], *, persistent: bool) -> None:
    assert read("GET / HTTP/1.1", "Host: a", *fields).persistent is persistent


def test_http_1_0_doesn_t_persist_and_expects_nothing() -> None:
    request = read("POST / HTTP/1.0", "Connection: keep-alive", "Expect: x", "Content-Length: 1")
    assert (request.persistent, request.expects_continue) == (False, False)


def test_a_length_of_zero_is_no_body() -> None:
    request = read("POST / HTTP/1.1", "Host: a", "Content-Length: 0")
    assert (request.framing, request.has_body) == (Framing.LENGTH, False)


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        (("Connection: Upgrade", "Upgrade: WebSocket"), b"websocket"),
        (("Connection: keep-alive", "Upgrade: websocket"), b""),
        (("Connection: upgrade",), b""),
    ],
)
def test_an_upgrade_is_one_that_connection_names(fields: tuple[str, ...], upgrade: bytes) -> None:
    assert read("GET / HTTP/1.1", "Host: a", *fields).upgrade == upgrade


@pytest.mark.parametrize(
    ("value", "binds"),
    [
        (None, False),
        (b"Basic NTLM", False),
        (b"NTLM", True),
        (b"ntlm TlRM", True),
        (b"Negotiate YII=", True),
        (b"Basic x,NTLM y", True),
        (b"Bearer negotiate", False),
    ],
)
def test_credentials_for_the_connection_are_known(value: bytes | None, *, binds: bool) -> None:
    assert is_of_connection(value) is binds


def test_a_second_field_of_credentials_is_seen() -> None:
    assert read(
        "GET / HTTP/1.1", "Host: a", "Authorization: Basic x", "Authorization: NTLM y"
    ).binds_connection


def test_the_log_gets_a_path_without_its_query_and_with_an_end() -> None:
    assert parse_request_line(b"GET /a?password=x HTTP/1.1").path == "/a"
    assert parse_request_line(b"GET /" + b"a" * 999 + b" HTTP/1.1").path == "/" + "a" * (PATH_LIMIT - 1)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (b"Example.ORG", (b"example.org", None)),
        (b"example.org.", (b"example.org.", None)),
        (b"a:80", (b"a", 80)),
        (b"192.0.2.1:65535", (b"192.0.2.1", 65535)),
        (b"my_host", (b"my_host", None)),
        (b"[::1]", (b"::1", None)),
        (b"[2001:DB8:0::1]:443", (b"2001:db8::1", 443)),
        (b"[::ffff:192.0.2.1]", (b"::ffff:c000:201", None)),
        (b"", None),
        (b"-a", None),
        (b"a-", None),
        (b"a b", None),
        (b"a:", None),
        (b"a:0", None),
        (b"a:65536", None),
        (b"a:123456", None),
        (b"::1", None),
        (b"[::1", None),
        (b"[::1]x", None),
        (b"[::g]", None),
        (b"[1::2::3]", None),
        (b"[fe80::1%eth0]", None),
        (b"a" * 255 + b":65535", (b"a" * 255, 65535)),
        (b"a" * 262, None),
    ],
)
def test_a_host_is_a_name_or_an_address(text: bytes, host: tuple[bytes, int | None] | None) -> None:
    assert parse_host(text) == host


def test_what_is_there_of_a_request_is_known() -> None:
    for data in (b"G", b"\r\n", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost"):
        incomplete = reader(data)
        assert incomplete.next_request() is None
        assert incomplete.begun
    assert incomplete.line is not None
    assert not reader(b"").begun


def test_a_head_has_a_limit_with_its_first_line() -> None:
    line = b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n"
    assert reader(line + b"Host: a\r\nX: " + b"b" * 1050 + b"\r\n\r\n").next_request() is not None
    for head in (line + b"Host: a\r\nX: " + b"b" * 1100, b"GET /" + b"a" * 5000 + b" HTTP/1.0\r\nX: y"):
        with pytest.raises(HttpError) as raised:
            reader(head).next_request()
        assert raised.value.status == 431
    assert reader(b"GET /" + b"a" * 5000 + b" HTTP/1.0\r\n\r\n").next_request() is not None


def test_behind_a_request_there_may_be_another_and_its_body_is_left() -> None:
    several = reader(b"GET /1 HTTP/1.0\r\n\r\n\r\nPUT /2 HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
    first, second = several.next_request(), several.next_request()
    assert first is not None
    assert second is not None
    assert (first.line.target, second.line.target) == (b"/1", b"/2")
    assert several.line is None
    assert several.begun


def test_a_request_with_a_body_needs_a_second_reader_s_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsproxy.fronts.http_request.agrees", lambda *_: False)
    assert read("POST / HTTP/1.0", "Content-Length: 0").length == 0
    with pytest.raises(HttpError, match="two readers of the request disagree"):
        read("POST / HTTP/1.0", "Content-Length: 1")


NAMES = st.sampled_from(
    ["Host", "Content-Length", "Transfer-Encoding", "Connection", "X", "Cookie", "X-Y_z", "Expect", "x" * 256]
)
VALUES = st.sampled_from(
    [
        "a",
        "a.example:80",
        "5",
        "05",
        "chunked",
        "Chunked",
        "close",
        "a, b",
        "a\tb",
        "\xe4\xff",
        "",
        "x" * 300,
        "100-continue",
    ]
)
FIRST = st.builds(
    "{} {} HTTP/{}".format,
    st.sampled_from(["GET", "POST", "M-SEARCH!", "get"]),
    st.sampled_from(["/", '/a?b=c&%20|{}\\"<>', "//x", "*", "http://a/", "http://a"]),
    st.sampled_from(["1.0", "1.1"]),
)


PRINTABLE = st.binary(max_size=12).map(
    lambda data: data.translate(None, bytes([*range(9), *range(10, 32), 127]))
)


@given(st.from_regex(rb"x[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True), PRINTABLE)
def test_the_second_reader_has_nothing_against_what_is_sound(name: bytes, value: bytes) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\n%b:%b\r\nTransfer-Encoding: chunked\r\n\r\n" % (name, value)
    assert reader(data).next_request() is not None


@given(
    FIRST,
    st.lists(
        st.tuples(NAMES, st.sampled_from([":", ": ", ":\t "]), VALUES, st.sampled_from(["", " \t"])),
        max_size=6,
    ),
)
def test_what_is_understood_h11_understands_alike(
    first: str, fields: list[tuple[str, str, str, str]]
) -> None:
    lines = [first, *("".join(field) for field in fields)]
    data = "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")
    try:
        request = reader(data).next_request()
    except HttpError:
        return
    assert request is not None
    other = h11.Connection(h11.SERVER)
    other.receive_data(data)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.http_version) == (request.line.method, b"1.%d" % request.line.minor)
    values = {name: value for name, _, value in request.fields}
    assert [name for name, _ in event.headers] == [name for name, _, _ in request.fields]
    assert all(value.lower() == dict(event.headers)[name].lower() for name, value in values.items())
    framing = {Framing.NONE: (0, False), Framing.CHUNKED: (0, True)}.get(
        request.framing, (request.length, False)
    )
    length = int(dict(event.headers).get(b"content-length", b"0"))
    assert (length, b"transfer-encoding" in dict(event.headers)) == framing
