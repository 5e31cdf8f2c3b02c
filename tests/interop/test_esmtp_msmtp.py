"""msmtp (GnuTLS) sends and authenticates through the proxy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.exim import PASSWORD, USER, Exim
from tests.support.mail_proxy import MODES, MailProxy
from tests.support.mailboxes import DOMAIN, content_of
from tests.support.processes import run
from tests.support.programs import require


def msmtp(port: int, mode: str, ca: Path, *arguments: str, message: bytes = b"") -> tuple[int, str]:
    starttls = "off" if mode == "wrapper" else "on"
    return run(
        [
            *(require("msmtp", package="msmtp"), "--host=127.0.0.1", f"--port={port}", "--tls=on"),
            *(f"--tls-starttls={starttls}", f"--tls-trust-file={ca}", *arguments),
        ],
        input=message,
    )


SEND = ("--from=a@sender.example", "--domain=msmtp.example", f"user@{DOMAIN}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5"])
def test_it_authenticates_and_sends(
    mail_exim: Exim,
    exim_proxy: MailProxy,
    authority: Authority,
    new_marker: Callable[[], str],
    mode: str,
    mechanism: str,
) -> None:
    login = [f"--auth={mechanism}", f"--user={USER}", f"--passwordeval=echo {PASSWORD}"]
    marker = new_marker()
    content = f"Message-Id: <{marker}@x>\nSubject: x\n\n.\n..\nbody\n".encode()
    status, output = msmtp(exim_proxy.port(mode), mode, authority.path, *login, *SEND, message=content)
    assert status == 0, output
    assert content_of(mail_exim.wait_for_message(marker.encode())).endswith(b"\n\n.\n..\nbody\n")
    mail_exim.wait_for_log(rf"P=esmtpa A=\S+:{USER} .* id={marker}@x$")


def test_it_refuses_a_certificate_that_it_does_not_trust(exim_proxy: MailProxy, tmp_path: Path) -> None:
    seen = len(exim_proxy.program.notes)
    status, output = msmtp(exim_proxy.port("may"), "may", Authority(tmp_path).path, *SEND)
    assert status != 0
    assert "TLS certificate verification failed" in output
    exim_proxy.program.wait_for_note("session_ended", after=seen)


@pytest.mark.parametrize("mode", MODES)
def test_it_describes_the_server(exim_proxy: MailProxy, authority: Authority, mode: str) -> None:
    _, output = msmtp(exim_proxy.port(mode), mode, authority.path, "--serverinfo")
    assert "mx.example.org" in output
    assert "(TLS1.3)" in output
    assert "PLAIN CRAM-MD5 LOGIN" in output
