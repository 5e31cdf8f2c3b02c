"""Tests for :mod:`tlsproxy.identity.forwarded`."""

from ipaddress import ip_network

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.identity.facts import CLIENT4, CLIENT6, SERVER4, SERVER6, TLS13, UNIX
from tlsproxy.identity.client import ClientAddress, TlsFacts
from tlsproxy.identity.forwarded import Forwarding, Trust, cgi_form, is_trusted, trust

HOST = b"mail.example.org"


def forwarding(
    client: ClientAddress = CLIENT4,
    local: ClientAddress = SERVER4,
    tls: TlsFacts | None = TLS13,
    *,
    trusted: bool = False,
    tell_tls: bool = False,
) -> Forwarding:
    return Forwarding(client, local, tls, trusted=trusted, tell_tls=tell_tls)


def lines(data: bytes) -> list[str]:
    assert data.endswith(b"\r\n")
    return data.decode("ascii").split("\r\n")[:-1]


def test_a_client_is_told_with_all_that_is_known() -> None:
    assert lines(forwarding().fields(HOST, 1, {})) == [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Port: 25",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: mail.example.org",
        'Forwarded: for=192.0.2.1;host="mail.example.org";proto=https',
        "Via: 1.1 tlsproxy",
    ]


def test_an_ipv6_client_is_quoted_where_the_grammar_asks_for_it() -> None:
    told = lines(forwarding(CLIENT6, SERVER6, None).fields(b"[2001:db8::7]:8080", 0, {}))
    assert told == [
        "X-Forwarded-For: 2001:db8::1",
        "X-Forwarded-Port: 25",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: [2001:db8::7]:8080",
        'Forwarded: for="[2001:db8::1]";host="[2001:db8::7]:8080";proto=http',
        "Via: 1.0 tlsproxy",
    ]


def test_what_isn_t_known_isn_t_told() -> None:
    assert lines(forwarding(UNIX, UNIX, None).fields(None, 0, {})) == [
        "X-Forwarded-Proto: http",
        "Forwarded: for=unknown;proto=http",
        "Via: 1.0 tlsproxy",
    ]


RECEIVED = {
    b"x-forwarded-for": b"203.0.113.9, 10.0.0.1",
    b"x-forwarded-port": b"443",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"www.example.org",
    b"forwarded": b"for=203.0.113.9",
    b"via": b"2 balancer",
}


def test_what_a_client_says_of_itself_is_replaced() -> None:
    assert forwarding().fields(HOST, 1, RECEIVED) == forwarding().fields(HOST, 1, {})


def test_a_trusted_proxy_s_word_is_carried_on() -> None:
    told = forwarding(tls=None, trusted=True).fields(HOST, 1, RECEIVED)
    assert lines(told) == [
        "X-Forwarded-For: 203.0.113.9, 10.0.0.1, 192.0.2.1",
        "X-Forwarded-Port: 443",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: www.example.org",
        'Forwarded: for=203.0.113.9, for=192.0.2.1;host="mail.example.org";proto=http',
        "Via: 2 balancer, 1.1 tlsproxy",
    ]


def test_what_a_trusted_proxy_leaves_out_is_ours() -> None:
    told = forwarding(trusted=True).fields(HOST, 1, {b"x-forwarded-for": b"203.0.113.9"})
    assert lines(told) == [
        "X-Forwarded-For: 203.0.113.9, 192.0.2.1",
        *lines(forwarding().fields(HOST, 1, {}))[1:],
    ]


def test_a_trusted_proxy_may_name_no_host_either() -> None:
    told = forwarding(UNIX, UNIX, trusted=True).fields(None, 0, {b"via": b"1.1 x"})
    assert lines(told) == [
        "X-Forwarded-Proto: https",
        "Forwarded: for=unknown;proto=https",
        "Via: 1.1 x, 1.0 tlsproxy",
    ]


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_facts_are_told_where_asked(*, trusted: bool) -> None:
    facts = evolve(TLS13, client_subject="CN=J\u00fcrgen\nX,O=a\\+b", client_verified=True)
    told = forwarding(tls=facts, trusted=trusted, tell_tls=True).fields(HOST, 1, RECEIVED if trusted else {})
    assert lines(told)[:3] == [
        "X-TLS-Version: TLSv1.3",
        "X-TLS-Cipher: TLS_AES_256_GCM_SHA384",
        "X-TLS-Client-Subject: CN=J\\C3\\BCrgen\\0AX,O=a\\+b",
    ]


