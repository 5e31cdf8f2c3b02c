"""``identity = "trace_header"``: one ``Received:`` field of the proxy's in each message, and nothing else is different."""

import re
import smtplib
import ssl
from collections.abc import Callable
from email import message_from_bytes
from email.utils import parsedate_to_datetime

import pytest

from tests.support.exim import PASSWORD, USER, Exim
from tests.support.mail_proxy import CLIENT, MODES, MailProxy, connect, say
from tests.support.mailboxes import DOMAIN, MailServer, content_of, received_of
from tests.support.postfix import Postfix
from tests.support.sendmail import Sendmail

SOURCE = "127.0.0.5"

_OURS = re.compile(
    r"Received: from (?P<helo>\S+) \(\[(?P<ip>[^]]+)\]\) by proxy\.example \(tlsproxy\) with (?P<protocol>\w+) id \w+"
    r"(?: \(version=(?P<version>\S+) cipher=(?P<cipher>\S+) bits=(?P<bits>\d+)\))?; (?P<date>.+)"
)


def check(message: bytes, content: bytes, **facts: str | None) -> None:
    """The proxy's field is the first behind the server's own, it says ``facts``, and ``content`` follows as it was sent."""
    traced = content_of(message)
    ours = _OURS.fullmatch(received_of(traced))
    assert ours is not None, traced[:300]
    assert {key: ours[key] for key in facts} == facts
    assert parsedate_to_datetime(ours["date"]).tzinfo is not None
    assert content_of(traced) == content.replace(b"\r\n", b"\n")
    assert message.count(b"(tlsproxy)") == 1


TLS = {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "bits": "256"}


def transaction(session: smtplib.SMTP, *options: str) -> None:
    assert session.mail("a@sender.example", options)[0] == 250
    assert session.rcpt(f"user@{DOMAIN}")[0] == 250


@pytest.mark.parametrize("mode", MODES)
def test_it_is_the_messages_first_field(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    mode: str,
) -> None:
    """In each message of a session, whatever came between."""
    contents = [f"Subject: {new_marker()}\r\n\r\n.\r\n..\r\nbody\r\n".encode() for _ in range(3)]
    port = postfix_proxy.port(f"trace_header {mode}")
    with connect(port, mode, client_context, source=SOURCE) as session:
        session.ehlo()
        for content in contents:
            transaction(session)
            session.rset()
            transaction(session)
            assert session.data(content)[0] == 250
    for content in contents:
        message = mail_postfix.wait_for_message(content.splitlines()[0])
        check(message, content, helo=CLIENT, ip=SOURCE, protocol="ESMTPS", **TLS)
        assert message_from_bytes(message)["Subject"] == content.splitlines()[0].decode().partition(" ")[2]


@pytest.mark.parametrize("server", ["exim", "sendmail"])
def test_servers_that_know_nothing_else(
    request: pytest.FixtureRequest,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    server: str,
) -> None:
    backend: MailServer = request.getfixturevalue(f"mail_{server}")
    proxy: MailProxy = request.getfixturevalue(f"{server}_proxy")
    assert isinstance(backend, Exim | Sendmail)
    content = f"Subject: {new_marker()}\r\n\r\nbody\r\n".encode()
    with connect(proxy.port("trace header"), "may", client_context, source=SOURCE) as session:
        session.ehlo()
        transaction(session)
        assert session.data(content)[0] == 250
    message = backend.wait_for_message(content.splitlines()[0])
    check(message, content, helo=CLIENT, ip=SOURCE, protocol="ESMTPS", **TLS)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_it_stands_once_before_chunks(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    size: int,
) -> None:
    content = f"Subject: {new_marker()}\r\n\r\n.\r\nMAIL FROM:<x@y.example>\r\n.body\r\n".encode()
    with connect(postfix_proxy.port("trace_header may"), "may", client_context, source=SOURCE) as session:
        session.ehlo()
        transaction(session)
        for begin in range(0, len(content), size):
            chunk = content[begin : begin + size]
            last = " LAST" if begin + size >= len(content) else ""
            session.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
            assert session.getreply()[0] == 250
    message = mail_postfix.wait_for_message(content.splitlines()[0])
    check(message, content, helo=CLIENT, ip=SOURCE, protocol="ESMTPS", **TLS)


def by_data(session: smtplib.SMTP, content: bytes) -> None:
    assert say(session, "DATA") == 354
    stuffed = b"".join(
        b"." + line if line.startswith(b".") else line for line in content.splitlines(keepends=True)
    )
    assert say(session, stuffed + b".") == 250


