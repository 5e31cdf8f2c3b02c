"""``source_address``: the server sees an address of the proxy's that it doesn't trust."""

import ssl
from collections.abc import Callable

from tests.support.mail_proxy import CLIENT, MailProxy, connect
from tests.support.mailboxes import DOMAIN, received_of
from tests.support.postfix import Postfix
from tests.support.sendmail import Sendmail


def test_postfix_sees_it(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
) -> None:
    marker = new_marker()
    with connect(postfix_proxy.port("source address"), "may", client_context) as session:
        session.sendmail("a@sender.example", [f"user@{DOMAIN}"], f"Subject: {marker}")
    received = received_of(mail_postfix.wait_for_message(marker.encode()))
    assert received.startswith(f"Received: from {CLIENT} (unknown [127.0.0.9])")
    mail_postfix.wait_for_log(r": client=unknown\[127\.0\.0\.9\]:\d+$")


def test_sendmail_sees_it(
    mail_sendmail: Sendmail,
    sendmail_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
) -> None:
    marker = new_marker()
    with connect(sendmail_proxy.port("source address"), "may", client_context) as session:
        session.sendmail("a@sender.example", [f"user@{DOMAIN}"], f"Subject: {marker}")
    received = received_of(mail_sendmail.wait_for_message(marker.encode()))
    assert received.startswith(f"Received: from {CLIENT} ([127.0.0.9])")
