"""Tests for :mod:`tlsproxy.fronts.http`: conversations."""

import pytest

from tests.fronts.conftest import CLIENT, LOCAL, OPENED, TLS
from tests.support.http_play import DATE, FORWARDED, KEEPALIVE, REQUEST, RESPONSE, browsing, http_options
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import (
    AbortBackend,
    BeginRequest,
    CloseSession,
    ConnectBackend,
    DisconnectBackend,
    LogRequest,
    PauseClient,
    ReleaseBackend,
    Report,
    ResumeClient,
    SendToBackend,
    StartTls,
    StopTimer,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendFinished,
    BackendLost,
    BackendUnavailable,
    ClientFinished,
    DrainRequested,
    Event,
    IdleTimedOut,
    SessionOpened,
    TimerExpired,
    TlsStarted,
)
from tlsproxy.fronts.http import HELD_LIMIT, INFORMATIONAL_LIMIT, HttpFront
from tlsproxy.fronts.options import IdentityMode, TlsSecurityLevel
from tlsproxy.identity.proxy_header import encode_v1, encode_v2

GET = ("GET / HTTP/1.1", "Host: example.org", "")
GET_ON = ("GET / HTTP/1.1", "Host: example.org", *FORWARDED, "")
POST = ("POST / HTTP/1.1", "Host: example.org", "Content-Length: 5", "")
POST_ON = ("POST / HTTP/1.1", "Host: example.org", *FORWARDED, "Content-Length: 5", "Connection: close", "")
PUT = ("PUT / HTTP/1.1", *POST[1:])
PUT_ON = ("PUT / HTTP/1.1", *POST_ON[1:])
CHUNKED = ("POST / HTTP/1.1", "Host: example.org", "Transfer-Encoding: chunked", "")
CHUNKED_ON = (*POST_ON[:-3], "Transfer-Encoding: chunked", "Connection: close", "")

OK = ("HTTP/1.1 200 OK", "Date: today", "Content-Length: 2", "", b"ok")


def own(status: str, detail: str, *fields: str, close: bool = True) -> tuple[str, ...]:
    """An answer of the proxy's own."""
    text = f"{status}: {detail}\n"
    return (
        f"HTTP/1.1 {status}",
        DATE,
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(text)}",
        *fields,
        "Cache-Control: no-store",
        *(["Connection: close"] if close else []),
        "",
        text.encode(),  # type: ignore[list-item]
    )


def size(*lines: str | bytes) -> int:
    return sum(len(line) + (2 if isinstance(line, str) else 0) for line in lines)


OK_SIZE = size(*OK)


def logged(method: str, status: int, bytes_in: int, bytes_out: int) -> LogRequest:
    return LogRequest(method, "/", status, bytes_in, bytes_out)


def asked(playbook: Playbook, *request: str | bytes, fresh: bool = False, reused: bool = False) -> Playbook:
    """A request without a body, that connects the backend."""
    playbook >> client(*request) << BeginRequest() << ConnectBackend(fresh=fresh) << RESPONSE
    return playbook >> BackendConnected(reused=reused)


def waiting(playbook: Playbook, *, reused: bool = False) -> Playbook:
    """GET was sent on, and a response is awaited."""
    return asked(playbook, *GET, reused=reused) << to_backend(*GET_ON)


def uploading(
    playbook: Playbook, request: tuple[str, ...] = POST, sent: tuple[str, ...] = POST_ON
) -> Playbook:
    """The head of a request with a body was sent on."""
    (
        playbook
        >> client(*request)
        << BeginRequest()
        << ConnectBackend(fresh=request[0].startswith("POST"))
        << StopTimer()
    )
    return playbook >> BackendConnected() << to_backend(*sent)


def test_a_request_and_its_response_are_passed_on_and_the_connection_given_back() -> None:
    playbook = waiting(browsing())
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE)
    playbook << ReleaseBackend() << KEEPALIVE
    playbook >> client(*GET) << BeginRequest() << ConnectBackend() << RESPONSE
    playbook.end()


def test_requests_that_come_at_once_are_answered_in_order() -> None:
    playbook = browsing() >> client(*GET, "HEAD /2 HTTP/1.1", "Host: example.org", "")
    playbook << BeginRequest() << ConnectBackend() << RESPONSE
    playbook >> BackendConnected() << to_backend(*GET_ON)
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE) << ReleaseBackend()
    playbook << BeginRequest() << ConnectBackend() << RESPONSE
    playbook >> BackendConnected(reused=True) << to_backend("HEAD /2 HTTP/1.1", *GET_ON[1:])
    playbook >> backend(*OK[:-1]) << to_client(*OK[:-1])
    playbook << LogRequest("HEAD", "/2", 200, 39, OK_SIZE - 2) << ReleaseBackend() << KEEPALIVE
    playbook.end()


