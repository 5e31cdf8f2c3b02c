"""Rows and counts add up, travel as JSON, and hold no text that could harm a terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.report.samples import count, row
from tlsproxy.ops.report.entries import MAX_TEXT, OTHER, from_values, harmless, to_values


def test_the_same_clients_seen_twice_are_one_row() -> None:
    earlier = row(sessions=2, first_seen=10.0, last_seen=20.0, cipher="AES128-SHA")
    later = row(sessions=3, first_seen=15.0, last_seen=30.0, cipher="AES256-SHA")
    assert earlier + later == row(sessions=5, first_seen=10.0, last_seen=30.0, cipher="AES256-SHA")


def test_counts_of_a_day_add_up() -> None:
    assert count(sessions=5, refused=2) + count(sessions=1, refused=1) == count(sessions=6, refused=3)


@pytest.mark.parametrize("entry", [row(), row(helo=None, server_name="mx.example.org"), count()])
def test_an_entry_survives_the_way_to_another_process(entry: object) -> None:
    assert from_values(json.loads(json.dumps(to_values(entry)))) == entry  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [{}, {"network": "10.0.0.0/8"}, {**to_values(count()), "more": 1}])
def test_what_is_no_entry_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        from_values(values)


def test_where_there_is_no_room_the_client_s_own_words_go_first() -> None:
    elsewhere = row(server_name="mx.example.org").elsewhere
    assert (elsewhere.network, elsewhere.helo, elsewhere.server_name) == (OTHER, None, None)
    assert (elsewhere.listen, elsewhere.version, elsewhere.sessions) == (row().listen, "TLSv1", 1)


@given(st.text(max_size=400))
def test_whatever_a_client_says_becomes_printable_and_short(text: str) -> None:
    shown = harmless(text)
    assert shown.isprintable()
    assert len(shown) <= MAX_TEXT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mx.example.org", "mx.example.org"),
        ("bücher.example", "bücher.example"),
        ("\x1b[2Jmx", "\\x1b[2Jmx"),
        ("a\u202egro.evil", "a\\u202egro.evil"),
        ("a\nb", "a\\nb"),
    ],
)
def test_text_is_left_alone_but_for_what_is_not_text(text: str, shown: str) -> None:
    assert harmless(text) == shown
