"""WebSocket and CONNECT: what :mod:`tlsproxy.fronts.http` lets go by as a tunnel, and when."""

import pytest
from attrs import evolve

from tests.support.http_play import DATE, FORWARDED, KEEPALIVE, RESPONSE, HttpWired, browsing
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import (
    BeginRequest,
    ConnectBackend,
    DisconnectBackend,
    FinishBackend,
    LogRequest,
    PauseClient,
    ReleaseBackend,
    Report,
    ResumeClient,
    Splice,
    StopTimer,
)
from tlsproxy.fronts.events import BackendConnected, ClientFinished
from tlsproxy.fronts.http import HELD_LIMIT

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
ASKED = (
    "GET /chat HTTP/1.1",
    "Host: example.org",
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    KEY,
    "",
)
ASKED_ON = (
    "GET /chat HTTP/1.1",
    "Host: example.org",
    KEY,
    *FORWARDED,
    "Connection: upgrade",
    "Upgrade: websocket",
    "",
)
AGREED = (
    "HTTP/1.1 101 Switching Protocols",
    "Sec-WebSocket-Accept: x",
    "Connection: upgrade",
    "Upgrade: websocket",
    "",
)
ASKED_SIZE = sum(len(line) + 2 for line in ASKED)
AGREED_SIZE = sum(len(line) + 2 for line in AGREED)
LOGGED = LogRequest("GET", "/chat", 101, ASKED_SIZE, AGREED_SIZE)


def asking() -> Playbook:
    """The backend was asked to go on with WebSocket."""
    playbook = browsing() >> client(*ASKED) << BeginRequest() << ConnectBackend() << RESPONSE
    return playbook >> BackendConnected(reused=True) << to_backend(*ASKED_ON)


def test_a_tunnel_begins_with_the_backend_s_consent() -> None:
    playbook = asking() >> backend(*AGREED) << to_client(*AGREED) << LOGGED << StopTimer() << Splice()
    playbook >> client(b"unheard")
    playbook.end()


def test_what_was_said_into_the_tunnel_before_it_was_there_goes_first() -> None:
    playbook = asking() >> client(b"from the client") >> ClientFinished()
    playbook >> backend(*AGREED, b"from the backend") << to_client(*AGREED, b"from the backend")
    (
        playbook
        << to_backend(b"from the client")
        << evolve(LOGGED, bytes_out=AGREED_SIZE + 16)
        << StopTimer()
        << FinishBackend()
        << Splice()
    )
    playbook.end()


def test_a_client_that_said_too_much_is_read_again() -> None:
    playbook = asking() >> client(b"a" * (HELD_LIMIT + 1)) << PauseClient()
    playbook >> backend(*AGREED) << to_client(*AGREED) << to_backend(b"a" * (HELD_LIMIT + 1)) << LOGGED
    playbook << StopTimer() << ResumeClient() << Splice()
    playbook.end()


def test_without_the_backend_s_consent_there_is_no_tunnel() -> None:
    playbook = asking() >> client("GET / HTTP/1.1", "Host: example.org", "")
    told = ("HTTP/1.1 426 Upgrade Required", "Date: x", "Sec-WebSocket-Version: 13", "Content-Length: 0", "")
    playbook >> backend(*told) << to_client(*told)
    (
        playbook
        << LogRequest("GET", "/chat", 426, ASKED_SIZE, sum(len(line) + 2 for line in told))
        << ReleaseBackend()
    )
    playbook << BeginRequest() << ConnectBackend() << RESPONSE
    playbook.end()


@pytest.mark.parametrize("said", ["Upgrade: h2c", "Upgrade: websocket, h2c", "X: no upgrade named"])
def test_another_protocol_than_was_asked_for_is_refused(said: str) -> None:
    playbook = asking() >> backend("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", said, "")
    text = "502 Bad Gateway: the backend's response is malformed\n"
    told = (
        "HTTP/1.1 502 Bad Gateway",
        DATE,
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(text)}",
        "Cache-Control: no-store",
        "",
        text.encode(),
    )
    (
        playbook
        << Report("backend_protocol_error", "101 that nothing asked for")
        << DisconnectBackend()
        << to_client(*told)
    )
    size = sum(len(line) + 2 for line in told) - 2
    playbook << LogRequest("GET", "/chat", 502, ASKED_SIZE, size) << KEEPALIVE
    playbook.end()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c, websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx",
    ],
)
def test_an_upgrade_that_isn_t_for_us_is_left_out_and_the_request_served(request_: bytes) -> None:
    wired = HttpWired.opened()
    wired.client_says(request_)
    wired.deliver()
    assert wired.client.startswith(b"HTTP/1.1 200 ")
    assert not {b"upgrade", b"http2-settings"} & {name for name, _ in wired.told[0].fields}
    assert b"upgrade" not in wired.received.lower()


def test_connect_where_it_is_allowed_becomes_a_tunnel() -> None:
    asked = ("CONNECT example.org:443 HTTP/1.1", "Host: example.org:443", "")
    told = [line.replace("example.org", "example.org:443") for line in FORWARDED[3:5]]
    sent = (*asked[:2], *FORWARDED[:3], *told, FORWARDED[5], "")
    playbook = browsing(http_refused_methods=()) >> client(*asked, b"hello")
    playbook << BeginRequest() << ConnectBackend(fresh=True) << RESPONSE
    playbook >> BackendConnected() << to_backend(*sent)
    playbook >> backend("HTTP/1.1 200 Connected", "Content-Length: 5", "", b"hi")
    head = ("HTTP/1.1 200 Connected", "")
    playbook << to_client(*head, b"hi") << to_backend(b"hello")
    playbook << LogRequest("CONNECT", "example.org:443", 200, 59, 28) << StopTimer() << Splice()
    playbook.end()


def test_connect_that_the_backend_refuses_becomes_none() -> None:
    wired = HttpWired.opened(
        http_refused_methods=(), respond=lambda _: b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"
    )
    wired.client_says(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
    wired.deliver()
    assert wired.client.endswith(b"\r\n\r\nno")
    assert not wired.spliced
