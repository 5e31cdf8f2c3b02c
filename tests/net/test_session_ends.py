"""Tests for :mod:`tlsproxy.net.session`: how sessions end, and why."""

import pytest
from twisted.python.failure import Failure

from tests.net.test_session import connected, on_client_data, opened
from tests.net.world import World
from tlsproxy.errors import TlsRecordError
from tlsproxy.fronts.commands import (
    CloseSession,
    ConnectBackend,
    SendToBackend,
    SendToClient,
    Splice,
    StartTimer,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendDataReceived,
    BackendLost,
    BackendUnavailable,
    ClientDataReceived,
    DrainRequested,
    Event,
    IdleTimedOut,
    SessionOpened,
    TimerExpired,
)
from tlsproxy.notes import BackendFailed, SessionEnded, SessionFault

IDLE = 600.0
"""Default of ``idle_timeout``."""


def reason(world: World) -> str:
    """Why the session ended, once its sockets are closed."""
    world.lose_all()
    assert world.ended == [world.session]
    assert world.clock.getDelayedCalls() == []
    ended: SessionEnded = world.note(SessionEnded)
    return ended.reason


class TestInOrder:
    def test_both_sides_get_the_last_bytes_and_fin(self) -> None:
        world = connected()
        on_client_data(
            world, SendToBackend(b"QUIT\r\n"), SendToClient(b"221\r\n"), CloseSession("client_quit")
        )
        assert (world.client.written, world.client.state) == (b"221\r\n", "finished")
        assert (world.backend.written, world.backend.state) == (b"QUIT\r\n", "finished")
        assert reason(world) == "client_quit"

    def test_the_first_reason_stays(self) -> None:
        world = opened(CloseSession("first"), CloseSession("second"))
        world.session.close("third")
        assert reason(world) == "first"

    def test_the_front_is_told_nothing_any_more(self) -> None:
        world = connected()
        on_client_data(world, CloseSession("done"))
        told = len(world.front.told)
        world.client.says(b"late")
        world.backend.says(b"late")
        world.backend.finishes()
        world.client.finishes()
        assert len(world.front.told) == told

    def test_who_doesn_t_take_its_last_bytes_is_reset(self) -> None:
        world = connected()
        world.session.close("done")
        world.clock.advance(2.1)
        assert (world.client.state, world.backend.state) == ("aborted", "aborted")

    def test_who_doesn_t_close_is_left(self) -> None:
        world = connected()
        world.session.close("done")
        world.client.all_written()
        world.backend.all_written()
        world.clock.advance(2.1)
        assert (world.client.state, world.backend.state) == ("closed", "closed")

    def test_it_is_over_when_both_sockets_are_closed_and_not_before(self) -> None:
        world = connected()
        world.session.close("done")
        world.client.is_lost()
        assert world.ended == []
        world.backend.is_lost()
        assert reason(world) == "done"

    def test_a_session_without_a_backend_is_over_with_its_client(self) -> None:
        world = opened(CloseSession("refused"))
        world.client.is_lost()
        assert world.ended == [world.session]


class TestResets:
    def test_a_client_that_is_lost_takes_the_backend_with_it(self) -> None:
        """A FIN could be taken for the end of a message by a lenient server."""
        world = connected()
        world.client.is_lost()
        assert world.backend.state == "aborted"
        assert reason(world) == "client_lost"

    def test_a_client_that_had_finished_is_no_reason_to_reset(self) -> None:
        world = connected()
        world.client.finishes()
        world.client.is_lost()
        assert world.backend.state == "finished"
        assert reason(world) == "client_closed"

    def test_the_front_decides_what_follows_from_a_lost_backend(self) -> None:
        world = connected()
        world.front.on(BackendLost, SendToClient(b"421\r\n"), CloseSession("backend_lost"))
        world.backend.is_lost()
        assert (world.client.written, world.client.state) == (b"421\r\n", "finished")
        assert reason(world) == "backend_lost"

    def test_a_client_that_is_lost_after_the_backend_ends_the_session(self) -> None:
        world = connected()
        world.backend.is_lost()
        world.client.is_lost()
        assert reason(world) == "client_lost"

    def test_a_spliced_backend_that_is_lost_ends_the_session(self) -> None:
        world = connected(Splice())
        world.backend.is_lost()
        assert world.client.state == "finished"
        assert reason(world) == "backend_lost"

    def test_a_spliced_backend_that_had_finished_is_delivered(self) -> None:
        world = connected(Splice())
        world.backend.says(b"all of it")
        world.backend.finishes()
        world.backend.is_lost()
        assert (world.client.written, world.client.state) == (b"all of it", "finished")
        assert reason(world) == "backend_closed"

    def test_a_spliced_client_that_is_lost_resets_the_backend(self) -> None:
        world = connected(Splice())
        world.client.is_lost()
        assert world.backend.state == "aborted"
        assert reason(world) == "client_lost"

    def test_a_session_can_be_reset(self) -> None:
        world = connected()
        world.session.abort("shutdown")
        assert (world.client.state, world.backend.state) == ("aborted", "aborted")
        assert reason(world) == "shutdown"

    def test_one_without_a_backend_too(self) -> None:
        world = opened()
        world.session.abort("shutdown")
        assert world.client.state == "aborted"
        assert reason(world) == "shutdown"