def test_a_client_that_sends_too_much_at_once_is_paused() -> None:
    playbook = waiting(browsing()) >> client(*GET, b"a" * (HELD_LIMIT + 1)) << PauseClient()
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE) << ReleaseBackend()
    playbook << BeginRequest() << ConnectBackend() << RESPONSE
    playbook >> BackendConnected() << to_backend(*GET_ON)
    (
        playbook
        >> backend("HTTP/1.1 204 No Content", "Date: x", "")
        << to_client("HTTP/1.1 204 No Content", "Date: x", "")
    )
    playbook << logged("GET", 204, size(*GET), 36) << ReleaseBackend()
    playbook << BeginRequest() << Report("request_refused", "the first line is too long")
    playbook << to_client(*own("414 URI Too Long", "the first line is too long"))
    size_out = size(*own("414 URI Too Long", "the first line is too long"))
    playbook << LogRequest(None, None, 414, 0, size_out) << CloseSession("request_refused")
    playbook.end()


def test_a_paused_client_is_read_again_when_less_is_held() -> None:
    playbook = (
        waiting(browsing()) >> client(*POST[:2], "Content-Length: 70000", "", b"a" * 69_999) << PauseClient()
    )
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE) << ReleaseBackend()
    playbook << BeginRequest() << ConnectBackend(fresh=True) << StopTimer()
    sent = (*POST_ON[:-3], "Content-Length: 70000", "Connection: close", "", b"a" * 69_999)
    playbook >> BackendConnected() << to_backend(*sent) << ResumeClient()
    playbook.end()


# Bodies of requests


def test_a_body_is_passed_on_as_it_comes() -> None:
    playbook = uploading(browsing()) >> client(b"he") << SendToBackend(b"he")
    playbook >> client(b"llo") << SendToBackend(b"llo") << RESPONSE
    playbook >> backend(*OK) << to_client(*OK) << logged("POST", 200, size(*POST) + 5, OK_SIZE)
    playbook << DisconnectBackend() << KEEPALIVE
    playbook.end()


def test_a_body_that_comes_with_the_head_waits_for_the_backend() -> None:
    playbook = browsing() >> client(*POST, b"hello")
    playbook << BeginRequest() << ConnectBackend(fresh=True) << StopTimer()
    playbook >> BackendConnected() << to_backend(*POST_ON, b"hello") << RESPONSE
    playbook.end()


def test_a_chunked_body_is_chunked_anew_and_its_trailers_follow() -> None:
    playbook = uploading(browsing(), CHUNKED, CHUNKED_ON)
    playbook >> client("2;x=y", b"he\r\n1\r\nl") << to_backend("3", "hel")
    playbook >> client("") >> client("2", "lo", "0") << to_backend("2", "lo")
    playbook >> client("Digest: x", "X-Forwarded-For: 6.6.6.6", "Content_Length: 3", "Host: evil", "")
    playbook << to_backend("0", "Digest: x", "Content_Length: 3", "") << RESPONSE
    playbook.end()


def test_an_expectation_is_passed_on_and_so_is_what_meets_it() -> None:
    request = (*POST[:-1], "Expect: 100-Continue", "")
    playbook = uploading(
        browsing(), request, (*POST_ON[:-2], "Expect: 100-continue", "Connection: close", "")
    )
    playbook >> backend("HTTP/1.1 100 Continue", "") << to_client("HTTP/1.1 100 Continue", "")
    playbook >> client(b"hello") << SendToBackend(b"hello") << RESPONSE
    playbook >> backend(*OK) << to_client(*OK) << logged("POST", 200, size(*request) + 5, OK_SIZE + 25)
    playbook << DisconnectBackend() << KEEPALIVE
    playbook.end()


def test_a_response_before_the_end_of_the_body_ends_the_session_behind_it() -> None:
    playbook = uploading(browsing()) >> client(b"he") << SendToBackend(b"he")
    head = ("HTTP/1.1 413 Too Large", "Date: x", "Content-Length: 2", "Connection: close", "")
    playbook >> backend("HTTP/1.1 413 Too Large", "Date: x", "Content-Length: 2", "") << to_client(*head)
    playbook >> client(b"l") << SendToBackend(b"l")
    playbook >> backend(b"no") << to_client(b"no") << logged("POST", 413, size(*POST) + 3, size(*head) + 2)
    playbook << AbortBackend() << CloseSession("connection_close")
    playbook.end()


