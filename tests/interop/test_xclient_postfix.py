"""XCLIENT to a Postfix that trusts us (``smtpd_authorized_xclient_hosts``)."""

import smtplib
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.support.postfix import DOMAIN, Postfix, Smtpd
from tlsproxy.identity.client import ClientAddress
from tlsproxy.identity.xclient import TEMPUNAVAIL, offered_attributes, xclient_command

CLIENT4, SERVER4 = (
    ClientAddress(ip_address("192.0.2.1"), 40001),
    ClientAddress(ip_address("198.51.100.7"), 25),
)
CLIENT6, SERVER6 = (
    ClientAddress(ip_address("2001:db8::1"), 40002),
    ClientAddress(ip_address("2001:db8:ffff::7"), 25),
)
UNIX = ClientAddress(None)

LONG_NAME = ".".join(["a" * 62, "b" * 62, "c" * 62, "d" * 62])


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    trusting = {
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_client_port_logging": "yes",
        "smtpd_sasl_authenticated_header": "yes",
    }
    by_reverse_name = {
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_peername_lookup": "yes",  # of 127.0.0.1, in the hosts file
        "smtpd_recipient_restrictions": "check_reverse_client_hostname_access inline:{localhost=REJECT}",
    }
    by_name = {
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_recipient_restrictions": "reject_unknown_client_hostname",
        "unknown_client_reject_code": "550",
    }
    with Postfix(
        [Smtpd(trusting), Smtpd(by_reverse_name), Smtpd(by_name)], {"inet_protocols": "all"}
    ) as running:
        yield running


@pytest.fixture
def session(postfix: Postfix) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=10) as session:
        yield session


def introduce(session: smtplib.SMTP, **facts: Any) -> list[bytes]:
    """Say EHLO, XCLIENT with the facts, and EHLO or HELO in the client's name; the XCLIENT lines."""
    session.ehlo("proxy.example")
    offered = offered_attributes(session.esmtp_features["xclient"])
    given: dict[str, Any] = {
        "client": CLIENT4,
        "destination": SERVER4,
        "helo": "helo.example",
        "protocol": "ESMTP",
    }
    given |= facts
    lines = xclient_command(offered, **given)
    for line in lines:
        session.send(line)
        code, text = session.getreply()
        assert code == 220, text
    greet = session.ehlo if given["protocol"] == "ESMTP" else session.helo
    assert greet(given["helo"] or "unknown")[0] == 250
    return lines


def deliver(postfix: Postfix, session: smtplib.SMTP) -> bytes:
    """Send a message, and have it back with Postfix's fields on top."""
    already = len(postfix.messages())
    session.sendmail("a@sender.example", [f"user@{DOMAIN}"], b"Subject: who sent me\r\n\r\nbody\r\n")
    return postfix.wait_for_messages(already + 1)[-1]


def test_postfix_offers_what_we_tell(session: smtplib.SMTP) -> None:
    session.ehlo("proxy.example")
    offered = offered_attributes(session.esmtp_features["xclient"])
    assert offered >= {
        "NAME",
        "ADDR",
        "PROTO",
        "HELO",
        "REVERSE_NAME",
        "PORT",
        "LOGIN",
        "DESTADDR",
        "DESTPORT",
    }


def test_postfix_logs_and_writes_the_client(postfix: Postfix, session: smtplib.SMTP) -> None:
    introduce(session)
    message = deliver(postfix, session)
    postfix.wait_for_log(r": client=unknown\[192\.0\.2\.1\]:40001$")
    assert b"Received: from helo.example (unknown [192.0.2.1])" in message
    assert b" with ESMTP id " in message


def test_an_ipv6_client_that_says_helo(postfix: Postfix, session: smtplib.SMTP) -> None:
    introduce(session, client=CLIENT6, destination=SERVER6, protocol="SMTP", helo="printer", name="c.example")
    message = deliver(postfix, session)
    postfix.wait_for_log(r": client=c\.example\[2001:db8::1\]:40002$")
    assert b"Received: from printer (c.example [IPv6:2001:db8::1])" in message
    assert b" with SMTP id " in message


def test_a_login_is_believed(postfix: Postfix, session: smtplib.SMTP) -> None:
    introduce(session, client=ClientAddress(CLIENT4.ip, 40003), login="jo+mail=box@example")
    message = deliver(postfix, session)
    postfix.wait_for_log(r":40003, sasl_method=XCLIENT, sasl_username=jo\+mail=box@example$")
    assert b"(Authenticated sender: jo+mail=box@example)" in message


def test_values_of_full_length_over_several_lines_are_all_believed(
    postfix: Postfix, session: smtplib.SMTP
) -> None:
    lines = introduce(
        session, client=ClientAddress(CLIENT6.ip, 40004), helo="h" * 250, name=LONG_NAME, login="l" * 250
    )
    assert len(lines) > 2
    message = deliver(postfix, session)
    postfix.wait_for_log(
        rf": client={LONG_NAME}\[2001:db8::1\]:40004, sasl_method=XCLIENT, sasl_username=l{{250}}$"
    )
    assert b"Received: from " + b"h" * 250 + b" (" + LONG_NAME.encode() in message


@pytest.mark.parametrize("helo", ["a b", "a=b", "x LOGIN=root", "\N{SNOWMAN}.example", b"\xff\x01", ""])
def test_postfix_takes_a_hostile_helo_as_one_value(session: smtplib.SMTP, helo: str | bytes) -> None:
    session.ehlo("proxy.example")
    offered = offered_attributes(session.esmtp_features["xclient"])
    (line,) = xclient_command(offered, client=CLIENT4, destination=SERVER4, helo=helo, protocol="ESMTP")
    session.send(line)
    assert session.getreply()[0] == 220


def test_a_client_on_a_unix_socket_is_not_taken_for_the_proxy(
    postfix: Postfix, session: smtplib.SMTP
) -> None:
    introduce(session, client=UNIX, destination=UNIX, helo="cron.example")
    assert b"Received: from cron.example (unknown [unknown])" in deliver(postfix, session)


def recipient_reply(session: smtplib.SMTP) -> int:
    session.mail("a@sender.example")
    return session.rcpt(f"user@{DOMAIN}")[0]


def test_the_proxys_own_name_does_not_stay_behind(postfix: Postfix) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.ports[1], timeout=10) as session:
        session.ehlo("proxy.example")
        assert session.docmd("XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1")[0] == 220
        session.ehlo("helo.example")
        assert recipient_reply(session) == 554  # Postfix took the client's reverse name to be localhost
    with smtplib.SMTP("127.0.0.1", postfix.ports[1], timeout=10) as session:
        introduce(session)
        assert recipient_reply(session) == 250


@pytest.mark.parametrize(
    ("facts", "code"), [({}, 550), ({"name": TEMPUNAVAIL}, 450), ({"name": "c.example"}, 250)]
)
def test_where_a_name_is_demanded_a_temporary_lack_defers(
    postfix: Postfix, facts: dict[str, Any], code: int
) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.ports[2], timeout=10) as session:
        introduce(session, **facts)
        assert recipient_reply(session) == code
