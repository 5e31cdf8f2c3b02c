"""``openssl s_client -starttls smtp``, and what the log says of handshakes that come to nothing behind a 220."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.mail_proxy import MODES, MailProxy
from tests.support.mailboxes import DOMAIN
from tests.support.postfix import Postfix
from tests.support.processes import Program
from tests.support.programs import require


def s_client(port: int, mode: str, ca: Path, *arguments: str) -> Program:
    starttls = [] if mode == "wrapper" else ["-starttls", "smtp", "-name", "openssl.example"]
    verified = ["-CAfile", str(ca), "-verify_return_error", "-verify_ip", "127.0.0.1"]
    program = require("openssl", package="openssl")
    return Program(
        [
            program,
            "s_client",
            "-quiet",
            "-crlf",
            "-connect",
            f"127.0.0.1:{port}",
            *starttls,
            *verified,
            *arguments,
        ]
    )


def converse(client: Program, *lines: tuple[str, str]) -> None:
    """Say each line and wait for its reply."""
    for line, reply in lines:
        client.send(f"{line}\n".encode())
        client.wait_for_output(reply)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
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
    with s_client(postfix_proxy.port(f"none {mode}"), mode, authority.path, version) as client:
        converse(
            client,
            ("EHLO openssl.example", r"^250 CHUNKING"),
            ("MAIL FROM:<a@sender.example>", r"^250 2\.1\.0"),
            (f"RCPT TO:<user@{DOMAIN}>", r"^250 2\.1\.5"),
            ("DATA", r"^354 "),
            (f"Subject: {marker}\n\nRenegotiation and Quit are words\n.", r"^250 2\.0\.0 Ok: queued as"),
            ("QUIT", r"^221 "),
        )
        assert client.wait() == 0
    mail_postfix.wait_for_message(marker.encode())


@pytest.mark.parametrize("mode", MODES)
def test_an_old_client_is_told_by_an_alert_and_its_offer_is_logged(
    postfix_proxy: MailProxy, authority: Authority, mode: str
) -> None:
    seen = len(postfix_proxy.program.notes)
    old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]
    with s_client(postfix_proxy.port(f"none {mode}"), mode, authority.path, *old) as client:
        client.wait()
        assert "alert protocol version" in client.output
    refused = postfix_proxy.program.wait_for_note("tls_refused", after=seen)
    assert refused["offered_versions"] == "<=TLSv1.1"
    ended = postfix_proxy.program.wait_for_note("session_ended", after=seen, session=refused["session"])
    assert ended["reason"] == refused["reason"]


def test_what_the_clients_verification_refuses_is_logged(
    mail_postfix: Postfix, postfix_proxy: MailProxy, tmp_path: Path
) -> None:
    seen, logged = len(postfix_proxy.program.notes), len(mail_postfix.log)
    with s_client(postfix_proxy.port("none may"), "may", Authority(tmp_path).path, "-tls1_3") as client:
        assert client.wait() != 0
    refused = postfix_proxy.program.wait_for_note("tls_refused", after=seen)
    assert (refused["reason"], refused["offered_versions"]) == ("handshake_failed", "TLSv1.3")
    mail_postfix.wait_until(
        lambda: " disconnect from " in mail_postfix.log[logged:], "the backend's session goes on"
    )


def test_renegotiation_ends_the_session(
    mail_postfix: Postfix, postfix_proxy: MailProxy, authority: Authority
) -> None:
    seen, logged = len(postfix_proxy.program.notes), len(mail_postfix.log)
    port = postfix_proxy.port("none may")
    program = require("openssl", package="openssl")
    interactive = [
        "-connect",
        f"127.0.0.1:{port}",
        "-starttls",
        "smtp",
        "-CAfile",
        str(authority.path),
        "-tls1_2",
    ]
    with Program([program, "s_client", *interactive]) as client:
        client.wait_for_output("^    Verify return code: 0")
        client.send(b"R\n")
        client.wait_for_output("RENEGOTIATING")
        client.wait()
    attempted = postfix_proxy.program.wait_for_note("renegotiation_attempted", after=seen)
    assert (attempted["outcome"], attempted["leg"]) == ("closed", "client")
    ended = postfix_proxy.program.wait_for_note("session_ended", after=seen, session=attempted["session"])
    assert ended["reason"] == "renegotiation_refused"
    mail_postfix.wait_until(
        lambda: " disconnect from " in mail_postfix.log[logged:], "the backend's session goes on"
    )