class TestBackendTls:
    """What TLS on the backend's connection does not survive."""

    def test_its_failure_is_a_loss_to_the_front_and_the_server_gets_its_alert(self) -> None:
        world = connected()
        world.session.leg_refused(world.connection.leg, TlsRecordError("bad record"))
        assert world.told(BackendLost) == [BackendLost("bad record")]
        assert world.backend.state == "finished"
        assert world.note(BackendFailed).detail == "bad record"
        assert world.client.state == "open"
        assert reason(world) == "client_lost"

    def test_a_spliced_session_ends_with_it(self) -> None:
        world = connected(Splice())
        world.session.leg_refused(world.connection.leg, TlsRecordError("bad record"))
        assert world.client.state == "finished"
        assert reason(world) == "tls_protocol_error"

    def test_the_failure_of_one_that_was_let_go_is_nothing(self) -> None:
        world = connected()
        leg = world.connection.leg
        world.backend.is_lost()
        world.session.leg_refused(leg, TlsRecordError("bad record"))
        assert world.noted(BackendFailed) == []


class TestDraining:
    def test_the_front_is_asked(self) -> None:
        world = opened()
        world.front.on(DrainRequested, SendToClient(b"421\r\n"), CloseSession("draining"))
        world.session.drain()
        assert world.client.written == b"421\r\n"
        assert reason(world) == "draining"

    def test_a_spliced_session_goes_on(self) -> None:
        world = connected(Splice())
        world.session.drain()
        assert world.told(DrainRequested) == []
        assert world.client.state == "open"

    def test_one_that_is_cut_has_a_last_word(self) -> None:
        world = opened()
        world.front.on(DrainRequested)
        world.front.on(DrainRequested, SendToClient(b"421\r\n"))
        world.session.drain()
        assert world.session.cut("shutdown")
        assert (world.client.written, world.client.state) == (b"421\r\n", "finished")
        assert not world.session.cut("again")
        assert reason(world) == "shutdown"

    def test_a_spliced_one_is_cut_in_order(self) -> None:
        world = connected(Splice())
        assert world.session.cut("shutdown")
        assert (world.client.state, world.backend.state) == ("finished", "finished")
        assert world.session.close_timeout == 2.0


class TestFaults:
    """An exception that nobody expected ends one session, in whatever it comes up."""

    @pytest.mark.parametrize(
        "kind",
        [
            SessionOpened,
            ClientDataReceived,
            BackendConnected,
            BackendDataReceived,
            BackendLost,
            TimerExpired,
            IdleTimedOut,
            DrainRequested,
        ],
    )
    def test_in_the_front(self, kind: type[Event]) -> None:
        world = World(idle_timeout=100.0)
        world.front.on(SessionOpened, ConnectBackend(), StartTimer(30))
        if kind is SessionOpened:
            world = World()
        world.front.fail_on(kind)
        world.open()
        if kind is not SessionOpened:
            world.connect()
        if kind is not SessionOpened and kind is not BackendConnected:
            world.client.says(b"x")
        if kind in (BackendDataReceived, BackendLost):
            world.backend.says(b"x")
        if kind is BackendLost:
            world.backend.is_lost()
        if kind is DrainRequested:
            world.session.drain()
        if kind in (TimerExpired, IdleTimedOut):
            world.clock.pump([25.0] * 6)
        assert world.client.state == "aborted"
        note = world.note(SessionFault)
        assert note.detail == "unexpected"
        assert "ZeroDivisionError" in note.traceback
        assert reason(world) == "internal_error"

    def test_when_no_backend_can_be_had(self) -> None:
        world = opened(ConnectBackend())
        world.front.fail_on(BackendUnavailable)
        world.connector.asked[0].user.backend_unavailable("refused")
        assert reason(world) == "internal_error"

    def test_on_a_leg(self) -> None:
        world = connected()
        world.session.leg_faulted(world.connection.leg, Failure(ZeroDivisionError("unexpected")))
        assert (world.client.state, world.backend.state) == ("aborted", "aborted")
        assert reason(world) == "internal_error"

    def test_in_the_middle_of_commands(self) -> None:
        """What was sent before it is sent; what stands behind it isn't carried out."""
        world = opened(SendToClient(b"220\r\n"), Splice(), SendToClient(b"more"))
        assert world.client.written == b"220\r\n"
        assert reason(world) == "internal_error"

    def test_another_session_goes_on(self) -> None:
        other = opened()
        test_fault = opened(Splice())
        assert test_fault.client.state == "aborted"
        other.client.says(b"x")
        assert other.told(ClientDataReceived) == [ClientDataReceived(b"x")]