def test_a_body_that_ends_after_the_response_began_doesn_t_keep_the_session() -> None:
    playbook = uploading(browsing())
    head = ("HTTP/1.1 200 OK", "Date: x", "Content-Length: 2", "Connection: close", "")
    playbook >> backend("HTTP/1.1 200 OK", "Date: x", "Content-Length: 2", "") << to_client(*head)
    playbook >> client(b"hello") << SendToBackend(b"hello")
    playbook >> backend(b"ok") << to_client(b"ok") << logged("POST", 200, size(*POST) + 5, size(*head) + 2)
    playbook << DisconnectBackend() << CloseSession("connection_close")
    playbook.end()


def test_a_body_that_breaks_after_the_response_began_cuts_it_off() -> None:
    playbook = uploading(browsing(), CHUNKED, CHUNKED_ON)
    head = ("HTTP/1.1 200 OK", "Date: x", "Content-Length: 2", "Connection: close", "")
    playbook >> backend("HTTP/1.1 200 OK", "Date: x", "Content-Length: 2", "") << to_client(*head)
    playbook >> client("x") << Report("request_refused", "a chunk size is malformed or too long")
    (
        playbook
        << logged("POST", 200, size(*CHUNKED), size(*head))
        << AbortBackend()
        << CloseSession("request_refused")
    )
    playbook.end()


# Responses


def test_a_response_until_close_is_chunked_for_the_client() -> None:
    playbook = waiting(browsing()) >> backend("HTTP/1.0 200", "Server: IIS/5.0", "", b"he")
    head = ("HTTP/1.1 200 ", "Server: IIS/5.0", "Transfer-Encoding: chunked", DATE, "")
    playbook << to_client(*head, "2", "he") << StopTimer()
    playbook >> backend(b"llo") << to_client("3", "llo")
    playbook >> BackendFinished() << to_client("0", "")
    playbook << logged("GET", 200, size(*GET), size(*head) + 20) << DisconnectBackend() << KEEPALIVE
    playbook.end()


def test_a_chunked_response_is_chunked_anew_and_its_trailers_follow() -> None:
    playbook = waiting(browsing())
    playbook >> backend(
        "HTTP/1.1 200 OK", "Date: x", "Transfer-encoding: Chunked", "Trailer: Digest", "", "5   ", "he"
    )
    head = ("HTTP/1.1 200 OK", "Date: x", "Trailer: Digest", "Transfer-Encoding: chunked", "")
    playbook << to_client(*head, "4", b"he\r\n\r\n") << StopTimer()
    playbook >> backend(b"o\r\n0\r\nDig") << to_client("1", "o")
    playbook >> backend(b"est: x\r\nSet-Cookie: a=b\r\n\r\n") << to_client("0", "Digest: x", "")
    playbook << logged("GET", 200, size(*GET), size(*head) + 9 + 6 + 16) << ReleaseBackend() << KEEPALIVE
    playbook.end()


@pytest.mark.parametrize("coding", ["Transfer-Encoding: chunked", "X: until close"])
def test_a_client_of_http_1_0_gets_the_content_alone_and_the_end_of_the_connection(coding: str) -> None:
    request = ("GET / HTTP/1.0", "Host: example.org", "Connection: keep-alive", "")
    playbook = asked(browsing(), *request) << to_backend(*GET_ON[:-2], "Via: 1.0 tlsproxy", "")
    chunked = coding.endswith("chunked")
    playbook >> backend("HTTP/1.1 100 Continue", "")
    playbook >> backend(
        "HTTP/1.1 200 OK", "Date: x", coding, "", b"5\r\nhello\r\n0\r\nX: y\r\n\r\n" if chunked else b"hello"
    )
    head = ("HTTP/1.1 200 OK", "Date: x", *([] if chunked else [coding]), "Connection: close", "")
    if not chunked:
        playbook << to_client(*head, b"hello") << StopTimer() >> BackendFinished()
        playbook << logged("GET", 200, size(*request), size(*head) + 5) << DisconnectBackend()
    else:
        playbook << to_client(*head, b"hello")
        playbook << logged("GET", 200, size(*request), size(*head) + 5) << ReleaseBackend()
    playbook << CloseSession("connection_close")
    playbook.end()


@pytest.mark.parametrize(
    ("first", "status", "length"),
    [("HEAD", "200 OK", True), ("GET", "304 Not Modified", True), ("GET", "204 No Content", False)],
)
def test_a_response_that_has_no_body_ends_with_its_head(first: str, status: str, *, length: bool) -> None:
    playbook = asked(browsing(), f"{first} / HTTP/1.1", *GET[1:]) << to_backend(
        f"{first} / HTTP/1.1", *GET_ON[1:]
    )
    head = (f"HTTP/1.1 {status}", "Date: x")
    playbook >> backend(*head, "Content-Length: 5", "")
    told = (*head, *(["Content-Length: 5"] if length else []), "")
    (
        playbook
        << to_client(*told)
        << logged(first, int(status[:3]), size(f"{first} / HTTP/1.1", *GET[1:]), size(*told))
    )
    playbook << ReleaseBackend() << KEEPALIVE
    playbook.end()


