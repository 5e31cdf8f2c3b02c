"""Tests for :mod:`tlsproxy.fronts.replies`."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts import replies
from tlsproxy.fronts.replies import MALFORMED, REPLY_LIMIT, Reply, ReplyReader, multiline

OWN = {name: value for name, value in vars(replies).items() if isinstance(value, bytes)}


def replies_of(*pieces: bytes) -> list[Reply]:
    """All replies, up to one that is malformed."""
    reader = ReplyReader()
    read: list[Reply] = []
    for piece in pieces:
        reader.feed(piece)
        while (reply := reader.next_reply()) is not None:
            read.append(reply)
            if reply.code == MALFORMED:
                return read
    return read


BROKEN = Reply(MALFORMED, b"")


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"", []),
        (b"250 Ok", []),
        (b"250 Ok\r\n", [Reply(250, b"250 Ok\r\n")]),
        (b"250\r\n", [Reply(250, b"250\r\n")]),
        (b"250 Ok\n", [Reply(250, b"250 Ok\r\n")]),
        (b"250-a\n250 b\r\n", [Reply(250, b"250-a\r\n250 b\r\n")]),
        (b"250-a\r\n250-b\r\n", []),
        (b"250-\r\n250 \r\n", [Reply(250, b"250-\r\n250 \r\n")]),
        (b"250-a\r\n251 b\r\n", [Reply(251, b"250-a\r\n251 b\r\n")]),
        (b"250 a\r\n354 b\r\n4", [Reply(250, b"250 a\r\n"), Reply(354, b"354 b\r\n")]),
        (b"250 a\rb\r\n", [Reply(250, b"250 a\rb\r\n")]),
        (b"250 a\r\nhello\r\n", [Reply(250, b"250 a\r\n"), BROKEN]),
        (b"250-a\r\nhello\r\n", [BROKEN]),
        (b"250:a\r\n", [BROKEN]),
        (b"25 a\r\n", [BROKEN]),
        (b"2500 a\r\n", [BROKEN]),
        (b"150 a\r\n", [BROKEN]),
        (b"650 a\r\n", [BROKEN]),
        (b"\r\n", [BROKEN]),
        (b" 250 a\r\n", [BROKEN]),
    ],
)
def test_replies_are_the_same_whole_and_byte_by_byte(data: bytes, read: list[Reply]) -> None:
    assert replies_of(data) == read
    assert replies_of(*(bytes([byte]) for byte in data)) == read


@given(
    st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"250", b"-", b" ", b"a", b"421 x\r\n"])).map(b"".join),
    st.data(),
)
def test_replies_are_the_same_in_any_split(data: bytes, choice: st.DataObject) -> None:
    at = choice.draw(st.integers(0, len(data)))
    assert replies_of(data[:at], data[at:]) == replies_of(data)


@given(
    st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"250", b"354", b"-", b" ", b"a"])).map(b"".join)
    | st.lists(st.sampled_from([b"250-a\r\n", b"251-\r\n", b"250 b\r\n", b"250\r\n", b"250\n"])).map(b"".join)
)
def test_a_reply_that_comes_by_itself_is_the_same(data: bytes) -> None:
    only = ReplyReader().only_reply(data)
    read = replies_of(data)
    alone = len(read) == 1 and read[0].data == data
    assert only == (read[0] if alone else None)


def test_a_reply_is_not_alone_behind_the_beginning_of_another() -> None:
    reader = ReplyReader()
    reader.feed(b"250-a\r\n")
    assert reader.next_reply() is None
    assert reader.only_reply(b"250 b\r\n") is None


@pytest.mark.parametrize(("more", "whole"), [(0, True), (1, False)])
def test_a_reply_that_comes_by_itself_has_the_same_limit(more: int, *, whole: bool) -> None:
    data = b"250 " + b"a" * (REPLY_LIMIT - 6 + more) + b"\r\n"
    assert (ReplyReader().only_reply(data) is not None) is whole
    assert (replies_of(data) != [BROKEN]) is whole


def test_a_reply_may_be_as_long_as_the_limit() -> None:
    lines = b"250-" + b"a" * 250 + b"\r\n"
    count = REPLY_LIMIT // len(lines) - 1
    [reply] = replies_of(lines * count + b"250 \r\n")
    assert len(reply.texts) == count + 1


@pytest.mark.parametrize("data", [b"250-a\r\n" * (REPLY_LIMIT // 7 + 1), b"250 " + b"a" * REPLY_LIMIT])
def test_a_reply_above_the_limit_is_none(data: bytes) -> None:
    assert replies_of(data) == [BROKEN]
    assert replies_of(data + b"\r\n250 \r\n") == [BROKEN]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(200, "positive"), (299, "positive"), (354, "intermediate"), (421, "negative"), (599, "negative")],
)
def test_a_reply_is_of_one_kind(code: int, kind: str) -> None:
    reply = Reply(code, b"")
    assert [name for name in ("positive", "intermediate", "negative") if getattr(reply, name)] == [kind]


def test_texts_stand_behind_the_code() -> None:
    assert Reply(250, b"250-a b\r\n250-\r\n250\r\n").texts == [b"a b", b"", b""]


@pytest.mark.parametrize("texts", [[b"a"], [b"a", b"b"], [b"a", b"", b"c"]])
def test_what_is_written_is_read(texts: list[bytes]) -> None:
    [reply] = replies_of(multiline(texts))
    assert (reply.code, reply.texts) == (250, texts)


@pytest.mark.parametrize("name", OWN)
def test_an_own_reply_is_one_line_whose_codes_agree(name: str) -> None:
    """RFC 3463 §2: the enhanced code's class is the reply code's first digit. Greeting and HELO have none (RFC 2034 §4)."""
    [reply] = replies_of(OWN[name])
    assert reply.data == OWN[name]
    if name not in ("GREETING", "HELLO"):
        assert re.match(rb"([245])\d\d \1\.\d\.\d{1,2} \S", reply.data)
