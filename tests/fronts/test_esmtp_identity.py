"""How :mod:`tlsproxy.fronts.esmtp` tells the backend who the client is."""

import pytest

from tests.fronts.conftest import (
    CLIENT,
    LOCAL,
    OPENED,
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
from tlsproxy.fronts.events import BackendConnected, BackendFinished, TlsStarted
from tlsproxy.fronts.options import IdentityMode, TlsSecurityLevel
from tlsproxy.identity.proxy_header import encode_v1, encode_v2

ENCRYPT = TlsSecurityLevel.ENCRYPT
XCLIENT_OFFER = ("PIPELINING", "XCLIENT NAME ADDR PORT PROTO HELO")
XCLIENT = "XCLIENT NAME=[UNAVAILABLE] PORT=51234 ADDR=192.0.2.7"

PROXY = [
    (IdentityMode.PROXY_V1, encode_v1(CLIENT, LOCAL)),
    (IdentityMode.PROXY_V2, encode_v2(CLIENT, LOCAL, None)),
]
PROXY_IN_TLS = [
    (IdentityMode.PROXY_V1, encode_v1(CLIENT, LOCAL)),
    (IdentityMode.PROXY_V2, encode_v2(CLIENT, LOCAL, TLS)),
]


# PROXY headers


@pytest.mark.parametrize(("mode", "header"), PROXY)
def test_a_proxy_header_comes_first(play: Play, mode: IdentityMode, header: bytes) -> None:
    playbook = play(mode)
    playbook >> OPENED << ConnectBackend()
    playbook >> BackendConnected() << to_backend(header)
    playbook >> backend("220 old") << to_client("220 old")


@pytest.mark.parametrize(("mode", "header"), PROXY_IN_TLS)
def test_after_starttls_it_is_told_anew_with_the_tls(play: Play, mode: IdentityMode, header: bytes) -> None:
    playbook = play(mode)
    playbook >> OPENED << ConnectBackend()
    playbook.front.handle(BackendConnected())
    playbook >> backend("220 old") << to_client("220 old")
    playbook >> client("STARTTLS") << READY << to_backend("QUIT") << DisconnectBackend() << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> client("EHLO c")
    playbook >> BackendConnected() << to_backend(header)
    playbook >> backend("220 old") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("SIZE")) << to_client(*ehlo_reply("SIZE"))


@pytest.mark.parametrize(("mode", "header"), PROXY_IN_TLS)
def test_where_tls_is_demanded_it_is_told_once(play: Play, mode: IdentityMode, header: bytes) -> None:
    playbook = play(mode, tls_security_level=ENCRYPT)
    playbook >> OPENED << to_client("220 proxy.example ESMTP")
    playbook >> client("STARTTLS") << READY << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendConnected() << to_backend(header)
    playbook >> backend("220 old")


# XCLIENT


def introducing(playbook: Playbook) -> Playbook:
    """The backend was asked for its extensions."""
    playbook >> OPENED << ConnectBackend()
    playbook >> BackendConnected()
    return playbook >> backend("220 old") << to_backend("EHLO proxy.example")


def test_xclient_comes_before_the_greeting(play: Play) -> None:
    playbook = introducing(play(IdentityMode.XCLIENT)) >> client("EHLO c")
    playbook >> backend(*ehlo_reply(*XCLIENT_OFFER)) << to_backend(XCLIENT)
    playbook >> backend("220 old for you") << to_client("220 old for you") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply(*XCLIENT_OFFER)) << to_client(*ehlo_reply("PIPELINING", "STARTTLS"))


def test_it_lasts_as_long_as_the_connection(play: Play) -> None:
    playbook = introducing(play(IdentityMode.XCLIENT))
    playbook >> backend(*ehlo_reply(*XCLIENT_OFFER)) << to_backend(XCLIENT)
    playbook >> backend("220 old") << to_client("220 old")
    playbook >> client("STARTTLS") << READY << StartTls()
    playbook >> TlsStarted(TLS)
    for _ in range(2):
        playbook >> client("EHLO c") << to_backend("EHLO c")
        playbook >> backend("250 old") << to_client("250 old")


def test_on_a_new_connection_it_is_told_anew(play: Play) -> None:
    playbook = introducing(play(IdentityMode.XCLIENT, tls_auth_only=False))
    playbook >> backend(*ehlo_reply(*XCLIENT_OFFER)) << to_backend(XCLIENT)
    playbook >> backend("220 old") << to_client("220 old")
    playbook >> client("AUTH PLAIN AGEAYg==") << to_backend("AUTH PLAIN AGEAYg==")
    playbook >> backend("235 welcome") << to_client("235 welcome")
    playbook >> client("STARTTLS") << READY << to_backend("QUIT") << DisconnectBackend() << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend("220 old") << to_backend("EHLO proxy.example")
    playbook >> backend(*ehlo_reply(*XCLIENT_OFFER)) << to_backend(XCLIENT)
    playbook >> backend("220 old")
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("250 old") << to_client("250 old")