def test_bytes_behind_a_response_are_nobody_s() -> None:
    playbook = (
        waiting(browsing()) >> backend(*OK, *OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE)
    )
    (
        playbook
        << Report("backend_protocol_error", "bytes behind a response")
        << DisconnectBackend()
        << KEEPALIVE
    )
    playbook.end()


def test_a_backend_that_closes_isn_t_used_again() -> None:
    playbook = waiting(browsing()) >> backend(*OK[:-2], "Connection: Close", *OK[-2:]) << to_client(*OK)
    playbook << logged("GET", 200, size(*GET), OK_SIZE) << DisconnectBackend() << KEEPALIVE
    playbook.end()


def test_what_a_backend_says_before_its_response_is_passed_on() -> None:
    playbook = waiting(browsing()) >> backend("HTTP/1.1 103 Early Hints", "Link: </x>", "", b"HTTP/1.1 1")
    playbook << to_client("HTTP/1.1 103 Early Hints", "Link: </x>", "")
    playbook >> backend("02 Processing", "", *OK) << to_client("HTTP/1.1 102 Processing", "", *OK)
    playbook << logged("GET", 200, size(*GET), OK_SIZE + 40 + 27) << ReleaseBackend() << KEEPALIVE
    playbook.end()


MALFORMED = own("502 Bad Gateway", "the backend's response is malformed", close=False)


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"ICY 200 OK\r\n", "the first line is no status line"),
        (b"HTTP/2.0 200 OK\r\n", "the first line is no status line"),
        (b"HTTP/1.1 99 Low\r\n", "the first line is no status line"),
        (b"HTTP/1.1 600 High\r\n", "the first line is no status line"),
        (b"\r\n", "the first line is no status line"),
        (b"<html>\n", "a control character, or a bare CR or LF"),
        (b"HTTP/1.1 200 OK" + b"K" * 9000, "the first line is too long"),
        (b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n", "a control character, or a bare CR or LF"),
        (b"HTTP/1.1 200 OK\r\nX\r\n\r\n", "a line of the header is no field"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 65536, "the header is too long"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "conflicting or malformed Content-Length",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "conflicting or malformed Content-Length"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding that isn't chunked alone, beside Content-Length, or in HTTP/1.0",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "101 that nothing asked for"),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * (INFORMATIONAL_LIMIT + 1), "too many responses with 1xx"),
    ],
)
def test_a_malformed_response_is_none(said: bytes, detail: str) -> None:
    playbook = waiting(browsing()) >> backend(said)
    passed = INFORMATIONAL_LIMIT * b"HTTP/1.1 102 Processing\r\n\r\n" if "too many" in detail else b""
    if passed:
        playbook << to_client(passed)
    playbook << Report("backend_protocol_error", detail) << DisconnectBackend() << to_client(*MALFORMED)
    playbook << logged("GET", 502, size(*GET), size(*MALFORMED) + len(passed)) << KEEPALIVE
    playbook.end()


def test_a_response_that_breaks_is_cut_off() -> None:
    playbook = waiting(browsing()) >> backend("HTTP/1.1 200 OK", "Date: x", "Transfer-Encoding: chunked", "")
    head = ("HTTP/1.1 200 OK", "Date: x", "Transfer-Encoding: chunked", "")
    playbook << to_client(*head) << StopTimer()
    playbook >> backend("x") << Report("backend_protocol_error", "a chunk size is malformed or too long")
    playbook << logged("GET", 200, size(*GET), size(*head)) << CloseSession("backend_protocol_error")
    playbook.end()


@pytest.mark.parametrize(
    ("event", "fields", "reason"),
    [
        (BackendFinished(), ("Content-Length: 5",), "backend_closed"),
        (BackendFinished(), ("Transfer-Encoding: chunked",), "backend_closed"),
        (BackendLost("reset"), ("Content-Length: 5",), "backend_lost"),
        (BackendLost("reset"), (), "backend_lost"),
    ],
)
def test_a_response_that_isn_t_whole_doesn_t_look_whole(
    event: Event, fields: tuple[str, ...], reason: str
) -> None:
    playbook = waiting(browsing()) >> backend("HTTP/1.1 200 OK", "Date: x", *fields, "")
    head = ("HTTP/1.1 200 OK", "Date: x", *(fields or ("Transfer-Encoding: chunked",)), "")
    playbook << to_client(*head) << StopTimer()
    playbook >> event << logged("GET", 200, size(*GET), size(*head)) << CloseSession(reason)
    playbook.end()


# Backends that fail


