"""Tests for :mod:`tlsproxy.fronts.lines`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts.lines import TOO_LONG, LineBuffer

LIMIT = 6


def lines_of(*pieces: bytes, limit: int = LIMIT) -> list[bytes]:
    """All lines, each taken as soon as it is there."""
    buffer = LineBuffer()
    lines = []
    for piece in pieces:
        buffer.feed(piece)
        while (line := buffer.next_line(limit)) is not None:
            lines.append(line)
    return lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"abc", []),
        (b"abc\r\n", [b"abc\r\n"]),
        (b"abc\n", [b"abc\n"]),
        (b"a\rb\r\n", [b"a\rb\r\n"]),
        (b"\n\r\n", [b"\n", b"\r\n"]),
        (b"a\r\nb\r\nc", [b"a\r\n", b"b\r\n"]),
        (b"abcd\r\n", [b"abcd\r\n"]),
        (b"abcde\r\n", [TOO_LONG]),
        (b"abcdefghijkl\r\nab\r\n", [TOO_LONG, b"ab\r\n"]),
        (b"abcdefg", [TOO_LONG]),
    ],
)
def test_lines_are_the_same_whole_and_byte_by_byte(data: bytes, lines: list[bytes]) -> None:
    assert lines_of(data) == lines
    assert lines_of(*(bytes([byte]) for byte in data)) == lines


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"a", b"abcd"])).map(b"".join), st.data())
def test_lines_are_the_same_in_any_split(data: bytes, choice: st.DataObject) -> None:
    at = choice.draw(st.integers(0, len(data)))
    assert lines_of(data[:at], data[at:]) == lines_of(data)


def test_a_long_line_is_forgotten_while_it_goes_on() -> None:
    buffer = LineBuffer()
    buffer.feed(b"a" * 100)
    assert buffer.next_line(LIMIT) is TOO_LONG
    buffer.feed(b"a" * 100)
    assert (buffer.held, buffer.next_line(LIMIT)) == (0, None)


def test_all_that_is_left_can_be_taken() -> None:
    buffer = LineBuffer()
    buffer.feed(b"DATA\r\nSubject")
    assert buffer.next_line(LIMIT) == b"DATA\r\n"
    assert buffer.take_all() == b"Subject"
    assert buffer.held == 0


@pytest.mark.parametrize(
    ("data", "starts"), [(b"auth PLAIN", True), (b"AUTH", False), (b"NOOP AUTH ", False)]
)
def test_the_verb_is_seen_before_the_line_is_whole(data: bytes, *, starts: bool) -> None:
    buffer = LineBuffer()
    buffer.feed(data)
    assert buffer.starts_with(b"AUTH ") is starts
