"""Mail servers with and without the hole in STARTTLS, probed whole; and how a probe ends early."""

import socket
from collections.abc import Sequence
from typing import Any

import pytest
from OpenSSL import SSL

from tests.support.certificates import Authority, Issued
from tests.support.injectable import Injectable
from tests.support.processes import free_port
from tests.support.servers import Server
from tests.support.tls_server import Reaction, context_of, serve_on, tls_server
from tlsproxy.cli.server_probe.findings import Finding, Verdict
from tlsproxy.cli.server_probe.link import Budget, NoAnswer, Target
from tlsproxy.cli.server_probe.probe import Probe
from tlsproxy.config.addresses import TcpAddress
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion

FEW = 16
"""Connections: all checks, but hardly any cipher suites."""


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", key_type="rsa")


def probe_of(address: str, authority: Authority, protocol: str, **options: Any) -> Probe:
    host, _, port = address.rpartition(":")
    target = Target(TcpAddress(host, int(port)), "mx.example.org", options.pop("timeout", 5.0))
    budget = options.pop("budget", None) or Budget(FEW)
    return Probe(target, protocol, authorities=str(authority.path), budget=budget, **options)


def probed(mail: Injectable, authority: Authority, **options: Any) -> dict[str, Finding]:
    with Server(mail.handle) as server:
        return by_name(list(probe_of(server.address, authority, mail.protocol, **options).run()))


