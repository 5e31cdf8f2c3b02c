"""Tests for :mod:`tlsproxy.fronts.http_body`. What it refuses is in the table of ``test_http_smuggling.py``."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts.http_body import (
    CHUNK_LINE_LIMIT,
    OVERHEAD_LIMIT,
    Body,
    ChunkedBody,
    Framing,
    LengthBody,
    UntilClose,
    body,
    chunk,
)
from tlsproxy.fronts.http_syntax import HttpError

PIECES = st.lists(st.integers(1, 9), max_size=12)


def read(reader: Body, data: bytes, pieces: list[int]) -> tuple[bytes, bytes | None]:
    """The content, and what is behind the body."""
    content, at = b"", 0
    for size in [*pieces, len(data)]:
        if reader.rest is not None:
            break
        content += reader.receive(data[at : at + size])
        at += size
    return content, None if reader.rest is None else reader.rest + data[at:]


@given(st.binary(max_size=20), st.integers(0, 25), PIECES)
def test_a_length_counts_bytes(data: bytes, length: int, pieces: list[int]) -> None:
    content, rest = read(LengthBody(length), data, pieces)
    assert (content, rest) == (data[:length], data[length:] if len(data) >= length else None)


@given(st.binary(max_size=20), PIECES)
def test_without_a_length_all_is_content(data: bytes, pieces: list[int]) -> None:
    assert read(UntilClose(), data, pieces) == (data, None)


CONTENTS = st.lists(st.binary(min_size=1, max_size=20), max_size=5)


@given(CONTENTS, st.sampled_from([b"", b";a", b' ; a="b c"']), st.booleans(), st.binary(max_size=5), PIECES)
def test_chunks_are_their_content(
    contents: list[bytes], extension: bytes, capitals: bool, behind: bytes, pieces: list[int]
) -> None:
    size = b"%X%b\r\n" if capitals else b"0%x%b\r\n"
    wire = b"".join((size + b"%b\r\n") % (len(content), extension, content) for content in contents)
    reader = ChunkedBody()
    data = wire + b"0%b\r\nDigest: x\r\n\r\n" % extension + behind
    assert read(reader, data, pieces) == (b"".join(contents), behind)
    assert reader.trailers == [(b"digest", b"Digest", b"x")]


@given(CONTENTS, PIECES)
def test_what_is_chunked_anew_is_read_by_another_as_it_was_meant(
    contents: list[bytes], pieces: list[int]
) -> None:
    other = h11.Connection(h11.SERVER)
    other.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for content in contents:
        other.receive_data(chunk(content))
    other.receive_data(chunk(b"") + b"0\r\n\r\n")
    read_by_other = b""
    while not isinstance(event := other.next_event(), h11.EndOfMessage):
        read_by_other += bytes(event.data) if isinstance(event, h11.Data) else b""
    assert read_by_other == b"".join(contents)


PARTS = [
    b"0",
    b"5",
    b"a",
    b"\r\n",
    b"\r",
    b"\n",
    b";",
    b" ",
    b"hello",
    b"0\r\n",
    b"\r\n\r\n",
    b"x: y",
    b"5\r\nhello\r\n",
]


def outcome(data: bytes, pieces: list[int], *, lenient: bool) -> object:
    try:
        return read(ChunkedBody(lenient=lenient), data, pieces)
    except HttpError as error:
        return error.status


@given(st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join), PIECES, st.booleans())
def test_no_split_changes_what_chunks_are(data: bytes, pieces: list[int], lenient: bool) -> None:
    assert outcome(data, pieces, lenient=lenient) == outcome(data, [], lenient=lenient)
    assert outcome(data, [1] * len(data), lenient=lenient) == outcome(data, [], lenient=lenient)


def test_old_servers_fill_up_a_chunk_size() -> None:
    assert read(ChunkedBody(lenient=True), b"5   \r\nhello\r\n0   \r\n\r\n", []) == (b"hello", b"")


def test_a_chunk_line_may_have_its_limit_and_no_more() -> None:
    line = b"5;" + b"a" * (CHUNK_LINE_LIMIT - 4) + b"\r\n"
    assert read(ChunkedBody(), line + b"hello", [])[0] == b"hello"
    with pytest.raises(HttpError, match="too long"):
        ChunkedBody().receive(b"5;" + b"a" * (CHUNK_LINE_LIMIT - 3) + b"\r\nhello")


def test_small_chunks_are_no_overhead_and_extensions_to_much_content_neither() -> None:
    small = b"1\r\nx\r\n" * 20_000
    assert read(ChunkedBody(), small, [])[0] == b"x" * 20_000
    extended = (b"1000;" + b"a" * 1000 + b"\r\n" + b"x" * 4096 + b"\r\n") * (OVERHEAD_LIMIT // 500)
    assert len(read(ChunkedBody(), extended, [])[0]) == 4096 * (OVERHEAD_LIMIT // 500)


@pytest.mark.parametrize(
    ("framing", "reader"),
    [
        (Framing.NONE, LengthBody),
        (Framing.LENGTH, LengthBody),
        (Framing.CHUNKED, ChunkedBody),
        (Framing.UNTIL_CLOSE, UntilClose),
    ],
)
def test_each_framing_has_its_reader(framing: Framing, reader: type) -> None:
    assert isinstance(body(framing, 5), reader)


def test_without_framing_there_is_no_body() -> None:
    assert body(Framing.NONE, 5).rest == b""
    assert body(Framing.LENGTH, 5).rest is None
