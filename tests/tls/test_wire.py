"""tlsproxy.tls.wire: reading handshake messages."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.tls.wire import Reader, TruncatedError, extensions, handshake_messages, records


def record(content_type: int, fragment: bytes) -> bytes:
    return struct.pack(">BHH", content_type, 0x0303, len(fragment)) + fragment


def test_a_reader_takes_from_the_front() -> None:
    reader = Reader(b"\x01\x00\x02ab\x00\x00\x03cde!")
    assert reader.number(1) == 1
    assert reader.vector(2) == b"ab"
    assert reader.vector(3) == b"cde"
    assert reader
    assert reader.take(1) == b"!"
    assert not reader


@pytest.mark.parametrize("take", [lambda r: r.take(3), lambda r: r.number(3), lambda r: r.vector(1)])
def test_a_reader_makes_nothing_up(take: object) -> None:
    with pytest.raises(TruncatedError):
        take(Reader(b"\x05\x00"))  # type: ignore[operator]


def test_incomplete_records_are_left_out() -> None:
    data = record(22, b"one") + record(23, b"") + record(21, b"two")[:-1]
    assert list(records(data)) == [(22, b"one"), (23, b"")]


def test_messages_run_over_records_and_share_them() -> None:
    stream = b"\x01\x00\x00\x03abc" + b"\x02\x00\x00\x00" + b"\x0b\x00\x00\x02de"
    data = record(22, stream[:2]) + record(22, stream[2:9]) + record(20, b"\x01") + record(22, stream[9:])
    assert list(handshake_messages(data)) == [(1, b"abc"), (2, b""), (11, b"de")]


def test_an_incomplete_message_is_left_out() -> None:
    assert list(handshake_messages(record(22, b"\x02\x00\x00\x00\x01\x00\x00\x05abc"))) == [(2, b"")]


def test_extensions_by_number() -> None:
    assert extensions(b"\x00\x2b\x00\x01x\x00\x00\x00\x00") == {43: b"x", 0: b""}
    with pytest.raises(TruncatedError):
        extensions(b"\x00\x2b\x00\x02x")


@given(st.binary(max_size=200))
def test_garbage_gives_nothing_or_something_but_ends(data: bytes) -> None:
    list(records(data))
    list(handshake_messages(data))
