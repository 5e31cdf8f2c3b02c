"""Tests for tlsproxy.service.backoff."""

from tlsproxy.service.backoff import HEALTHY, LONGEST, Backoff


def test_the_first_death_is_made_good_at_once_and_those_that_follow_later_and_later() -> None:
    backoff = Backoff()
    assert [backoff.died(0.1) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_process_that_ran_for_a_while_is_given_credit() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.died(1)
    assert backoff.died(HEALTHY) == 0
    assert backoff.died(HEALTHY - 1) == 1


def test_no_number_of_deaths_is_too_large() -> None:
    backoff = Backoff()
    assert max(backoff.died(0) for _ in range(100_000)) == LONGEST