def test_a_certificate_that_nobody_verified_names_nobody() -> None:
    facts = evolve(TLS13, client_subject="CN=admin", client_verified=False)
    assert b"Subject" not in forwarding(tls=facts, tell_tls=True).fields(HOST, 1, {})


def test_tls_facts_are_told_of_tls_alone() -> None:
    assert b"X-TLS" not in forwarding(tls=None, tell_tls=True).fields(HOST, 1, {})


@pytest.mark.parametrize(
    ("tls", "trusted", "proto", "secure"),
    [
        (TLS13, False, b"http", True),
        (None, False, b"https", False),
        (None, True, b"https", True),
        (None, True, b"HTTPS , http", True),
        (None, True, b"http, https", False),
        (None, True, b"", False),
    ],
)
def test_security_is_of_the_outermost_connection_that_can_be_believed(
    tls: TlsFacts | None, proto: bytes, *, trusted: bool, secure: bool
) -> None:
    assert forwarding(tls=tls, trusted=trusted).is_secure({b"x-forwarded-proto": proto}) is secure


@pytest.mark.parametrize(
    ("client", "trusted"),
    [(CLIENT4, True), (CLIENT6, True), (SERVER4, False), (SERVER6, False), (UNIX, False)],
)
def test_only_networks_that_are_named_are_trusted(client: ClientAddress, *, trusted: bool) -> None:
    networks = [ip_network("192.0.2.0/24"), ip_network("2001:db8::/64")]
    assert is_trusted(client, networks) is trusted


@pytest.mark.parametrize(
    ("name", "worth"),
    [
        (b"accept", Trust.ORDINARY),
        (b"x_accept", Trust.ORDINARY),
        (b"x-tlsa", Trust.ORDINARY),
        (b"proxy-authorization", Trust.ORDINARY),
        (b"x-forwarded-for", Trust.CARRIED),
        (b"forwarded", Trust.CARRIED),
        (b"via", Trust.CARRIED),
        (b"x-real-ip", Trust.PROXYS),
        (b"front-end-https", Trust.PROXYS),
        (b"x-forwarded-prefix", Trust.PROXYS),
        (b"x-forwarded", Trust.PROXYS),
        (b"x_forwarded_for", Trust.NOBODYS),
        (b"x.forwarded-for", Trust.NOBODYS),
        (b"x_forwarded_prefix", Trust.NOBODYS),
        (b"x_real_ip", Trust.NOBODYS),
        (b"x-tls-version", Trust.NOBODYS),
        (b"x_tls_version", Trust.NOBODYS),
        (b"x!tls~client'subject", Trust.NOBODYS),
        (b"proxy", Trust.NOBODYS),
    ],
)
def test_a_field_is_worth_what_a_server_makes_of_it(name: bytes, worth: Trust) -> None:
    assert trust(name) is worth


@given(st.text("abcxyz-_.!", max_size=8).map(str.encode))
def test_names_that_cgi_can_t_tell_apart_have_one_form(name: bytes) -> None:
    assert cgi_form(name) == b"".join(
        byte if byte.isalnum() else b"-" for byte in (name[i : i + 1] for i in range(len(name)))
    )


@given(st.text(max_size=40))
def test_nothing_in_a_subject_ends_a_line(subject: str) -> None:
    facts = evolve(TLS13, client_subject=subject or "x", client_verified=True)
    told = forwarding(tls=facts, tell_tls=True).fields(HOST, 1, {})
    assert told.count(b"\r\n") == told.count(b"\n") == told.count(b"\r") == 9
    assert told.replace(b"\r\n", b"").decode("ascii").isprintable()
