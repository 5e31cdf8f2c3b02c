"""Tests for :mod:`tlsproxy.fronts.http_forward`."""

import pytest

from tests.fronts.conftest import CLIENT, LOCAL, TLS
from tlsproxy.fronts.http_forward import carried, end_of_chunks, request_head, response_head
from tlsproxy.fronts.http_request import Request, parse_request_line
from tlsproxy.fronts.http_request import understand as understand_request
from tlsproxy.fronts.http_response import Response
from tlsproxy.fronts.http_response import understand as understand_response
from tlsproxy.fronts.http_syntax import parse_fields
from tlsproxy.identity.forwarded import Forwarding

TOLD = [
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-Port: 25",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: a",
    'Forwarded: for=192.0.2.7;host="a";proto=https',
    "Via: 1.1 tlsproxy",
]


def request(*fields: str, line: bytes = b"GET / HTTP/1.1") -> Request:
    text = "".join(f"{field}\r\n" for field in fields).encode()
    return understand_request(parse_request_line(line), parse_fields(text, 100), size=0)


def response(*fields: str, status: int = 200, method: bytes = b"GET") -> Response:
    text = "".join(f"{field}\r\n" for field in fields).encode()
    return understand_response(status, b"Reason", 1, parse_fields(text, 100), method)


def forwarding(*, trusted: bool = False, tell_tls: bool = False) -> Forwarding:
    return Forwarding(CLIENT, LOCAL, TLS, trusted=trusted, tell_tls=tell_tls)


