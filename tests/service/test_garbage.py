"""tlsproxy.service.garbage: how often garbage is looked for."""

import gc
from collections.abc import Iterator

import pytest

from tlsproxy.service.garbage import YOUNG, collect_less_often


@pytest.fixture
def thresholds() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_the_youngest_are_left_alone_for_longer_and_the_old_as_ever(thresholds: tuple[int, int, int]) -> None:
    collect_less_often()
    assert gc.get_threshold() == (YOUNG, *thresholds[1:])
    assert thresholds[0] < YOUNG
    assert gc.isenabled()
