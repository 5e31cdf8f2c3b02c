"""curl sends by smtp:// with TLS demanded, and by smtps://."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.exim import PASSWORD, USER, Exim
from tests.support.mail_proxy import MODES, MailProxy
from tests.support.mailboxes import DOMAIN, content_of
from tests.support.postfix import Postfix
from tests.support.processes import run
from tests.support.programs import require


def curl(port: int, mode: str, ca: Path, message: bytes, *arguments: str) -> tuple[int, str]:
    scheme = "smtps" if mode == "wrapper" else "smtp"
    addresses = ["--mail-from", "a@sender.example", "--mail-rcpt", f"user@{DOMAIN}"]
    return run(
        [
            *(require("curl", package="curl"), "--verbose", "--ssl-reqd", "--cacert", str(ca), *addresses),
            *("--upload-file", "-", *arguments, f"{scheme}://127.0.0.1:{port}/curl.example"),
        ],
        input=message,
        timeout=20,
    )


@pytest.mark.parametrize("mode", MODES)
def test_it_sends(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    authority: Authority,
    new_marker: Callable[[], str],
    mode: str,
) -> None:
    content = f"Subject: {new_marker()}\r\n\r\n".encode() + b".dots\r\n" * 50_000
    status, output = curl(postfix_proxy.port(f"none {mode}"), mode, authority.path, content)
    assert status == 0, output
    message = mail_postfix.wait_for_message(content.splitlines()[0])
    assert content_of(message) == content.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_it_authenticates(
    mail_exim: Exim,
    exim_proxy: MailProxy,
    authority: Authority,
    new_marker: Callable[[], str],
    mode: str,
    mechanism: str,
) -> None:
    marker = new_marker()
    content = f"Message-Id: <{marker}@x>\r\n\r\n".encode()
    login = ["--user", f"{USER}:{PASSWORD}", "--login-options", f"AUTH={mechanism}"]
    status, output = curl(exim_proxy.port(mode), mode, authority.path, content, *login)
    assert status == 0, output
    assert f"> AUTH {mechanism}" in output
    mail_exim.wait_for_log(rf"P=esmtpa A=\S+:{USER} .* id={marker}@x$")


@pytest.mark.parametrize("mode", MODES)
def test_it_refuses_a_certificate_that_it_does_not_trust(
    postfix_proxy: MailProxy, tmp_path: Path, mode: str
) -> None:
    status, output = curl(postfix_proxy.port(f"none {mode}"), mode, Authority(tmp_path).path, b"")
    assert status == 60, output
