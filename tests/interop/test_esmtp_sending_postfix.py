"""A Postfix that sends by way of the proxy and demands a verified certificate (``smtp_tls_security_level = verify``)."""

import smtplib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.mail_proxy import CLIENT, MODES, MailProxy
from tests.support.mailboxes import DOMAIN, content_of, received_of
from tests.support.postfix import Postfix


def sender(port: int, mode: str, ca: Path, name: str = "mx.example.org") -> Postfix:
    """A Postfix that sends everything to the proxy's ``port``, whose certificate must be ``name``'s."""
    return Postfix(
        options={
            "myhostname": "sender.example",
            "mynetworks": "127.0.0.0/8",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            "virtual_mailbox_domains": "",
            "default_transport": f"smtp:[127.0.0.1]:{port}",
            "smtp_dns_support_level": "disabled",
            "smtp_tls_security_level": "verify",
            "smtp_tls_wrappermode": "yes" if mode == "wrapper" else "no",
            "smtp_tls_CAfile": str(ca),
            "smtp_tls_verify_cert_match": name,
            "smtp_tls_loglevel": "1",
        }
    )


def send(postfix: Postfix, content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.port, CLIENT, timeout=10) as session:
        session.sendmail("a@sender.example", [f"user@{DOMAIN}"], content, ["BODY=8BITMIME"])


@pytest.mark.parametrize("mode", MODES)
def test_it_verifies_and_sends(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    authority: Authority,
    new_marker: Callable[[], str],
    mode: str,
) -> None:
    contents = [f"Subject: {new_marker()}\r\n\r\n.\r\n8-bit \u00fc\r\n".encode() for _ in range(5)]
    port = postfix_proxy.port(f"xclient {mode}")
    with sender(port, mode, authority.path) as postfix:
        for content in contents:
            send(postfix, content)
        for content in contents:
            message = mail_postfix.wait_for_message(content.splitlines()[0])
            assert received_of(message).startswith("Received: from sender.example (unknown [127.0.0.1])")
            assert content_of(content_of(message)) == content.replace(b"\r\n", b"\n")
        postfix.wait_until(
            lambda: postfix.log.count(" status=sent (250 2.0.0 Ok: queued as ") == len(contents),
            "not all sent",
        )
        assert f"Verified TLS connection established to 127.0.0.1[127.0.0.1]:{port}: TLSv1.3" in postfix.log


def test_it_keeps_what_the_wrong_certificate_keeps_it_from_sending(
    postfix_proxy: MailProxy, authority: Authority
) -> None:
    port = postfix_proxy.port("none may")
    with sender(port, "may", authority.path, "mx.example.net") as postfix:
        send(postfix, b"Subject: undelivered\r\n\r\n")
        postfix.wait_for_log(r"status=deferred \(Server certificate not verified\)")
