"""What an attacker may try around STARTTLS and AUTH, on the wire, and what of it reaches Postfix and Exim: nothing."""

import base64
import ssl
from collections.abc import Callable

import pytest

from tests.support.exim import PASSWORD, USER, Exim
from tests.support.mail_proxy import CLIENT, MailProxy, address_of, connect, say
from tests.support.mailboxes import DOMAIN
from tests.support.postfix import Postfix

PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


@pytest.mark.parametrize("mode", ["may", "encrypt"])
@pytest.mark.parametrize(
    "injected",
    [b"MAIL FROM:<evil@sender.example>\r\n", b"NOOP", b"\r\n", b"STARTTLS\r\n", b"\x16\x03\x01\x00\x05"],
)
def test_plaintext_behind_starttls_refuses_the_session(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    mode: str,
    injected: bytes,
) -> None:
    """CVE-2011-0411."""
    seen, logged = len(postfix_proxy.program.notes), len(mail_postfix.log)
    with connect(postfix_proxy.port(f"none {mode}"), "plain", client_context) as session:
        client = address_of(session)
        session.ehlo()
        session.send(b"STARTTLS\r\n" + injected)
        assert session.getreply()[0] == 554
        assert session.getreply()[0] == 421
        assert session.sock is not None
        assert session.sock.recv(1) == b""
        session.close()
    noted = postfix_proxy.program.wait_for_note("front_reported", after=seen, client=client)
    assert (noted["what"], noted["detail"]) == (
        "starttls_injection",
        f"{len(injected)} bytes behind STARTTLS",
    )
    ended = postfix_proxy.program.wait_for_note("session_ended", after=seen, client=client)
    assert ended["reason"] == "starttls_injection"
    assert "mail=" not in mail_postfix.log[logged:]


