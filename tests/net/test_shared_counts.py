"""Tests for :mod:`tlsproxy.net.shared_counts`: the counters of several processes say what those of one would."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tlsproxy.net.shared_counts import ROWS, SLOTS_LIMIT, WAYS, SharedCounts
from tlsproxy.policy.limits import EVERYBODY, WINDOW, LocalCounts, Taken

NAMES = ("one", "other")
PEERS = st.sampled_from([EVERYBODY, 0, 1, 2**32 - 1, 2**128, 2**129 - 1])

Owner = Callable[[int], SharedCounts]


@pytest.fixture
def memory() -> Iterator[int]:
    fd = SharedCounts.create(4)
    yield fd
    os.close(fd)


@pytest.fixture
def owner(memory: int) -> Owner:
    return lambda slot: SharedCounts(memory, slot)


class SameAsOneProcess(RuleBasedStateMachine):
    """Processes that count by turns, beside one that does all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.local = LocalCounts()
        self.now = 0.0
        self.held: list[tuple[int, str, int]] = []

    @initialize()
    def start(self) -> None:
        fd = SharedCounts.create(3, rows=16)
        self.shared = [SharedCounts(fd, slot) for slot in range(3)]
        os.close(fd)

    @rule(process=st.integers(0, 2), name=st.sampled_from(NAMES), peer=PEERS, limit=st.integers(1, 4))
    def take(self, process: int, name: str, peer: int, limit: int) -> None:
        taken = self.local.take(name, peer, limit)
        assert self.shared[process].take(name, peer, limit) is taken
        if taken is Taken.COUNTED:
            self.held.append((process, name, peer))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        process, name, peer = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.local.give_back(name, peer)
        self.shared[process].give_back(name, peer)

    @rule(process=st.integers(0, 2), name=st.sampled_from(NAMES), peer=PEERS, limit=st.integers(1, 4))
    def spend(self, process: int, name: str, peer: int, limit: int) -> None:
        name = f"rate {name}"
        assert self.shared[process].spend(name, peer, limit, self.now) is self.local.spend(
            name, peer, limit, self.now
        )

    @rule(seconds=st.floats(0, 130))
    def wait(self, seconds: float) -> None:
        self.now += seconds


TestSameAsOneProcess = SameAsOneProcess.TestCase
TestSameAsOneProcess.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestSlots:
    def test_what_one_process_takes_the_others_lack(self, owner: Owner) -> None:
        first, second = owner(0), owner(1)
        assert first.take("a", 7, 2) is second.take("a", 7, 2) is Taken.COUNTED
        assert first.take("a", 7, 2) is second.take("a", 7, 2) is Taken.REFUSED
        first.give_back("a", 7)
        assert second.take("a", 7, 2) is Taken.COUNTED

    def test_a_process_that_came_later_is_seen(self, owner: Owner) -> None:
        first = owner(0)
        assert first.take("a", 7, 1) is Taken.COUNTED
        first.give_back("a", 7)
        assert owner(3).take("a", 7, 1) is Taken.COUNTED
        assert first.take("a", 7, 1) is Taken.REFUSED

    def test_rates_are_common_too(self, owner: Owner) -> None:
        first, second = owner(0), owner(1)
        assert [each.spend("a", 7, 3, 10.0) for each in (first, second, first, second)] == [True] * 3 + [
            False
        ]
        assert not first.spend("a", 7, 3, WINDOW)
        assert first.spend("a", 7, 3, 3 * WINDOW)

    def test_a_new_owner_begins_with_nothing_counted(self, owner: Owner) -> None:
        """The one before was killed with all its sessions."""
        gone, running = owner(0), owner(1)
        gone.take("a", EVERYBODY, 2)
        gone.take("a", EVERYBODY, 2)
        assert running.take("a", EVERYBODY, 2) is Taken.REFUSED
        assert owner(0).take("a", EVERYBODY, 2) is Taken.COUNTED

    def test_it_lives_on_without_its_descriptor(self) -> None:
        fd = SharedCounts.create(2)
        first, second = SharedCounts(fd, 0), SharedCounts(fd, 1)
        os.close(fd)
        first.take("a", 7, 1)
        assert second.take("a", 7, 1) is Taken.REFUSED

    def test_it_is_not_passed_on_by_chance(self, memory: int) -> None:
        assert not os.get_inheritable(memory)

    @pytest.mark.parametrize("slot", [-1, 4])
    def test_a_slot_that_is_not_there_is_refused(self, memory: int, slot: int) -> None:
        with pytest.raises(ValueError, match=f"slot {slot} of 4"):
            SharedCounts(memory, slot)

    @pytest.mark.parametrize("slots", [0, SLOTS_LIMIT + 1])
    def test_there_is_at_least_one_and_a_limit(self, slots: int) -> None:
        with pytest.raises(ValueError, match=f"{slots} slots"):
            SharedCounts.create(slots)

    def test_other_memory_is_refused(self) -> None:
        fd = os.memfd_create("other")
        try:
            with pytest.raises(ValueError, match="not the memory"):
                SharedCounts(fd, 0)
        finally:
            os.close(fd)

    def test_memory_that_was_not_written_to_takes_none(self) -> None:
        fd = SharedCounts.create(64)
        try:
            counts = SharedCounts(fd, 63)
            counts.take("a", 7, 1)
            assert os.fstat(fd).st_blocks * 512 <= 64 * 1024
        finally:
            os.close(fd)


