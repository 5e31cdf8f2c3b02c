"""SMTP smuggling (CVE-2023-51764, -51765, -51766): a message in a message, for servers that take ``LF.LF`` for its end.

Postfix as it was before 3.9, and Sendmail as it was before 8.18, do. Each attack is made on them directly too, so that it
is known which of them work.
"""

import smtplib
import socket
import ssl
from collections.abc import Callable

import pytest

from tests.support.exim import Exim
from tests.support.mail_proxy import MailProxy, address_of, connect, say
from tests.support.mailboxes import DOMAIN, MailServer, content_of
from tests.support.postfix import Postfix
from tests.support.sendmail import Sendmail

ENDS = (
    b"\n.\n",
    b"\n.\r\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\r\n.\r\r\n",
    b"\n\n.\n\n",
    b"\r\n.\0\r\n",
)
"""Ends of data to some server, and not to RFC 5321."""

Send = Callable[[smtplib.SMTP, bytes], None]


def at_once(session: smtplib.SMTP, data: bytes) -> None:
    session.send(data)


def byte_by_byte(session: smtplib.SMTP, data: bytes) -> None:
    assert session.sock is not None
    session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in data:
        session.send(bytes([byte]))


def begin_message(session: smtplib.SMTP) -> None:
    session.ehlo()
    assert session.mail("a@sender.example")[0] == 250
    assert session.rcpt(f"user@{DOMAIN}")[0] == 250
    assert say(session, "DATA") == 354


def attack(marker: str, end: bytes) -> bytes:
    """The content: a message that the server may end at ``end``, and what it would then take for another."""
    return b"".join(
        (
            f"Subject: outer-{marker}\r\n\r\nouter".encode(),
            end,
            b"MAIL FROM:<smuggled@sender.example>\r\n",
            f"RCPT TO:<user@{DOMAIN}>\r\n".encode(),
            b"DATA\r\n",
            f"Subject: inner-{marker}\r\n\r\ninner\r\n.\r\n".encode(),
        )
    )


def settle(server: MailServer, new_marker: Callable[[], str]) -> list[bytes]:
    """The messages delivered, once one that was sent now is among them: none from before is on its way any more."""
    assert isinstance(server, Postfix | Exim | Sendmail)
    marker = new_marker()
    with smtplib.SMTP("127.0.0.1", server.port, "last.example", timeout=10) as session:
        session.sendmail("last@sender.example", [f"user@{DOMAIN}"], f"Subject: {marker}\r\n\r\n")
    server.wait_for_message(marker.encode())
    return server.messages()


@pytest.fixture(params=["postfix", "exim", "sendmail"])
def server(request: pytest.FixtureRequest) -> MailServer:
    running: MailServer = request.getfixturevalue(f"mail_{request.param}")
    return running


@pytest.fixture
def proxy(request: pytest.FixtureRequest, server: MailServer) -> MailProxy:
    running: MailProxy = request.getfixturevalue(f"{type(server).__name__.lower()}_proxy")
    return running


def port(proxy: MailProxy, listen: str) -> int:
    """``may`` is called ``none may`` where there are several identities."""
    return proxy.port(listen if listen in proxy.listens else f"none {listen}")


def executes_more(server: Postfix | Sendmail, end: bytes) -> bool:
    """Whether the server, without the proxy, executes what stands behind ``end``: then it says more than 250 and 221."""
    session = smtplib.SMTP("127.0.0.1", server.port, "evil.example", timeout=10)
    begin_message(session)
    session.send(attack("direct", end) + b"QUIT\r\n")
    assert session.getreply()[0] == 250
    further = session.getreply()[0]
    session.close()
    return further != 221