def test_a_request_is_sent_again_when_an_idle_connection_was_dead() -> None:
    playbook = waiting(browsing(), reused=True)
    playbook >> BackendFinished() << DisconnectBackend() << ConnectBackend(fresh=True)
    playbook >> BackendConnected() << to_backend(*GET_ON)
    playbook >> BackendLost("reset") << DisconnectBackend() << ConnectBackend(fresh=True)
    playbook >> BackendConnected() << to_backend(*GET_ON)
    lost = own("502 Bad Gateway", "the backend closed the connection without a response", close=False)
    playbook >> BackendFinished() << DisconnectBackend() << to_client(*lost)
    playbook << logged("GET", 502, size(*GET), size(*lost)) << KEEPALIVE
    playbook.end()


def test_a_request_is_sent_again_with_what_was_sent_of_its_body() -> None:
    playbook = uploading(browsing(), PUT, PUT_ON) >> client(b"he") << SendToBackend(b"he")
    playbook >> BackendLost("reset") << AbortBackend() << ConnectBackend(fresh=True)
    playbook >> client(b"l")
    playbook >> BackendConnected() << to_backend(*PUT_ON, b"hel")
    playbook >> client(b"lo") << SendToBackend(b"lo") << RESPONSE
    playbook.end()


LOST = own("502 Bad Gateway", "the backend closed the connection without a response")


def test_a_request_that_isn_t_idempotent_is_sent_once() -> None:
    playbook = uploading(browsing()) >> client(b"he") << SendToBackend(b"he")
    playbook >> BackendLost("reset") << AbortBackend() << to_client(*LOST)
    playbook << logged("POST", 502, size(*POST) + 2, size(*LOST)) << CloseSession("backend_lost")
    playbook.end()


def test_a_body_that_is_no_longer_held_isn_t_sent_again() -> None:
    request, sent = (
        (*PUT[:2], "Content-Length: 70000", ""),
        (*PUT_ON[:-3], "Content-Length: 70000", *PUT_ON[-2:]),
    )
    playbook = uploading(browsing(), request, sent) >> client(b"a" * 69_999) << SendToBackend(b"a" * 69_999)
    playbook >> client(b"a") << SendToBackend(b"a") << RESPONSE
    lost = own("502 Bad Gateway", "the backend closed the connection without a response", close=False)
    playbook >> BackendLost("reset") << DisconnectBackend() << to_client(*lost)
    playbook << logged("PUT", 502, size(*request) + 70_000, size(*lost)) << KEEPALIVE
    playbook.end()


@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_request_isn_t_sent_again_once_a_byte_of_a_response_came(said: bytes) -> None:
    playbook = waiting(browsing()) >> backend(said)
    if said != b"H":
        playbook << to_client(said)
    lost = own("502 Bad Gateway", "the backend closed the connection without a response", close=False)
    playbook >> BackendFinished() << DisconnectBackend() << to_client(*lost)
    playbook << logged("GET", 502, size(*GET), size(*lost) + (len(said) if said != b"H" else 0)) << KEEPALIVE
    playbook.end()


def test_a_time_out_of_an_idle_connection_isn_t_the_answer() -> None:
    playbook = waiting(browsing(), reused=True) >> backend(
        "HTTP/1.1 408 Request Timeout", "Connection: close", ""
    )
    playbook << DisconnectBackend() << ConnectBackend(fresh=True)
    playbook >> BackendConnected() << to_backend(*GET_ON)
    told = ("HTTP/1.1 408 Request Timeout", "Date: x", "Content-Length: 0", "")
    playbook >> backend(*told) << to_client(*told)
    playbook << logged("GET", 408, size(*GET), size(*told)) << ReleaseBackend() << KEEPALIVE
    playbook.end()


def test_a_backend_that_can_t_be_reached() -> None:
    playbook = browsing() >> client(*GET) << BeginRequest() << ConnectBackend() << RESPONSE
    told = own("503 Service Unavailable", "the backend can't be reached", close=False)
    playbook >> BackendUnavailable("refused") << to_client(*told)
    playbook << logged("GET", 503, size(*GET), size(*told)) << KEEPALIVE
    playbook.end()


def test_a_backend_that_can_t_be_reached_for_a_request_with_a_body_ends_the_session() -> None:
    playbook = browsing() >> client(*POST) << BeginRequest() << ConnectBackend(fresh=True) << StopTimer()
    told = own("503 Service Unavailable", "the backend can't be reached")
    playbook >> BackendUnavailable("refused") << to_client(*told)
    playbook << logged("POST", 503, size(*POST), size(*told)) << CloseSession("backend_unavailable")
    playbook.end()


@pytest.mark.parametrize(
    "event",
    [
        BackendConnected(),
        BackendUnavailable("refused"),
        BackendFinished(),
        BackendLost("reset"),
        backend(*OK),
    ],
)
def test_what_comes_from_a_connection_that_was_given_back_is_not_heard(event: Event) -> None:
    playbook = (
        waiting(browsing()) >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE)
    )
    playbook << ReleaseBackend() << KEEPALIVE
    playbook >> event
    playbook.end()