def sent(asked: Request, *, trusted: bool = False, tell_tls: bool = False, **how: bool) -> list[str]:
    head = request_head(asked, forwarding(trusted=trusted, tell_tls=tell_tls), host=b"192.0.2.25:80", **how)
    assert head.endswith(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n")[:-2]


def test_fields_keep_their_order_and_spelling_and_host_is_first() -> None:
    asked = request("ACCEPT: x", "Host: a", "cookie: b", "Cookie: c", "X_Y: z")
    assert sent(asked) == [
        "GET / HTTP/1.1",
        "Host: a",
        "ACCEPT: x",
        "cookie: b",
        "Cookie: c",
        "X_Y: z",
        *TOLD,
    ]


def test_what_belongs_to_one_connection_is_taken_out() -> None:
    asked = request(
        "Host: a",
        "Connection: keep-alive, x-private, Accept",
        "Keep-Alive: 5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Upgrade: websocket",
        "HTTP2-Settings: AAMAAABk",
        "X-Private: y",
        "Accept: z",
        "Proxy-Authorization: Basic eDp5",
    )
    assert sent(asked) == ["GET / HTTP/1.1", "Host: a", "Proxy-Authorization: Basic eDp5", *TOLD]


def test_a_client_can_t_have_our_fields_taken_out() -> None:
    named = "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, Forwarded, Via, X-TLS-Version"
    lines = sent(request("Host: a", f"Connection: close, {named}"), tell_tls=True)
    assert lines[2:] == ["X-TLS-Version: TLSv1.3", "X-TLS-Cipher: TLS_AES_256_GCM_SHA384", *TOLD]


SPOOFS = [
    "X-Forwarded-For: 127.0.0.1",
    "x-forwarded-for: 127.0.0.1",
    "X_Forwarded_For: 127.0.0.1",
    "X.Forwarded.For: 127.0.0.1",
    "X-Forwarded_For: 127.0.0.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Prefix: /admin",
    "X-Forwarded-Client-Cert: x",
    "Forwarded: for=127.0.0.1",
    "Via: 1.1 x",
    "X-Real-IP: 127.0.0.1",
    "X_Real_IP: 127.0.0.1",
    "True-Client-IP: 127.0.0.1",
    "Front-End-Https: on",
    "X-Original-URL: /admin",
    "X-TLS-Version: TLSv1.3",
    "x-tls-version: TLSv1.3",
    "X_TLS_VERSION: TLSv1.3",
    "X-TLS_Cipher: x",
    "x.tls.client.subject: CN=admin",
    "X-TLS-Anything: x",
    "Proxy: http://evil.example/",
]


@pytest.mark.parametrize("spoof", SPOOFS)
def test_a_client_isn_t_believed_about_itself(spoof: str) -> None:
    assert sent(request("Host: a", spoof)) == ["GET / HTTP/1.1", "Host: a", *TOLD]


@pytest.mark.parametrize(
    "spoof",
    [
        each
        for each in SPOOFS
        if "tls" in each.lower() or "_" in each or "." in each.split(":")[0] or "Proxy:" in each
    ],
)
def test_some_things_are_believed_from_nobody(spoof: str) -> None:
    assert sent(request("Host: a", spoof), trusted=True) == ["GET / HTTP/1.1", "Host: a", *TOLD]


def test_a_trusted_proxy_s_fields_are_carried_on() -> None:
    asked = request(
        "Host: a",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-For:",
        "X-Forwarded-For: 10.0.0.1",
        "Via: 2 b",
        "X-Real-IP: 203.0.113.9",
        "Connection: X-Forwarded-For",
    )
    assert carried(asked) == {b"x-forwarded-for": b"203.0.113.9, 10.0.0.1", b"via": b"2 b"}
    assert sent(asked, trusted=True) == [
        "GET / HTTP/1.1",
        "Host: a",
        "X-Real-IP: 203.0.113.9",
        "X-Forwarded-For: 203.0.113.9, 10.0.0.1, 192.0.2.7",
        *TOLD[1:5],
        "Via: 2 b, 1.1 tlsproxy",
    ]


def test_a_client_of_http_1_0_that_names_no_host_gets_one() -> None:
    lines = sent(request(line=b"GET / HTTP/1.0"))
    assert lines[:2] == ["GET / HTTP/1.1", "Host: 192.0.2.25:80"]
    assert not any("Host:" in line for line in lines[2:])


@pytest.mark.parametrize(
    ("fields", "how", "lines"),
    [
        (("Content-Length: 005",), {}, ["Content-Length: 5"]),
        (("Content-Length: 0", "Expect: 100-continue"), {}, ["Content-Length: 0"]),
        (("Transfer-Encoding: CHUNKED", "Trailer: x"), {}, ["Trailer: x", "Transfer-Encoding: chunked"]),
        (
            ("Content-Length: 5", "Expect: 100-Continue"),
            {"last": True},
            ["Content-Length: 5", "Expect: 100-continue", "Connection: close"],
        ),
        (
            ("Connection: Upgrade", "Upgrade: WebSocket"),
            {"upgrade": True},
            ["Connection: upgrade", "Upgrade: websocket"],
        ),
        (("Max-Forwards: 5",), {}, ["Max-Forwards: 5"]),
        (("Max-Forwards: x",), {}, []),
    ],
)
def test_framing_is_written_anew(fields: tuple[str, ...], how: dict[str, bool], lines: list[str]) -> None:
    assert [line for line in sent(request("Host: a", *fields), **how)[2:] if line not in TOLD] == lines


def test_options_is_counted_down() -> None:
    assert "Max-Forwards: 4" in sent(request("Host: a", "Max-Forwards: 5", line=b"OPTIONS * HTTP/1.1"))


def test_a_response_loses_what_belongs_to_one_connection() -> None:
    told = response(
        "Server: x",
        "Connection: keep-alive, X-Private",
        "X-Private: y",
        "Keep-Alive: timeout=5",
        "Upgrade: h2,h2c",
        "Set-Cookie: a",
        "Set-Cookie: b",
        "Content-Length: 5",
    )
    assert response_head(told) == (
        b"HTTP/1.1 200 Reason\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 5\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("told", "how", "lines"),
    [
        (response("Transfer-Encoding: chunked"), {"chunked": True}, b"Transfer-Encoding: chunked\r\n"),
        (response("Transfer-Encoding: chunked"), {"close": True}, b"Connection: close\r\n"),
        (response("Content-Length: 5", "content-length: 5"), {}, b"Content-Length: 5\r\n"),
        (response("Content-Length: 5", method=b"HEAD"), {}, b"Content-Length: 5\r\n"),
        (response("A: b", "C: d"), {"added": b"A: e\r\n", "replaced": b"a"}, b"C: d\r\nA: e\r\n"),
    ],
)
def test_a_response_is_framed_anew(told: Response, how: dict[str, bool], lines: bytes) -> None:
    assert response_head(told, **how) == b"HTTP/1.1 200 Reason\r\n" + lines + b"\r\n"  # type: ignore[arg-type]


def test_a_switch_of_protocols_is_named() -> None:
    told = response("Connection: Upgrade", "Upgrade: WebSocket", "Content-Length: 5", status=101)
    assert response_head(told) == b"HTTP/1.1 101 Reason\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_trailers_that_decide_how_a_message_is_read_come_too_late() -> None:
    names = [
        b"Content-Length",
        b"Host",
        b"Authorization",
        b"Set-Cookie",
        b"X-Forwarded-For",
        b"x_tls_version",
        b"TE",
    ]
    trailers = [(name.lower(), name, b"x") for name in [*names, b"Digest", b"Server-Timing"]]
    assert end_of_chunks(trailers) == b"0\r\nDigest: x\r\nServer-Timing: x\r\n\r\n"
    assert end_of_chunks(()) == b"0\r\n\r\n"