@pytest.mark.parametrize("in_wrapper", [False, True])
def test_a_backend_that_cannot_be_told_is_not_used(play: Play, *, in_wrapper: bool) -> None:
    playbook = play(IdentityMode.XCLIENT, tls_wrappermode=in_wrapper)
    if in_wrapper:
        playbook >> OPENED << StartTls()
        playbook >> TlsStarted(TLS) << ConnectBackend()
        playbook >> BackendConnected()
        playbook >> backend("220 old") << to_backend("EHLO proxy.example")
    else:
        introducing(playbook)
    (
        playbook
        >> backend(*ehlo_reply("SIZE"))
        << Report("identity_refused", "XCLIENT isn't offered to the proxy")
        << to_client(UNAVAILABLE)
        << CloseSession("identity_refused")
    )


def test_its_refusal_of_the_client_is_the_greeting(play: Play) -> None:
    playbook = introducing(play(IdentityMode.XCLIENT))
    playbook >> backend(*ehlo_reply(*XCLIENT_OFFER)) << to_backend(XCLIENT)
    (
        playbook
        >> backend("554 go away")
        << to_client("554 go away", "421 4.3.0 proxy.example Closing connection")
        << CloseSession("backend_closed")
    )


def test_after_starttls_its_refusal_of_the_client_is_a_421(play: Play) -> None:
    playbook = play(IdentityMode.XCLIENT, tls_security_level=ENCRYPT)
    playbook >> OPENED << to_client("220 proxy.example ESMTP")
    playbook >> client("STARTTLS") << READY << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend("554 go away") << to_client(UNAVAILABLE) << CloseSession("backend_unavailable")


def test_a_backend_lost_while_it_is_told_is_a_421(play: Play) -> None:
    playbook = introducing(play(IdentityMode.XCLIENT))
    playbook >> BackendFinished() << to_client(UNAVAILABLE) << CloseSession("backend_closed")


# The Received: field

FIELD = (
    b"Received: from c.example ([192.0.2.7])\r\n"
    b" by proxy.example (tlsproxy) with ESMTP id 5f;\r\n"
    b" Mon, 23 Nov 2026 12:00:00 +0000\r\n"
)
FIELD_IN_TLS = (
    b"Received: from c.example ([192.0.2.7])\r\n"
    b" by proxy.example (tlsproxy) with UTF8SMTPSA id 5f\r\n"
    b" (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256);\r\n"
    b" Mon, 23 Nov 2026 12:00:00 +0000\r\n"
)
TRACE = IdentityMode.TRACE_HEADER


def test_a_message_begins_with_the_field(play: Play) -> None:
    playbook = with_recipient(greeted(play(TRACE)))
    for text in ("first", "second"):
        playbook >> client("DATA") << to_backend("DATA")
        playbook >> backend("354 go on") << to_client("354 go on")
        playbook >> client(text, "more", ".") << to_backend(FIELD, text, "more", ".")
        playbook >> backend("250 queued") << to_client("250 queued")
        with_recipient(playbook)


def test_it_tells_what_is_known_of_the_client(play: Play) -> None:
    playbook = in_tls(play(TRACE), "AUTH PLAIN", "SMTPUTF8", "SIZE")
    playbook >> client("AUTH PLAIN AGEAYg==") << to_backend("AUTH PLAIN AGEAYg==")
    playbook >> backend("235 welcome") << to_client("235 welcome")
    grown = 1000 + len(FIELD_IN_TLS) + len(b"\r\n")
    (
        playbook
        >> client("MAIL FROM:<a> SIZE=1000 SMTPUTF8")
        << to_backend(f"MAIL FROM:<a> SIZE={grown} SMTPUTF8")
    )
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client("DATA") << to_backend("DATA")
    playbook >> backend("354 go on") << to_client("354 go on")
    playbook >> client(b"text") << to_backend(FIELD_IN_TLS, b"text")


