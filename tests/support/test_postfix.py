"""Tests for :mod:`tests.support.postfix`."""

import smtplib

import pytest

from tests.support.postfix import DOMAIN, Postfix, Smtpd, content_of

pytestmark = pytest.mark.interop

MESSAGE = b"Received: by an.earlier.host\r\n\twith ESMTP\r\nSubject: eight \xe9 bits\r\n\r\n.leading dot\r\n..two\r\n \r\n"


def test_a_message_is_delivered_byte_for_byte_but_for_its_line_ends() -> None:
    with Postfix() as postfix:
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=10) as client:
            client.sendmail("a@sender.example", [f"user@{DOMAIN}"], MESSAGE)
        (delivered,) = postfix.wait_for_messages(1)
        assert content_of(delivered) == MESSAGE.replace(b"\r\n", b"\n")
        postfix.wait_for_log("status=sent")
    assert not postfix.directory.exists()


def test_nothing_is_relayed() -> None:
    with (
        Postfix() as postfix,
        smtplib.SMTP("127.0.0.1", postfix.port, timeout=10) as client,
        pytest.raises(smtplib.SMTPRecipientsRefused, match="Relay access denied"),
    ):
        client.sendmail("a@sender.example", ["user@elsewhere.example"], MESSAGE)


def test_each_service_has_options_of_its_own() -> None:
    services = [Smtpd(), Smtpd({"smtpd_banner": "first, second; third"})]
    with Postfix(services, {"smtpd_banner": "common"}) as postfix:
        for port, banner in zip(postfix.ports, [b"common", b"first, second; third"], strict=True):
            with smtplib.SMTP(timeout=10) as client:
                assert client.connect("127.0.0.1", port) == (220, banner)
