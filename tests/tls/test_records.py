"""tlsproxy.tls.records: where TLS records end."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.tls.records import MAX_FRAGMENT, RecordCounter

ENDLESS = 1 << 30


def record(fragment: bytes, content_type: int = 23, version: int = 0x0303) -> bytes:
    return struct.pack(">BHH", content_type, version, len(fragment)) + fragment


def test_whole_records_are_counted() -> None:
    data = record(b"a") + record(b"") + record(b"b" * MAX_FRAGMENT, content_type=20, version=0x0301)
    counter = RecordCounter()
    assert counter.take(data, 0, ENDLESS) == (len(data), 3)
    assert not counter.lost


def test_a_record_counts_with_its_last_byte() -> None:
    counter = RecordCounter()
    data = record(b"abc")
    counts = [counter.take(data[i : i + 1], 0, ENDLESS) for i in range(len(data))]
    assert counts == [(1, 0)] * 7 + [(1, 1)]


def test_an_empty_record_counts_with_its_header() -> None:
    counter = RecordCounter()
    counts = [counter.take(bytes([byte]), 0, ENDLESS)[1] for byte in record(b"")]
    assert counts == [0, 0, 0, 0, 1]


def test_it_stops_where_the_last_record_wanted_ends() -> None:
    data = record(b"a") * 5 + record(b"bc")[:-1]
    counter = RecordCounter()
    assert counter.take(data, 0, 2) == (12, 2)
    assert counter.take(data, 12, 2) == (24, 2)
    assert counter.take(data, 24, 2) == (len(data), 1)
    assert counter.take(b"c", 0, 2) == (1, 1)


def test_the_longest_fragment_that_ended_is_told() -> None:
    data = record(b"abc") + record(b"a" * 300) + record(b"b" * 20) + record(b"c" * 5000)
    counter = RecordCounter()
    longest = []
    for start, end in pairwise([0, 8, 100, 313, 333, 400, len(data)]):
        counter.take(data[start:end], 0, ENDLESS)
        longest.append(counter.longest)
    assert longest == [3, 0, 300, 0, 20, 5000]


@pytest.mark.parametrize(
    "bad",
    [
        b"EHLO x\r\n",
        record(b"x", content_type=19),
        record(b"x", content_type=24),
        record(b"x", version=0x0203),
        struct.pack(">BHH", 23, 0x0303, MAX_FRAGMENT + 1),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 4, 5])
def test_what_is_no_record_ends_the_counting(bad: bytes, cut: int) -> None:
    counter = RecordCounter()
    good = record(b"ok")
    begin, rest = good + bad[:cut], bad[cut:]
    _, before = counter.take(begin, 0, ENDLESS)
    if not counter.lost:
        position, after = counter.take(rest, 0, ENDLESS)
        assert after == 0
        assert position <= 5
    assert counter.lost
    assert before == 1


records_strategy = st.lists(st.binary(max_size=40), max_size=12)


@given(fragments=records_strategy, cuts=st.lists(st.integers(0, 500), max_size=12), limit=st.integers(1, 5))
def test_no_split_changes_the_count(fragments: list[bytes], cuts: list[int], limit: int) -> None:
    data = b"".join(map(record, fragments))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    counter, counted = RecordCounter(), 0
    for begin, end in pairwise(edges):
        part, position = data[begin:end], 0
        while position < len(part):
            following, complete = counter.take(part, position, limit)
            assert position < following
            assert complete <= limit
            counted += complete
            position = following
    assert counted == len(fragments)


@given(data=st.binary(max_size=200), limit=st.integers(1, 5))
def test_it_always_goes_on_or_is_lost(data: bytes, limit: int) -> None:
    counter, position = RecordCounter(), 0
    while position < len(data) and not counter.lost:
        following, _ = counter.take(data, position, limit)
        assert following > position or counter.lost
        position = following