# Connections that belong to one client

NTLM = ("GET / HTTP/1.1", "Host: example.org", "Authorization: NTLM TlRMTVNTUAAB", "")
NTLM_ON = (*NTLM[:-1], *FORWARDED, "")


def authenticating(playbook: Playbook) -> Playbook:
    """The client is in the middle of NTLM."""
    asked(playbook, *NTLM) << to_backend(*NTLM_ON)
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*NTLM), OK_SIZE)
    return playbook << KEEPALIVE


def test_a_connection_authenticated_as_one_client_is_kept_for_it() -> None:
    playbook = authenticating(browsing())
    sent = tuple(line for line in POST_ON if line != "Connection: close")
    playbook >> client(*POST, b"hello") << BeginRequest() << to_backend(*sent, b"hello") << RESPONSE
    playbook >> backend(*OK) << to_client(*OK) << logged("POST", 200, size(*POST) + 5, OK_SIZE)
    playbook << KEEPALIVE
    playbook.end()


def test_a_connection_that_asks_for_such_authentication_is_kept_too() -> None:
    playbook = waiting(browsing())
    told = ("HTTP/1.1 401 No", "Date: x", "WWW-Authenticate: Basic x, Negotiate", "Content-Length: 0", "")
    playbook >> backend(*told) << to_client(*told) << logged("GET", 401, size(*GET), size(*told)) << KEEPALIVE
    playbook >> client(*GET) << BeginRequest() << to_backend(*GET_ON) << RESPONSE
    playbook.end()


@pytest.mark.parametrize(
    "event", [BackendFinished(), BackendLost("reset"), backend("HTTP/1.1 408 Too Late", "")]
)
def test_a_kept_connection_that_ends_is_forgotten(event: Event) -> None:
    playbook = authenticating(browsing()) >> event << DisconnectBackend()
    waiting(playbook)
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE)
    playbook << ReleaseBackend() << KEEPALIVE
    playbook.end()


def test_a_kept_connection_that_turns_out_dead_is_replaced() -> None:
    playbook = authenticating(browsing()) >> client(*GET) << BeginRequest() << to_backend(*GET_ON) << RESPONSE
    playbook >> BackendFinished() << DisconnectBackend() << ConnectBackend(fresh=True)
    playbook >> BackendConnected() << to_backend(*GET_ON)
    playbook.end()


@pytest.mark.parametrize(
    ("identity", "header"),
    [
        (IdentityMode.PROXY_V1, encode_v1(CLIENT, LOCAL)),
        (IdentityMode.PROXY_V2, encode_v2(CLIENT, LOCAL, TLS)),
        (IdentityMode.TRANSPARENT, b""),
    ],
)
def test_a_connection_that_tells_who_the_client_is_stays_its_own(
    identity: IdentityMode, header: bytes
) -> None:
    playbook = asked(browsing(identity=identity), *GET) << to_backend(header, *GET_ON)
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE) << KEEPALIVE
    playbook >> client(*GET) << BeginRequest() << to_backend(*GET_ON) << RESPONSE
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE) << KEEPALIVE
    playbook >> client(*POST, b"hello") << BeginRequest() << DisconnectBackend() << ConnectBackend(fresh=True)
    playbook << StopTimer()
    playbook >> BackendConnected() << to_backend(header, *POST_ON, b"hello") << RESPONSE
    playbook.end()


# The client's connection


def test_a_client_that_asks_for_the_end_gets_it() -> None:
    request = (*GET[:-1], "Connection: close", "")
    playbook = asked(browsing(), *request) << to_backend(*GET_ON)
    head = (*OK[:-2], "Connection: close", *OK[-2:])
    playbook >> backend(*OK) << to_client(*head) << logged("GET", 200, size(*request), size(*head))
    playbook << ReleaseBackend() << CloseSession("connection_close")
    playbook.end()


def test_a_connection_has_an_end_of_requests() -> None:
    playbook = waiting(browsing(http_max_requests=1))
    head = (*OK[:-2], "Connection: close", *OK[-2:])
    playbook >> backend(*OK) << to_client(*head) << logged("GET", 200, size(*GET), size(*head))
    playbook << ReleaseBackend() << CloseSession("connection_close")
    playbook.end()


def test_a_client_that_sends_no_more_still_gets_its_response() -> None:
    playbook = waiting(browsing()) >> ClientFinished()
    playbook >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE)
    playbook << ReleaseBackend() << CloseSession("client_closed")
    playbook.end()


