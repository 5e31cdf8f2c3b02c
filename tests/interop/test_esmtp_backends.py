"""Postfix, Exim and Sendmail behind the proxy, in each way to have TLS: mail arrives, and EHLO replies are their own."""

import smtplib
import ssl
from collections.abc import Callable

import pytest

from tests.support.exim import Exim
from tests.support.mail_proxy import CLIENT, MailProxy, address_of, connect
from tests.support.mailboxes import DOMAIN, MailServer, content_of, received_of
from tests.support.postfix import Postfix
from tests.support.sendmail import Sendmail

BODY = b"8-bit: \xc3\xa9\r\n\r\n.\r\n..two dots\r\n" + b"long line " * 90 + b"\r\n no end of text"

Backend = tuple[MailServer, MailProxy, Callable[[str], str], int]
"""The server, the proxy in front, the name of its listen for a mode, and the port that this leads to."""


@pytest.fixture(params=["postfix", "exim", "sendmail"])
def backend(request: pytest.FixtureRequest) -> Backend:
    server: MailServer = request.getfixturevalue(f"mail_{request.param}")
    proxy: MailProxy = request.getfixturevalue(f"{request.param}_proxy")
    if isinstance(server, Postfix):
        return server, proxy, lambda mode: f"none {mode}", server.port
    assert isinstance(server, Exim | Sendmail)
    return server, proxy, lambda mode: mode, server.port


@pytest.fixture(params=["may", "encrypt", "wrapper"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_mail_arrives_as_it_was_sent(
    backend: Backend, mode: str, client_context: ssl.SSLContext, new_marker: Callable[[], str]
) -> None:
    server, proxy, listen, _ = backend
    content = f"Subject: {new_marker()}\r\n\r\n".encode() + BODY
    seen = len(proxy.program.notes)
    with connect(proxy.port(listen(mode)), mode, client_context) as session:
        client = address_of(session)
        assert session.sendmail("a@sender.example", [f"user@{DOMAIN}"], content) == {}
    message = server.wait_for_message(content.splitlines()[0])
    assert content_of(message) == content.replace(b"\r\n", b"\n") + b"\n"
    assert CLIENT in received_of(message)
    ended = proxy.program.wait_for_note("session_ended", after=seen, client=client)
    assert (ended["reason"], ended["version"]) == ("client_quit", "TLSv1.3")


def test_mail_arrives_without_tls_where_it_may(
    backend: Backend, client_context: ssl.SSLContext, new_marker: Callable[[], str]
) -> None:
    server, proxy, listen, _ = backend
    marker = new_marker()
    seen = len(proxy.program.notes)
    with connect(proxy.port(listen("may")), "plain", client_context) as session:
        client = address_of(session)
        session.sendmail("a@sender.example", [f"user@{DOMAIN}"], f"Subject: {marker}\r\n\r\nbody")
    assert content_of(server.wait_for_message(marker.encode())).endswith(b"\n\nbody\n")
    assert "version" not in proxy.program.wait_for_note("session_ended", after=seen, client=client)


def offered(session: smtplib.SMTP) -> tuple[bytes, list[bytes]]:
    """The first line of the reply to EHLO, and those behind it."""
    code, text = session.ehlo()
    assert code == 250
    first, *rest = text.split(b"\n")
    return first, rest


NEVER = (b"STARTTLS", b"XCLIENT", b"XFORWARD")


def test_the_ehlo_reply_is_the_backends(backend: Backend, mode: str, client_context: ssl.SSLContext) -> None:
    _, proxy, listen, direct_port = backend
    with connect(direct_port, "plain", client_context) as direct:
        banner, (first, lines) = direct.noop(), offered(direct)
    with connect(proxy.port(listen(mode)), mode, client_context) as session:
        assert offered(session) == (first, [line for line in lines if not line.startswith(NEVER)])
        assert session.noop() == banner


def test_before_tls_starttls_is_offered_and_auth_is_not(
    backend: Backend, client_context: ssl.SSLContext
) -> None:
    _, proxy, listen, direct_port = backend
    with connect(direct_port, "plain", client_context) as direct:
        first, lines = offered(direct)
    with connect(proxy.port(listen("may")), "plain", client_context) as session:
        kept = [line for line in lines if not line.startswith((*NEVER, b"AUTH"))]
        assert offered(session) == (first, [*kept, b"STARTTLS"])


def test_a_refusal_is_the_backends(backend: Backend, mode: str, client_context: ssl.SSLContext) -> None:
    _, proxy, listen, direct_port = backend
    answers = []
    for port, how in ((direct_port, "plain"), (proxy.port(listen(mode)), mode)):
        with connect(port, how, client_context) as session:
            session.ehlo()
            session.mail("a@sender.example")
            answers.append(session.rcpt("user@elsewhere.example"))
            session.rset()
            answers.append(session.docmd("MAIL", "nonsense"))
    assert answers[0][0] in (550, 554)
    assert answers[:2] == answers[2:]


def test_without_tls_nothing_reaches_the_backend_where_it_is_demanded(
    backend: Backend, client_context: ssl.SSLContext
) -> None:
    server, proxy, listen, _ = backend
    with connect(proxy.port(listen("encrypt")), "plain", client_context) as session:
        before = server.log
        assert session.docmd("EHLO", "plaintext.example")[0] == 250
        assert session.mail("early@sender.example") == (
            530,
            b"5.7.0 Must issue a STARTTLS command first",
        )
        assert session.docmd("NOOP")[0] == 250
    assert server.log == before


def test_backends_are_what_they_say(
    mail_postfix: Postfix, mail_exim: Exim, mail_sendmail: Sendmail, client_context: ssl.SSLContext
) -> None:
    """The cases above are worth something: these offer what must be hidden, and the one without CHUNKING is old."""
    keywords = []
    for port in (mail_postfix.port, mail_exim.port, mail_sendmail.port):
        with connect(port, "plain", client_context) as session:
            keywords.append({line.split()[0] for line in offered(session)[1]})
    assert [b"XFORWARD" in keywords[0], b"STARTTLS" in keywords[1], b"AUTH" in keywords[1]] == [True] * 3
    assert [b"CHUNKING" in each for each in keywords] == [True, True, False]
