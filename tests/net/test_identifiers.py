"""Tests for tlsproxy.net.identifiers."""

from collections.abc import Iterator

import pytest

from tlsproxy.net.identifiers import next_identifier, use_prefix


@pytest.fixture(autouse=True)
def no_prefix() -> Iterator[None]:
    yield
    use_prefix("")


def test_no_identifier_is_given_twice() -> None:
    given = [next_identifier() for _ in range(1000)]
    assert len(set(given)) == len(given)
    assert all(int(each, 16) for each in given)


def test_identifiers_of_a_worker_begin_with_its_prefix() -> None:
    before = int(next_identifier(), 16)
    use_prefix("1.2.")
    assert next_identifier() == f"1.2.{before + 1:x}"
