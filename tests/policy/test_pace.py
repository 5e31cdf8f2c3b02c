"""Tests for :mod:`tlsproxy.policy.pace`: who is too slow, and who isn't to blame."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.policy.pace import LOOKS, Due, Lag, Pace, PaceRules, Sight

BEGIN = Sight(now=1000.0, due=Due.NOTHING, step=0, received=0, sent=0, held=0.0, untaken=0)


class Watched:
    """A session that is looked at."""

    def __init__(self, *, idle: float = 1e6, command: float = 1e6, rate: int = 0, window: float = 60) -> None:
        self.rules = PaceRules(idle, command, rate, window)
        self.sight = BEGIN
        self.pace = Pace(self.rules, BEGIN)

    def look(self, **changes: Any) -> Lag | None:
        """One look later. Bytes and seconds of ``changes`` are added."""
        added = {
            name: getattr(self.sight, name) + changes.pop(name)
            for name in ("received", "sent", "held")
            if name in changes
        }
        self.sight = evolve(self.sight, now=self.sight.now + self.rules.interval, **added, **changes)
        return self.pace.look(self.sight)

    def looks(self, count: int, **changes: Any) -> list[Lag | None]:
        return [self.look(**changes) for _ in range(count)]


class TestLooks:
    @pytest.mark.parametrize(
        ("rules", "interval"),
        [
            (PaceRules(600, 300, 0, 60), 37.5),
            (PaceRules(100, 300, 0, 60), 12.5),
            (PaceRules(600, 300, 10, 60), 7.5),
        ],
    )
    def test_the_shortest_span_that_matters_is_looked_at_eight_times(
        self, rules: PaceRules, interval: float
    ) -> None:
        assert rules.interval == interval


class TestIdle:
    @pytest.mark.parametrize("timeout", [1.0, 0.3, 600.0])
    def test_a_session_in_which_nothing_moves_times_out_and_not_before(self, timeout: float) -> None:
        watched = Watched(idle=timeout)
        assert watched.looks(LOOKS) == [None] * 7 + [Lag.IDLE]

    @pytest.mark.parametrize("way", ["received", "sent"])
    def test_a_byte_either_way_begins_it_anew(self, way: str) -> None:
        watched = Watched(idle=8)
        watched.looks(7)
        assert watched.look(**{way: 1}) is None
        assert watched.looks(LOOKS) == [None] * 7 + [Lag.IDLE]

    def test_it_can_be_forgiven(self) -> None:
        watched = Watched(idle=8)
        watched.looks(7)
        watched.pace.forgive(watched.sight.now)
        assert watched.looks(LOOKS) == [None] * 7 + [Lag.IDLE]


class TestCommands:
    def test_one_that_is_due_has_its_time(self) -> None:
        watched = Watched(command=300)
        assert watched.looks(9, due=Due.COMMAND) == [None] * 8 + [Lag.COMMAND]

    def test_a_byte_now_and_then_does_not_prolong_it(self) -> None:
        watched = Watched(command=300)
        watched.look(due=Due.COMMAND)
        assert watched.looks(8, received=1)[-1] is Lag.COMMAND

    def test_the_next_one_has_its_own(self) -> None:
        watched = Watched(command=300)
        assert set(watched.looks(8, due=Due.COMMAND)) == {None}
        assert set(watched.looks(8, step=1)) == {None}
        assert watched.look() is Lag.COMMAND

    def test_while_the_client_waits_it_has_all_the_time(self) -> None:
        watched = Watched(command=300)
        watched.look(due=Due.COMMAND)
        assert set(watched.looks(20, due=Due.NOTHING)) == {None}
        assert set(watched.looks(8, due=Due.COMMAND)) == {None}


class TestContent:
    """At 100 bytes a second over 60 s: 750 bytes at each look."""

    def watched(self) -> Watched:
        watched = Watched(rate=100)
        watched.look(due=Due.CONTENT)
        return watched

    def test_at_the_rate_it_goes_on_for_ever(self) -> None:
        assert set(self.watched().looks(100, received=750)) == {None}

    def test_below_it_ends_with_the_window(self) -> None:
        assert self.watched().looks(8, received=749) == [None] * 7 + [Lag.DATA_RATE]

    def test_a_pause_within_the_window_is_made_up_for(self) -> None:
        watched = self.watched()
        assert set(watched.looks(7)) == {None}
        assert watched.look(received=6000) is None

    def test_time_in_which_it_is_not_read_does_not_count(self) -> None:
        watched = self.watched()
        assert set(watched.looks(50, held=7.5)) == {None}
        assert set(watched.looks(8, held=7, received=100)) == {None}
        assert watched.looks(8)[-1] is Lag.DATA_RATE

    def test_waiting_for_the_backend_between_two_messages_does_not_count(self) -> None:
        watched = self.watched()
        for step in range(20):
            assert watched.look(step=step, received=10) is None

    def test_commands_need_no_rate(self) -> None:
        assert set(Watched(rate=100).looks(50, due=Due.COMMAND, received=1)) == {None}

    def test_without_a_rate_nothing_is_asked(self) -> None:
        watched = Watched(command=300)
        assert set(watched.looks(50, due=Due.CONTENT)) == {None}

    @given(counts=st.lists(st.integers(750, 100_000), min_size=1, max_size=50), held=st.floats(0, 7.5))
    def test_who_always_keeps_the_rate_is_never_cut_off(self, counts: list[int], held: float) -> None:
        watched = self.watched()
        for count in counts:
            assert watched.look(received=count, held=held) is None


class TestReading:
    """What the client takes of what it is sent."""

    def test_one_that_never_reads_is_cut_off(self) -> None:
        watched = Watched(rate=100)
        assert watched.look(sent=300_000, untaken=200_000) is None
        assert watched.looks(8) == [None] * 7 + [Lag.DATA_RATE]

    def test_whatever_is_sent_on_top(self) -> None:
        watched = Watched(rate=100)
        watched.look(sent=300_000, untaken=200_000)
        untaken = 200_000
        found = []
        for _ in range(8):
            untaken += 10_000
            found.append(watched.look(sent=10_000, untaken=untaken))
        assert found[-1] is Lag.DATA_RATE

    def test_one_that_reads_at_the_rate_goes_on(self) -> None:
        watched = Watched(rate=100)
        watched.look(sent=300_000, untaken=200_000)
        for taken in range(1, 101):
            assert watched.look(untaken=200_000 - 750 * taken) is None

    def test_one_that_has_taken_all_may_be_silent(self) -> None:
        watched = Watched(rate=100)
        watched.look(sent=300_000, untaken=200_000)
        assert set(watched.looks(100, untaken=0)) == {None}

    def test_it_holds_whatever_is_due(self) -> None:
        watched = Watched(rate=100)
        watched.look(due=Due.CONTENT, sent=300_000, untaken=200_000)
        assert watched.looks(8, received=10_000)[-1] is Lag.DATA_RATE
