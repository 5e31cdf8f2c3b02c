"""An Exim that sends by way of the proxy under verified TLS: in chunks, and pipelined from the first byte where it may."""

import re
import smtplib
from collections.abc import Callable

import pytest

from tests.support.certificates import Authority
from tests.support.exim import Exim, Smarthost
from tests.support.mail_proxy import CLIENT, MODES, MailProxy
from tests.support.mailboxes import DOMAIN, MailServer, content_of


def deliver(receiving: MailServer, smarthost: Smarthost, contents: list[bytes]) -> str:
    """Send messages one after the other, and wait for them; the log of the sender."""
    with Exim(smarthost) as sender:
        for number, content in enumerate(contents, 1):
            with smtplib.SMTP("127.0.0.1", sender.port, CLIENT, timeout=10) as session:
                session.sendmail("a@sender.example", [f"user@{DOMAIN}"], content)
            sender.wait_for_log(rf"(?s)(?: Completed.*){{{number}}}")
        for content in contents:
            message = receiving.wait_for_message(content.splitlines()[0])
            assert content_of(content_of(message)) == content.replace(b"\r\n", b"\n")
        return sender.log


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server", ["postfix", "exim"])
def test_it_sends_in_chunks(
    request: pytest.FixtureRequest,
    authority: Authority,
    new_marker: Callable[[], str],
    server: str,
    mode: str,
) -> None:
    proxy: MailProxy = request.getfixturevalue(f"{server}_proxy")
    listen = mode if mode in proxy.listens else f"none {mode}"
    contents = [f"Subject: {new_marker()}\r\n\r\n.\r\n".encode() + b"line\r\n" * 5000 for _ in range(2)]
    receiving: MailServer = request.getfixturevalue(f"mail_{server}")
    smarthost = Smarthost(proxy.port(listen), authority.path, implicit=mode == "wrapper")
    log = deliver(receiving, smarthost, contents)
    sent = re.findall(r" => .* X=TLS1\.3:\S+ CV=yes (L\*?) K C=", log)
    early = server == "exim" and mode != "encrypt"  # where it is learnt that PIPECONNECT is offered
    assert sent == (["L", "L*"] if early else ["L", "L"])
