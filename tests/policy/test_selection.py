"""Which server gets the next connection, and what becomes of one that fails."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tlsproxy.policy.selection import (
    MAX_EJECTION,
    Attempt,
    NoServer,
    Selection,
    SelectionPolicy,
    SelectionRules,
    Standing,
)


def selection(weights: Sequence[int] = (1, 1), policy: str = "failover", **rules: Any) -> Selection:
    return Selection(weights, SelectionRules(SelectionPolicy(policy), **rules))


def begun(servers: Selection, now: float = 0.0, tried: Sequence[int] = ()) -> Attempt:
    attempt = servers.begin(now, tried)
    assert isinstance(attempt, Attempt)
    return attempt


def connected(servers: Selection, now: float = 0.0) -> Attempt:
    attempt = begun(servers, now)
    servers.opened(attempt)
    servers.proved(attempt, now)
    return attempt


def picks(servers: Selection, count: int, now: float = 0.0) -> list[int]:
    """The servers of sessions that come one after the other and stay."""
    return [connected(servers, now).server for _ in range(count)]


def fail(servers: Selection, server: int, now: float, times: int = 1) -> list[bool]:
    others = [index for index in range(10) if index != server]
    return [servers.failed(begun(servers, now, others), now) for _ in range(times)]


class TestFailover:
    def test_all_connections_go_to_the_first(self) -> None:
        assert picks(selection((1, 1, 1)), 5) == [0] * 5

    def test_one_client_that_it_failed_is_given_the_next(self) -> None:
        assert begun(selection((1, 1, 1)), tried=[0]).server == 1

    def test_a_server_that_is_full_is_passed_over(self) -> None:
        assert picks(selection(max_connections=2), 4) == [0, 0, 1, 1]

    def test_the_first_gets_its_share_back_bit_by_bit(self) -> None:
        """It came back at 10: at 15 it gets half, at 20 all."""
        servers = selection(ejection_time=10, slow_start=10)
        fail(servers, 0, 0, 3)
        assert connected(servers, 10).server == 0
        shares = [Counter(picks(servers, 100, now))[0] for now in (10, 15, 20)]
        assert shares == pytest.approx([10, 50, 100], abs=1)


class TestRoundRobin:
    def test_servers_take_turns(self) -> None:
        assert picks(selection((1, 1, 1), "round_robin"), 6) == [0, 1, 2, 0, 1, 2]

    def test_a_heavy_server_does_not_get_its_share_in_one_go(self) -> None:
        assert picks(selection((5, 1, 1), "round_robin"), 7) == [0, 0, 1, 0, 2, 0, 0]

    @given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 60))
    def test_after_any_number_of_turns_each_has_its_share(self, weights: list[int], count: int) -> None:
        counted = Counter(picks(selection(weights, "round_robin"), count))
        for server, weight in enumerate(weights):
            assert abs(counted[server] - count * weight / sum(weights)) < len(weights)

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 3))
    def test_after_whole_rounds_the_shares_are_exact(self, weights: list[int], rounds: int) -> None:
        counted = Counter(picks(selection(weights, "round_robin"), sum(weights) * rounds))
        assert [counted[server] for server in range(len(weights))] == [weight * rounds for weight in weights]

    def test_one_that_returns_gets_a_tenth_first_and_its_whole_share_later(self) -> None:
        servers = selection((1, 1), "round_robin", ejection_time=10, slow_start=10)
        fail(servers, 0, 0, 3)
        assert fail(servers, 0, 10) == [False]
        connection = begun(servers, 30, [1])
        servers.opened(connection)
        assert servers.proved(connection, 30)
        assert Counter(picks(servers, 110, 30))[0] == 10
        assert Counter(picks(servers, 100, 40))[0] == 50


class TestLeastConnections:
    def test_the_one_with_the_fewest_gets_the_next(self) -> None:
        servers = selection((1, 1, 1), "least_connections")
        first, second, _ = (connected(servers) for _ in range(3))
        servers.closed(second)
        assert connected(servers).server == second.server
        servers.closed(first)
        assert connected(servers).server == first.server

    def test_attempts_under_way_count(self) -> None:
        servers = selection((1, 1), "least_connections")
        assert {begun(servers).server, begun(servers).server} == {0, 1}

    def test_kept_connections_do_not_count(self) -> None:
        servers = selection((1, 1), "least_connections")
        connections = [connected(servers) for _ in range(4)]
        for connection in connections:
            if connection.server == 0:
                servers.parked(connection)
        assert connected(servers).server == 0

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 100))
    def test_loads_are_as_the_weights(self, weights: list[int], count: int) -> None:
        counted = Counter(picks(selection(weights, "least_connections"), count))
        loads = [counted[server] / weight for server, weight in enumerate(weights)]
        assert max(loads) - min(loads) <= 1


class TestLimits:
    def test_where_all_are_full_something_may_come_free(self) -> None:
        servers = selection((1, 1), max_connections=1)
        first, second = connected(servers), connected(servers)
        assert servers.begin(0) is NoServer.BUSY
        servers.closed(second)
        assert begun(servers).server == second.server
        assert servers.connections(first.server) == 1

    def test_an_attempt_that_is_given_up_makes_room(self) -> None:
        servers = selection((1,), max_connections=1)
        attempt = begun(servers)
        assert servers.begin(0) is NoServer.BUSY
        servers.abandoned(attempt)
        assert begun(servers)

    def test_a_connection_that_is_kept_can_be_used_at_the_limit(self) -> None:
        servers = selection((1,), max_connections=1)
        servers.parked(connected(servers))
        assert servers.connections(0) == 1
        servers.reused(begun(servers))
        assert servers.begin(0) is NoServer.BUSY
        assert servers.connections(0) == 1

    def test_a_client_that_every_server_failed_gets_none(self) -> None:
        assert selection((1, 1)).begin(0, [0, 1]) is NoServer.NONE


class TestEjection:
    def test_it_takes_failures_in_a_row(self) -> None:
        servers = selection((1,), max_failures=3)
        assert fail(servers, 0, 0, 2) == [False, False]
        connected(servers)
        assert fail(servers, 0, 0, 3) == [False, False, True]
        assert servers.standing(0) is Standing.EJECTED

    def test_it_takes_failures_close_together(self) -> None:
        servers = selection(max_failures=3, ejection_time=10)
        assert [*fail(servers, 0, 0), *fail(servers, 0, 6), *fail(servers, 0, 12)] == [False] * 3
        assert fail(servers, 0, 15) == [True]

    def test_with_no_limit_there_is_no_ejection(self) -> None:
        assert not any(fail(selection(max_failures=0), 0, 0, 100))

    def test_attempts_that_began_before_it_do_not_prolong_it(self) -> None:
        servers = selection(max_failures=1, ejection_time=10)
        attempts = [begun(servers) for _ in range(5)]
        assert [servers.failed(attempt, now) for now, attempt in enumerate(attempts)] == [True, *[False] * 4]
        assert begun(servers, 10).server == 0

    def test_a_connection_that_began_before_it_does_not_end_it(self) -> None:
        servers = selection(max_failures=1, ejection_time=10)
        early = begun(servers)
        fail(servers, 0, 0)
        servers.opened(early)
        assert not servers.proved(early, 1)
        assert servers.standing(0) is Standing.EJECTED

    def test_one_client_at_a_time_tries_whether_it_is_back(self) -> None:
        servers = selection(max_failures=1, ejection_time=10)
        fail(servers, 0, 0)
        assert begun(servers, 9.9).server == 1
        probe = begun(servers, 10)
        assert probe.server == 0
        assert {begun(servers, 10).server for _ in range(5)} == {1}
        servers.opened(probe)
        assert servers.proved(probe, 11)
        assert servers.standing(0) is Standing.RETURNING

    def test_each_time_in_a_row_is_twice_as_long_up_to_a_limit(self) -> None:
        servers = selection((1, 1), max_failures=1, ejection_time=10)
        now, lengths = 0.0, []
        fail(servers, 0, now)
        for _ in range(8):
            length = next(
                length for length in range(1000) if servers._is_due(servers._servers[0], now + length)
            )
            lengths.append(length)
            now += length
            assert fail(servers, 0, now) == [False]
        assert lengths == [10, 20, 40, 80, 160, 300, 300, 300]
        assert max(lengths) == MAX_EJECTION

    def test_one_that_stayed_up_starts_again_with_a_short_one(self) -> None:
        servers = selection(max_failures=1, ejection_time=10, slow_start=10)
        fail(servers, 0, 0)
        fail(servers, 0, 10)
        assert connected(servers, 30).server == 0
        assert connected(servers, 40).server == 0
        fail(servers, 0, 40)
        assert begun(servers, 50).server == 0

    def test_one_that_returns_and_fails_is_ejected_for_longer(self) -> None:
        servers = selection(max_failures=1, ejection_time=10, slow_start=10)
        fail(servers, 0, 0)
        assert connected(servers, 10).server == 0
        assert fail(servers, 0, 11) == [True]
        assert begun(servers, 30.9).server == 1
        assert begun(servers, 31).server == 0

    def test_a_server_that_returns_is_not_flooded(self) -> None:
        """Attempts under way: one, then as many as succeeded and one."""
        servers = selection((1,), max_failures=1, ejection_time=10)
        fail(servers, 0, 0)
        allowed = []
        for _ in range(4):
            attempts = []
            while isinstance(attempt := servers.begin(10), Attempt):
                attempts.append(attempt)
            allowed.append(len(attempts))
            for attempt in attempts:
                servers.opened(attempt)
                servers.proved(attempt, 10)
        assert allowed == [1, 2, 4, 8]


class TestLastResort:
    def test_an_ejected_server_is_tried_when_no_other_is_left(self) -> None:
        servers = selection((1, 1), max_failures=1)
        fail(servers, 0, 0)
        fail(servers, 1, 1)
        first = begun(servers, 2)
        assert first.server == 0, "whose time is over first"
        assert begun(servers, 2).server == 1
        assert servers.begin(2) is NoServer.BUSY, "one attempt at a time"
        servers.opened(first)
        assert servers.proved(first, 2)
        assert begun(servers, 2).server == 0

    def test_it_is_tried_for_a_client_that_the_others_failed(self) -> None:
        servers = selection((1, 1), max_failures=1)
        fail(servers, 0, 0)
        assert begun(servers, 1, tried=[1]).server == 0

    def test_its_failures_do_not_prolong_the_ejection(self) -> None:
        servers = selection((1,), max_failures=1, ejection_time=10)
        fail(servers, 0, 0)
        for now in range(1, 10):
            assert fail(servers, 0, now) == [False]
        assert servers._is_due(servers._servers[0], 10)

    def test_a_server_that_is_down_comes_after_one_that_is_ejected(self) -> None:
        servers = selection((1, 1), max_failures=1)
        servers.checked(0, 0, fit=False)
        fail(servers, 1, 0)
        assert [begun(servers, 1).server, begun(servers, 1).server] == [1, 0]


class TestBlame:
    """Servers that take connections and then do nothing with them."""

    def test_it_ejects_although_connections_succeed(self) -> None:
        servers = selection((1,), max_failures=2)
        connections = [connected(servers) for _ in range(2)]
        assert [servers.blamed(connection, 0) for connection in connections] == [False, True]

    def test_a_session_that_went_well_clears_it(self) -> None:
        servers = selection((1,), max_failures=2)
        first, good, second = (connected(servers) for _ in range(3))
        assert not servers.blamed(first, 0)
        servers.closed(first, blamed=True)
        servers.closed(good)
        assert not servers.blamed(second, 0)

    def test_so_does_a_connection_that_is_kept(self) -> None:
        servers = selection((1,), max_failures=2)
        first, good, second = (connected(servers) for _ in range(3))
        servers.blamed(first, 0)
        servers.parked(good)
        assert not servers.blamed(second, 0)

    def test_a_server_tried_after_its_ejection_is_ejected_again_by_it(self) -> None:
        servers = selection((1, 1), max_failures=1, ejection_time=10)
        fail(servers, 0, 0)
        attempt = begun(servers, 10)
        servers.opened(attempt)
        assert not servers.blamed(attempt, 10)
        assert begun(servers, 29).server == 1


class TestChecks:
    def test_a_server_that_is_down_gets_nothing(self) -> None:
        servers = selection((1, 1))
        assert servers.checked(0, 0, fit=False)
        assert not servers.checked(0, 1, fit=False)
        assert picks(servers, 3, 1000) == [1, 1, 1]

    def test_it_returns_slowly_once_a_check_finds_it_fit(self) -> None:
        servers = selection((1, 1), "round_robin")
        servers.checked(0, 0, fit=False)
        assert servers.checked(0, 1, fit=True)
        assert servers.standing(0) is Standing.RETURNING

    def test_sessions_do_not_bring_it_back(self) -> None:
        servers = selection((1,))
        servers.checked(0, 0, fit=False)
        connected(servers)
        assert servers.standing(0) is Standing.DOWN
        assert not any(fail(servers, 0, 0, 9))

    def test_a_check_does_not_end_an_ejection(self) -> None:
        """It may fail in a way that the check doesn't see."""
        servers = selection(max_failures=1)
        fail(servers, 0, 0)
        assert not servers.checked(0, 1, fit=True)
        assert servers.standing(0) is Standing.EJECTED

    def test_one_that_is_ejected_and_then_down_is_gone_once(self) -> None:
        servers = selection(max_failures=1)
        assert fail(servers, 0, 0) == [True]
        assert not servers.checked(0, 1, fit=False)
        assert servers.checked(0, 2, fit=True)