def by_chunks(session: smtplib.SMTP, content: bytes) -> None:
    """Each of one byte, but for the last, which is empty. (Postfix doesn't take another that is.)"""
    for byte in content:
        session.send(b"BDAT 1\r\n" + bytes([byte]))
        assert session.getreply()[0] == 250
    assert say(session, "BDAT 0 LAST") == 250


@pytest.mark.parametrize("send", [by_data, by_chunks])
@pytest.mark.parametrize(
    "content",
    [b"", b"\r\n", b".dot\r\n", b"..\r\n", b"\r\n.\r\n", b"body\r\n", b" folded\r\n", b"\tfolded: x\r\n\r\n"],
)
def test_content_without_a_header(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    content: bytes,
    send: Callable[[smtplib.SMTP, bytes], None],
) -> None:
    """The client's first line neither continues the field, nor are its dots other than they were."""
    marker = new_marker()
    with connect(postfix_proxy.port("trace_header may"), "may", client_context, source=SOURCE) as session:
        session.ehlo(marker)
        transaction(session)
        send(session, content)
    message = content_of(mail_postfix.wait_for_message(f"from {marker} ([".encode()))
    assert _OURS.fullmatch(received_of(message))
    lines = [line for line in content.splitlines() if line]
    assert [line for line in content_of(message).splitlines() if line] == lines


@pytest.mark.parametrize(
    ("mode", "hello", "options", "protocol"),
    [
        ("plain", "helo", [], "SMTP"),
        ("plain", "ehlo", [], "ESMTP"),
        ("plain", "ehlo", ["SMTPUTF8"], "UTF8SMTP"),
        ("may", "helo", [], "SMTP"),
        ("may", "ehlo", ["SMTPUTF8"], "UTF8SMTPS"),
    ],
)
def test_the_protocol_has_its_registered_name(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    mode: str,
    hello: str,
    options: list[str],
    protocol: str,
) -> None:
    content = f"Subject: {new_marker()}\r\n\r\n".encode()
    with connect(postfix_proxy.port("trace_header may"), mode, client_context, source=SOURCE) as session:
        getattr(session, hello)()
        transaction(session, *options)
        session.data(content)
    facts: dict[str, str | None] = dict(TLS) if mode == "may" else {"version": None}
    message = mail_postfix.wait_for_message(content.splitlines()[0])
    check(message, content, helo=CLIENT, ip=SOURCE, protocol=protocol, **facts)


def test_an_authenticated_session(
    mail_exim: Exim, exim_proxy: MailProxy, client_context: ssl.SSLContext, new_marker: Callable[[], str]
) -> None:
    content = f"Subject: {new_marker()}\r\n\r\n".encode()
    with connect(exim_proxy.port("trace header"), "may", client_context, source=SOURCE) as session:
        session.login(USER, PASSWORD)
        transaction(session)
        session.data(content)
    message = mail_exim.wait_for_message(content.splitlines()[0])
    check(message, content, helo=CLIENT, ip=SOURCE, protocol="ESMTPSA", **TLS)


@pytest.mark.parametrize(
    "helo", ["a) with SMTP; evil (b", "[192.0.2.1]", "\u00e4\u00f6\u00fc.example", "x" * 1000]
)
def test_a_hostile_helo_stays_one_word(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    helo: str,
) -> None:
    content = f"Subject: {new_marker()}\r\n\r\n".encode()
    with connect(postfix_proxy.port("trace_header may"), "may", client_context, source=SOURCE) as session:
        assert say(session, b"EHLO " + helo.encode()) == 250
        session.ehlo_resp, session.esmtp_features, session.does_esmtp = b"", {}, True
        transaction(session)
        session.data(content)
    check(
        mail_postfix.wait_for_message(content.splitlines()[0]), content, ip=SOURCE, protocol="ESMTPS", **TLS
    )


def test_the_declared_size_grows_with_it(postfix_proxy: MailProxy, client_context: ssl.SSLContext) -> None:
    """Postfix refuses what is too large at once, not behind the last byte."""
    for listen, code in (("none may", 250), ("trace_header may", 552)):
        with connect(postfix_proxy.port(listen), "may", client_context) as session:
            session.ehlo()
            limit = session.esmtp_features["size"]
            assert session.mail("a@sender.example", [f"SIZE={limit}"])[0] == code
