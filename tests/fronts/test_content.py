"""Tests for :mod:`tlsproxy.fronts.content`."""

import os
import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts.content import Chunk, Message
from tlsproxy.fronts.options import BareNewline

REJECT, NORMALIZE, PASS = BareNewline.REJECT, BareNewline.NORMALIZE, BareNewline.PASS

ALPHABET = b"\r\n.\0a"
SIZES = range(9 if os.environ.get("CI") else 7)  # size 8 takes half a minute
TRICKY = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"\0", b"a", b"\r\n.\r\n"])).map(b"".join)


def received(mode: BareNewline, *pieces: bytes) -> tuple[bytes, bytes | None, str | None]:
    """What goes to the backend, what stands behind the end of data, and what it is refused for."""
    message = Message(mode)
    passed = rest = b""
    for piece in pieces:
        if message.rest is None:
            passed += message.receive(piece)
        else:
            rest += piece
    if message.rest is None:
        return passed, None, message.refused
    return passed, message.rest + rest, message.refused


def naive_end(data: bytes) -> int | None:
    """Where the content ends, its end of data included; the CRLF of DATA stands before ``data``."""
    end = (b"\r\n" + data).find(b"\r\n.\r\n")
    return None if end < 0 else end + 3


def naive_lines(content: bytes) -> list[tuple[bytes, bytes]]:
    """The lines of complete content and what ends them, read byte by byte."""
    lines: list[tuple[bytes, bytes]] = []
    text = newline = b""
    for at in range(len(content)):
        byte, following = content[at : at + 1], content[at + 1 : at + 2]
        if byte not in b"\r\n":
            text += byte
            continue
        newline += byte
        if byte == b"\n" or following not in (b"\r", b"\n"):
            lines.append((text, newline))
            text = newline = b""
    assert not text
    return lines


def naively_normalized(content: bytes) -> bytes:
    """What ``normalize`` makes of content that ends in an end of data."""
    sent = b""
    before = b"\r\n"
    for text, newline in naive_lines(content[: -len(b".\r\n")]):
        only_now = not before.endswith(b"\r\n")
        alone = text.startswith(b".\0") or (text == b"." and newline != b"\r\n")
        sent += b"." if text.startswith(b".") and (only_now or alone) else b""
        sent += text + b"\r\n"
        before = newline
    return sent + b".\r\n"


def every(size: int) -> list[bytes]:
    return [bytes(characters) for characters in product(ALPHABET, repeat=size)]


@pytest.mark.parametrize("size", range(9))
def test_the_end_is_found_where_a_naive_reader_finds_it(size: int) -> None:
    for data in every(size):
        end = naive_end(data)
        expected = (data, None) if end is None else (data[:end], data[end:])
        passed, rest, _ = received(PASS, data)
        assert rest == expected[1], data
        assert expected[0].startswith(passed), data
        assert rest is None or passed == expected[0], data


@pytest.mark.parametrize("mode", BareNewline)
@pytest.mark.parametrize("size", SIZES)
def test_a_split_anywhere_changes_nothing(size: int, mode: BareNewline) -> None:
    for data in every(size):
        whole = received(mode, data)
        for at in range(1, size):
            passed, rest, refused = received(mode, data[:at], data[at:])
            assert (rest, refused is None) == (whole[1], whole[2] is None), (data, at)
            assert whole[2] is not None or passed == whole[0], (data, at)


@pytest.mark.parametrize("size", [7, 8])
def test_a_split_anywhere_leaves_the_end_where_it_is(size: int) -> None:
    for data in every(size):
        end = naive_end(data)
        if end is not None:
            for at in range(1, size):
                assert received(PASS, data[:at], data[at:]) == (data[:end], data[end:], None), (data, at)


@given(TRICKY, st.sampled_from(BareNewline))
def test_single_bytes_change_nothing(data: bytes, mode: BareNewline) -> None:
    data += b"\r\n.\r\n"
    pieces = [bytes([byte]) for byte in data]
    passed, rest, refused = received(mode, *pieces)
    whole = received(mode, data)
    assert (rest, refused is None) == (whole[1], whole[2] is None)
    assert refused is not None or passed == whole[0]


@given(TRICKY)
def test_pass_sends_what_came(data: bytes) -> None:
    data += b"\r\n.\r\n"
    end = naive_end(data)
    assert received(PASS, data) == (data[:end], data[end:], None)


@given(TRICKY)
def test_reject_sends_what_came_or_refuses_it(data: bytes) -> None:
    data += b"\r\n.\r\n"
    content = data[: naive_end(data)]
    offensive = re.search(rb"(?<!\r)\n|\r(?!\n)|(?<=\n)\.\0", b"\r\n" + content)
    passed, rest, refused = received(REJECT, data)
    assert (refused is not None) == (offensive is not None)
    assert passed == (b"" if offensive else content)
    assert rest == data[len(content) :]


