"""A Sendmail that sends by way of the proxy, with STARTTLS and a verified certificate."""

import smtplib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.mail_proxy import CLIENT, MailProxy
from tests.support.mailboxes import DOMAIN, content_of
from tests.support.postfix import Postfix
from tests.support.sendmail import Sendmail, Smarthost


def send(server: Sendmail, content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, CLIENT, timeout=20) as session:
        session.sendmail("a@sender.example", [f"user@{DOMAIN}"], content)


@pytest.mark.parametrize("mode", ["may", "encrypt"])
def test_it_verifies_and_sends(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    authority: Authority,
    new_marker: Callable[[], str],
    mode: str,
) -> None:
    contents = [f"Subject: {new_marker()}\r\n\r\n.\r\nbody\r\n".encode() for _ in range(3)]
    seen = len(postfix_proxy.program.notes)
    with Sendmail(Smarthost(postfix_proxy.port(f"none {mode}"), authority.path)) as sender:
        for content in contents:
            send(sender, content)
        for content in contents:
            message = mail_postfix.wait_for_message(content.splitlines()[0])
            assert content_of(content_of(message)) == content.replace(b"\r\n", b"\n")
        assert sender.log.count(" <<< 220 2.0.0 Ready to start TLS\n") == len(contents)
        postfix_proxy.program.wait_until(
            lambda: len(postfix_proxy.notes(seen, "session_ended")) == len(contents),
            "not every session has ended",
        )
    established = [note["version"] for note in postfix_proxy.notes(seen, "tls_established")]
    assert established == ["TLSv1.3"] * len(contents)


def test_it_does_not_send_to_one_that_it_does_not_trust(
    postfix_proxy: MailProxy, tmp_path: Path, new_marker: Callable[[], str]
) -> None:
    with Sendmail(Smarthost(postfix_proxy.port("none may"), Authority(tmp_path).path)) as sender:
        send(sender, f"Subject: {new_marker()}\r\n\r\n".encode())
        assert " <<< 220 2.0.0 Ready to start TLS\n" in sender.log
        assert " >>> MAIL From:" not in sender.log
