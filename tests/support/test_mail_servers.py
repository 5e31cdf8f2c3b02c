"""The mail servers of tests that aren't installed: each delivers, to its own domain alone, and goes without a trace."""

import smtplib
from collections.abc import Callable

import pytest

from tests.support.exim import Exim
from tests.support.mailboxes import DOMAIN, MailServer, content_of, received_of
from tests.support.processes import is_listening
from tests.support.sendmail import Sendmail

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("make", [Exim, Sendmail])
def test_it_delivers_and_goes(make: Callable[[], Exim | Sendmail]) -> None:
    with make() as server:
        with smtplib.SMTP("127.0.0.1", server.port, "client.example", timeout=10) as session:
            session.sendmail("a@sender.example", [f"user@{DOMAIN}"], b"Subject: caf\xe9\r\n\r\n..body\r\n")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                session.sendmail("a@sender.example", ["user@elsewhere.example"], b"Subject: not this\r\n\r\n")
        message = server.wait_for_message(b"Subject: caf\xe9\n")
        assert content_of(message) == b"Subject: caf\xe9\n\n..body\n"
        assert "client.example" in received_of(message)
        assert "sender.example" in server.log
    assert not server.directory.exists()
    assert not is_listening(server.port)


def test_what_a_server_logged_is_in_the_failure() -> None:
    with Exim() as server:
        assert isinstance(server, MailServer)
        with pytest.raises(AssertionError, match=r"(?s)no 'teapot' in the log.*Exim logged:.*daemon started"):
            server.wait_for_log("teapot", timeout=0.1)
