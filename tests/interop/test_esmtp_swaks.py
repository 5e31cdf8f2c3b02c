"""swaks, the SMTP tester of postmasters: STARTTLS and implicit TLS, AUTH, pipelining."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.exim import PASSWORD, USER, Exim
from tests.support.mail_proxy import MODES, MailProxy
from tests.support.mailboxes import DOMAIN, content_of
from tests.support.processes import run
from tests.support.programs import require

TLS = {"may": "--tls", "encrypt": "--tls", "wrapper": "--tls-on-connect"}


def swaks(port: int, *arguments: str | Path) -> tuple[int, str]:
    """Send to the proxy; exit status and dialogue."""
    program = require("swaks", package="swaks")
    addresses = ["--from", "a@sender.example", "--to", f"user@{DOMAIN}", "--ehlo", "swaks.example"]
    return run([program, "--server", "127.0.0.1", "--port", str(port), *addresses, *arguments], timeout=20)


def test_without_tls(mail_exim: Exim, exim_proxy: MailProxy, new_marker: Callable[[], str]) -> None:
    marker = new_marker()
    status, dialogue = swaks(exim_proxy.port("may"), "--body", marker)
    assert status == 0, dialogue
    assert content_of(mail_exim.wait_for_message(marker.encode())).startswith(b"Date: ")


@pytest.mark.parametrize("mode", MODES)
def test_with_tls_verified_and_pipelined(
    mail_exim: Exim, exim_proxy: MailProxy, authority: Authority, new_marker: Callable[[], str], mode: str
) -> None:
    marker = new_marker()
    verified = ["--tls-verify", "--tls-ca-path", str(authority.path)]
    status, dialogue = swaks(exim_proxy.port(mode), TLS[mode], *verified, "--pipeline", "--body", marker)
    assert status == 0, dialogue
    assert "=== TLS started with cipher TLSv1.3:" in dialogue
    assert re.search(r"^ ~> MAIL FROM:.*\n ~> RCPT TO:.*\n ~> DATA\n<~  250 ", dialogue, re.MULTILINE)
    mail_exim.wait_for_message(marker.encode())


def test_an_untrusted_certificate_is_the_clients_to_refuse(
    exim_proxy: MailProxy, tmp_path: Path, new_marker: Callable[[], str]
) -> None:
    seen = len(exim_proxy.program.notes)
    other = Authority(tmp_path).path
    status, dialogue = swaks(exim_proxy.port("may"), "--tls", "--tls-verify", "--tls-ca-path", other)
    assert status != 0
    assert "certificate verify failed" in dialogue
    refused = exim_proxy.program.wait_for_note("tls_refused", after=seen)
    assert refused["reason"] == "handshake_failed"
    assert refused["offered_versions"].endswith("TLSv1.2 TLSv1.3")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("mechanism", "authenticator"), [("PLAIN", "plain"), ("LOGIN", "login"), ("CRAM-MD5", "cram")]
)
def test_auth(
    mail_exim: Exim,
    exim_proxy: MailProxy,
    new_marker: Callable[[], str],
    mode: str,
    mechanism: str,
    authenticator: str,
) -> None:
    marker = new_marker()
    login = ["--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD]
    status, dialogue = swaks(
        exim_proxy.port(mode), TLS[mode], *login, "--header", f"Message-Id: <{marker}@x>"
    )
    assert status == 0, dialogue
    mail_exim.wait_for_message(marker.encode())
    assert mail_exim.wait_for_log(rf"P=(\w+) A=(\S+) .* id={marker}@x$").groups() == (
        "esmtpa",
        f"{authenticator}:{USER}",
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_wrong_password_is_the_backends_to_refuse(exim_proxy: MailProxy, mechanism: str) -> None:
    login = ["--auth", mechanism, "--auth-user", USER, "--auth-password", "guess"]
    status, dialogue = swaks(exim_proxy.port("may"), "--tls", *login)
    assert status == 28, "swaks's word for it"
    assert "<~* 535 Incorrect authentication data" in dialogue


def test_auth_is_neither_offered_nor_accepted_without_tls(exim_proxy: MailProxy) -> None:
    status, dialogue = swaks(
        exim_proxy.port("may"), "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD
    )
    assert status == 28
    assert "Host did not advertise authentication" in dialogue


def test_auth_without_tls_where_the_operator_wants_it(mail_exim: Exim, exim_proxy: MailProxy) -> None:
    login = ["--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD]
    status, dialogue = swaks(exim_proxy.port("AUTH without TLS"), *login, "--quit-after", "AUTH")
    assert status == 0, dialogue
    assert "<-  235 " in dialogue
