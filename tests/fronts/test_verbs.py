"""Tests for :mod:`tlsproxy.fronts.verbs`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts.verbs import (
    HTTP_METHODS,
    IDENTITY_VERBS,
    MAX_CHUNK_SIZE,
    UNCARRIABLE,
    VERBS,
    CommandLine,
    has_control,
    has_parameter,
    mail_parameters,
    parse_bdat,
    parse_command,
    plain_command,
    with_larger_size,
)


@pytest.mark.parametrize(
    ("text", "verb", "argument", "wire"),
    [
        (b"NOOP", b"NOOP", b"", b"NOOP\r\n"),
        (b"noop", b"NOOP", b"", b"noop\r\n"),
        (b"  NOOP \t", b"NOOP", b"", b"NOOP\r\n"),
        (b"EHLO c.example", b"EHLO", b"c.example", b"EHLO c.example\r\n"),
        (b"\tEHLO \t c.example ", b"EHLO", b"c.example", b"EHLO c.example\r\n"),
        (b"MAIL FROM:<a b@c>  SIZE=1", b"MAIL", b"FROM:<a b@c>  SIZE=1", b"MAIL FROM:<a b@c>  SIZE=1\r\n"),
        (b"RCPT TO:<\xc3\xa9@c>", b"RCPT", b"TO:<\xc3\xa9@c>", b"RCPT TO:<\xc3\xa9@c>\r\n"),
        (b"X-A1 b", b"X-A1", b"b", b"X-A1 b\r\n"),
    ],
)
def test_a_command_is_written_anew(text: bytes, verb: bytes, argument: bytes, wire: bytes) -> None:
    assert parse_command(text) == CommandLine(verb, argument, wire)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b".",
        b"1NOOP",
        b"NOOP:",
        b"XCLIENT=",
        b'"NOOP"',
        b"N\xd6OP",
        b"NO\0OP",
        b"NOOP \0",
        b"NOOP a\rXCLIENT",
        b"NOOP\x0bx",
        b"NOOP a\nb",
        b"\x0bNOOP",
        b"NOOP \x7f",
        b"\xffNOOP",
    ],
)
def test_anything_else_is_no_command(text: bytes) -> None:
    assert parse_command(text) is None


@given(st.binary())
def test_what_is_sent_on_is_one_line_that_begins_with_its_verb(text: bytes) -> None:
    command = parse_command(text)
    if command is not None:
        assert command.wire.endswith(b"\r\n")
        assert not has_control(command.wire[:-2])
        assert command.wire.upper().startswith(command.verb)
        assert parse_command(command.wire[:-2]) == command


_WORDS = [b"MAIL", b"a", b"A-1", b" ", b"  ", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\x7f", b"\xff", b":<"]


@given(st.binary() | st.lists(st.sampled_from(_WORDS)).map(b"".join))
def test_a_plain_command_is_what_it_is_written_anew_as(text: bytes) -> None:
    line = text + b"\r\n"
    command = parse_command(text)
    written_alike = command is not None and command.wire == line
    assert plain_command(line) == (command if written_alike else None)
    assert plain_command(text) is None or text.endswith(b"\r\n")


def test_no_verb_is_two_things() -> None:
    assert not VERBS.keys() & UNCARRIABLE
    assert not VERBS.keys() & HTTP_METHODS
    assert not any(verb.startswith(IDENTITY_VERBS) for verb in VERBS)


@pytest.mark.parametrize(
    ("argument", "parsed"),
    [
        (b"0", (0, False)),
        (b"10", (10, False)),
        (b"10 LAST", (10, True)),
        (b"0 last", (0, True)),
        (b"007\tLast", (7, True)),
        (b"%d" % MAX_CHUNK_SIZE, (MAX_CHUNK_SIZE, False)),
        (b"%d" % (MAX_CHUNK_SIZE + 1), None),
        (b"4294967301", None),
        (b"18446744073709551621", None),
        (b"1" * 21, None),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"0x10", None),
        (b"1e3", None),
        (b"10LAST", None),
        (b"10 LAST LAST", None),
        (b"10 FIRST", None),
        (b"LAST", None),
    ],
)
def test_the_size_of_a_chunk_can_be_read_in_one_way_only(
    argument: bytes, parsed: tuple[int, bool] | None
) -> None:
    assert parse_bdat(argument) == parsed


@pytest.mark.parametrize(
    ("argument", "parameters"),
    [
        (b"FROM:<a@b>", b""),
        (b"FROM:<>", b""),
        (b"FROM:<> SIZE=1", b" SIZE=1"),
        (b"FROM: <a@b> BODY=8BITMIME AUTH=<> SIZE=1", b" BODY=8BITMIME AUTH=<> SIZE=1"),
        (b'FROM:<"a> SIZE=1"@b> SIZE=2', b" SIZE=2"),
        (b'FROM:<"a\\"> SIZE=1"@b> SIZE=2', b" SIZE=2"),
        (b"FROM:a@b SIZE=1", b""),
        (b"", b""),
        (b"FROM:<a", b""),
        (b'FROM:"a<b>" SIZE=1', b""),
    ],
)
def test_the_parameters_of_mail_stand_behind_the_path(argument: bytes, parameters: bytes) -> None:
    assert mail_parameters(argument) == parameters


def mail(text: bytes) -> CommandLine:
    command = parse_command(text)
    assert command is not None
    return command


@pytest.mark.parametrize(
    ("sent", "larger"),
    [
        (b"MAIL FROM:<a@b> SIZE=1000", b"MAIL FROM:<a@b> SIZE=1100\r\n"),
        (b"mail from:<a@b> size=5 BODY=8BITMIME", b"mail from:<a@b> size=105 BODY=8BITMIME\r\n"),
        (b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b>\r\n"),
        (b'MAIL FROM:<" SIZE=1 "@b> SIZE=2', b'MAIL FROM:<" SIZE=1 "@b> SIZE=102\r\n'),
        (b"MAIL FROM:<a@b> XSIZE=1 SIZE=", b"MAIL FROM:<a@b> XSIZE=1 SIZE=\r\n"),
        (b"MAIL FROM:<a@b> SIZE=1x", b"MAIL FROM:<a@b> SIZE=1x\r\n"),
        (b"MAIL FROM:<a@b> SIZE=99999999999999999999", b"MAIL FROM:<a@b> SIZE=100000000000000000099\r\n"),
    ],
)
def test_a_declared_size_grows(sent: bytes, larger: bytes) -> None:
    assert with_larger_size(mail(sent), 100) == larger


@pytest.mark.parametrize(
    ("parameters", "has"),
    [(b" SMTPUTF8", True), (b" size=1\tsmtputf8", True), (b" SMTPUTF8=1", False), (b"", False)],
)
def test_a_parameter_without_a_value_is_found(parameters: bytes, *, has: bool) -> None:
    assert has_parameter(parameters, b"SMTPUTF8") is has
