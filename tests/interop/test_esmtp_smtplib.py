"""Extensions and oddities of SMTP through the proxy to Postfix, said by hand with Python's smtplib."""

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from tests.support.mail_proxy import MODES, MailProxy, connect, say
from tests.support.mailboxes import DOMAIN, content_of, received_of
from tests.support.postfix import Postfix


@pytest.fixture(params=["plain", *MODES])
def session(
    request: pytest.FixtureRequest, postfix_proxy: MailProxy, client_context: ssl.SSLContext
) -> Iterator[smtplib.SMTP]:
    """Before EHLO, in each mode, and without TLS where it may be so."""
    listen = "may" if request.param == "plain" else request.param
    with connect(postfix_proxy.port(f"none {listen}"), request.param, client_context) as session:
        yield session


@pytest.fixture
def marker(new_marker: Callable[[], str]) -> str:
    return new_marker()


def test_a_client_that_knows_helo_alone(mail_postfix: Postfix, session: smtplib.SMTP, marker: str) -> None:
    assert session.helo("printer")[0] == 250
    assert [
        say(session, "MAIL FROM:<a@sender.example>"),
        say(session, f"RCPT TO:<user@{DOMAIN}>"),
        say(session, "DATA"),
        say(session, f"Subject: {marker}\r\n\r\nscanned\r\n."),
    ] == [250, 250, 354, 250]
    message = mail_postfix.wait_for_message(marker.encode())
    assert content_of(message) == f"Subject: {marker}\n\nscanned\n".encode()
    # Postfix doesn't take back that it was told EHLO once, before STARTTLS.
    assert re.match(r"Received: from printer .* with E?SMTP id ", received_of(message))


def test_chunks_pass_as_they_are(mail_postfix: Postfix, session: smtplib.SMTP, marker: str) -> None:
    """What looks like an end of data, a command or a chunk of its own is content in a chunk, wherever the chunk is cut."""
    session.ehlo()
    content = (
        f"Subject: {marker}\r\n\r\n.\r\n".encode()
        + b"QUIT\r\nBDAT 3 LAST\r\nRSET\r\n..\r\n\r\n.\r\nMAIL FROM:<evil@sender.example>\r\n"
        + bytes(range(128, 256))
        + b"\r\nthe end\r\n"
    )
    assert say(session, "MAIL FROM:<a@sender.example> BODY=8BITMIME") == 250
    assert say(session, f"RCPT TO:<user@{DOMAIN}>") == 250
    for begin in range(0, len(content), 37):
        chunk = content[begin : begin + 37]
        session.send(b"BDAT %d\r\n" % len(chunk) + chunk)
        assert session.getreply()[0] == 250
    assert say(session, "BDAT 0 LAST") == 250
    message = mail_postfix.wait_for_message(marker.encode())
    assert content_of(message) == content.replace(b"\r\n", b"\n")


def test_chunks_and_commands_pipelined_in_one_breath(
    mail_postfix: Postfix, session: smtplib.SMTP, marker: str
) -> None:
    """Two messages, the second in two chunks, with everything sent before the first reply is read."""
    session.ehlo()
    transaction = f"MAIL FROM:<a@sender.example>\r\nRCPT TO:<user@{DOMAIN}>\r\n".encode()
    one, two, three = f"Subject: {marker}1\r\n\r\n".encode(), f"Subject: {marker}2\r\n".encode(), b"\r\n.\r\n"
    session.send(
        transaction
        + (b"BDAT %d LAST\r\n" % len(one) + one)
        + (transaction + b"BDAT %d\r\n" % len(two) + two)
        + (b"BDAT %d last\r\n" % len(three) + three)
        + b"NOOP\r\n"
    )
    assert [session.getreply()[0] for _ in range(8)] == [250] * 8
    assert content_of(mail_postfix.wait_for_message(f"{marker}1".encode())) == one.replace(b"\r\n", b"\n")
    assert content_of(mail_postfix.wait_for_message(f"{marker}2".encode())).endswith(b"\n\n.\n")


