"""EHLO and HELO through :mod:`tlsproxy.fronts.esmtp`."""

import pytest

from tests.fronts.conftest import CLIENT, LOCAL, Play, connected, ehlo_reply, greeted, in_tls
from tests.support.playbook import backend, client, to_backend, to_client
from tlsproxy.fronts.commands import ConnectBackend
from tlsproxy.fronts.events import BackendConnected, SessionOpened
from tlsproxy.fronts.options import TlsSecurityLevel


def test_the_reply_is_the_backends_with_starttls(play: Play) -> None:
    greeted(play(), "SIZE 1000", "8bitmime", "X-ODD a=b")


def test_the_backends_starttls_is_never_offered(play: Play) -> None:
    playbook = connected(play(tls_security_level=TlsSecurityLevel.NONE))
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("STARTTLS", "DSN")) << to_client(*ehlo_reply("DSN"))


def test_starttls_is_not_offered_when_it_cannot_be_had(play: Play) -> None:
    playbook = play()
    playbook >> SessionOpened(CLIENT, LOCAL, tls_available=False) << ConnectBackend()
    playbook >> BackendConnected()
    playbook >> backend("220 old") << to_client("220 old")
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("250 old.example") << to_client("250 old.example")


def test_in_tls_starttls_is_gone(play: Play) -> None:
    in_tls(play(), "SIZE")


def test_auth_shows_in_tls_only(play: Play) -> None:
    playbook = connected(play())
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("AUTH PLAIN", "AUTH=PLAIN")) << to_client(*ehlo_reply("STARTTLS"))
    in_tls(play(), "AUTH PLAIN", "AUTH=PLAIN")


def test_auth_shows_before_tls_where_that_is_allowed(play: Play) -> None:
    greeted(play(tls_auth_only=False), "AUTH PLAIN")


def test_discarded_keywords_are_left_out(play: Play) -> None:
    playbook = connected(play(smtp_discard_ehlo_keywords=("dsn", "Size")))
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("SIZE 1", "ETRN", "DSN")) << to_client(*ehlo_reply("ETRN", "STARTTLS"))


def test_helo_passes(play: Play) -> None:
    playbook = connected(play())
    playbook >> client("helo c") << to_backend("helo c")
    playbook >> backend("250 old.example") << to_client("250 old.example")


def test_after_helo_there_are_no_extensions(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING")
    playbook >> client("HELO c") << to_backend("HELO c")
    playbook >> backend("250 old.example") << to_client("250 old.example")
    playbook >> client("MAIL FROM:<>", "RCPT TO:<b>") << to_backend("MAIL FROM:<>")
    playbook >> backend("250 Ok") << to_client("250 Ok") << to_backend("RCPT TO:<b>")
    playbook >> backend("250 Ok") << to_client("250 Ok")


@pytest.mark.parametrize("refusal", ["501 name?", "550 no", "450 later"])
def test_a_refusal_passes(play: Play, refusal: str) -> None:
    playbook = connected(play())
    for verb in ("EHLO", "HELO"):
        playbook >> client(f"{verb} c") << to_backend(f"{verb} c")
        playbook >> backend(refusal) << to_client(refusal)


@pytest.mark.parametrize("code", [500, 502])
def test_a_server_older_than_esmtp_gets_helo_so_that_starttls_can_be_offered(play: Play, code: int) -> None:
    playbook = connected(play())
    playbook >> client("ehlo c.example") << to_backend("ehlo c.example")
    playbook >> backend(f"{code} what?") << to_backend("HELO c.example")
    playbook >> backend("250-old.example", "250 XODD") << to_client("250-old.example", "250 STARTTLS")


def test_in_tls_too(play: Play) -> None:
    playbook = in_tls(play()) >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("502 what?") << to_backend("HELO c")
    playbook >> backend("250 old.example") << to_client("250 old.example")


def test_its_refusal_of_helo_passes(play: Play) -> None:
    playbook = connected(play())
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("500 what?") << to_backend("HELO c")
    playbook >> backend("550 no") << to_client("550 no")


def test_where_there_is_no_starttls_to_offer_its_refusal_of_ehlo_passes(play: Play) -> None:
    playbook = connected(play(tls_security_level=TlsSecurityLevel.NONE))
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend("500 what?") << to_client("500 what?")
