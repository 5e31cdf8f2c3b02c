"""STARTTLS in :mod:`tlsproxy.fronts.esmtp`."""

import pytest

from tests.fronts.conftest import (
    CLIENT,
    CLOSING,
    LOCAL,
    READY,
    TLS,
    UNAVAILABLE,
    Play,
    connected,
    ehlo_reply,
    greeted,
    in_tls,
    with_recipient,
)
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import CloseSession, ConnectBackend, DisconnectBackend, Report, StartTls
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendDataReceived,
    BackendFinished,
    BackendLost,
    ClientFinished,
    DrainRequested,
    Event,
    IdleTimedOut,
    SessionOpened,
    TlsStarted,
)
from tlsproxy.fronts.options import InjectionPolicy, TlsSecurityLevel

SEND_HELLO = "503 5.5.1 Error: send HELO/EHLO first"


def starting(playbook: Playbook) -> Playbook:
    return playbook >> client("STARTTLS") << READY << StartTls()


def test_the_backend_stays_and_is_reset_by_the_new_ehlo(play: Play) -> None:
    playbook = starting(greeted(play(), "PIPELINING"))
    playbook >> TlsStarted(TLS)
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("SIZE")) << to_client(*ehlo_reply("SIZE"))


def test_it_needs_no_hello(play: Play) -> None:
    starting(connected(play()))


def test_it_takes_no_argument(play: Play) -> None:
    playbook = greeted(play())
    playbook >> client("STARTTLS now") << to_client("501 5.5.4 Syntax: STARTTLS")
    playbook >> client("starttls ") << READY << StartTls()


def test_it_is_refused_in_tls(play: Play) -> None:
    playbook = in_tls(play())
    playbook >> client("STARTTLS") << to_client("503 5.5.1 Error: TLS already active")


def test_it_is_refused_in_a_transaction(play: Play) -> None:
    playbook = with_recipient(greeted(play()))
    playbook >> client("STARTTLS") << to_client("503 5.5.1 Error: mail transaction in progress")
    playbook >> client("RSET") << to_backend("RSET")
    playbook >> backend("250 Ok") << to_client("250 Ok")
    starting(playbook)


