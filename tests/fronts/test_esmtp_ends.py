"""How a session with :mod:`tlsproxy.fronts.esmtp` ends."""

import pytest

from tests.fronts.conftest import (
    OPENED,
    READY,
    TLS,
    UNAVAILABLE,
    Play,
    connected,
    greeted,
    in_data,
    in_tls,
    with_recipient,
)
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import AbortBackend, CloseSession, ConnectBackend, Report, StartTls
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendFinished,
    BackendLost,
    BackendUnavailable,
    ClientDataReceived,
    ClientFinished,
    DrainRequested,
    Event,
    IdleTimedOut,
    SessionOpened,
    TlsStarted,
)
from tlsproxy.fronts.options import TlsSecurityLevel

INTERNAL_ERROR = "421 4.3.0 proxy.example Internal mail system error, try again later"
TIMEOUT = "421 4.4.2 proxy.example Error: timeout exceeded"
LOSSES = [(BackendFinished(), "backend_closed"), (BackendLost("reset"), "backend_lost")]


def connecting(playbook: Playbook) -> Playbook:
    return playbook >> OPENED << ConnectBackend()


def awaiting_greeting(playbook: Playbook) -> Playbook:
    return connecting(playbook) >> BackendConnected()


def awaiting(playbook: Playbook, command: str) -> Playbook:
    return greeted(playbook) >> client(command) << to_backend(command)


def in_auth(playbook: Playbook) -> Playbook:
    in_tls(playbook, "AUTH LOGIN") >> client("AUTH LOGIN") << to_backend("AUTH LOGIN")
    return playbook >> backend("334 user") << to_client("334 user")


def before_tls(playbook: Playbook) -> Playbook:
    return playbook >> OPENED << to_client("220 proxy.example ESMTP")


# The backend


@pytest.mark.parametrize(("event", "reason"), LOSSES)
def test_a_backend_lost_at_any_step_is_a_421(play: Play, event: Event, reason: str) -> None:
    steps = [
        awaiting_greeting(play()),
        connected(play()),
        greeted(play()),
        awaiting(play(), "EHLO again"),
        awaiting(play(), "MAIL FROM:<a>"),
        awaiting(play(), "DATA"),
        awaiting(play(), "RSET"),
        with_recipient(greeted(play())),
        in_tls(play()),
        in_auth(play()),
    ]
    for playbook in steps:
        playbook >> event << to_client(UNAVAILABLE) << CloseSession(reason)
        playbook >> event


@pytest.mark.parametrize(("event", "reason"), LOSSES)
def test_many_replies_that_will_not_come_are_one_421(play: Play, event: Event, reason: str) -> None:
    playbook = greeted(play(), "PIPELINING")
    (
        playbook
        >> client("MAIL FROM:<a>", "RCPT TO:<b>", "QUIT")
        << to_backend("MAIL FROM:<a>", "RCPT TO:<b>", "QUIT")
    )
    playbook >> event << to_client(UNAVAILABLE) << CloseSession(reason)


@pytest.mark.parametrize(("event", "reason"), LOSSES)
def test_half_a_reply_is_none(play: Play, event: Event, reason: str) -> None:
    playbook = awaiting(play(), "EHLO again") >> backend("250-old.example", b"250-PIPEL")
    playbook >> event << to_client(UNAVAILABLE) << CloseSession(reason)


@pytest.mark.parametrize("event", [BackendFinished(), BackendLost("reset")])
def test_a_backend_that_closes_for_quit_has_said_goodbye(play: Play, event: Event) -> None:
    awaiting(play(), "QUIT") >> event << to_client("221 2.0.0 Bye") << CloseSession("client_quit")


def test_a_421_passes_at_any_time(play: Play) -> None:
    for playbook in (
        greeted(play()),
        awaiting(play(), "EHLO again"),
        awaiting(play(), "RCPT TO:<b>"),
        awaiting(play(), "DATA"),
        awaiting(play(), "QUIT"),
        in_auth(play()),
    ):
        (
            playbook
            >> backend("421-closing", "421 now")
            << to_client("421-closing", "421 now")
            << CloseSession("backend_closed")
        )


