"""posttls-finger: what a sending Postfix would see, at its levels of verification."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from tests.support.certificates import Authority, Issued
from tests.support.mail_proxy import MODES, MailProxy
from tests.support.postfix import Postfix
from tests.support.processes import run
from tests.support.programs import require


def posttls_finger(
    postfix: Postfix, port: int, mode: str, level: str, *arguments: str | Path
) -> tuple[int, str]:
    """:param postfix: Whose main.cf it reads."""
    program = require("posttls-finger", package="postfix")
    wrapper = ["-w"] if mode == "wrapper" else []
    destination = f"[127.0.0.1]:{port}"
    return run(
        [program, "-c", "-L", "summary", *wrapper, "-l", level, *arguments[:2], destination, *arguments[2:]],
        env={"MAIL_CONFIG": str(postfix.directory / "etc")},
    )


@pytest.mark.parametrize("level", ["verify", "secure"])
@pytest.mark.parametrize("mode", MODES)
def test_the_certificate_is_verified(
    mail_postfix: Postfix, postfix_proxy: MailProxy, authority: Authority, mode: str, level: str
) -> None:
    port = postfix_proxy.port(f"none {mode}")
    _, output = posttls_finger(mail_postfix, port, mode, level, "-F", authority.path, "mx.example.org")
    assert f"Verified TLS connection established to 127.0.0.1[127.0.0.1]:{port}: TLSv1.3" in output


@pytest.mark.parametrize("mode", MODES)
def test_the_certificates_fingerprint(
    mail_postfix: Postfix, postfix_proxy: MailProxy, certificate: Issued, mode: str
) -> None:
    fingerprint = certificate.certificate.fingerprint(hashes.SHA256()).hex(":")
    port = postfix_proxy.port(f"none {mode}")
    for wanted, verdict in ((fingerprint, "Verified"), (fingerprint[:-2] + "xx", "Untrusted")):
        _, output = posttls_finger(mail_postfix, port, mode, "fingerprint", "-d", "sha256", wanted)
        assert f"{verdict} TLS connection established to 127.0.0.1[127.0.0.1]:{port}: TLSv1.3" in output


def test_another_name_is_not_verified(
    mail_postfix: Postfix, postfix_proxy: MailProxy, authority: Authority
) -> None:
    port = postfix_proxy.port("none may")
    _, output = posttls_finger(mail_postfix, port, "may", "verify", "-F", authority.path, "mx.example.net")
    assert "hostname mismatch" in output
    assert "Verified" not in output
