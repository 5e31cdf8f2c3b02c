"""Values written as TOML writes them."""

import tomllib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.toml_text import MAX_SHOWN, key_path, shown, toml_key, toml_text

values = st.recursive(
    st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=5,
)


@given(values)
def test_what_is_written_is_read_back_as_the_same(value: object) -> None:
    assert tomllib.loads(f"key = {toml_text(value)}") == {"key": value}


@given(st.text())
def test_a_key_is_quoted_where_it_has_to_be(key: str) -> None:
    assert tomllib.loads(f"{toml_key(key)} = 1") == {key: 1}


def test_dates_are_written_as_toml_has_them() -> None:
    assert toml_text(date(2026, 11, 23)) == "2026-11-23"


def test_a_value_in_a_message_is_cut_to_a_length_that_can_be_read() -> None:
    assert shown("x" * (MAX_SHOWN - 2)) == f'"{"x" * (MAX_SHOWN - 2)}"'
    assert shown("x" * MAX_SHOWN) == f'"{"x" * (MAX_SHOWN - 2)}…'


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ("", "workers", "workers"),
        ("backend", "old-mta", "backend.old-mta"),
        ("backend", "old.mta", 'backend."old.mta"'),
    ],
)
def test_a_key_path_is_written_as_in_a_table_header(path: str, key: str, expected: str) -> None:
    assert key_path(path, key) == expected