def test_ignored_it_is_thrown_away(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
) -> None:
    """``starttls_injection_policy = "ignore"``: TLS comes up, and what was injected has no effect under it."""
    marker = new_marker()
    seen = len(postfix_proxy.program.notes)
    with connect(postfix_proxy.port("ignore injection"), "plain", client_context) as session:
        client = address_of(session)
        session.ehlo()
        session.send(b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@sender.example>\r\n")
        assert session.getreply()[0] == 220
        assert session.sock is not None
        session.sock = client_context.wrap_socket(session.sock, server_hostname="localhost")
        session.file = None
        session.helo_resp = session.ehlo_resp = None
        assert say(session, "NOOP") == 250
        assert say(session, "MAIL FROM:<a@sender.example>") == 503, "from nothing"
        session.sendmail("a@sender.example", [f"user@{DOMAIN}"], f"Subject: {marker}")
    message = mail_postfix.wait_for_message(marker.encode())
    assert message.startswith(b"Return-Path: <a@sender.example>\n")
    assert f"Received: from {CLIENT} ".encode() in message
    postfix_proxy.program.wait_for_note(
        "front_reported", after=seen, client=client, what="starttls_injection"
    )


def test_starttls_out_of_place(postfix_proxy: MailProxy, client_context: ssl.SSLContext) -> None:
    with connect(postfix_proxy.port("none may"), "plain", client_context) as session:
        session.ehlo()
        assert session.docmd("STARTTLS", "now") == (501, b"5.5.4 Syntax: STARTTLS")
        session.mail("a@sender.example")
        assert session.docmd("STARTTLS") == (503, b"5.5.1 Error: mail transaction in progress")
        session.rset()
        session.starttls(context=client_context)
        assert session.docmd("STARTTLS") == (503, b"5.5.1 Error: TLS already active")
    with connect(postfix_proxy.port("none wrapper"), "wrapper", client_context) as session:
        session.ehlo()
        assert session.docmd("STARTTLS") == (503, b"5.5.1 Error: TLS already active")


def test_nothing_of_the_plaintext_session_is_left_behind_it(
    postfix_proxy: MailProxy, client_context: ssl.SSLContext
) -> None:
    with connect(postfix_proxy.port("none may"), "plain", client_context) as session:
        session.ehlo()
        session.starttls(context=client_context)
        for line in ("MAIL FROM:<a@sender.example>", f"RCPT TO:<user@{DOMAIN}>", "DATA", "VRFY user"):
            assert say(session, line) == 503


# AUTH: the backend, Exim, would take it without any TLS.


@pytest.mark.parametrize("line", [f"AUTH PLAIN {PLAIN}", "AUTH PLAIN", "auth login", "AUTH CRAM-MD5"])
def test_auth_in_plaintext_is_refused_and_logged(
    mail_exim: Exim, exim_proxy: MailProxy, client_context: ssl.SSLContext, line: str
) -> None:
    seen = len(exim_proxy.program.notes)
    with connect(mail_exim.port, "plain", client_context) as session:
        session.ehlo()
        assert say(session, line) in (235, 334)
        session.close()
    with connect(exim_proxy.port("may"), "plain", client_context) as session:
        client = address_of(session)
        session.ehlo()
        assert say(session, line) == 538
    noted = exim_proxy.program.wait_for_note("front_reported", after=seen, client=client)
    assert (noted["what"], noted["detail"]) == ("auth_refused", "in plaintext")
    assert PLAIN not in str(exim_proxy.program.output)


def test_auth_has_a_tls_floor_of_its_own(
    exim_proxy: MailProxy, client_context: ssl.SSLContext, authority_path: str
) -> None:
    """``smtp_auth_tls_protocols``: mail comes over TLS 1.2, a password over TLS 1.3 alone."""
    port = exim_proxy.port("AUTH under TLSv1.3")
    old = ssl.create_default_context(cafile=authority_path)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    seen = len(exim_proxy.program.notes)
    with connect(port, "may", old) as session:
        client = address_of(session)
        session.ehlo()
        assert not session.has_extn("auth")
        assert say(session, f"AUTH PLAIN {PLAIN}") == 538
        session.sendmail("a@sender.example", [f"user@{DOMAIN}"], "Subject: by TLS 1.2")
    noted = exim_proxy.program.wait_for_note("front_reported", after=seen, client=client)
    assert noted["detail"] == "TLSv1.2 is not in smtp_auth_tls_protocols (TLSv1.3)"
    with connect(port, "may", client_context) as session:
        session.ehlo()
        assert session.has_extn("auth")
        assert session.login(USER, PASSWORD)[0] == 235


def test_an_auth_dialogue_can_be_cancelled(exim_proxy: MailProxy, client_context: ssl.SSLContext) -> None:
    """And a response is never taken for a command: what looks like one goes to the backend as a response."""
    with connect(exim_proxy.port("may"), "may", client_context) as session:
        session.ehlo()
        assert say(session, "AUTH LOGIN") == 334
        assert say(session, "*") == 501
        assert say(session, "AUTH LOGIN") == 334
        assert say(session, "XCLIENT ADDR=192.0.2.1") == 501
        assert say(session, "AUTH LOGIN") == 334
        assert say(session, "a" * 20_000) == 500
        assert session.login(USER, PASSWORD)[0] == 235


@pytest.fixture
def authority_path(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("authority").path)


def test_keywords_that_the_operator_hides(
    mail_exim: Exim, exim_proxy: MailProxy, client_context: ssl.SSLContext
) -> None:
    """``smtp_discard_ehlo_keywords``; a chunk for a backend that isn't said to take chunks is refused, with an end."""
    with connect(exim_proxy.port("fewer keywords"), "may", client_context) as session:
        session.ehlo()
        assert not session.has_extn("size")
        assert not session.has_extn("chunking")
        assert session.has_extn("8bitmime")
        session.send(b"BDAT 6\r\nQUIT\r\n")
        assert [session.getreply()[0] for _ in range(2)] == [521, 421]
        session.close()
