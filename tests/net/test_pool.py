"""Idle connections, and what makes them useless."""

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.transports import RecordingTransport
from tlsproxy.errors import TlsRecordError
from tlsproxy.net.leg import Leg
from tlsproxy.net.pool import MAX_AGE, IdlePool
from tlsproxy.policy.handshakes import Outcome


class World:
    def __init__(self, limit: int = 3) -> None:
        self.clock = Clock()
        self.dropped: list[int] = []
        self.pool = IdlePool(self.clock, limit=limit, timeout=4, dropped=self.dropped.append)

    def leg(self) -> Leg:
        """One that is up, and whose owner doesn't listen any more."""
        leg = Leg(Deaf(), self.clock, lambda _: None)
        leg.makeConnection(RecordingTransport())
        return leg

    def kept(self, server: int = 0, since: float = 0.0) -> Leg:
        leg = self.leg()
        assert self.pool.keep(leg, server, since)
        return leg

    def taken(self, server: int = 0) -> Leg | None:
        found = self.pool.take(server)
        return None if found is None else found[0]


class Deaf:
    def __getattr__(self, name: str) -> object:
        return lambda *_: None


@pytest.fixture
def world() -> World:
    return World()


def is_closed(leg: Leg) -> bool:
    transport = leg.transport
    assert isinstance(transport, RecordingTransport)
    return transport.half_closed or transport.closed


def test_what_is_kept_can_be_taken_once(world: World) -> None:
    leg = world.kept(since=7)
    assert world.pool.take(0) == (leg, 7)
    assert world.pool.take(0) is None
    assert world.dropped == []
    world.clock.advance(4)
    assert world.clock.getDelayedCalls() == []


def test_each_server_has_its_own(world: World) -> None:
    first, second = world.kept(0), world.kept(1)
    assert world.taken(1) is second
    assert world.taken(1) is None
    assert world.taken(0) is first


def test_the_one_that_was_used_last_is_taken_first(world: World) -> None:
    """The others get to the end of their time: as few are kept as are needed."""
    first, second = world.kept(), world.kept()
    assert [world.taken(), world.taken()] == [second, first]


def test_one_is_kept_for_its_time(world: World) -> None:
    early = world.kept(0)
    world.clock.advance(3)
    late = world.kept(1)
    world.clock.advance(1)
    assert (is_closed(early), is_closed(late)) == (True, False)
    assert world.dropped == [0]
    world.clock.advance(3)
    assert is_closed(late)
    assert world.dropped == [0, 1]
    assert len(world.pool) == 0


def test_several_whose_time_is_over_go_together(world: World) -> None:
    for _ in range(3):
        world.kept()
    world.clock.advance(4)
    assert world.dropped == [0, 0, 0]
    world.clock.advance(10)
    assert world.clock.getDelayedCalls() == []


def test_one_too_many_takes_the_place_of_the_oldest(world: World) -> None:
    first, *_ = (world.kept(server) for server in range(4))
    assert is_closed(first)
    assert world.dropped == [0]
    assert len(world.pool) == 3


def test_without_room_for_any_none_is_kept() -> None:
    world = World(limit=0)
    leg = world.leg()
    assert not world.pool.keep(leg, 0, 0.0)
    assert not is_closed(leg)


@pytest.mark.parametrize("end", ["readConnectionLost", "lost"])
def test_one_that_has_ended_is_not_kept(world: World, end: str) -> None:
    leg = world.leg()
    if end == "lost":
        leg.connectionLost(Failure(ConnectionLost()))
    else:
        leg.readConnectionLost()
    assert not world.pool.keep(leg, 0, 0.0)


def test_nor_one_that_is_old(world: World) -> None:
    world.clock.advance(MAX_AGE)
    assert not world.pool.keep(world.leg(), 0, 0.0)
    assert world.pool.keep(world.leg(), 0, 0.1)


class TestUnexpected:
    """Whatever happens on an idle connection makes it useless."""

    def discarded(self, world: World, leg: Leg) -> None:
        assert world.taken() is None
        assert world.dropped == [0]
        assert is_closed(leg) or leg.lost

    def test_bytes(self, world: World) -> None:
        leg = world.kept()
        leg.dataReceived(b"HTTP/1.1 408 Request Timeout\r\n")
        self.discarded(world, leg)
        leg.dataReceived(b"more")
        assert world.dropped == [0]

    def test_an_end(self, world: World) -> None:
        leg = world.kept()
        leg.readConnectionLost()
        self.discarded(world, leg)

    def test_a_reset(self, world: World) -> None:
        leg = world.kept()
        leg.connectionLost(Failure(ConnectionLost()))
        self.discarded(world, leg)

    def test_a_refusal_of_tls(self, world: World) -> None:
        leg = world.kept()
        leg.owner.leg_renegotiation_attempted(leg, 1, Outcome.CLOSED)
        leg.owner.leg_refused(leg, TlsRecordError("broken"))
        self.discarded(world, leg)

    def test_an_exception(self, world: World) -> None:
        leg = world.kept()
        leg.owner.leg_faulted(leg, Failure(ZeroDivisionError()))
        self.discarded(world, leg)


def test_one_can_be_dropped_to_make_room_the_oldest_first(world: World) -> None:
    first, second, other = world.kept(0), world.kept(0), world.kept(1)
    world.pool.drop(0)
    assert (is_closed(first), is_closed(second), is_closed(other)) == (True, False, False)
    world.pool.drop(2)
    assert world.dropped == [0]


def test_when_it_is_closed_all_go_and_none_comes(world: World) -> None:
    legs = [world.kept(server) for server in range(3)]
    world.pool.close()
    assert all(map(is_closed, legs))
    assert world.dropped == [0, 1, 2]
    assert not world.pool.keep(world.leg(), 0, 0.0)
