"""Tests for :mod:`tlsproxy.fronts.introduction`."""

import pytest

from tests.fronts.conftest import CLIENT, LOCAL, TLS
from tests.support.playbook import wire
from tlsproxy.fronts.introduction import Introduced, Introduction, NotIntroduced
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.fronts.replies import Reply
from tlsproxy.identity.client import TlsFacts
from tlsproxy.identity.proxy_header import encode_v1, encode_v2

POSTFIX = "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"


def introduction(mode: IdentityMode, tls: TlsFacts | None = None) -> Introduction:
    return Introduction(mode, client=CLIENT, destination=LOCAL, tls=tls, hostname="proxy.example")


def reply(*lines: str) -> Reply:
    return Reply(int(lines[-1][:3]), wire(*lines))


READY = reply("220 old.example ESMTP")


@pytest.mark.parametrize(
    ("mode", "opening"),
    [
        (IdentityMode.NONE, b""),
        (IdentityMode.TRACE_HEADER, b""),
        (IdentityMode.TRANSPARENT, b""),
        (IdentityMode.XCLIENT, b""),
        (IdentityMode.PROXY_V1, encode_v1(CLIENT, LOCAL)),
        (IdentityMode.PROXY_V2, encode_v2(CLIENT, LOCAL, TLS)),
    ],
)
def test_the_first_bytes_are_the_modes(mode: IdentityMode, opening: bytes) -> None:
    assert introduction(mode, TLS).opening == opening


@pytest.mark.parametrize("mode", [mode for mode in IdentityMode if mode is not IdentityMode.XCLIENT])
def test_the_greeting_is_all_that_is_awaited(mode: IdentityMode) -> None:
    refusal = reply("554 go away")
    assert introduction(mode).receive(READY) == Introduced(READY)
    assert introduction(mode).receive(refusal) == Introduced(refusal)


def test_xclient_tells_the_client_after_an_ehlo_of_the_proxys_own() -> None:
    dialogue = introduction(IdentityMode.XCLIENT)
    assert dialogue.receive(READY) == b"EHLO proxy.example\r\n"
    told = dialogue.receive(reply("250-old.example", "250-SIZE", f"250 {POSTFIX}"))
    assert told == (
        b"XCLIENT DESTADDR=198.51.100.25 DESTPORT=25 NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]"
        b" PORT=51234 ADDR=192.0.2.7\r\n"
    )
    greeting = reply("220 old.example for 192.0.2.7")
    assert dialogue.receive(greeting) == Introduced(greeting)


def test_xclient_takes_as_many_lines_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsproxy.identity.xclient.MAX_LINE_SIZE", 60)
    dialogue = introduction(IdentityMode.XCLIENT)
    dialogue.receive(READY)
    lines: list[bytes] = []
    result = dialogue.receive(reply("250-old.example", f"250 {POSTFIX}"))
    while isinstance(result, bytes):
        lines.append(result)
        result = dialogue.receive(READY)
    assert result == Introduced(READY)
    assert len(lines) > 2
    assert lines[-1].endswith(b" ADDR=192.0.2.7\r\n")


@pytest.mark.parametrize(
    ("ehlo", "detail"),
    [
        (reply("250-old.example", "250 SIZE"), "XCLIENT isn't offered to the proxy"),
        (reply("250 XCLIENT ADDR"), "XCLIENT isn't offered to the proxy"),
        (reply("502 what?"), "reply 502 to EHLO"),
        (reply("421 bye"), "reply 421 to EHLO"),
    ],
)
def test_without_xclient_the_backend_is_not_used(ehlo: Reply, detail: str) -> None:
    dialogue = introduction(IdentityMode.XCLIENT)
    dialogue.receive(READY)
    assert dialogue.receive(ehlo) == NotIntroduced(detail)


def test_without_addr_the_backend_is_not_used() -> None:
    dialogue = introduction(IdentityMode.XCLIENT)
    dialogue.receive(READY)
    result = dialogue.receive(reply("250-old.example", "250 XCLIENT NAME HELO"))
    assert isinstance(result, NotIntroduced)
    assert "ADDR" in result.detail


def test_a_greeting_that_refuses_is_the_verdict() -> None:
    refusal = reply("554 go away")
    assert introduction(IdentityMode.XCLIENT).receive(refusal) == NotIntroduced("greeting 554", refusal)


@pytest.mark.parametrize(
    ("answer", "for_the_client"),
    [
        ("554 5.7.1 Client host rejected", True),
        ("450 4.7.25 Client host rejected", True),
        ("421 unable to proceed", False),
        ("501 bad parameter", False),
        ("503 in transaction", False),
        ("550 5.7.0 insufficient authorization", False),
        ("250 Ok", False),
        ("354 what?", False),
    ],
)
def test_a_refusal_of_the_client_is_told_from_one_of_the_proxy(answer: str, *, for_the_client: bool) -> None:
    dialogue = introduction(IdentityMode.XCLIENT)
    dialogue.receive(READY)
    dialogue.receive(reply("250-old.example", "250 XCLIENT ADDR"))
    verdict = reply(answer) if for_the_client else None
    assert dialogue.receive(reply(answer)) == NotIntroduced(f"reply {answer[:3]} to XCLIENT", verdict)