class TestRoom:
    """With one row, of eight counters."""

    @pytest.fixture
    def counts(self) -> Iterator[SharedCounts]:
        fd = SharedCounts.create(1, rows=1)
        yield SharedCounts(fd, 0)
        os.close(fd)

    def test_a_peer_without_room_is_not_counted_and_not_refused(self, counts: SharedCounts) -> None:
        assert [counts.take("a", peer, 1) for peer in range(WAYS)] == [Taken.COUNTED] * WAYS
        assert counts.take("a", WAYS, 1) is counts.take("a", WAYS, 1) is Taken.UNCOUNTED
        assert counts.spend("b", 1, 1, 0.0)
        assert counts.spend("b", 1, 1, 0.0)

    def test_who_has_nothing_left_makes_room(self, counts: SharedCounts) -> None:
        for peer in range(WAYS):
            counts.take("a", peer, 1)
        counts.give_back("a", 3)
        assert counts.take("a", WAYS, 1) is Taken.COUNTED
        assert counts.take("a", WAYS, 1) is Taken.REFUSED
        assert counts.take("a", 3, 1) is Taken.UNCOUNTED

    def test_a_minute_that_no_longer_counts_makes_room(self, counts: SharedCounts) -> None:
        for peer in range(WAYS):
            counts.spend("b", peer, 1, 0.0)
        later = 2 * WINDOW
        assert [counts.spend("b", WAYS, 1, later) for _ in range(2)] == [True, False]

    def test_what_counts_everybody_finds_room_in_any_case(self, counts: SharedCounts) -> None:
        for peer in range(WAYS):
            counts.take("a", peer, 1)
        assert [counts.take("all", EVERYBODY, 1) for _ in range(2)] == [Taken.COUNTED, Taken.REFUSED]
        for peer in range(WAYS):
            counts.give_back("a", peer)
            counts.take("c", peer, 1)
        assert counts.take("all", EVERYBODY, 1) is Taken.REFUSED

    def test_who_gave_way_gives_back_nothing(self, counts: SharedCounts) -> None:
        for peer in range(WAYS):
            counts.take("a", peer, 1)
        counts.take("all", EVERYBODY, 1)
        for peer in range(WAYS):
            counts.give_back("a", peer)
        assert [counts.take("a", peer, 1) for peer in range(WAYS)].count(Taken.COUNTED) == WAYS - 1

    def test_ten_thousand_peers_have_room_but_for_one_in_a_hundred(self) -> None:
        fd = SharedCounts.create(1)
        counts = SharedCounts(fd, 0)
        os.close(fd)
        taken = [counts.take("a", peer << 64, 1) for peer in range(10_000)]
        assert ROWS * WAYS == 32_768
        assert taken.count(Taken.UNCOUNTED) < 100

    def test_the_hash_is_another_in_each_memory(self) -> None:
        places = set()
        for _ in range(2):
            fd = SharedCounts.create(1)
            places.add(SharedCounts(fd, 0)._place_of("a", 7))
            os.close(fd)
        assert len(places) == 2

    def test_names_are_remembered_within_a_limit(
        self, counts: SharedCounts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tlsproxy.net.shared_counts.NAMES_LIMIT", 2)
        for name in "abcab":
            counts.take(name, EVERYBODY, 9)
        assert len(counts._names) <= 2
        assert counts.take("a", EVERYBODY, 2) is Taken.REFUSED


def in_child(work: Callable[[], Any]) -> int:
    """Fork a process that does ``work`` and ends; its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def test_processes_that_count_at_the_same_time_stay_near_the_limit_and_return_to_nothing(memory: int) -> None:
    """Three take and give back as fast as they can: never more than the limit and one for each other process."""
    limit, rounds = 20, 4000

    def churn(slot: int) -> None:
        counts, held = SharedCounts(memory, slot), 0
        for number in range(rounds):
            if counts.take("a", EVERYBODY, limit) is Taken.COUNTED:
                held += 1
            if held and number % 3 == 0:
                counts.give_back("a", EVERYBODY)
                held -= 1
        for _ in range(held):
            counts.give_back("a", EVERYBODY)

    watcher = SharedCounts(memory, 3)
    children = [in_child(lambda slot=slot: churn(slot)) for slot in range(3)]  # type: ignore[misc]
    most, deadline = 0, time.monotonic() + 30
    while children and time.monotonic() < deadline:
        key, row = watcher._place_of("a", EVERYBODY)
        found = [watcher._find(other, key, row) for other in watcher._other_slots()]
        most = max(most, sum(watcher._numbers[each + 1] for each in found if each))
        for child in children[:]:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                assert status == 0
                children.remove(child)
    assert not children
    assert 0 < most <= limit + 2
    assert [watcher.take("a", EVERYBODY, 1) for _ in range(2)] == [Taken.COUNTED, Taken.REFUSED]


def test_what_a_killed_process_had_taken_is_free_once_its_slot_has_an_owner(memory: int) -> None:
    watcher = SharedCounts(memory, 0)

    def die_with_all() -> None:
        counts = SharedCounts(memory, 1)
        for _ in range(5):
            counts.take("a", 7, 5)

    _, status = os.waitpid(in_child(die_with_all), 0)
    assert status == 0
    assert watcher.take("a", 7, 5) is Taken.REFUSED
    SharedCounts(memory, 1)
    assert watcher.take("a", 7, 5) is Taken.COUNTED