@given(TRICKY)
def test_normalize_sends_crlfs_and_one_end_of_data(data: bytes) -> None:
    data += b"\r\n.\r\n"
    content = data[: naive_end(data)]
    passed, _, refused = received(NORMALIZE, data)
    assert refused is None
    assert passed == naively_normalized(content)
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\n\.\0", b"\r\n" + passed)
    assert naive_end(passed) == len(passed)


@given(TRICKY.map(lambda data: re.sub(rb"(?<!\r)\n|\r(?!\n)", b"", data).replace(b"\n.", b"\na")), st.data())
def test_clean_content_is_sent_as_it_came_in_every_mode(data: bytes, choice: st.DataObject) -> None:
    content = b"a" + data + b"\r\n.\r\n"
    at = choice.draw(st.integers(0, len(content)))
    for mode in BareNewline:
        assert received(mode, content[:at], content[at:]) == (content, b"", None)


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (b"a\nb", "bare LF"),
        (b"\n", "bare LF"),
        (b"a\rb", "bare CR"),
        (b"a\r\r\n", "bare CR"),
        (b"a\r\n.\0", "NUL behind a dot"),
        (b".\0", "NUL behind a dot"),
        (b"a\n.\n", "bare LF"),
        (b"a\r\n.\n", "bare LF"),
        (b"a\n.\r\n", "bare LF"),
        (b"a\r.\r", "bare CR"),
        (b"a\r\n.\r\r\n", "bare CR"),
    ],
)
def test_reject_names_what_it_refuses(data: bytes, refused: str) -> None:
    assert received(REJECT, data) == (b"", None, refused)


def test_reject_holds_back_a_cr_that_may_be_bare() -> None:
    message = Message(REJECT)
    assert message.receive(b"a\r\n.\r") == b"a"
    assert message.receive(b"b") == b""
    assert message.refused == "bare CR"


def test_the_end_of_a_refused_message_is_found() -> None:
    message = Message(REJECT)
    assert message.receive(b"a\nb") == b""
    assert message.receive(b"c\r\n.\r") == b""
    assert message.rest is None
    assert message.receive(b"\nQUIT\r\n") == b""
    assert (message.refused, message.rest) == ("bare LF", b"QUIT\r\n")


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"a\nb", b"a\r\nb"),
        (b"a\rb", b"a\r\nb"),
        (b"a\r\r\nb", b"a\r\nb"),
        (b"a\r\r\r\nb", b"a\r\nb"),
        (b"a\n\nb", b"a\r\n\r\nb"),
        (b"a\n.\nb", b"a\r\n..\r\nb"),
        (b"a\r\n.\nb", b"a\r\n..\r\nb"),
        (b"a\n.\r\nb", b"a\r\n..\r\nb"),
        (b"a\r.\rb", b"a\r\n..\r\nb"),
        (b"a\r\n.\r\r\nb", b"a\r\n..\r\nb"),
        (b".\nb", b"..\r\nb"),
        (b"a\n.b", b"a\r\n..b"),
        (b"a\r\n..b", b"a\r\n..b"),
        (b"a\r\n.\0b", b"a\r\n..\0b"),
        (b"a\0b", b"a\0b"),
    ],
)
def test_normalize_never_makes_an_end_of_data(data: bytes, sent: bytes) -> None:
    assert received(NORMALIZE, data + b"\r\n.\r\n") == (sent + b"\r\n.\r\n", b"", None)


def test_nul_passes_inside_a_line_in_every_mode() -> None:
    for mode in BareNewline:
        assert received(mode, b"a\0.\0\r\n.\r\n") == (b"a\0.\0\r\n.\r\n", b"", None)


def test_a_clean_piece_is_not_copied() -> None:
    message = Message(REJECT)
    message.receive(b"Subject: x\r\n\r\ntext")
    piece = b"more text\r\nand more" * 100
    assert message.receive(piece) is piece


def test_a_chunk_ends_by_its_count_alone() -> None:
    chunk = Chunk(12)
    assert chunk.receive(b"QUIT\n\r\n.\r") == b"QUIT\n\r\n.\r"
    assert chunk.rest is None
    assert chunk.receive(b"\nabNOOP") == b"\nab"
    assert chunk.rest == b"NOOP"


def test_a_chunk_of_no_octets_has_ended() -> None:
    assert Chunk(0).rest == b""


@given(st.binary(), st.integers(1, 40), st.data())
def test_a_chunk_is_the_same_in_any_split(data: bytes, size: int, choice: st.DataObject) -> None:
    data += b"." * size
    chunk = Chunk(size)
    passed = b""
    at = 0
    for end in [*sorted(choice.draw(st.lists(st.integers(0, len(data)), max_size=4))), len(data)]:
        if chunk.rest is None:
            passed += chunk.receive(data[at:end])
            at = end
    assert chunk.rest is not None
    assert (passed, chunk.rest + data[at:]) == (data[:size], data[size:])
    assert chunk.refused is None