class TestIdleness:
    def test_a_session_in_which_nothing_moves_ends(self) -> None:
        world = connected()
        world.front.on(IdleTimedOut, SendToClient(b"421\r\n"))
        world.clock.pump([IDLE / 4] * 3)
        assert world.told(IdleTimedOut) == []
        world.clock.advance(IDLE / 4)
        assert world.told(IdleTimedOut) == [IdleTimedOut()]
        assert world.client.written == b"421\r\n"
        assert world.client.state == "finished"
        assert reason(world) == "idle_timeout"

    def test_the_front_may_have_another_word_for_it(self) -> None:
        world = opened()
        world.front.on(IdleTimedOut, CloseSession("backend_timeout"))
        world.clock.pump([IDLE / 4] * 4)
        assert reason(world) == "backend_timeout"

    @pytest.mark.parametrize("moment", [0.1, 74.0, 149.9])
    def test_it_takes_a_quarter_longer_at_most_and_never_less(self, moment: float) -> None:
        """Counted from the last byte, whenever in a quarter that came."""
        world = opened()
        world.clock.advance(IDLE / 4)
        world.clock.advance(moment)
        world.client.says(b"x")
        elapsed = 0.0
        while not world.told(IdleTimedOut):
            world.clock.advance(0.1)
            elapsed += 0.1
        assert IDLE - 0.2 <= elapsed <= IDLE * 5 / 4

    @pytest.mark.parametrize("who", ["client", "backend"])
    def test_bytes_either_way_keep_it(self, who: str) -> None:
        world = connected()
        for _ in range(10):
            world.clock.advance(IDLE / 4)
            if who == "client":
                world.client.says(b"x")
            else:
                world.front.on(BackendDataReceived, SendToClient(b"x"))
                world.backend.says(b"x")
        assert world.told(IdleTimedOut) == []

    def test_a_spliced_session_ends_without_a_word(self) -> None:
        world = connected(Splice())
        world.clock.pump([IDLE / 4] * 4)
        assert world.told(IdleTimedOut) == []
        assert (world.client.state, world.backend.state) == ("finished", "finished")
        assert reason(world) == "idle_timeout"

    def test_a_backend_that_takes_nothing_is_the_one_to_go(self) -> None:
        """The client isn't idle: it waits to be read."""
        world = connected()
        world.backend.producer.pauseProducing()
        world.clock.pump([IDLE / 4] * 4)
        assert world.told(IdleTimedOut) == []
        assert world.backend.state == "aborted"
        assert world.connection.blamed == ["took nothing for 600 s"]
        assert world.note(BackendFailed).detail == "took nothing for 600 s"
        world.front.on(BackendLost, CloseSession("backend_lost"))
        world.backend.is_lost()
        assert reason(world) == "backend_lost"

    def test_a_spliced_backend_that_takes_nothing_ends_the_session(self) -> None:
        world = connected(Splice())
        world.backend.producer.pauseProducing()
        world.clock.pump([IDLE / 4] * 4)
        assert reason(world) == "idle_timeout"

    def test_no_timer_is_left_behind(self) -> None:
        world = opened(StartTimer(5))
        world.client.is_lost()
        assert world.clock.getDelayedCalls() == []
