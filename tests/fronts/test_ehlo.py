"""Tests for :mod:`tlsproxy.fronts.ehlo`."""

import pytest

from tests.fronts.conftest import OLD_TLS, TLS, Settings
from tests.support.playbook import wire
from tlsproxy.fronts.ehlo import allows_starttls, auth_hindrance, filtered, hidden_keywords, keywords
from tlsproxy.fronts.options import TlsSecurityLevel
from tlsproxy.fronts.replies import Reply
from tlsproxy.fronts.verbs import UNCARRIABLE
from tlsproxy.identity.client import TlsFacts
from tlsproxy.policy.protocols import TlsProtocols

NONE: frozenset[bytes] = frozenset()


def reply(*lines: str) -> Reply:
    return Reply(250, wire(*lines))


def test_order_and_spelling_are_the_backends() -> None:
    offered = reply("250-old.example Hello, c.example", "250-size 1000", "250-X-Odd  a b", "250 8BitMime")
    assert filtered(offered, NONE, starttls=False).data == offered.data


def test_starttls_is_added_at_the_end() -> None:
    offer = filtered(reply("250-old.example", "250 SIZE"), NONE, starttls=True)
    assert offer.data == wire("250-old.example", "250-SIZE", "250 STARTTLS")
    assert offer.keywords == {b"SIZE", b"STARTTLS"}


def test_a_reply_of_one_line_is_filtered() -> None:
    assert filtered(reply("250 old.example"), NONE, starttls=True).data == wire(
        "250-old.example", "250 STARTTLS"
    )
    assert filtered(reply("250 old.example"), NONE, starttls=False).data == wire("250 old.example")


def test_the_last_line_may_be_left_out() -> None:
    offer = filtered(reply("250-old.example", "250-SIZE", "250 XCLIENT NAME ADDR"), NONE, starttls=False)
    assert offer.data == wire("250-old.example", "250 SIZE")


@pytest.mark.parametrize(
    "line",
    [
        "STARTTLS",
        "starttls",
        " STARTTLS",
        "XCLIENT NAME",
        "xclient",
        "XFORWARD NAME",
        "XPROXY",
        "XPROXYFROM",
        "AUTH LOGIN",
    ]
    + ["AUTH=LOGIN", "auth\tLOGIN"]
    + [keyword.decode() for keyword in sorted(UNCARRIABLE)],
)
def test_what_a_client_cannot_have_is_left_out(line: str) -> None:
    offer = filtered(
        reply("250-old.example", f"250-{line}", "250 SIZE"), frozenset({b"AUTH"}), starttls=False
    )
    assert offer.data == wire("250-old.example", "250 SIZE")
    assert offer.keywords == {b"SIZE"}


def test_the_first_line_is_no_keyword() -> None:
    assert filtered(reply("250 XCLIENT"), NONE, starttls=False).data == wire("250 XCLIENT")


@pytest.mark.parametrize("hidden", [b"CHUNKING", b"BINARYMIME"])
def test_binarymime_needs_chunking(hidden: bytes) -> None:
    offer = filtered(reply("250-a", "250-CHUNKING", "250 BINARYMIME"), frozenset({hidden}), starttls=False)
    assert b"BINARYMIME" not in offer.data


def test_binarymime_passes_with_chunking() -> None:
    offer = filtered(reply("250-a", "250-CHUNKING", "250 BINARYMIME"), NONE, starttls=False)
    assert offer.keywords == {b"CHUNKING", b"BINARYMIME"}


def test_keywords_have_their_parameters() -> None:
    offered = keywords(reply("250-old.example", "250-XCLIENT NAME ADDR", "250-SIZE", "250 auth=LOGIN"))
    assert offered == {b"XCLIENT": b"NAME ADDR", b"SIZE": b"", b"AUTH": b"LOGIN"}


def test_a_list_for_tls_takes_the_place_of_the_other() -> None:
    both = Settings(tls_auth_only=False, smtp_discard_ehlo_keywords=("Chunking",))
    assert hidden_keywords(both, None) == hidden_keywords(both, TLS) == {b"CHUNKING"}
    each = Settings(
        tls_auth_only=False, smtp_discard_ehlo_keywords=("chunking",), smtp_discard_ehlo_keywords_tls=("dsn",)
    )
    assert hidden_keywords(each, None) == {b"CHUNKING"}
    assert hidden_keywords(each, TLS) == {b"DSN"}
    assert (
        hidden_keywords(Settings(smtp_discard_ehlo_keywords=("DSN",), smtp_discard_ehlo_keywords_tls=()), TLS)
        == NONE
    )


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (Settings(), True),
        (Settings(tls_security_level=TlsSecurityLevel.ENCRYPT), True),
        (Settings(tls_security_level=TlsSecurityLevel.NONE), False),
        (Settings(smtp_discard_ehlo_keywords=("starttls",)), False),
    ],
)
def test_starttls_is_allowed_where_it_is_offered(settings: Settings, *, allowed: bool) -> None:
    assert allows_starttls(settings) is allowed


FLOOR = TlsProtocols.parse(">=TLSv1.2")


@pytest.mark.parametrize(
    ("settings", "tls", "hindrance"),
    [
        (Settings(), None, "in plaintext"),
        (Settings(), OLD_TLS, None),
        (Settings(tls_auth_only=False), None, None),
        (Settings(tls_auth_only=False, smtp_auth_tls_protocols=FLOOR), None, "in plaintext"),
        (Settings(smtp_auth_tls_protocols=FLOOR), TLS, None),
        (
            Settings(smtp_auth_tls_protocols=FLOOR),
            OLD_TLS,
            "TLSv1 is not in smtp_auth_tls_protocols (TLSv1.2 TLSv1.3)",
        ),
        (
            Settings(smtp_auth_tls_protocols=FLOOR),
            TlsFacts("unknown", "", 0),
            "unknown is not in smtp_auth_tls_protocols (TLSv1.2 TLSv1.3)",
        ),
    ],
)
def test_auth_needs_the_tls_that_the_settings_ask_for(
    settings: Settings, tls: TlsFacts | None, hindrance: str | None
) -> None:
    assert auth_hindrance(settings, tls) == hindrance
    assert (b"AUTH" in hidden_keywords(settings, tls)) is (hindrance is not None)