def test_attacks_work_on_servers_without_the_proxy(mail_postfix: Postfix, mail_sendmail: Sendmail) -> None:
    with_lf = {b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\n\n.\n\n"}
    assert {end for end in ENDS if executes_more(mail_postfix, end)} == with_lf | {b"\r\r\n.\r\r\n"}
    assert {end for end in ENDS if executes_more(mail_sendmail, end)} == with_lf


@pytest.mark.parametrize("send", [at_once, byte_by_byte])
def test_rejected_no_message_arrives(
    server: MailServer,
    proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    send: Send,
) -> None:
    """The default. The client is told so behind the end of its message, and the log says of what and by whom."""
    markers = []
    for end in ENDS:
        markers.append(new_marker())
        seen = len(proxy.program.notes)
        session = connect(port(proxy, "may"), "may", client_context)
        client = address_of(session)
        begin_message(session)
        send(session, attack(markers[-1], end))
        assert session.getreply() == (550, b"5.5.2 Error: bare <LF> or <CR> received")
        assert session.getreply()[0] == 421
        session.close()
        noted = proxy.program.wait_for_note("front_reported", after=seen, client=client)
        assert noted["what"] == "smuggling"
        ended = proxy.program.wait_for_note("session_ended", after=seen, client=client)
        assert ended["reason"] == "smuggling"
    delivered = b"".join(settle(server, new_marker))
    assert [marker for marker in markers if marker.encode() in delivered] == []


@pytest.mark.parametrize("send", [at_once, byte_by_byte])
def test_normalized_exactly_one_message_arrives(
    server: MailServer,
    proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    send: Send,
) -> None:
    """With what was to be smuggled as its text."""
    markers = []
    for end in ENDS:
        markers.append(new_marker())
        with connect(port(proxy, "normalize"), "may", client_context) as session:
            begin_message(session)
            send(session, attack(markers[-1], end))
            assert session.getreply()[0] == 250
    delivered = settle(server, new_marker)
    for marker in markers:
        (message,) = (message for message in delivered if marker.encode() in message)
        lines = content_of(message).replace(b"\0", b"").splitlines()
        assert [line for line in lines if line] == [
            f"Subject: outer-{marker}".encode(),
            b"outer",
            b".",
            b"MAIL FROM:<smuggled@sender.example>",
            f"RCPT TO:<user@{DOMAIN}>".encode(),
            b"DATA",
            f"Subject: inner-{marker}".encode(),
            b"inner",
        ]


def test_a_chunk_may_hold_anything(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
) -> None:
    """It ends by its size, to everybody."""
    markers = []
    with connect(postfix_proxy.port("none may"), "may", client_context) as session:
        for end in ENDS:
            markers.append(new_marker())
            session.ehlo()
            session.mail("a@sender.example")
            session.rcpt(f"user@{DOMAIN}")
            content = attack(markers[-1], end)
            session.send(b"BDAT %d LAST\r\n" % len(content) + content)
            assert session.getreply()[0] == 250
    delivered = settle(mail_postfix, new_marker)
    for marker in markers:
        (message,) = (message for message in delivered if marker.encode() in message)
        assert f"Subject: inner-{marker}".encode() in message


@pytest.mark.parametrize("mode", ["plain", "may"])
def test_a_bare_newline_in_a_command_ends_the_session(
    mail_postfix: Postfix, postfix_proxy: MailProxy, client_context: ssl.SSLContext, mode: str
) -> None:
    seen, logged = len(postfix_proxy.program.notes), len(mail_postfix.log)
    session = connect(postfix_proxy.port("none may"), mode, client_context)
    client = address_of(session)
    session.ehlo()
    session.send(b"NOOP\nMAIL FROM:<evil@sender.example>\r\n")
    assert [session.getreply()[0] for _ in range(2)] == [500, 421]
    session.close()
    noted = postfix_proxy.program.wait_for_note("front_reported", after=seen, client=client)
    assert noted["what"] == "smuggling"
    mail_postfix.wait_until(lambda: "disconnect from" in mail_postfix.log[logged:], "the session goes on")
    assert "mail=" not in mail_postfix.log[logged:]


def test_a_client_with_bare_newlines_can_be_tolerated(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
) -> None:
    """``normalize``: a client that has no CRs at all gets its mail through, but for an end of data that is none."""
    marker = new_marker()
    with connect(postfix_proxy.port("normalize"), "plain", client_context) as session:
        for line in ("EHLO lf.example", "MAIL FROM:<a@sender.example>", f"RCPT TO:<user@{DOMAIN}>"):
            session.send(f"{line}\n".encode())
            assert session.getreply()[0] == 250
        session.send(b"DATA\n")
        assert session.getreply()[0] == 354
        session.send(f"Subject: {marker}\n\n.\nstill here\r\n.\r\n".encode())
        assert session.getreply()[0] == 250
    message = mail_postfix.wait_for_message(marker.encode())
    assert content_of(message) == f"Subject: {marker}\n\n.\nstill here\n".encode()


def test_passed_it_is_the_servers_to_be_safe(
    mail_exim: Exim, exim_proxy: MailProxy, client_context: ssl.SSLContext, new_marker: Callable[[], str]
) -> None:
    """``pass``, to an Exim that isn't fooled."""
    marker = new_marker()
    with connect(exim_proxy.port("pass"), "may", client_context) as session:
        begin_message(session)
        session.send(attack(marker, b"\n.\n"))
        assert session.getreply()[0] == 250
    (message,) = (each for each in settle(mail_exim, new_marker) if marker.encode() in each)
    assert b"MAIL FROM:<smuggled@sender.example>" in content_of(message)
