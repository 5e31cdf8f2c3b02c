"""Commands through :mod:`tlsproxy.fronts.esmtp`."""

import pytest

from tests.fronts.conftest import CLOSING, OPENED, Play, connected, greeted, in_tls, with_recipient
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import CloseSession, PauseClient, Report, ResumeClient
from tlsproxy.fronts.esmtp import ERROR_LIMIT, HELD_LIMIT, JUNK_LIMIT
from tlsproxy.fronts.options import BareNewline, TlsSecurityLevel
from tlsproxy.fronts.verbs import COMMAND_LIMIT, HTTP_METHODS, UNCARRIABLE

NOT_AUTHORIZED = "550 5.7.0 Error: insufficient authorization"
BAD_SYNTAX = "500 5.5.2 Error: bad syntax"
BYE_HTTP = "221 2.7.0 Error: I can break rules, too. Goodbye."
TOO_MANY = "421 4.7.0 proxy.example Error: too many errors"


@pytest.mark.parametrize(
    "command",
    ["VRFY b", "EXPN list", "HELP", "NOOP x", "RSET", "ETRN a", "X-ODD a b", "mail from:<a>", "RCPT TO:<b>"],
)
def test_a_command_and_its_reply_pass(play: Play, command: str) -> None:
    playbook = greeted(play())
    playbook >> client(command) << to_backend(command)
    playbook >> backend("252-well", "252 maybe") << to_client("252-well", "252 maybe")


