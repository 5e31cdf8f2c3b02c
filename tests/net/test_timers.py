"""tlsproxy.net.timers: deadlines that share the reactor's calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import AlreadyCalled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from zope.interface.verify import verifyObject

from tlsproxy.net.timers import GRAIN, SHORTEST, CoarseClock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coarse(clock: Clock) -> CoarseClock:
    return CoarseClock(clock)


def test_it_is_a_clock_as_twisted_has_them(coarse: CoarseClock) -> None:
    assert verifyObject(IReactorTime, coarse)
    assert verifyObject(IDelayedCall, coarse.callLater(5, print))


@given(began=st.floats(0, 2e9), delay=st.floats(SHORTEST, 1e5))
def test_a_deadline_is_never_early_and_hardly_late(began: float, delay: float) -> None:
    clock, times = Clock(), list[float]()
    clock.rightNow = began
    coarse = CoarseClock(clock)
    coarse.callLater(delay, lambda: times.append(clock.seconds()))
    clock.advance(delay - 0.001)
    assert times == []
    clock.advance(GRAIN + 0.002)
    assert len(times) == 1
    assert times[0] >= began + delay - 0.001


def test_a_short_delay_is_kept_to_the_moment(clock: Clock, coarse: CoarseClock) -> None:
    calls: list[str] = []
    coarse.callLater(0.3, calls.append, "now")
    clock.advance(0.3)
    assert calls == ["now"]


def test_those_due_together_share_a_call_of_the_reactor(clock: Clock, coarse: CoarseClock) -> None:
    calls: list[int] = []
    for number in range(100):
        coarse.callLater(5, calls.append, number)
    assert len(clock.getDelayedCalls()) == 1
    assert len(coarse.getDelayedCalls()) == 100
    clock.advance(5 + GRAIN)
    assert sorted(calls) == list(range(100))
    assert not clock.getDelayedCalls()


def test_one_that_is_given_up_is_not_called(clock: Clock, coarse: CoarseClock) -> None:
    calls: list[str] = []
    deadline = coarse.callLater(5, calls.append, "late")
    assert deadline.active()
    deadline.cancel()
    assert not deadline.active()
    with pytest.raises(AlreadyCalled):
        deadline.cancel()
    clock.advance(6)
    assert calls == []


def test_one_may_give_up_another_that_is_due_with_it(clock: Clock, coarse: CoarseClock) -> None:
    calls: list[str] = []

    def first() -> None:
        calls.append("first")
        if second.active():
            second.cancel()

    def last() -> None:
        calls.append("second")
        if deadline.active():
            deadline.cancel()

    deadline = coarse.callLater(5, first)
    second = coarse.callLater(5, last)
    clock.advance(6)
    assert len(calls) == 1


def test_one_that_is_called_is_not_active_any_more(clock: Clock, coarse: CoarseClock) -> None:
    states: list[bool] = []
    deadline = coarse.callLater(5, lambda: states.append(deadline.active()))
    clock.advance(6)
    assert states == [False]


def test_a_deadline_can_be_put_off(clock: Clock, coarse: CoarseClock) -> None:
    times: list[float] = []
    deadline = coarse.callLater(5, lambda: times.append(clock.seconds()))
    clock.advance(4)
    deadline.reset(5)
    assert deadline.getTime() == 9
    deadline.delay(1)
    assert deadline.getTime() == 10
    clock.pump([1] * 5)
    assert times == []
    clock.advance(1 + GRAIN)
    assert len(times) == 1


def test_a_fault_in_one_does_not_keep_the_others_from_being_called(clock: Clock, coarse: CoarseClock) -> None:
    calls: list[str] = []
    events: list[LogEvent] = []
    for _ in range(2):
        coarse.callLater(5, lambda: 1 // 0)
        coarse.callLater(5, calls.append, "called")
    globalLogPublisher.addObserver(events.append)
    try:
        clock.advance(6)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert calls == ["called"] * 2
    assert len([event for event in events if "log_failure" in event]) == 2