@pytest.mark.parametrize("reply", ["250 Ok", "550 no", "354 go on"])
def test_a_reply_that_nothing_asked_for_ends_the_session(play: Play, reply: str) -> None:
    for playbook in (connected(play()), greeted(play()), in_auth(play())):
        (
            playbook
            >> backend(reply)
            << Report("backend_protocol_error", f"reply {reply[:3]} that nothing asked for")
            << to_client(INTERNAL_ERROR)
            << CloseSession("backend_protocol_error")
        )


def test_so_does_a_second_reply_to_one_command(play: Play) -> None:
    playbook = awaiting(play(), "NOOP")
    (
        playbook
        >> backend("250 Ok", "250 Ok")
        << to_client("250 Ok")
        << Report("backend_protocol_error", "reply 250 that nothing asked for")
        << to_client(INTERNAL_ERROR)
        << CloseSession("backend_protocol_error")
    )


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("MAIL FROM:<a>", "354 go on"),
        ("X-ODD", "354 go on"),
        ("X-ODD", "334 more"),
        ("DATA", "334 more"),
        ("EHLO c", "350 x"),
    ],
)
def test_so_does_a_reply_that_asks_for_something_else(play: Play, command: str, reply: str) -> None:
    commands = awaiting(play(), command).front.handle(backend(reply))
    assert isinstance(commands[0], Report)
    assert commands[0].what == "backend_protocol_error"
    assert list(commands[1:]) == [to_client(INTERNAL_ERROR), CloseSession("backend_protocol_error")]


@pytest.mark.parametrize("junk", [b"hello\r\n", b"\r\n", b"2500 x\r\n", b"250 " + b"x" * 70000])
def test_so_does_what_is_no_reply(play: Play, junk: bytes) -> None:
    for playbook in (awaiting_greeting(play()), awaiting(play(), "NOOP"), greeted(play())):
        (
            playbook
            >> backend(junk)
            << Report("backend_protocol_error", "no reply")
            << to_client(INTERNAL_ERROR)
            << CloseSession("backend_protocol_error")
        )


# The client


def test_a_client_that_ends_between_commands_ends_the_session(play: Play) -> None:
    for playbook in (
        connected(play()),
        greeted(play()),
        with_recipient(greeted(play())),
        in_auth(play()),
        before_tls(play(tls_security_level=TlsSecurityLevel.ENCRYPT)),
        greeted(play()) >> client(b"NOO"),
    ):
        playbook >> ClientFinished() << CloseSession("client_closed")


def test_one_that_said_all_at_once_gets_its_replies(play: Play) -> None:
    playbook = connecting(play()) >> client("HELO c", "MAIL FROM:<a>", "QUIT") >> ClientFinished()
    playbook >> BackendConnected()
    playbook >> backend("220 old") << to_client("220 old") << to_backend("HELO c")
    playbook >> backend("250 old") << to_client("250 old") << to_backend("MAIL FROM:<a>")
    playbook >> backend("250 Ok") << to_client("250 Ok") << to_backend("QUIT")
    playbook >> backend("221 bye") << to_client("221 bye") << CloseSession("client_quit")


def test_one_without_quit_too(play: Play) -> None:
    playbook = awaiting(play(), "NOOP") >> ClientFinished()
    playbook >> backend("250 Ok") << to_client("250 Ok") << CloseSession("client_closed")


# Time


def test_a_client_that_says_nothing_is_timed_out(play: Play) -> None:
    for playbook in (
        connected(play()),
        with_recipient(greeted(play())),
        in_auth(play()),
        before_tls(play(tls_security_level=TlsSecurityLevel.ENCRYPT)),
    ):
        playbook >> IdleTimedOut() << to_client(TIMEOUT) << CloseSession("idle_timeout")


