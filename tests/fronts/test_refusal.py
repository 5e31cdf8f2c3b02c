"""Tests for :mod:`tlsproxy.fronts.refusal`: what a client over a limit is told."""

from typing import Any

import pytest

from tests.fronts.conftest import CLIENT, LOCAL, NOON, OPENED, TLS, Settings
from tests.support.http_play import DATE, http_options
from tests.support.playbook import Playbook, client, to_client
from tlsproxy.fronts import KINDS
from tlsproxy.fronts.commands import BeginRequest, CloseSession, LogRequest, StartTimer, StartTls
from tlsproxy.fronts.events import (
    ClientFinished,
    ClientTooSlow,
    DrainRequested,
    Event,
    IdleTimedOut,
    SessionOpened,
    TimerExpired,
    TlsStarted,
)
from tlsproxy.fronts.options import FrontOptions, IdentityMode, TlsSecurityLevel
from tlsproxy.fronts.refusal import RETRY_AFTER, HttpRefusal, SmtpRefusal
from tlsproxy.policy.pace import Due

WITHOUT_TLS = SessionOpened(CLIENT, LOCAL, tls_available=False)
PER_PEER = ["max_sessions_per_peer", "session_rate_per_peer"]
ENDS = [ClientFinished(), IdleTimedOut(), TimerExpired(), DrainRequested(), ClientTooSlow("min_data_rate")]


def smtp(limit: str = "max_sessions", **settings: Any) -> Playbook:
    options = FrontOptions(Settings(**settings), IdentityMode.NONE, lambda: NOON)  # type: ignore[arg-type]
    return Playbook(SmtpRefusal(options, limit))


def http(limit: str = "max_sessions", **settings: Any) -> Playbook:
    return Playbook(HttpRefusal(http_options(**settings), limit))


class TestSmtp:
    def test_everybody_is_told_in_place_of_a_greeting(self) -> None:
        playbook = smtp() >> OPENED << to_client("421 4.7.0 proxy.example Error: too many connections")
        playbook << CloseSession("max_sessions")
        playbook.end()

    @pytest.mark.parametrize("limit", PER_PEER)
    def test_a_client_is_told_that_it_is_the_one(self, limit: str) -> None:
        playbook = smtp(limit) >> OPENED
        playbook << to_client("421 4.7.0 proxy.example Error: too many connections from your address")
        playbook << CloseSession(limit)
        playbook.end()

    def test_in_wrappermode_it_is_told_after_the_handshake(self) -> None:
        playbook = smtp(tls_wrappermode=True) >> OPENED << StartTls()
        playbook >> TlsStarted(TLS) << to_client("421 4.7.0 proxy.example Error: too many connections")
        playbook << CloseSession("max_sessions")
        playbook.end()

    def test_where_tls_can_t_be_had_it_is_not_told(self) -> None:
        (smtp(tls_wrappermode=True) >> WITHOUT_TLS << CloseSession("max_sessions")).end()

    def test_words_of_the_client_end_it(self) -> None:
        (
            smtp(tls_wrappermode=True)
            >> OPENED
            << StartTls()
            >> client("QUIT")
            << CloseSession("max_sessions")
        ).end()


def answer(status: str, detail: str, body: bool = True) -> list[str | bytes]:
    text = f"{status}: {detail}\n"
    return [
        f"HTTP/1.1 {status}",
        DATE,
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(text)}",
        f"Retry-After: {RETRY_AFTER}",
        "Cache-Control: no-store",
        "Connection: close",
        "",
        text.encode() if body else b"",
    ]


TOO_MANY = answer("503 Service Unavailable", "too many sessions")
TOO_MANY_OF_PEER = answer("429 Too Many Requests", "too many connections from your address")


def size(lines: list[str | bytes]) -> int:
    return sum(len(line) + (2 if isinstance(line, str) else 0) for line in lines)


class TestHttp:
    def test_it_is_told_after_the_handshake_in_answer_to_its_request(self) -> None:
        playbook = http() >> OPENED << StartTls()
        playbook >> TlsStarted(TLS) << BeginRequest() << StartTimer(5.0)
        playbook >> client("GET / HTTP/1.1") << to_client(*TOO_MANY)
        playbook << LogRequest(None, None, 503, 16, size(TOO_MANY)) << CloseSession("max_sessions")
        playbook.end()

    @pytest.mark.parametrize("limit", PER_PEER)
    def test_a_client_that_is_the_one_gets_429(self, limit: str) -> None:
        playbook = http(limit, tls_security_level=TlsSecurityLevel.NONE) >> OPENED
        playbook << BeginRequest() << StartTimer(5.0)
        playbook >> client(b"G") << to_client(*TOO_MANY_OF_PEER)
        playbook << LogRequest(None, None, 429, 1, size(TOO_MANY_OF_PEER)) << CloseSession(limit)
        playbook.end()

    def test_head_gets_no_body(self) -> None:
        playbook = (
            http(tls_security_level=TlsSecurityLevel.NONE) >> OPENED << BeginRequest() << StartTimer(5.0)
        )
        told = answer("503 Service Unavailable", "too many sessions", body=False)
        playbook >> client("HEAD / HTTP/1.1") << to_client(*told)
        playbook << LogRequest(None, None, 503, 17, size(told)) << CloseSession("max_sessions")
        playbook.end()

    def test_where_tls_can_t_be_had_it_is_not_told(self) -> None:
        (http() >> WITHOUT_TLS << CloseSession("max_sessions")).end()


@pytest.mark.parametrize("refusal", [smtp, http])
@pytest.mark.parametrize("event", ENDS, ids=lambda event: type(event).__name__)
def test_whatever_else_comes_ends_it(refusal: Any, event: Event) -> None:
    (
        refusal(**({"tls_wrappermode": True} if refusal is smtp else {}))
        >> OPENED
        << StartTls()
        >> event
        << CloseSession("max_sessions")
    ).end()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_refusal_owes_and_names_nothing(kind: Any) -> None:
    if kind.refusal is None:
        assert kind.name == "stream"
        return
    refusal = kind.refusal(http_options(), "max_sessions")
    assert (refusal.due, refusal.step, refusal.client_name) == (Due.NOTHING, 0, None)