def test_it_forgets_an_auth_before_tls(play: Play) -> None:
    playbook = greeted(play(TRACE, tls_auth_only=False), "AUTH PLAIN")
    playbook >> client("AUTH PLAIN AGEAYg==") << to_backend("AUTH PLAIN AGEAYg==")
    playbook >> backend("235 welcome") << to_client("235 welcome")
    playbook >> client("STARTTLS") << READY << to_backend("QUIT") << DisconnectBackend() << StartTls()
    playbook >> TlsStarted(TLS) << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend("220 old")
    playbook >> client("EHLO c.example") << to_backend("EHLO c.example")
    playbook >> backend("250 old") << to_client("250 old")
    with_recipient(playbook) >> client("DATA") << to_backend("DATA")
    field = FIELD_IN_TLS.replace(b"UTF8SMTPSA", b"ESMTPS")
    playbook >> backend("354 go on") << to_client("354 go on")
    playbook >> client(b"text") << to_backend(field, b"text")


@pytest.mark.parametrize(("hello", "said"), [(None, b"unknown"), ("HELO h.example", b"h.example")])
def test_it_tells_of_a_client_without_esmtp(play: Play, hello: str | None, said: bytes) -> None:
    playbook = connected(play(TRACE))
    if hello is not None:
        playbook >> client(hello) << to_backend(hello)
        playbook >> backend("250 old") << to_client("250 old")
    with_recipient(playbook) >> client("DATA") << to_backend("DATA")
    field = FIELD.replace(b"c.example", said).replace(b"ESMTP", b"SMTP")
    playbook >> backend("354 go on") << to_client("354 go on")
    playbook >> client(b"text") << to_backend(field, b"text")


@pytest.mark.parametrize("begin", [b" ", b"\t"])
def test_a_message_cannot_continue_it(play: Play, begin: bytes) -> None:
    playbook = with_recipient(greeted(play(TRACE)))
    playbook >> client("DATA") << to_backend("DATA")
    playbook >> backend("354 go on") << to_client("354 go on")
    playbook >> client(begin + b"(by boss)") << to_backend(FIELD, b"\r\n", begin + b"(by boss)")


def test_a_chunk_cannot_continue_it(play: Play) -> None:
    playbook = with_recipient(greeted(play(TRACE), "CHUNKING"))
    playbook >> client("BDAT 3 LAST")
    playbook >> client(b" ") << to_backend(f"BDAT {3 + len(FIELD) + 2} LAST", FIELD, b"\r\n ")
    playbook >> client(b"xy") << to_backend(b"xy")
    playbook >> backend("250 queued") << to_client("250 queued")


def test_it_waits_for_the_first_chunk_that_holds_something(play: Play) -> None:
    playbook = with_recipient(greeted(play(TRACE), "CHUNKING"))
    playbook >> client("BDAT 0") << to_backend("BDAT 0")
    playbook >> backend("250 0") << to_client("250 0")
    playbook >> client("BDAT 1 LAST", b"x") << to_backend(f"BDAT {1 + len(FIELD)} LAST", FIELD, b"x")
    playbook >> backend("250 queued") << to_client("250 queued")


def test_it_is_part_of_the_first_chunk(play: Play) -> None:
    playbook = with_recipient(greeted(play(TRACE), "CHUNKING"))
    playbook >> client("BDAT 5", b"12345") << to_backend(f"BDAT {5 + len(FIELD)}", FIELD, b"12345")
    playbook >> backend("250 5") << to_client("250 5")
    playbook >> client("BDAT 5 LAST", b"67890") << to_backend("BDAT 5 LAST", b"67890")
    playbook >> backend("250 queued") << to_client("250 queued")


def test_even_of_an_empty_one(play: Play) -> None:
    playbook = with_recipient(greeted(play(TRACE), "CHUNKING"))
    playbook >> client("BDAT 0 LAST") << to_backend(f"BDAT {len(FIELD)} LAST", FIELD)
    playbook >> backend("250 queued") << to_client("250 queued")


def test_a_refused_message_takes_its_field_along(play: Play) -> None:
    playbook = greeted(play(TRACE), "CHUNKING")
    playbook >> client("MAIL FROM:<x>") << to_backend("MAIL FROM:<x>")
    playbook >> backend("550 no") << to_client("550 no")
    playbook >> client("STARTTLS") << READY << StartTls()
    playbook >> TlsStarted(TLS)
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("CHUNKING")) << to_client(*ehlo_reply("CHUNKING"))
    playbook >> client("BDAT 1", b"x") << to_backend("BDAT 1", b"x")
    playbook >> backend("503 no") << to_client("503 no")


@pytest.mark.parametrize("mode", [IdentityMode.NONE, IdentityMode.TRANSPARENT])
def test_other_modes_say_nothing(play: Play, mode: IdentityMode) -> None:
    with_recipient(greeted(play(mode)))