def by_name(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {each.what: each for each in findings}


@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3"])
def test_who_carries_out_what_came_behind_starttls_is_badly_off(
    authority: Authority, issued: Issued, protocol: str
) -> None:
    mail = Injectable(protocol, issued)
    found = probed(mail, authority)["STARTTLS injection"]
    assert (found.verdict, found.facts) == (Verdict.BAD, {"executed": True})
    assert "NOOP" in mail.in_tls


@pytest.mark.parametrize(("protocol", "farewell"), [("smtp", "QUIT"), ("imap", "LOGOUT"), ("pop3", "QUIT")])
def test_no_farewell_is_needed_to_see_it(
    authority: Authority, issued: Issued, protocol: str, farewell: str
) -> None:
    mail = Injectable(protocol, issued, replies={farewell: ""})
    assert probed(mail, authority)["STARTTLS injection"].verdict is Verdict.BAD


@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3"])
@pytest.mark.parametrize("strict", [True, False])
def test_who_does_not_is_not(authority: Authority, issued: Issued, protocol: str, strict: bool) -> None:
    mail = Injectable(protocol, issued, forgetful=True, strict=strict)
    found = probed(mail, authority)["STARTTLS injection"]
    assert (found.verdict, found.facts) == (Verdict.OK, {"executed": False})
    assert ("the session ends" in found.detail) is strict
    assert "NOOP" not in mail.in_tls


def test_keywords_are_told_before_and_in_tls(authority: Authority, issued: Issued) -> None:
    found = probed(Injectable("smtp", issued), authority)
    assert found["keywords before TLS"].facts["keywords"] == ["PIPELINING", "STARTTLS", "AUTH PLAIN CRAM-MD5"]
    assert found["AUTH before TLS"].verdict is Verdict.BAD
    assert found["STARTTLS again"].verdict is Verdict.WARN


def test_versions_are_judged_by_what_is_expected(authority: Authority, issued: Issued) -> None:
    found = probed(Injectable("smtp", issued), authority, expected=TlsProtocols.parse(">=TLSv1.3"))
    assert found["TLSv1.3"].verdict is Verdict.OK
    assert found["TLSv1.2"].verdict is Verdict.BAD
    assert "not in >=TLSv1.3" in found["TLSv1.2"].detail
    assert found["SSLv3"].verdict is Verdict.OK


def test_no_more_connections_are_made_than_allowed(authority: Authority, issued: Issued) -> None:
    mail = Injectable("smtp", issued)
    with Server(mail.handle) as server:
        found = by_name(list(probe_of(server.address, authority, "smtp", budget=Budget(8)).run()))
        assert server.accepted == 8
    left_out = found["KeyUpdate"]
    assert (left_out.verdict, left_out.detail) == (Verdict.UNKNOWN, "not tried: 8 connections were made")


def test_time_that_is_over_ends_the_probe(authority: Authority, issued: Issued) -> None:
    mail = Injectable("smtp", issued)
    with Server(mail.handle) as server, pytest.raises(NoAnswer, match="seconds are over"):
        list(probe_of(server.address, authority, "smtp", budget=Budget(FEW, deadline=0.0)).run())


def test_a_server_that_is_down_can_not_be_probed(authority: Authority) -> None:
    with pytest.raises(NoAnswer, match="can't connect: Connection refused"):
        list(probe_of(f"127.0.0.1:{free_port()}", authority, "none").run())


def say(text: bytes) -> Any:
    def handle(connection: socket.socket) -> None:
        connection.sendall(text)
        while connection.recv(4096):
            pass

    return handle


@pytest.mark.parametrize(
    ("protocol", "said", "told"),
    [
        ("none", b"220 mx.example.org ESMTP\r\n", "doesn't speak TLS here: it says b'220 mx"),
        ("smtp", b"554 go away\r\n", "the server says '554 go away'"),
        ("smtp", b"220-" + b"x" * 70_000, "more than 65536 bytes"),
        ("smtp", b"220-x\r\n" * 1100, "more than 1000 lines"),
        ("imap", b"HTTP/1.1 400 Bad\r\n", "the server says 'HTTP"),
        ("pop3", b"-ERR\r\n", "the server says '-ERR'"),
        ("smtp", b"", "no answer in time"),
        ("none", b"", "no answer in time"),
    ],
)
def test_who_does_not_speak_the_protocol_is_told(
    authority: Authority, protocol: str, said: bytes, told: str
) -> None:
    with Server(say(said)) as server, pytest.raises(NoAnswer, match=told):
        list(probe_of(server.address, authority, protocol, timeout=0.5).run())


def test_who_refuses_tls_is_told(authority: Authority, issued: Issued) -> None:
    mail = Injectable("smtp", issued, replies={"STARTTLS": "454 4.7.0 not today"})
    with pytest.raises(NoAnswer, match=r"454 4\.7\.0 not today"):
        probed(mail, authority)


def test_who_speaks_no_version_is_badly_off(authority: Authority) -> None:
    with Server(lambda connection: connection.sendall(b"\x15\x03\x01\x00\x02\x02\x28")) as server:
        found = by_name(list(probe_of(server.address, authority, "none").run()))
    assert found["versions"].verdict is Verdict.BAD


# TLS from the first byte

SUITES = ["ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA", "ADH-AES128-SHA"]


def found_of(
    authority: Authority, context: SSL.Context, reaction: Reaction = serve_on, connections: int = 60
) -> dict[str, Finding]:
    with tls_server(context, reaction) as server:
        probe = probe_of(server.address, authority, "none", budget=Budget(connections))
        return by_name(list(probe.run()))


def test_an_old_server_is_described(authority: Authority, issued: Issued) -> None:
    versions = [TlsVersion.TLS1_0, TlsVersion.TLS1_2]
    ciphers = ":".join(SUITES) + ":@SECLEVEL=0"
    found = found_of(authority, context_of(issued, versions, ciphers=ciphers))
    assert set(found["TLSv1.2 cipher suites"].facts["suites"]) == set(SUITES)
    assert found["TLSv1.2 cipher order"].facts == {"order": "client"}
    assert set(found["TLSv1 cipher suites"].facts["suites"]) == set(SUITES[1:])
    assert found["TLSv1 cipher suites, weak"].verdict is not Verdict.OK
    assert found["TLSv1"].verdict is found["TLSv1.1"].verdict is Verdict.WARN
    assert found["secure renegotiation"].facts == {"supported": True}
    assert found["compression"].facts == {"compression": False}
    assert found["session resumption"].facts == {"TLSv1.2": True}
    assert found["ALPN"].facts["selected"] is None
    assert found["KeyUpdate"].facts == {"outcome": "impossible"}
    assert found["certificate names"].facts["matches"]


def test_a_modern_server_is_described(authority: Authority, issued: Issued) -> None:
    context = context_of(issued, [TlsVersion.TLS1_3], options=SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_alpn_select_callback(lambda _connection, offered: offered[0])
    found = found_of(authority, context)
    assert not [each for each in found.values() if each.verdict in (Verdict.BAD, Verdict.UNKNOWN)]
    assert len(found["TLSv1.3 cipher suites"].facts["suites"]) == 3
    assert found["TLSv1.3 cipher order"].facts == {"order": "server"}
    assert found["ALPN"].facts["selected"] == "h2"
    assert found["client renegotiation"].facts == {"outcome": "impossible"}
    assert found["secure renegotiation"].facts == {"supported": None}


def test_who_knows_no_protocol_that_is_offered_may_refuse(authority: Authority, issued: Issued) -> None:
    """As our own proxy does (RFC 7301 §3.2)."""

    def refuse(_connection: SSL.Connection, _offered: list[bytes]) -> bytes:
        raise SSL.Error

    context = context_of(issued, [TlsVersion.TLS1_3])
    context.set_alpn_select_callback(refuse)
    found = found_of(authority, context)["ALPN"]
    assert (found.verdict, found.facts["selected"]) == (Verdict.OK, None)
    assert "no application protocol" in found.detail


def test_suites_that_could_not_be_tried_are_not_said_to_be_refused(
    authority: Authority, issued: Issued
) -> None:
    found = found_of(authority, context_of(issued, [TlsVersion.TLS1_2]), connections=20)
    suites = found["TLSv1.2 cipher suites"]
    assert (suites.verdict, suites.facts["complete"]) == (Verdict.UNKNOWN, False)
    assert "more may be accepted" in suites.detail
    assert "TLSv1.2 cipher order" not in found