def test_a_pipelined_group_byte_by_byte(mail_postfix: Postfix, session: smtplib.SMTP, marker: str) -> None:
    session.ehlo()
    assert session.sock is not None
    session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    group = f"MAIL FROM:<a@sender.example>\r\nRCPT TO:<user@elsewhere.example>\r\nRCPT TO:<user@{DOMAIN}>\r\nDATA\r\n"
    for byte in group.encode():
        session.sock.sendall(bytes([byte]))
    assert [session.getreply()[0] for _ in range(4)] == [250, 554, 250, 354]
    for byte in f"Subject: {marker}\r\n\r\n..\r\n.a\r\n.\r\n".encode():
        session.sock.sendall(bytes([byte]))
    assert session.getreply()[0] == 250
    assert content_of(mail_postfix.wait_for_message(marker.encode())).endswith(b"\n\n.\na\n")


def test_utf8_in_addresses_and_headers(mail_postfix: Postfix, session: smtplib.SMTP, marker: str) -> None:
    session.ehlo()
    content = f"Subject: {marker} gr\u00fc\u00dfe\r\n\r\n".encode()
    assert session.mail("j\u00fcrgen@sender.example", ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
    assert session.rcpt(f"j\u00f8rgen@{DOMAIN}")[0] == 250
    assert session.data(content)[0] == 250
    message = mail_postfix.wait_for_message(marker.encode())
    assert f"X-Original-To: j\u00f8rgen@{DOMAIN}".encode() in message
    assert " with UTF8SMTP id " in received_of(message)


def test_parameters_of_mail_and_rcpt_pass(mail_postfix: Postfix, session: smtplib.SMTP, marker: str) -> None:
    session.ehlo()
    assert session.mail("a@sender.example", ["SIZE=1000", "RET=HDRS", f"ENVID={marker}"])[0] == 250
    assert (
        session.rcpt(f"user@{DOMAIN}", ["NOTIFY=FAILURE", "ORCPT=rfc822;other@elsewhere.example"])[0] == 250
    )
    assert session.data(f"Subject: {marker}\r\n\r\n".encode())[0] == 250
    mail_postfix.wait_for_message(marker.encode())
    for parameter, code in {"SIZE=99999999999": 552, "RET=BOGUS": 501, "XYZZY=1": 555}.items():
        assert session.mail("a@sender.example", [parameter])[0] == code


def test_commands_between_messages(session: smtplib.SMTP) -> None:
    """Postfix answers each; what it doesn't know, too."""
    session.ehlo()
    answers = [
        session.docmd("VRFY", f"user@{DOMAIN}")[0],
        session.docmd("NOOP", "anything")[0],
        session.docmd("XYZZY")[0],
        session.docmd("EXPN", "staff")[0],
        session.rset()[0],
        session.docmd("DATA")[0],
        session.docmd("ETRN", "elsewhere.example")[0],
    ]
    assert answers == [252, 250, 500, 500, 250, 503, 459]


def test_a_transaction_given_up_leaves_nothing(
    mail_postfix: Postfix, session: smtplib.SMTP, marker: str
) -> None:
    session.ehlo()
    session.mail(f"{marker}@sender.example")
    session.rcpt(f"user@{DOMAIN}")
    assert session.rset()[0] == 250
    assert session.docmd("DATA")[0] == 503
    assert session.sendmail("b@sender.example", [f"user@{DOMAIN}"], f"Subject: {marker}") == {}
    assert b"Return-Path: <b@sender.example>\n" in mail_postfix.wait_for_message(marker.encode())


def test_quit_ends_in_order(session: smtplib.SMTP) -> None:
    session.ehlo()
    session.putcmd("QUIT")
    assert session.getreply()[0] == 221
    assert session.sock is not None
    assert session.sock.recv(1) == b""
    session.close()
