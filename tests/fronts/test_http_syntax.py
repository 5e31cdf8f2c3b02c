"""Tests for :mod:`tlsproxy.fronts.http_syntax`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts.http_syntax import (
    HeadBuffer,
    HttpError,
    connection_options,
    elements,
    is_token,
    parse_fields,
    parse_lenient_fields,
)

LIMIT = 20


def read(data: bytes, pieces: list[int], read_line: bool) -> object:
    """What a buffer gives of a line or of fields, and what is left; or the error."""
    buffer = HeadBuffer()
    at = 0
    for size in [*pieces, len(data)]:
        buffer.feed(data[at : at + size])
        at += size
        try:
            got = buffer.next_line(LIMIT, too_long=414) if read_line else buffer.next_fields(LIMIT)
        except HttpError as error:
            return error.status, error.detail
        if got is not None:
            return got, buffer.take_all() + data[at:]
    assert len(buffer.data) == len(data)
    return None


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (b"", None),
        (b"line", None),
        (b"line\r", None),
        (b"line\r\nrest", (b"line", b"rest")),
        (b"\r\n\r\n", (b"", b"\r\n")),
        (b"a" * LIMIT + b"\r\n", (b"a" * LIMIT, b"")),
        (b"a" * LIMIT + b"\r", None),
        (b"a" * LIMIT + b"bc", (414, "the first line is too long")),
        (b"a" * LIMIT + b"b\r\n", (414, "the first line is too long")),
        (b"a" * (LIMIT - 1) + b"\rxx", (400, "a control character, or a bare CR or LF")),
        (b"a\nb", (400, "a control character, or a bare CR or LF")),
        (b"a\rb", (400, "a control character, or a bare CR or LF")),
        (b"a\0", (400, "a control character, or a bare CR or LF")),
        (b"a\0\r\n", (400, "a control character, or a bare CR or LF")),
        (b"a\r\r\n", (400, "a control character, or a bare CR or LF")),
    ],
)
def test_a_line_ends_with_crlf_alone(data: bytes, result: object) -> None:
    assert read(data, [], read_line=True) == result
    assert read(data, [1] * len(data), read_line=True) == result


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (b"", None),
        (b"\r", None),
        (b"\r\nrest", (b"", b"rest")),
        (b"a: b\r\n\r\nrest", (b"a: b\r\n", b"rest")),
        (b"a: b\r\n\r", None),
        (b"a: b\r\nc", None),
        (b"a" * (LIMIT - 4) + b"\r\n\r\n", (b"a" * (LIMIT - 4) + b"\r\n", b"")),
        (b"a" * (LIMIT - 3) + b"\r\n\r\n", (431, "the header is too long")),
        (b"a" * (LIMIT - 1) + b"\r", None),
        (b"a" * (LIMIT - 1) + b"\r\n\r\n", (431, "the header is too long")),
        (b"a" * (LIMIT - 1) + b"\rx", (400, "a control character, or a bare CR or LF")),
        (b"\nx", (400, "a control character, or a bare CR or LF")),
        (b"a: b\n\r\n\r\n", (400, "a control character, or a bare CR or LF")),
        (b"a: b\r\n\n", (400, "a control character, or a bare CR or LF")),
        (b"a: \x7f\r\n\r\n", (400, "a control character, or a bare CR or LF")),
        (b"a\t\x80\xff\r\n\r\n", (b"a\t\x80\xff\r\n", b"")),
    ],
)
def test_fields_end_with_an_empty_line_alone(data: bytes, result: object) -> None:
    assert read(data, [], read_line=False) == result
    assert read(data, [1] * len(data), read_line=False) == result


@given(
    st.lists(
        st.sampled_from([b"a", b"bc: d", b"\r\n", b"\r", b"\n", b"\0", b" ", b"\r\n\r\n", b"x" * 9]),
        max_size=9,
    ),
    st.lists(st.integers(1, 9), max_size=9),
    st.booleans(),
)
def test_no_split_changes_what_is_read(parts: list[bytes], pieces: list[int], read_line: bool) -> None:
    data = b"".join(parts)
    assert read(data, pieces, read_line) == read(data, [], read_line)


def test_fields_are_names_and_values_without_the_white_space_around_them() -> None:
    assert parse_fields(b"A:b\r\nC-d: \t e  f \t\r\nG:\r\n", 3) == [
        (b"a", b"A", b"b"),
        (b"c-d", b"C-d", b"e  f"),
        (b"g", b"G", b""),
    ]


@pytest.mark.parametrize(
    ("lines", "detail"),
    [
        (b"a: b\r\n c\r\n", "a folded header line"),
        (b"\ta: b\r\n", "a folded header line"),
        (b"a : b\r\n", "white space before the colon of a header field"),
        (b"a\r\n", "a line of the header is no field"),
        (b"a b: c\r\n", "a line of the header is no field"),
        (b"x a: b\r\n", "a line of the header is no field"),
        (b": b\r\n", "a line of the header is no field"),
        (b"a" * 257 + b": b\r\n", "a line of the header is no field"),
    ],
)
def test_a_line_that_is_no_field_refuses_the_request(lines: bytes, detail: str) -> None:
    with pytest.raises(HttpError) as raised:
        parse_fields(b"x: y\r\n" + lines, 100)
    assert (raised.value.status, raised.value.detail, str(raised.value)) == (400, detail, detail)


def test_fields_are_counted() -> None:
    with pytest.raises(HttpError, match="too many header fields") as raised:
        parse_fields(b"a: b\r\n" * 3, 2)
    assert raised.value.status == 431


def test_old_servers_fold_and_put_white_space_before_colons() -> None:
    assert parse_lenient_fields(b"A: b \r\n \t c\r\n d\r\nE \t: f\r\n") == [
        (b"a", b"A", b"b c d"),
        (b"e", b"E", b"f"),
    ]


@pytest.mark.parametrize("lines", [b" a: b\r\n", b"a: b\r\nc d\r\n"])
def test_what_old_servers_do_has_an_end(lines: bytes) -> None:
    with pytest.raises(HttpError) as raised:
        parse_lenient_fields(lines)
    assert raised.value.status == 502


@pytest.mark.parametrize(
    ("value", "token"), [(b"chunked", True), (b"", False), (b"a b", False), (b"a;b", False)]
)
def test_tokens(value: bytes, *, token: bool) -> None:
    assert is_token(value) is token


def test_elements_of_a_list_are_in_lower_case_and_none_is_empty() -> None:
    assert elements(b" a,\tB , ,c d") == [b"a", b"b", b"c d"]


@pytest.mark.parametrize("value", [b"Close, keep-Alive", b"Close, keep-Alive" + b" " * 60])
def test_connection_options_are_in_lower_case(value: bytes) -> None:
    assert connection_options(value) == {b"close", b"keep-alive"}


def test_no_connection_field_asks_for_nothing() -> None:
    assert connection_options(None) == frozenset()