class Servers(RuleBasedStateMachine):
    """Whatever happens in whatever order, what is promised holds."""

    @initialize(
        weights=st.lists(st.integers(1, 5), min_size=1, max_size=4),
        policy=st.sampled_from(SelectionPolicy),
        max_connections=st.integers(0, 3),
        max_failures=st.integers(0, 3),
        slow_start=st.sampled_from([0.0, 10.0]),
    )
    def start(self, weights: list[int], **rules: Any) -> None:
        self.rules = SelectionRules(ejection_time=10, **rules)
        self.servers = Selection(weights, self.rules)
        self.count = len(weights)
        self.now = 0.0
        self.attempts: list[Attempt] = []
        self.connections: list[Attempt] = []
        self.kept: list[int] = []

    def due(self, server: int) -> bool:
        return self.servers._is_due(self.servers._servers[server], self.now)

    @rule(tried=st.sets(st.integers(0, 3)))
    def begin(self, tried: set[int]) -> None:
        attempt = self.servers.begin(self.now, tried)
        untried = set(range(self.count)) - tried
        if attempt is NoServer.NONE:
            assert not untried
        elif attempt is NoServer.BUSY:
            assert untried
            assert self.attempts or self.connections or self.kept
        else:
            assert attempt.server in untried
            well = {
                server
                for server in untried
                if self.servers.standing(server) in (Standing.UP, Standing.RETURNING)
            }
            if attempt.server not in well:
                assert self.due(attempt.server) or not well, "no ejected server while another is up"
                under_way = [each.server for each in self.attempts]
                assert attempt.server not in under_way, "one at a time"
            self.attempts.append(attempt)
            if attempt.server in self.kept:
                self.kept.remove(attempt.server)
                self.attempts.remove(attempt)
                self.servers.reused(attempt)
                self.connections.append(attempt)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), outcome=st.sampled_from(["opened", "opened", "failed", "abandoned"]))
    def end_attempt(self, data: st.DataObject, outcome: str) -> None:
        attempt = self.attempts.pop(data.draw(st.integers(0, len(self.attempts) - 1)))
        before = self.servers.standing(attempt.server)
        if outcome == "opened":
            self.servers.opened(attempt)
            self.connections.append(attempt)
            came_back = self.servers.proved(attempt, self.now)
            assert came_back == (
                before is Standing.EJECTED and self.servers.standing(attempt.server) is Standing.RETURNING
            )
        elif outcome == "failed":
            ejected = self.servers.failed(attempt, self.now)
            gone = self.servers.standing(attempt.server) is Standing.EJECTED
            assert ejected == (gone and before is not Standing.EJECTED)
        else:
            self.servers.abandoned(attempt)

    @precondition(lambda self: self.connections)
    @rule(data=st.data(), outcome=st.sampled_from(["closed", "blamed", "parked"]))
    def end_connection(self, data: st.DataObject, outcome: str) -> None:
        connection = self.connections.pop(data.draw(st.integers(0, len(self.connections) - 1)))
        if outcome == "parked":
            self.servers.parked(connection)
            self.kept.append(connection.server)
        else:
            if outcome == "blamed":
                self.servers.blamed(connection, self.now)
            self.servers.closed(connection, blamed=outcome == "blamed")

    @precondition(lambda self: self.kept)
    @rule()
    def drop(self) -> None:
        self.servers.dropped(self.kept.pop())

    @rule(server=st.integers(0, 3), fit=st.booleans())
    def check(self, server: int, fit: bool) -> None:
        if server < self.count:
            before = self.servers.standing(server)
            changed = self.servers.checked(server, self.now, fit=fit)
            after = self.servers.standing(server)
            gone = {Standing.EJECTED, Standing.DOWN}
            assert changed == ((before in gone) != (after in gone))

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 10.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_are_what_was_told(self) -> None:
        for server in range(getattr(self, "count", 0)):
            under_way = sum(each.server == server for each in self.attempts)
            at_work = sum(each.server == server for each in self.connections)
            kept = self.kept.count(server)
            assert self.servers.connections(server) == under_way + at_work + kept
            limit = self.rules.max_connections
            assert not limit or self.servers.connections(server) <= limit


TestServers = Servers.TestCase


@pytest.mark.parametrize("policy", list(SelectionPolicy))
def test_a_backend_with_one_server_uses_it(policy: SelectionPolicy) -> None:
    assert picks(selection((1,), policy.value), 3) == [0, 0, 0]