def test_a_transaction_that_is_not_accepted_yet_counts(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING")
    playbook >> client("MAIL FROM:<a>", "STARTTLS", "RSET") << to_backend("MAIL FROM:<a>")
    (
        playbook
        >> backend("250 Ok")
        << to_client("250 Ok", "503 5.5.1 Error: mail transaction in progress")
        << to_backend("RSET")
    )
    playbook >> backend("250 Ok") << to_client("250 Ok")


@pytest.mark.parametrize(
    "settings",
    [{"tls_security_level": TlsSecurityLevel.NONE}, {"smtp_discard_ehlo_keywords": ("STARTTLS",)}],
)
def test_it_is_unknown_where_it_is_not_offered(play: Play, settings: dict[str, object]) -> None:
    playbook = connected(play(**settings))
    playbook >> client("STARTTLS") << to_client("502 5.5.1 Error: command not implemented")


@pytest.mark.parametrize("level", [TlsSecurityLevel.MAY, TlsSecurityLevel.ENCRYPT])
def test_it_fails_when_tls_cannot_be_had(play: Play, level: TlsSecurityLevel) -> None:
    playbook = play(tls_security_level=level)
    commands = list(playbook.front.handle(SessionOpened(CLIENT, LOCAL, tls_available=False)))
    if commands == [ConnectBackend()]:
        playbook >> BackendConnected()
        playbook >> backend("220 old") << to_client("220 old")
    playbook >> client("STARTTLS") << to_client("454 4.7.0 TLS not available due to local problem")


@pytest.mark.parametrize("behind", [b"RSET\r\n", b"R", b"\0"])
def test_plaintext_behind_it_ends_the_session(play: Play, behind: bytes) -> None:
    playbook = greeted(play())
    (
        playbook
        >> client("STARTTLS", behind)
        << Report("starttls_injection", f"{len(behind)} bytes behind STARTTLS")
        << to_client("554 5.5.1 Error: data behind STARTTLS", CLOSING)
        << CloseSession("starttls_injection")
    )


def test_plaintext_that_comes_while_it_waits_counts(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING")
    playbook >> client("RSET", "STARTTLS") << to_backend("RSET")
    playbook >> client(b"M")
    (
        playbook
        >> backend("250 Ok")
        << to_client("250 Ok")
        << Report("starttls_injection", "1 bytes behind STARTTLS")
        << to_client("554 5.5.1 Error: data behind STARTTLS", CLOSING)
        << CloseSession("starttls_injection")
    )


def test_plaintext_behind_it_can_be_ignored(play: Play) -> None:
    playbook = greeted(play(starttls_injection_policy=InjectionPolicy.IGNORE))
    (
        playbook
        >> client("STARTTLS", "MAIL FROM:<evil>")
        << Report("starttls_injection", "18 bytes behind STARTTLS")
        << READY
        << StartTls()
    )
    playbook >> TlsStarted(TLS)
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("250 old") << to_client("250 old")


def test_after_it_the_session_begins_anew(play: Play) -> None:
    playbook = starting(greeted(play(), "PIPELINING", "CHUNKING"))
    playbook >> TlsStarted(TLS)
    for command in (
        "MAIL FROM:<a>",
        "RCPT TO:<b>",
        "DATA",
        "BDAT 1",
        "VRFY a",
        "AUTH PLAIN x",
        "X-ODD",
        "ETRN x",
    ):
        playbook >> client(command) << to_client(SEND_HELLO)
    for command in ("NOOP", "RSET", "HELP"):
        playbook >> client(command) << to_backend(command)
        playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client("RSET", "RSET") << to_backend("RSET")
    playbook >> backend("250 Ok") << to_client("250 Ok") << to_backend("RSET")
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client("STARTTLS") << to_client("503 5.5.1 Error: TLS already active")
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("550 no") << to_client("550 no")
    playbook >> client("MAIL FROM:<a>") << to_client(SEND_HELLO)
    playbook >> client("HELO c") << to_backend("HELO c")
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client("MAIL FROM:<a>") << to_backend("MAIL FROM:<a>")
    playbook >> backend("250 Ok") << to_client("250 Ok")


def authenticated(playbook: Playbook) -> Playbook:
    greeted(playbook, "AUTH PLAIN")
    playbook >> client("AUTH PLAIN AGEAYg==") << to_backend("AUTH PLAIN AGEAYg==")
    return playbook >> backend("235 2.7.0 welcome") << to_client("235 2.7.0 welcome")


def test_a_backend_that_authenticated_the_client_before_tls_is_left(play: Play) -> None:
    playbook = authenticated(play(tls_auth_only=False))
    playbook >> client("STARTTLS") << READY << to_backend("QUIT") << DisconnectBackend() << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> client("EHLO c")
    playbook >> backend("220 old") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("AUTH PLAIN")) << to_client(*ehlo_reply("AUTH PLAIN"))


@pytest.mark.parametrize(
    "event",
    [
        BackendFinished(),
        BackendLost("reset"),
        BackendDataReceived(b"421 bye\r\n"),
        BackendDataReceived(b"junk\r\n"),
    ],
)
def test_a_backend_lost_during_the_handshake_is_connected_anew(play: Play, event: Event) -> None:
    playbook = starting(greeted(play()))
    playbook >> event << DisconnectBackend()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend("220 old")
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("250 old") << to_client("250 old")


@pytest.mark.parametrize(
    ("event", "reason"), [(IdleTimedOut(), "idle_timeout"), (ClientFinished(), "client_closed")]
)
def test_nothing_is_said_during_the_handshake(play: Play, event: Event, reason: str) -> None:
    starting(greeted(play())) >> event << CloseSession(reason)


@pytest.mark.parametrize("level", [TlsSecurityLevel.MAY, TlsSecurityLevel.ENCRYPT])
def test_a_drain_waits_for_the_handshake(play: Play, level: TlsSecurityLevel) -> None:
    playbook = play(tls_security_level=level)
    if level is TlsSecurityLevel.MAY:
        connected(playbook)
    else:
        playbook.front.handle(SessionOpened(CLIENT, LOCAL))
    starting(playbook) >> DrainRequested()
    playbook >> TlsStarted(TLS) << to_client(UNAVAILABLE) << CloseSession("draining")