def test_a_backend_that_says_nothing_is_a_421(play: Play) -> None:
    for playbook in (
        connecting(play()),
        awaiting_greeting(play()),
        awaiting(play(), "NOOP"),
        in_data(greeted(play())) >> client(".") << to_backend("."),
    ):
        playbook >> IdleTimedOut() << to_client(UNAVAILABLE) << CloseSession("backend_timeout")


# Drain


def test_a_drain_ends_a_session_without_a_message_at_once(play: Play) -> None:
    for playbook in (
        connecting(play()),
        awaiting_greeting(play()),
        connected(play()),
        awaiting(play(), "NOOP"),
        in_auth(play()),
        before_tls(play(tls_security_level=TlsSecurityLevel.ENCRYPT)),
    ):
        playbook >> DrainRequested() << to_client(UNAVAILABLE) << CloseSession("draining")


def test_a_drain_waits_for_the_end_of_a_message(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING") >> client("MAIL FROM:<a>") << to_backend("MAIL FROM:<a>")
    playbook >> DrainRequested()
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client("RCPT TO:<b>", "DATA") << to_backend("RCPT TO:<b>", "DATA")
    playbook >> backend("250 Ok", "354 go on") << to_client("250 Ok", "354 go on")
    playbook >> client("text", ".", "MAIL FROM:<next>") << to_backend("text", ".")
    playbook >> backend("250 queued") << to_client("250 queued", UNAVAILABLE) << CloseSession("draining")


def test_a_drain_waits_for_the_last_chunk(play: Play) -> None:
    playbook = with_recipient(greeted(play(), "CHUNKING")) >> DrainRequested()
    playbook >> client("BDAT 1", b"x") << to_backend("BDAT 1", b"x")
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client("BDAT 1 LAST", b"x") << to_backend("BDAT 1 LAST", b"x")
    playbook >> backend("250 queued") << to_client("250 queued", UNAVAILABLE) << CloseSession("draining")


@pytest.mark.parametrize("command", ["RSET", "EHLO c"])
def test_a_drain_waits_no_longer_when_the_message_is_given_up(play: Play, command: str) -> None:
    playbook = with_recipient(greeted(play())) >> DrainRequested()
    playbook >> client(command) << to_backend(command)
    reply = ["250 old"] if command == "RSET" else ["250-old", "250 STARTTLS"]
    playbook >> backend("250 old") << to_client(*reply, UNAVAILABLE) << CloseSession("draining")


def test_a_refused_reset_changes_nothing(play: Play) -> None:
    playbook = with_recipient(greeted(play())) >> DrainRequested()
    playbook >> client("RSET") << to_backend("RSET")
    playbook >> backend("500 what?") << to_client("500 what?")


def test_a_refused_mail_is_no_message(play: Play) -> None:
    playbook = awaiting(play(), "MAIL FROM:<a>") >> DrainRequested()
    playbook >> backend("550 no") << to_client("550 no", UNAVAILABLE) << CloseSession("draining")


def test_nothing_happens_after_the_end(play: Play) -> None:
    playbook = connecting(play()) >> BackendUnavailable("x")
    playbook << to_client(UNAVAILABLE) << CloseSession("backend_unavailable")
    for event in (
        SessionOpened(OPENED.client),
        TlsStarted(TLS),
        ClientDataReceived(b"NOOP\r\n"),
        ClientFinished(),
        backend("220 late"),
        IdleTimedOut(),
        DrainRequested(),
    ):
        playbook >> event


def test_a_second_request_to_drain_is_the_last_word(play: Play) -> None:
    playbook = in_data(greeted(play()))
    playbook >> DrainRequested()
    (playbook >> DrainRequested() << to_client(UNAVAILABLE) << AbortBackend() << CloseSession("shutdown"))


def test_a_second_request_to_drain_ends_a_handshake(play: Play) -> None:
    playbook = connected(play())
    playbook >> client("STARTTLS") << READY << StartTls()
    playbook >> DrainRequested()
    playbook >> DrainRequested() << CloseSession("shutdown")
