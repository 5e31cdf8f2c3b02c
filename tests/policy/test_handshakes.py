"""Tests for :mod:`tlsproxy.policy.handshakes`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.policy.handshakes import HandshakePolicy, KeyUpdateBudget, Outcome, RenegotiationAction

ALLOWED, WARNED, CLOSED = Outcome.ALLOWED, Outcome.WARNED, Outcome.CLOSED


def outcomes(policy: HandshakePolicy, attempts: int) -> list[Outcome]:
    return [policy.renegotiation_outcome(attempt) for attempt in range(1, attempts + 1)]


def test_the_first_attempt_closes_by_default() -> None:
    assert outcomes(HandshakePolicy(), 4) == [CLOSED] * 4


def test_warn_keeps_the_connection_up_to_the_limit() -> None:
    policy = HandshakePolicy(renegotiation_action=RenegotiationAction.WARN)
    assert outcomes(policy, 5) == [WARNED, WARNED, WARNED, CLOSED, CLOSED]


@pytest.mark.parametrize("action", RenegotiationAction)
def test_allowed_renegotiations_end_at_the_limit_whatever_the_action(action: RenegotiationAction) -> None:
    policy = HandshakePolicy(allow_renegotiation=True, renegotiation_action=action, renegotiation_limit=2)
    assert outcomes(policy, 4) == [ALLOWED, ALLOWED, CLOSED, CLOSED]


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize("action", RenegotiationAction)
def test_a_limit_of_zero_closes_at_the_first_attempt(allow: bool, action: RenegotiationAction) -> None:
    policy = HandshakePolicy(allow_renegotiation=allow, renegotiation_action=action, renegotiation_limit=0)
    assert outcomes(policy, 1) == [CLOSED]


@given(st.booleans(), st.sampled_from(RenegotiationAction), st.integers(0, 1000), st.integers(1, 2000))
def test_once_closed_stays_closed(allow: bool, action: RenegotiationAction, limit: int, attempt: int) -> None:
    policy = HandshakePolicy(allow, action, limit)
    if policy.renegotiation_outcome(attempt) is CLOSED:
        assert policy.renegotiation_outcome(attempt + 1) is CLOSED


def test_a_budget_of_zero_takes_no_message() -> None:
    budget = KeyUpdateBudget(0)
    assert budget.spend(0, 1.0)
    assert not budget.spend(1, 1.0)


def test_a_burst_of_the_limit_is_taken_and_one_more_is_not() -> None:
    budget = KeyUpdateBudget(32)
    assert budget.spend(32, 5.0)
    assert not budget.spend(1, 5.999)


def test_a_burst_above_the_limit_is_refused_at_once() -> None:
    assert not KeyUpdateBudget(32).spend(2000, 5.0)


def test_messages_are_forgotten_after_a_second_each_on_its_own() -> None:
    budget = KeyUpdateBudget(2)
    assert budget.spend(1, 10.0)
    assert budget.spend(1, 10.75)
    assert not budget.spend(1, 10.99)
    assert budget.spend(1, 11.0)
    assert not budget.spend(1, 11.5)
    assert budget.spend(1, 11.75)


def test_a_peer_that_keeps_to_the_limit_is_never_refused() -> None:
    budget = KeyUpdateBudget(4)
    assert all(budget.spend(1, quarter / 4) for quarter in range(1000))


# Times in 1/16 s: exact in binary, so that the sliding second has no rounding of its own.
@given(st.integers(0, 5), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=40))
def test_no_second_holds_more_than_the_limit(limit: int, arrivals: list[tuple[int, int]]) -> None:
    budget = KeyUpdateBudget(limit)
    now = 0
    messages: list[int] = []
    for step, count in arrivals:
        now += step
        accepted = budget.spend(count, now / 16)
        messages += [now] * count
        assert accepted is (sum(now - 16 < moment <= now for moment in messages) <= limit)
        if not accepted:
            return
