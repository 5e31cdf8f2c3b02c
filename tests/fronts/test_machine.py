"""Tests for :mod:`tlsproxy.fronts.machine`: when a machine reads, and when it looks at what follows."""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, ClassVar

import pytest

from tlsproxy.fronts.commands import PauseClient, SendToClient
from tlsproxy.fronts.esmtp import EsmtpFront
from tlsproxy.fronts.events import ClientDataReceived, ClientFinished, ClientTooSlow, Event, IdleTimedOut
from tlsproxy.fronts.http import HttpFront
from tlsproxy.fronts.machine import Machine
from tlsproxy.fronts.output import Output


class Mood(Enum):
    COUNTING = auto()
    DEAF = auto()


class Counter(Machine):
    """Answers each byte by its number; ``d`` makes it deaf, ``q`` ends it."""

    def __init__(self) -> None:
        self._ended = False
        self._reading = Mood.COUNTING
        self._out = Output()
        self._bytes = b""
        self._count = 0

    def _data(self, event: ClientDataReceived) -> None:
        self._bytes += event.data

    def _wake(self, _event: ClientFinished) -> None:
        self._reading = Mood.COUNTING

    def _count_byte(self) -> bool:
        if not self._bytes:
            return False
        byte, self._bytes = self._bytes[:1], self._bytes[1:]
        self._count += 1
        self._out.to_client(b"%d" % self._count)
        if byte == b"d":
            self._reading = Mood.DEAF
        self._ended = byte == b"q"
        return True

    def _hear_nothing(self) -> bool:
        return False

    def _after_event(self) -> None:
        self._out.add(PauseClient())

    EVENTS: ClassVar[Mapping[type[Event], Callable[[Any, Any], None]]] = {
        ClientDataReceived: _data,
        ClientFinished: _wake,
    }
    READERS: ClassVar[Mapping[Any, Callable[[Any], bool]]] = {
        Mood.COUNTING: _count_byte,
        Mood.DEAF: _hear_nothing,
    }


def test_everything_that_can_be_read_is_read_before_what_follows_is_looked_at() -> None:
    assert Counter().handle(ClientDataReceived(b"abc")) == [SendToClient(b"123"), PauseClient()]


def test_the_state_decides_after_each_step_who_reads() -> None:
    counter = Counter()
    assert counter.handle(ClientDataReceived(b"adc")) == [SendToClient(b"12"), PauseClient()]
    assert counter.handle(ClientFinished()) == [SendToClient(b"3"), PauseClient()]


def test_one_that_has_ended_reads_nothing_more_and_hears_nothing_more() -> None:
    counter = Counter()
    assert counter.handle(ClientDataReceived(b"aqc")) == [SendToClient(b"12")]
    assert counter.handle(ClientDataReceived(b"d")) == ()


def test_an_event_that_it_does_not_know_is_a_fault() -> None:
    with pytest.raises(KeyError):
        Counter().handle(IdleTimedOut())


@pytest.mark.parametrize("machine", [EsmtpFront, HttpFront])
def test_every_state_has_its_reader_and_every_end_is_known(machine: type[Machine]) -> None:
    states: type[Enum] = type(next(iter(machine.READERS)))
    assert set(machine.READERS) == set(states)
    assert {IdleTimedOut, ClientTooSlow, ClientFinished} <= set(machine.EVENTS)
