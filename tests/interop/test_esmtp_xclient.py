"""XCLIENT from the running proxy: what Postfix logs, writes in ``Received:`` and decides by is the client's own address."""

import re
import smtplib
import ssl
from collections.abc import Callable

import pytest

from tests.interop.conftest import BANNED
from tests.support.mail_proxy import CLIENT, MODES, MailProxy, address_of, connect, say
from tests.support.mailboxes import DOMAIN, received_of
from tests.support.postfix import Postfix

SOURCE = "127.0.0.5"
"""A client's address that isn't the proxy's."""


def send(session: smtplib.SMTP, marker: str) -> None:
    session.sendmail("a@sender.example", [f"user@{DOMAIN}"], f"Subject: {marker}\r\n\r\nbody")


@pytest.mark.parametrize("mode", ["plain", *MODES])
def test_postfix_knows_address_port_and_helo(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    mode: str,
) -> None:
    marker = new_marker()
    listen = "may" if mode == "plain" else mode
    with connect(postfix_proxy.port(f"xclient {listen}"), mode, client_context, source=SOURCE) as session:
        client = address_of(session)
        send(session, marker)
    received = received_of(mail_postfix.wait_for_message(marker.encode()))
    assert received.startswith(
        f"Received: from {CLIENT} (unknown [{SOURCE}]) by mx.{DOMAIN} (Postfix) with ESMTP"
    )
    mail_postfix.wait_for_log(rf": client=unknown\[{re.escape(SOURCE)}\]:{client.rpartition(':')[2]}$")


@pytest.mark.parametrize("mode", ["plain", *MODES])
def test_postfix_decides_by_the_client(
    postfix_proxy: MailProxy, client_context: ssl.SSLContext, mode: str
) -> None:
    port = postfix_proxy.port(f"xclient {'may' if mode == 'plain' else mode}")
    for source, code in ((BANNED, 554), (SOURCE, 250)):
        with connect(port, mode, client_context, source=source) as session:
            session.ehlo()
            session.mail("a@sender.example")
            assert session.rcpt(f"user@{DOMAIN}")[0] == code


@pytest.mark.parametrize("mode", ["plain", "may"])
def test_an_ipv6_client(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    mode: str,
) -> None:
    marker = new_marker()
    with connect(postfix_proxy.port("IPv6"), mode, client_context, host="::1") as session:
        port = address_of(session).rpartition(":")[2]
        send(session, marker)
    received = received_of(mail_postfix.wait_for_message(marker.encode()))
    assert received.startswith(f"Received: from {CLIENT} (unknown [IPv6:::1])")
    mail_postfix.wait_for_log(rf": client=unknown\[::1\]:{port}$")


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_says_helo(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    mode: str,
) -> None:
    marker = new_marker()
    with connect(postfix_proxy.port(f"xclient {mode}"), mode, client_context, source=SOURCE) as session:
        session.helo("printer.example")
        send(session, marker)
    received = received_of(mail_postfix.wait_for_message(marker.encode()))
    assert received.startswith(f"Received: from printer.example (unknown [{SOURCE}])")


def test_the_client_stays_known_all_session_long(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
) -> None:
    """Before STARTTLS and after it, behind RSET, a transaction given up, and a second EHLO with another name."""
    markers = [new_marker() for _ in range(4)]
    with connect(postfix_proxy.port("xclient may"), "plain", client_context, source=SOURCE) as session:
        send(session, markers[0])
        session.starttls(context=client_context)
        send(session, markers[1])
        session.mail("a@sender.example")
        session.rset()
        send(session, markers[2])
        session.ehlo("renamed.example")
        send(session, markers[3])
    for marker, name in zip(markers, [CLIENT, CLIENT, CLIENT, "renamed.example"], strict=True):
        received = received_of(mail_postfix.wait_for_message(marker.encode()))
        assert received.startswith(f"Received: from {name} (unknown [{SOURCE}])")


@pytest.mark.parametrize("mode", ["plain", *MODES])
@pytest.mark.parametrize("verb", ["XCLIENT", "xForward", "XPROXY", "  XCLIENT"])
def test_a_client_cannot_say_who_it_is(
    mail_postfix: Postfix, postfix_proxy: MailProxy, client_context: ssl.SSLContext, mode: str, verb: str
) -> None:
    """To a Postfix that would believe the proxy. Pipelined, too."""
    seen, logged = len(postfix_proxy.program.notes), len(mail_postfix.log)
    listen = "may" if mode == "plain" else mode
    with connect(postfix_proxy.port(f"xclient {listen}"), mode, client_context, source=SOURCE) as session:
        client = address_of(session)
        session.ehlo()
        assert say(session, f"{verb} ADDR=192.0.2.77 NAME=evil.example") == 550
        session.send(f"RSET\r\n{verb} ADDR=192.0.2.77\r\nMAIL FROM:<a@sender.example>\r\n".encode())
        assert [session.getreply()[0] for _ in range(3)] == [250, 550, 250]
        session.rcpt(f"user@{DOMAIN}")
        assert session.data(b"Subject: x\r\n\r\n")[0] == 250
    noted = postfix_proxy.program.wait_for_note("front_reported", after=seen, client=client)
    assert (noted["what"], noted["detail"]) == ("xclient_refused", verb.strip().upper())
    mail_postfix.wait_for_log(rf"client=unknown\[{SOURCE}\]:{client.rpartition(':')[2]}$")
    assert "192.0.2.77" not in mail_postfix.log[logged:]


def test_the_refusals_keep_something_from_postfix(
    mail_postfix: Postfix, client_context: ssl.SSLContext
) -> None:
    """Where nobody refuses, it believes."""
    xforward, xclient = mail_postfix.ports[:2]
    with connect(xforward, "plain", client_context) as session:
        session.ehlo()
        assert say(session, "XFORWARD ADDR=192.0.2.77") == 250
    with connect(xclient, "plain", client_context) as session:
        session.ehlo()
        assert say(session, "XCLIENT ADDR=192.0.2.88") == 220
    mail_postfix.wait_for_log(r"disconnect from unknown\[192\.0\.2\.88\]")


@pytest.mark.parametrize("mode", ["plain", "may"])
def test_a_server_without_xclient_is_not_used(
    exim_proxy: MailProxy, client_context: ssl.SSLContext, mode: str
) -> None:
    seen = len(exim_proxy.program.notes)
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        connect(exim_proxy.port("xclient"), mode, client_context)
    assert refused.value.smtp_code == 421
    noted = exim_proxy.program.wait_for_note("front_reported", after=seen)
    assert (noted["what"], noted["detail"]) == ("identity_refused", "XCLIENT isn't offered to the proxy")