def test_a_group_goes_to_a_backend_with_pipelining_at_once(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING")
    group = ("MAIL FROM:<a>", "RCPT TO:<b>", "RCPT TO:<c>", "DATA")
    playbook >> client(*group) << to_backend(*group)
    replies = ("250 a", "250 b", "550 c", "354 go on")
    playbook >> backend(*replies) << to_client(*replies)


def test_one_without_pipelining_gets_one_command_at_a_time(play: Play) -> None:
    playbook = greeted(play())
    playbook >> client("MAIL FROM:<a>", "RCPT TO:<b>", "QUIT") << to_backend("MAIL FROM:<a>")
    playbook >> backend("250 a") << to_client("250 a") << to_backend("RCPT TO:<b>")
    playbook >> backend("250 b") << to_client("250 b") << to_backend("QUIT")
    playbook >> backend("221 bye") << to_client("221 bye") << CloseSession("client_quit")


@pytest.mark.parametrize(
    "last", ["EHLO c", "HELO c", "DATA", "VRFY b", "EXPN b", "NOOP", "HELP", "ETRN b", "X-ODD"]
)
def test_nothing_overtakes_a_command_that_ends_its_group(play: Play, last: str) -> None:
    playbook = greeted(play(), "PIPELINING")
    playbook >> client("RSET", last, "RSET") << to_backend("RSET", last)
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> backend("550 no") << to_client("550 no") << to_backend("RSET")
    playbook >> backend("250 Ok") << to_client("250 Ok")


def test_own_replies_come_in_their_place(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING")
    (
        playbook
        >> client("MAIL FROM:<a>", "STARTTLS x", "RCPT TO:<b>", "", "RSET")
        << to_backend("MAIL FROM:<a>", "RCPT TO:<b>", "RSET")
    )
    playbook >> backend("250 a") << to_client("250 a", "501 5.5.4 Syntax: STARTTLS")
    playbook >> backend("250 b", "250 Ok") << to_client("250 b", BAD_SYNTAX, "250 Ok")


def test_quit_is_the_backends_to_answer(play: Play) -> None:
    playbook = greeted(play())
    playbook >> client("QUIT now") << to_backend("QUIT now")
    playbook >> backend("501 no argument") << to_client("501 no argument")
    playbook >> client("QUIT") << to_backend("QUIT")
    playbook >> backend("221 bye") << to_client("221 bye") << CloseSession("client_quit")
    playbook >> client("NOOP") >> backend("421 late")


IDENTITY_COMMANDS = [
    "XCLIENT ADDR=127.0.0.1",
    "xclient addr=127.0.0.1",
    "  XCLIENT ADDR=127.0.0.1",
    "\tXClient\tADDR=127.0.0.1",
    "XCLIENT",
    "XCLIENTS ADDR=127.0.0.1",
    "XFORWARD NAME=x",
    "xforward",
    "XPROXY SID=1",
    "XPROXYFROM SID=1",
    "XPROXYTO a",
]


@pytest.mark.parametrize("command", IDENTITY_COMMANDS)
def test_nobody_says_who_the_client_is(play: Play, command: str) -> None:
    verb = command.split(maxsplit=1)[0].upper()
    for playbook in (
        connected(play()),
        greeted(play(), "PIPELINING"),
        in_tls(play()),
        with_recipient(greeted(play())),
    ):
        playbook >> client(command) << Report("xclient_refused", verb) << to_client(NOT_AUTHORIZED)
    playbook = play(tls_security_level=TlsSecurityLevel.ENCRYPT)
    playbook >> OPENED << to_client("220 proxy.example ESMTP")
    playbook >> client(command) << Report("xclient_refused", verb) << to_client(NOT_AUTHORIZED)


@pytest.mark.parametrize("verb", sorted(UNCARRIABLE))
def test_what_cannot_be_carried_is_not_implemented(play: Play, verb: bytes) -> None:
    playbook = greeted(play())
    playbook >> client(verb.decode() + " x") << to_client("502 5.5.1 Error: command not implemented")


@pytest.mark.parametrize("method", sorted(HTTP_METHODS))
def test_http_ends_the_session(play: Play, method: bytes) -> None:
    playbook = connected(play())
    (
        playbook
        >> client(f"{method.decode()} / HTTP/1.1", "Host: x")
        << Report("http_request", method.decode())
        << to_client(BYE_HTTP)
        << CloseSession("http_request")
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        ".",
        "XCLIENT\0",
        "NOOP a\0b",
        "NOOP a\rXCLIENT b",
        "\x0bXCLIENT a",
        "NO\x00OP",
        "NOOP\x0b",
        "a:b",
        "\r",
    ],
)
def test_what_a_backend_could_read_otherwise_does_not_reach_it(play: Play, line: str) -> None:
    playbook = greeted(play())
    playbook >> client(line) << to_client(BAD_SYNTAX)


def test_white_space_is_put_right(play: Play) -> None:
    playbook = greeted(play())
    playbook >> client(" \tMAIL\t FROM:<a> \t") << to_backend("MAIL FROM:<a>")
    playbook >> backend("250 Ok") << to_client("250 Ok")


def test_a_bare_lf_ends_a_session_that_rejects_it(play: Play) -> None:
    playbook = greeted(play())
    (
        playbook
        >> client(b"NOOP\nXCLIENT ADDR=1.2.3.4\r\n")
        << Report("smuggling", "bare LF in a command")
        << to_client("500 5.5.2 Error: bare <LF> received", CLOSING)
        << CloseSession("smuggling")
    )


@pytest.mark.parametrize("mode", [BareNewline.NORMALIZE, BareNewline.PASS])
def test_else_it_ends_a_command(play: Play, mode: BareNewline) -> None:
    playbook = greeted(play(smtp_bare_newline=mode))
    playbook >> client(b"NOOP\nRSET\r\r\n") << to_backend("NOOP")
    playbook >> backend("250 Ok") << to_client("250 Ok") << to_backend("RSET")
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client(b"NOOP a\rb\n") << to_client(BAD_SYNTAX)


def test_a_command_may_be_as_long_as_the_limit(play: Play) -> None:
    longest = "RCPT TO:<b> ORCPT=".ljust(COMMAND_LIMIT - 2, "x")
    playbook = greeted(play())
    playbook >> client(longest) << to_backend(longest)
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client(longest + "x") << to_client("500 5.5.2 Error: command too long")
    playbook >> client(b"y" * 5000) << to_client("500 5.5.2 Error: command too long")
    playbook >> client(b"y" * 5000)
    playbook >> client(b"y\r\nNOOP\r\n") << to_backend("NOOP")
    playbook >> backend("250 Ok") << to_client("250 Ok")


def test_errors_have_a_limit(play: Play) -> None:
    playbook = greeted(play())
    for _ in range(ERROR_LIMIT - 1):
        playbook >> client("\0") << to_client(BAD_SYNTAX)
    (
        playbook
        >> client("\0", "NOOP")
        << to_client(BAD_SYNTAX)
        << Report("too_many_errors", "20 errors, 1 commands without work")
        << to_client(TOO_MANY)
        << CloseSession("too_many_errors")
    )


def test_the_last_error_is_told_behind_the_replies_that_are_awaited(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING")
    (
        playbook
        >> client("RSET", *["\0"] * ERROR_LIMIT, "MAIL FROM:<a>")
        << to_backend("RSET")
        << Report("too_many_errors", "20 errors, 2 commands without work")
    )
    (
        playbook
        >> backend("250 Ok")
        << to_client("250 Ok", *[BAD_SYNTAX] * ERROR_LIMIT, TOO_MANY)
        << CloseSession("too_many_errors")
    )


def noop(playbook: Playbook, times: int) -> None:
    for _ in range(times):
        playbook >> client("NOOP") << to_backend("NOOP")
        playbook >> backend("250 Ok") << to_client("250 Ok")


def deliver(playbook: Playbook) -> None:
    with_recipient(playbook) >> client("DATA") << to_backend("DATA")
    playbook >> backend("354 go on") << to_client("354 go on")
    playbook >> client(".") << to_backend(".")
    playbook >> backend("250 queued") << to_client("250 queued")


def test_commands_without_work_have_a_limit_between_messages(play: Play) -> None:
    playbook = greeted(play())
    noop(playbook, JUNK_LIMIT - 1)  # EHLO is one of them
    deliver(playbook)
    noop(playbook, JUNK_LIMIT + ERROR_LIMIT - 1)
    (
        playbook
        >> client("NOOP")
        << Report("too_many_errors", "20 errors, 120 commands without work")
        << to_client(TOO_MANY)
        << CloseSession("too_many_errors")
    )


def test_a_client_that_sends_too_much_ahead_is_paused(play: Play) -> None:
    playbook = greeted(play())
    playbook >> client("NOOP", b"X" * (HELD_LIMIT + 1)) << to_backend("NOOP") << PauseClient()
    playbook >> client(b"\r\nRSET\r\n")
    (
        playbook
        >> backend("250 Ok")
        << to_client("250 Ok", "500 5.5.2 Error: command too long")
        << to_backend("RSET")
        << ResumeClient()
    )
    playbook >> backend("250 Ok") << to_client("250 Ok")
