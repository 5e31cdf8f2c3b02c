"""``gnutls-cli --starttls-proto=smtp`` through the proxy."""

from collections.abc import Callable

import pytest

from tests.support.certificates import Authority
from tests.support.mail_proxy import MODES, MailProxy
from tests.support.mailboxes import DOMAIN
from tests.support.postfix import Postfix
from tests.support.processes import Program
from tests.support.programs import require


@pytest.mark.parametrize("version", ["TLS1.2", "TLS1.3"])
@pytest.mark.parametrize("mode", MODES)
def test_a_dialogue(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    authority: Authority,
    new_marker: Callable[[], str],
    mode: str,
    version: str,
) -> None:
    marker = new_marker()
    starttls = [] if mode == "wrapper" else ["--starttls-proto=smtp"]
    arguments = [
        *(f"--x509cafile={authority.path}", f"--priority=NORMAL:-VERS-ALL:+VERS-{version}"),
        *(f"--port={postfix_proxy.port(f'none {mode}')}", "127.0.0.1"),
    ]
    with Program([require("gnutls-cli", package="gnutls-bin"), *starttls, *arguments]) as client:
        client.wait_for_output("Status: The certificate is trusted.")
        client.wait_for_output(rf"Description: \({version}-X\.509\)|Description: \({version}\)")
        client.wait_for_output("Simple Client Mode")
        for line, reply in (
            ("EHLO gnutls.example", r"^250 CHUNKING"),
            ("MAIL FROM:<a@sender.example>", r"^250 2\.1\.0"),
            (f"RCPT TO:<user@{DOMAIN}>", r"^250 2\.1\.5"),
            ("DATA", r"^354 "),
            (f"Subject: {marker}\r\n\r\nbody\r\n.", r"^250 2\.0\.0 Ok: queued as"),
            ("QUIT", r"^221 [^\n]*\n- Peer has closed the GnuTLS connection"),
        ):
            client.send(f"{line}\r\n".encode())
            client.wait_for_output(reply)
        assert client.wait() == 0
    mail_postfix.wait_for_message(marker.encode())