def test_a_client_that_disappears_in_a_body_ends_the_session() -> None:
    playbook = uploading(browsing()) >> client(b"hell") << SendToBackend(b"hell")
    playbook >> ClientFinished() << AbortBackend() << CloseSession("client_closed")
    playbook.end()


def test_a_client_that_disappears_while_the_backend_is_connected_may_have_sent_enough() -> None:
    playbook = browsing() >> client(*POST, b"hello")
    playbook << BeginRequest() << ConnectBackend(fresh=True) << StopTimer() >> ClientFinished()
    playbook >> BackendConnected() << to_backend(*POST_ON, b"hello") << RESPONSE
    playbook.end()


@pytest.mark.parametrize("begun", [(), ("GET / HTTP/1.1",), (b"G",), ("",)])
def test_a_client_that_disappears_between_requests_ends_the_session(begun: tuple[str | bytes, ...]) -> None:
    playbook = browsing()
    if begun:
        playbook >> client(*begun) << BeginRequest()
    playbook >> ClientFinished() << CloseSession("client_closed")
    playbook.end()


def test_nothing_is_heard_after_the_end() -> None:
    playbook = browsing() >> ClientFinished() << CloseSession("client_closed") >> client(*GET)
    playbook.end()


def test_without_tls_to_be_had_there_is_no_session() -> None:
    playbook = Playbook(HttpFront(http_options()))
    playbook >> SessionOpened(CLIENT, LOCAL, tls_available=False) << CloseSession("tls_unavailable")
    playbook.end()


def test_a_session_without_tls_begins_at_once() -> None:
    asked(browsing(tls_security_level=TlsSecurityLevel.NONE), *GET) << to_backend(
        *(line.replace("https", "http") for line in GET_ON)
    )


def test_responses_of_a_tls_session_have_hsts_and_only_ours() -> None:
    hsts = "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload"
    playbook = waiting(
        browsing(http_hsts=31_536_000, http_hsts_include_subdomains=True, http_hsts_preload=True)
    )
    head = ("HTTP/1.1 200 OK", "Date: x", "Content-Length: 0", hsts, "")
    playbook >> backend(*head[:3], "Strict-transport-security: max-age=0", "") << to_client(*head)
    playbook << logged("GET", 200, size(*GET), size(*head)) << ReleaseBackend() << KEEPALIVE
    told = (*own("400 Bad Request", "a malformed Host field")[:-3], hsts, "Connection: close", "")
    text = b"400 Bad Request: a malformed Host field\n"
    playbook >> client("GET / HTTP/1.1", "Host: /", "") << BeginRequest()
    playbook << Report("request_refused", "a malformed Host field")
    (
        playbook
        << to_client(*told, text)
        << logged("GET", 400, 0, size(*told, text))
        << CloseSession("request_refused")
    )
    playbook.end()


def test_a_response_of_a_plaintext_session_has_the_backend_s_hsts_alone() -> None:
    playbook = browsing(tls_security_level=TlsSecurityLevel.NONE, http_hsts=1)
    asked(playbook, *GET) << to_backend(*(line.replace("https", "http") for line in GET_ON))
    head = ("HTTP/1.1 200 OK", "Date: x", "Strict-Transport-Security: x", "Content-Length: 0", "")
    playbook >> backend(*head) << to_client(*head)
    playbook << logged("GET", 200, size(*GET), size(*head)) << ReleaseBackend() << KEEPALIVE
    playbook.end()


# Answers of the proxy's own


def test_an_answer_of_our_own_leaves_the_session_where_it_can() -> None:
    playbook = browsing() >> client("OPTIONS * HTTP/1.1", "Host: example.org", "Max-Forwards: 0", "")
    head = (
        "HTTP/1.1 200 OK",
        DATE,
        "Content-Type: text/plain; charset=utf-8",
        "Content-Length: 0",
        "Allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
        "",
    )
    (
        playbook
        << BeginRequest()
        << to_client(*head)
        << LogRequest("OPTIONS", "*", 200, 58, size(*head))
        << KEEPALIVE
    )
    playbook.end()


def test_an_answer_to_head_has_no_body() -> None:
    playbook = (
        browsing() >> client("HEAD / HTTP/1.1", *GET[1:]) << BeginRequest() << ConnectBackend() << RESPONSE
    )
    told = own("503 Service Unavailable", "the backend can't be reached", close=False)[:-1]
    playbook >> BackendUnavailable("refused") << to_client(*told)
    playbook << logged("HEAD", 503, size(*GET) + 1, size(*told)) << KEEPALIVE
    playbook.end()


# Time


@pytest.mark.parametrize(
    ("event", "reason"), [(TimerExpired(), "request_timeout"), (IdleTimedOut(), "idle_timeout")]
)
def test_a_request_whose_head_takes_too_long_gets_408(event: Event, reason: str) -> None:
    playbook = browsing() >> client("GET /?secret HTTP/1.1") << BeginRequest() >> client("X: y")
    told = own("408 Request Timeout", "the request took too long")
    playbook >> event << to_client(*told) << logged("GET", 408, 0, size(*told)) << CloseSession(reason)
    playbook.end()


