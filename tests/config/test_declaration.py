"""Declared keys."""

import os

import attrs
import pytest

from tlsproxy.config.declaration import Declaration, StatusRange, WorkerCount, declared, option


@attrs.frozen
class Example:
    needed: str = option(attrs.NOTHING, "Has to be there.")
    made: int = 0
    size: float = option(1.5, "How large.", unit="metres", minimum=0.5, maximum=2)
    count: int = option(1, "How many.", minimum=0, maximum=9, kinds=frozenset({"esmtp"}))


def test_declared_keys_are_those_with_a_documentation() -> None:
    assert list(declared(Example)) == ["needed", "size", "count"]


def test_a_declaration_carries_what_was_declared() -> None:
    assert declared(Example)["count"] == Declaration(
        "count", int, 1, "How many.", kinds=frozenset({"esmtp"}), minimum=0, maximum=9
    )


def test_a_key_without_a_default_is_required() -> None:
    assert declared(Example)["needed"].required
    assert not declared(Example)["size"].required


@pytest.mark.parametrize(
    ("size", "valid"), [(0.49, False), (0.5, True), (2, True), (2.01, False), (float("nan"), False)]
)
def test_bounds_are_part_of_the_range(size: float, valid: bool) -> None:
    assert declared(Example)["size"].within_bounds(size) is valid


def test_anything_is_within_no_bounds() -> None:
    assert declared(Example)["needed"].within_bounds("whatever")


def test_a_range_of_status_codes_has_both_its_ends() -> None:
    codes = StatusRange(200, 399)
    assert [status in codes for status in (199, 200, 399, 400)] == [False, True, True, False]
    assert [str(each) for each in (codes, StatusRange(204, 204))] == ["200-399", "204"]


def test_bounds_are_told_with_their_unit() -> None:
    assert declared(Example)["size"].bounds == "from 0.5 to 2 metres"
    assert declared(Example)["count"].bounds == "from 0 to 9"
    assert declared(Example)["needed"].bounds == ""


def test_workers_are_as_many_as_was_asked_for_or_as_there_are_processors() -> None:
    assert WorkerCount(3).number == 3
    assert WorkerCount().number == len(os.sched_getaffinity(0))
    assert [str(each) for each in (WorkerCount(3), WorkerCount())] == ["3", "auto"]
