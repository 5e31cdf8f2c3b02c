"""AUTH through :mod:`tlsproxy.fronts.esmtp`."""

import pytest

from tests.fronts.conftest import CLOSING, OLD_TLS, Play, connected, ehlo_reply, greeted, in_tls
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import CloseSession, Report, StartTls
from tlsproxy.fronts.events import TlsStarted
from tlsproxy.fronts.options import BareNewline
from tlsproxy.fronts.verbs import AUTH_LIMIT, COMMAND_LIMIT
from tlsproxy.policy.protocols import TlsProtocols

REFUSED = "538 5.7.11 Encryption required for authentication"


def told(playbook: Playbook, command: str, reply: str) -> None:
    """The client says something to the backend, which answers."""
    playbook >> client(command) << to_backend(command)
    playbook >> backend(reply) << to_client(reply)


def test_plain_with_an_initial_response(play: Play) -> None:
    told(in_tls(play(), "AUTH PLAIN"), "AUTH PLAIN AGEAYg==", "235 2.7.0 welcome")


@pytest.mark.parametrize("last", ["235 2.7.0 welcome", "535 5.7.8 no", "454 4.7.0 later"])
def test_login_and_cram_md5_are_dialogues(play: Play, last: str) -> None:
    playbook = in_tls(play(), "AUTH LOGIN CRAM-MD5")
    told(playbook, "AUTH LOGIN", "334 VXNlcm5hbWU6")
    told(playbook, "YQ==", "334 UGFzc3dvcmQ6")
    told(playbook, "Yg==", last)
    told(playbook, "NOOP", "250 Ok")


def test_a_response_may_be_empty_or_look_like_a_command(play: Play) -> None:
    playbook = in_tls(play(), "AUTH ODD")
    told(playbook, "AUTH ODD", "334 ")
    told(playbook, "", "334 more")
    told(playbook, "XCLIENT ADDR=127.0.0.1", "501 5.5.2 not base64")
    (
        playbook
        >> client("XCLIENT ADDR=127.0.0.1")
        << Report("xclient_refused", "XCLIENT")
        << to_client("550 5.7.0 Error: insufficient authorization")
    )


def test_a_cancelled_dialogue_is_over(play: Play) -> None:
    playbook = in_tls(play(), "AUTH LOGIN")
    told(playbook, "AUTH LOGIN", "334 VXNlcm5hbWU6")
    told(playbook, "*", "501 5.7.0 cancelled")
    told(playbook, "NOOP", "250 Ok")


def test_what_comes_too_early_is_a_response(play: Play) -> None:
    playbook = in_tls(play(), "AUTH LOGIN", "PIPELINING")
    playbook >> client("AUTH LOGIN", "YQ==", "Yg==") << to_backend("AUTH LOGIN")
    playbook >> backend("334 user") << to_client("334 user") << to_backend("YQ==")
    playbook >> backend("334 password") << to_client("334 password") << to_backend("Yg==")
    playbook >> backend("235 welcome") << to_client("235 welcome")


@pytest.mark.parametrize("response", [b"Y\0Q==\r\n", b"YQ\rXCLIENT\r\n"])
def test_a_response_that_cannot_be_base64_cancels(play: Play, response: bytes) -> None:
    playbook = in_tls(play(), "AUTH LOGIN")
    told(playbook, "AUTH LOGIN", "334 user")
    playbook >> client(response) << to_backend("*")
    playbook >> backend("501 5.7.0 cancelled") << to_client("501 5.7.0 cancelled")


def test_a_bare_lf_in_a_response_ends_the_session(play: Play) -> None:
    playbook = in_tls(play(), "AUTH LOGIN")
    told(playbook, "AUTH LOGIN", "334 user")
    (
        playbook
        >> client(b"YQ==\n")
        << Report("smuggling", "bare LF in a command")
        << to_client("500 5.5.2 Error: bare <LF> received", CLOSING)
        << CloseSession("smuggling")
    )


def test_or_ends_a_response(play: Play) -> None:
    playbook = in_tls(play(smtp_bare_newline=BareNewline.NORMALIZE), "AUTH LOGIN")
    told(playbook, "AUTH LOGIN", "334 user")
    playbook >> client(b"YQ==\n") << to_backend("YQ==")
    playbook >> backend("535 no") << to_client("535 no")


def test_lines_may_be_as_long_as_the_limit(play: Play) -> None:
    playbook = in_tls(play(), "AUTH GSSAPI")
    told(playbook, "auth GSSAPI ".ljust(AUTH_LIMIT - 2, "x"), "334 more")
    told(playbook, "x" * (AUTH_LIMIT - 2), "334 more")
    playbook >> client("x" * (AUTH_LIMIT - 1)) << to_backend("*")
    playbook >> backend("501 cancelled") << to_client("500 5.5.6 Authentication exchange line is too long")
    (
        playbook
        >> client("AUTH GSSAPI ".ljust(AUTH_LIMIT - 1, "x"))
        << to_client("500 5.5.2 Error: command too long")
    )
    playbook >> client("AUTHX ".ljust(COMMAND_LIMIT, "x")) << to_client("500 5.5.2 Error: command too long")


def test_auth_is_refused_in_plaintext(play: Play) -> None:
    playbook = connected(play())
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("AUTH PLAIN", "AUTH=PLAIN")) << to_client(*ehlo_reply("STARTTLS"))
    playbook >> client("AUTH PLAIN AGEAYg==") << Report("auth_refused", "in plaintext") << to_client(REFUSED)


def test_auth_is_refused_below_its_own_floor(play: Play) -> None:
    floor = TlsProtocols.parse(">=TLSv1.2")
    playbook = greeted(play(smtp_auth_tls_protocols=floor), "SIZE")
    playbook >> client("STARTTLS") << to_client("220 2.0.0 Ready to start TLS") << StartTls()
    playbook >> TlsStarted(OLD_TLS)
    playbook >> client("EHLO c") << to_backend("EHLO c")
    playbook >> backend(*ehlo_reply("AUTH PLAIN", "SIZE")) << to_client(*ehlo_reply("SIZE"))
    (
        playbook
        >> client("AUTH PLAIN AGEAYg==")
        << Report("auth_refused", "TLSv1 is not in smtp_auth_tls_protocols (TLSv1.2 TLSv1.3)")
        << to_client(REFUSED)
    )
    told(playbook, "MAIL FROM:<a>", "250 Ok")


def test_auth_passes_in_plaintext_where_that_is_allowed(play: Play) -> None:
    told(greeted(play(tls_auth_only=False), "AUTH PLAIN"), "AUTH PLAIN AGEAYg==", "235 welcome")


def test_credentials_are_in_no_report(play: Play) -> None:
    playbook = greeted(play(), "SIZE")
    for command in ("AUTH PLAIN AGEAYg==", "AUTH LOGIN c2VjcmV0"):
        reports = [item for item in playbook.front.handle(client(command)) if isinstance(item, Report)]
        assert reports == [Report("auth_refused", "in plaintext")]