def test_the_time_for_the_next_request_begins_with_its_first_byte() -> None:
    playbook = (
        waiting(browsing()) >> backend(*OK) << to_client(*OK) << logged("GET", 200, size(*GET), OK_SIZE)
    )
    playbook << ReleaseBackend() << KEEPALIVE
    playbook >> client(b"G") << BeginRequest() << REQUEST
    playbook >> client(b"ET / HTTP/1.1", "")
    told = own("408 Request Timeout", "the request took too long")
    playbook >> TimerExpired() << to_client(*told) << logged("GET", 408, 0, size(*told))
    playbook << CloseSession("request_timeout")
    playbook.end()


@pytest.mark.parametrize("event", [TimerExpired(), IdleTimedOut()])
def test_a_client_without_a_request_is_left_without_a_word(event: Event) -> None:
    playbook = browsing() >> event << CloseSession("idle_timeout")
    playbook.end()


def test_a_session_that_waits_for_a_handshake_ends_without_a_word() -> None:
    playbook = Playbook(HttpFront(http_options())) >> OPENED << StartTls()
    playbook >> IdleTimedOut() << CloseSession("idle_timeout")
    playbook.end()


def test_a_body_that_stops_gets_408() -> None:
    told = own("408 Request Timeout", "the body took too long")
    playbook = uploading(browsing()) >> IdleTimedOut() << to_client(*told)
    (
        playbook
        << logged("POST", 408, size(*POST), size(*told))
        << AbortBackend()
        << CloseSession("idle_timeout")
    )
    playbook.end()


def test_a_backend_that_takes_too_long_is_504_and_the_client_may_go_on() -> None:
    told = own("504 Gateway Timeout", "the backend gave no response in time", close=False)
    playbook = waiting(browsing()) >> TimerExpired() << DisconnectBackend() << to_client(*told)
    playbook << logged("GET", 504, size(*GET), size(*told)) << KEEPALIVE
    waiting(playbook)
    playbook.end()


@pytest.mark.parametrize("request_", [GET, POST])
def test_a_backend_that_isn_t_there_before_the_session_is_idle_is_504(request_: tuple[str, ...]) -> None:
    playbook = browsing() >> client(*request_) << BeginRequest() << ConnectBackend(fresh=request_ is POST)
    playbook << (RESPONSE if request_ is GET else StopTimer())
    told = own("504 Gateway Timeout", "the backend took too long")
    playbook >> IdleTimedOut() << to_client(*told)
    (
        playbook
        << logged(request_[0].split()[0], 504, size(*request_), size(*told))
        << CloseSession("backend_timeout")
    )
    playbook.end()


def test_a_response_that_stops_is_cut_off() -> None:
    playbook = waiting(browsing()) >> backend(*OK[:-1], b"o") << to_client(*OK[:-1], b"o") << StopTimer()
    playbook >> TimerExpired() >> IdleTimedOut() << logged("GET", 200, size(*GET), OK_SIZE - 1)
    playbook << CloseSession("idle_timeout")
    playbook.end()


# The service is going to stop


def test_an_idle_session_ends_at_once() -> None:
    playbook = browsing() >> DrainRequested() << CloseSession("draining")
    playbook.end()


def test_a_session_that_waits_for_a_handshake_ends_behind_its_first_response() -> None:
    playbook = Playbook(HttpFront(http_options())) >> OPENED << StartTls() >> DrainRequested()
    playbook >> TlsStarted(TLS) << CloseSession("draining")
    playbook.end()


def test_a_request_that_has_begun_is_served_and_the_client_told() -> None:
    playbook = browsing() >> client(*GET[:2]) << BeginRequest() >> DrainRequested()
    playbook >> client("") << ConnectBackend() << RESPONSE
    playbook >> BackendConnected() << to_backend(*GET_ON)
    head = (*OK[:-2], "Connection: close", *OK[-2:])
    playbook >> backend(*OK) << to_client(*head) << logged("GET", 200, size(*GET), size(*head))
    playbook << ReleaseBackend() << CloseSession("draining")
    playbook.end()


def test_a_response_that_has_begun_is_finished() -> None:
    playbook = (
        waiting(browsing()) >> backend(*OK[:-1]) << to_client(*OK[:-1]) << StopTimer() >> DrainRequested()
    )
    playbook >> backend(b"ok") << to_client(b"ok") << logged("GET", 200, size(*GET), OK_SIZE)
    playbook << ReleaseBackend() << CloseSession("draining")
    playbook.end()
