"""How a session with :mod:`tlsproxy.fronts.esmtp` opens."""

import pytest

from tests.fronts.conftest import (
    CLIENT,
    CLOSING,
    LOCAL,
    OPENED,
    TLS,
    UNAVAILABLE,
    Play,
    connected,
    ehlo_reply,
)
from tests.support.playbook import backend, client, to_backend, to_client
from tlsproxy.fronts.commands import CloseSession, ConnectBackend, StartTls
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendFinished,
    BackendUnavailable,
    SessionOpened,
    TlsStarted,
)
from tlsproxy.fronts.options import TlsSecurityLevel

ENCRYPT = TlsSecurityLevel.ENCRYPT
MUST_START_TLS = "530 5.7.0 Must issue a STARTTLS command first"


@pytest.mark.parametrize("level", [TlsSecurityLevel.NONE, TlsSecurityLevel.MAY])
def test_the_backend_greets_where_plaintext_is_allowed(play: Play, level: TlsSecurityLevel) -> None:
    connected(play(tls_security_level=level))


def test_a_greeting_of_several_lines_passes_whole(play: Play) -> None:
    playbook = play()
    playbook >> OPENED << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend("220-old.example", "220-says")
    playbook >> backend("220 hello") << to_client("220-old.example", "220-says", "220 hello")


def test_a_client_that_speaks_first_waits_for_the_greeting(play: Play) -> None:
    playbook = play()
    playbook >> OPENED << ConnectBackend()
    playbook >> client("HELO c")
    playbook >> BackendConnected()
    playbook >> backend("220 old") << to_client("220 old") << to_backend("HELO c")


@pytest.mark.parametrize("refusal", ["554 no", "450 later"])
def test_a_greeting_that_refuses_passes_and_the_backend_decides(play: Play, refusal: str) -> None:
    playbook = play()
    playbook >> OPENED << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend(refusal) << to_client(refusal)
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("503 no") << to_client("503 no")
    playbook >> BackendFinished() << CloseSession("backend_closed")


def test_a_421_for_a_greeting_ends_the_session(play: Play) -> None:
    playbook = play()
    playbook >> OPENED << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend("421 full") << to_client("421 full") << CloseSession("backend_closed")


def test_a_backend_that_is_down_gives_421_for_a_greeting(play: Play) -> None:
    playbook = play()
    playbook >> OPENED << ConnectBackend()
    playbook >> BackendUnavailable("refused") << to_client(UNAVAILABLE) << CloseSession("backend_unavailable")


def test_before_tls_the_proxy_answers_for_itself_where_tls_is_demanded(play: Play) -> None:
    playbook = play(tls_security_level=ENCRYPT)
    playbook >> OPENED << to_client("220 proxy.example ESMTP")
    (
        playbook
        >> client("EHLO c")
        << to_client("250-proxy.example", "250-PIPELINING", "250-ENHANCEDSTATUSCODES", "250 STARTTLS")
    )
    playbook >> client("HELO c") << to_client("250 proxy.example")
    playbook >> client("NOOP", "RSET") << to_client("250 2.0.0 Ok", "250 2.0.0 Ok")
    (
        playbook
        >> client("HELP")
        << to_client("214 2.0.0 Only STARTTLS, EHLO, HELO, NOOP, RSET and QUIT before TLS")
    )
    for refused in ("MAIL FROM:<>", "AUTH PLAIN AAA=", "VRFY x", "DATA", "BDAT 5", "X-ODD"):
        playbook >> client(refused) << to_client(MUST_START_TLS)
    playbook >> client("QUIT") << to_client("221 2.0.0 Bye") << CloseSession("client_quit")


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
def test_an_own_hello_needs_a_name(play: Play, verb: str) -> None:
    playbook = play(tls_security_level=ENCRYPT)
    playbook >> OPENED << to_client("220 proxy.example ESMTP")
    playbook >> client(verb) << to_client(f"501 5.5.4 Syntax: {verb} hostname")


def test_the_own_offer_leaves_out_what_is_discarded_and_what_cannot_be(play: Play) -> None:
    playbook = play(tls_security_level=ENCRYPT, smtp_discard_ehlo_keywords=("pipelining",))
    playbook >> SessionOpened(CLIENT, LOCAL, tls_available=False) << to_client("220 proxy.example ESMTP")
    playbook >> client("EHLO c") << to_client("250-proxy.example", "250 ENHANCEDSTATUSCODES")


def test_after_tls_the_backends_greeting_is_swallowed(play: Play) -> None:
    playbook = play(tls_security_level=ENCRYPT)
    playbook >> OPENED << to_client("220 proxy.example ESMTP")
    playbook >> client("STARTTLS") << to_client("220 2.0.0 Ready to start TLS") << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> client("EHLO c")
    playbook >> BackendConnected()
    playbook >> backend("220-old", "220 ready") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("SIZE")) << to_client(*ehlo_reply("SIZE"))


@pytest.mark.parametrize("refusal", ["554 no", "450 later", "421 full", "220-a\r\n554 b"])
def test_after_tls_a_greeting_that_refuses_is_a_421(play: Play, refusal: str) -> None:
    playbook = play(tls_security_level=ENCRYPT)
    playbook >> OPENED << to_client("220 proxy.example ESMTP")
    playbook >> client("STARTTLS") << to_client("220 2.0.0 Ready to start TLS") << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend(refusal) << to_client(UNAVAILABLE) << CloseSession("backend_unavailable")


def test_after_tls_a_backend_that_is_down_is_a_421(play: Play) -> None:
    playbook = play(tls_security_level=ENCRYPT)
    playbook >> OPENED << to_client("220 proxy.example ESMTP")
    playbook >> client("STARTTLS") << to_client("220 2.0.0 Ready to start TLS") << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendUnavailable("x") << to_client(UNAVAILABLE) << CloseSession("backend_unavailable")


@pytest.mark.parametrize("level", TlsSecurityLevel)
@pytest.mark.parametrize("greeting", ["220 old.example ESMTP", "554 no"])
def test_in_wrappermode_the_backend_greets_after_the_handshake(
    play: Play, level: TlsSecurityLevel, greeting: str
) -> None:
    playbook = play(tls_wrappermode=True, tls_security_level=level)
    playbook >> OPENED << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend(greeting) << to_client(greeting)
    playbook >> client("MAIL FROM:<>") << to_backend("MAIL FROM:<>")
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client("STARTTLS") << to_client("503 5.5.1 Error: TLS already active")


def test_wrappermode_without_tls_ends_at_once(play: Play) -> None:
    playbook = play(tls_wrappermode=True)
    playbook >> SessionOpened(CLIENT, LOCAL, tls_available=False) << CloseSession("tls_unavailable")
    playbook >> client("EHLO c")


def test_a_greeting_that_is_none_ends_the_session(play: Play) -> None:
    playbook = play()
    playbook >> OPENED << ConnectBackend()
    playbook >> BackendConnected()
    commands = playbook.front.handle(backend("354 go on"))
    assert commands[-1] == CloseSession("backend_protocol_error")
    assert CLOSING.encode() not in b"".join(getattr(command, "data", b"") for command in commands)
