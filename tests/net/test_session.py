"""Tests for :mod:`tlsproxy.net.session`: what a front is told, and what its commands do."""

from typing import Any

import pytest

from tests.net.world import CLIENT, LOCAL, SERVER, World
from tlsproxy.fronts.commands import (
    AbortBackend,
    BeginRequest,
    CloseSession,
    Command,
    ConnectBackend,
    DisconnectBackend,
    FinishBackend,
    LogRequest,
    PauseClient,
    ReleaseBackend,
    Report,
    ResumeClient,
    SendToBackend,
    SendToClient,
    Splice,
    StartTimer,
    StartTls,
    StopTimer,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendDataReceived,
    BackendFinished,
    BackendLost,
    BackendUnavailable,
    ClientDataReceived,
    ClientFinished,
    DrainRequested,
    SessionOpened,
    TimerExpired,
)
from tlsproxy.identity.client import ClientAddress
from tlsproxy.net.leg import Leg
from tlsproxy.notes import (
    BackendFailed,
    BackendFull,
    FrontReported,
    RequestServed,
    SessionEnded,
    SessionStarted,
)


def opened(*commands: Command, **options: Any) -> World:
    """A session whose front answers its beginning with ``commands``."""
    world = World(**options)
    world.front.on(SessionOpened, *commands)
    return world.open()


def connected(*commands: Command, **options: Any) -> World:
    """A session with a backend; its front answers that with ``commands``."""
    world = opened(ConnectBackend(), **options)
    world.front.on(BackendConnected, *commands)
    world.connect()
    return world


def on_client_data(world: World, *commands: Command) -> None:
    """Let the front answer what the client says with ``commands``."""
    world.front.on(ClientDataReceived, *commands)
    world.client.says(b"x")


class TestOpening:
    def test_the_front_is_told_who_connected_to_what(self) -> None:
        world = opened()
        assert world.front.told == [
            SessionOpened(CLIENT, LOCAL, tls_available=False, session=world.session.identifier)
        ]

    def test_what_a_proxy_header_says_the_client_connected_to_counts(self) -> None:
        elsewhere = ClientAddress(CLIENT.ip, 465)
        assert opened(local=elsewhere).told(SessionOpened)[0].local == elsewhere

    def test_it_is_noted_with_its_identifier(self) -> None:
        world = opened()
        note = world.note(SessionStarted)
        assert (note.session, note.client, note.listen, note.kind) == (
            world.session.identifier,
            "192.0.2.7:51234",
            "198.51.100.25:25",
            "esmtp",
        )

    def test_identifiers_are_unique(self) -> None:
        assert World().session.identifier != World().session.identifier

    def test_who_holds_the_sessions_learns_of_it_before_anything_can_end_it(self) -> None:
        world = opened(CloseSession("refused"))
        assert world.opened == [world.session]
        assert world.ended == []

    def test_nothing_comes_before_the_opening_even_where_the_service_stops(self) -> None:
        world = World()
        world.on_opened = lambda session: session.drain()
        world.open()
        assert [type(event) for event in world.front.told] == [SessionOpened, DrainRequested]


class TestClient:
    def test_its_bytes_are_told_as_they_come(self) -> None:
        world = opened()
        world.client.says(b"a")
        world.client.says(b"bc")
        assert world.told(ClientDataReceived) == [ClientDataReceived(b"a"), ClientDataReceived(b"bc")]

    def test_its_end_is_told(self) -> None:
        world = opened()
        world.client.finishes()
        assert world.told(ClientFinished) == [ClientFinished()]
        assert world.client.state == "open"

    def test_it_gets_what_is_sent_in_order(self) -> None:
        world = opened(SendToClient(b"220 "), SendToClient(b"hello\r\n"))
        assert world.client.written == b"220 hello\r\n"

    def test_it_is_not_read_while_the_front_holds_enough(self) -> None:
        world = opened()
        on_client_data(world, PauseClient())
        assert not world.client.reading
        on_client_data(world, ResumeClient())
        assert world.client.reading

    def test_events_that_commands_cause_wait_for_their_turn(self) -> None:
        """A connection that comes up at once is told once the commands beside its own are carried out."""
        world = World()
        world.connector.at_once = lambda _: world.connect() and None
        world.front.on(SessionOpened, ConnectBackend(), SendToClient(b"1"))
        world.front.on(BackendConnected, SendToClient(b"2"))
        world.open()
        assert world.client.written == b"12"


class TestConnecting:
    def test_the_backend_is_told_for_whom(self) -> None:
        world = opened(ConnectBackend(fresh=True), smtp_hostname="proxy.example")
        (asked,) = world.connector.asked
        request = asked.request
        assert (request.client, request.smtp, request.hostname, request.fresh) == (
            CLIENT,
            True,
            "proxy.example",
            True,
        )

    def test_the_client_is_not_read_until_the_connection_is_up(self) -> None:
        world = opened(ConnectBackend())
        assert not world.client.reading
        world.connect()
        assert world.told(BackendConnected) == [BackendConnected(reused=False)]
        assert world.client.reading

    def test_a_connection_that_served_others_is_told_as_such(self) -> None:
        world = opened(ConnectBackend())
        world.connect(reused=True)
        assert world.told(BackendConnected) == [BackendConnected(reused=True)]

    def test_the_client_is_read_again_when_none_comes_up(self) -> None:
        world = opened(ConnectBackend())
        world.connector.asked[0].user.backend_attempt_failed(SERVER, "connection refused")
        assert not world.client.reading
        world.connector.asked[0].user.backend_unavailable("connection refused")
        assert world.told(BackendUnavailable) == [BackendUnavailable("connection refused")]
        assert world.client.reading
        note = world.note(BackendFailed)
        assert (note.backend, note.server, note.detail) == ("old", SERVER, "connection refused")

    def test_want_of_room_is_noted(self) -> None:
        world = opened(ConnectBackend())
        world.connector.asked[0].user.backend_full("every server is full")
        note = world.note(BackendFull)
        assert (note.backend, note.detail) == ("old", "every server is full")

    @pytest.mark.parametrize("command", [DisconnectBackend(), AbortBackend(), ReleaseBackend()])
    def test_it_is_given_up_when_the_front_doesn_t_want_it_any_more(self, command: Command) -> None:
        world = opened(ConnectBackend(), command)
        assert world.connector.asked[0].cancelled
        assert world.client.reading

    def test_the_client_is_not_read_while_the_next_one_is_tried(self) -> None:
        world = opened(ConnectBackend())
        world.front.on(BackendUnavailable, ConnectBackend(fresh=True))
        world.connector.asked[0].user.backend_unavailable("closed at once")
        assert len(world.connector.asked) == 2
        assert not world.client.reading

    def test_the_client_is_not_read_while_the_front_replaces_what_came_up(self) -> None:
        world = opened(ConnectBackend())
        world.front.on(BackendConnected, DisconnectBackend(), ConnectBackend(fresh=True))
        world.connect()
        assert not world.client.reading
        world.connect()
        assert world.client.reading

    def test_a_connection_that_is_refused_at_once_leaves_nothing_behind(self) -> None:
        world = World()
        world.connector.at_once = lambda asked: asked.user.backend_unavailable("queue is full")
        world.front.on(SessionOpened, ConnectBackend())
        world.front.on(BackendUnavailable, CloseSession("backend_unavailable"))
        world.open()
        assert world.client.state == "finished"
        world.lose_all()
        assert world.note(SessionEnded).reason == "backend_unavailable"

    def test_it_is_given_up_when_the_client_goes(self) -> None:
        world = opened(ConnectBackend())
        world.client.is_lost()
        assert world.connector.asked[0].cancelled
        note = world.note(SessionEnded)
        assert (note.reason, note.backend, note.server) == ("client_lost", None, None)

    def test_a_session_that_has_ended_connects_to_nobody(self) -> None:
        """One of the commands for an event may end the session. What is for the log behind it is still logged."""
        world = opened(
            CloseSession("done"), ConnectBackend(), StartTimer(1), Report("smuggling", "said too late")
        )
        assert world.connector.asked == []
        world.lose_all()
        assert world.clock.getDelayedCalls() == []
        assert world.note(FrontReported).detail == "said too late"


class TestBackend:
    def test_it_gets_what_is_sent_in_order(self) -> None:
        world = connected(SendToBackend(b"EHLO "), SendToBackend(b"c\r\n"))
        assert world.backend.written == b"EHLO c\r\n"

    def test_its_bytes_are_told_as_they_come(self) -> None:
        world = connected()
        world.backend.says(b"220 ")
        assert world.told(BackendDataReceived) == [BackendDataReceived(b"220 ")]

    def test_its_end_is_told_and_it_may_still_be_sent_to(self) -> None:
        world = connected()
        world.backend.finishes()
        assert world.told(BackendFinished) == [BackendFinished()]
        on_client_data(world, SendToBackend(b"x"), FinishBackend())
        assert world.backend.written == b"x"
        assert world.backend.state == "closed"

    def test_it_can_be_sent_no_more_and_still_be_heard(self) -> None:
        world = connected(FinishBackend())
        assert world.backend.state == "finished"
        world.backend.says(b"bye")
        assert world.told(BackendDataReceived) == [BackendDataReceived(b"bye")]

    def test_its_loss_is_told(self) -> None:
        world = connected()
        world.backend.is_lost()
        assert world.told(BackendLost) == [BackendLost("the backend reset the connection")]
        assert world.ended == []

    def test_what_is_sent_to_one_that_is_lost_goes_nowhere(self) -> None:
        world = connected()
        world.front.on(BackendLost, SendToBackend(b"x"), FinishBackend(), SendToClient(b"421\r\n"))
        world.backend.is_lost()
        assert world.client.written == b"421\r\n"

    @pytest.mark.parametrize(
        ("command", "state"), [(DisconnectBackend(), "finished"), (AbortBackend(), "aborted")]
    )
    def test_one_that_was_let_go_is_not_heard_any_more(self, command: Command, state: str) -> None:
        world = connected()
        on_client_data(world, command)
        assert world.backend.state == state
        told = len(world.front.told)
        world.backend.says(b"221 bye\r\n")
        world.backend.finishes()
        world.backend.is_lost()
        assert len(world.front.told) == told
        assert world.ended == []

    def test_another_connection_may_follow(self) -> None:
        world = connected()
        first = world.backend
        on_client_data(world, DisconnectBackend(), ConnectBackend())
        assert not world.client.reading
        world.connect()
        world.backend.says(b"220 again")
        first.says(b"221 bye")
        assert world.told(BackendDataReceived) == [BackendDataReceived(b"220 again")]

    def test_a_connection_at_rest_is_given_back(self) -> None:
        world = connected()
        on_client_data(world, ReleaseBackend())
        assert world.connection.released
        assert world.backend.state == "open"
        world.client.is_lost()
        assert world.backend.state == "open"
        assert world.note(SessionEnded).server == SERVER

    @pytest.mark.parametrize("command", [DisconnectBackend(), AbortBackend(), ReleaseBackend()])
    def test_there_need_be_none_to_let_go(self, command: Command) -> None:
        world = opened(command)
        assert world.client.state == "open"

    def test_a_full_write_buffer_pauses_the_other_side(self) -> None:
        world = connected()
        world.backend.producer.pauseProducing()
        assert not world.client.reading
        world.backend.producer.resumeProducing()
        assert world.client.reading
        world.client.producer.pauseProducing()
        assert not world.backend.reading

    @pytest.mark.parametrize("command", [DisconnectBackend(), AbortBackend(), ReleaseBackend()])
    def test_the_client_doesn_t_wait_for_a_connection_that_was_let_go(self, command: Command) -> None:
        world = connected()
        world.backend.producer.pauseProducing()
        world.front.on(BackendDataReceived, command)
        world.backend.says(b"450")
        assert world.client.reading
        assert world.client.producer is None

    @pytest.mark.parametrize("cause", [Leg.PAUSED_BY_CONSUMER, Leg.PAUSED_BY_RENEGOTIATION])
    def test_the_client_doesn_t_wait_for_a_connection_that_was_lost(self, cause: int) -> None:
        world = connected()
        world.session.client.pause(cause)
        world.backend.is_lost()
        assert world.client.reading


class TestSplice:
    def test_bytes_run_both_ways_without_the_front(self) -> None:
        world = connected(Splice())
        world.client.says(b"to the backend")
        world.backend.says(b"to the client")
        assert world.backend.written == b"to the backend"
        assert world.client.written == b"to the client"
        assert world.told(ClientDataReceived) == world.told(BackendDataReceived) == []

    def test_half_closes_run_through(self) -> None:
        world = connected(Splice())
        world.client.finishes()
        assert world.backend.state == "finished"
        world.backend.says(b"the answer")
        world.backend.finishes()
        assert world.client.written == b"the answer"
        assert (world.client.state, world.backend.state) == ("closed", "closed")
        world.lose_all()
        assert world.note(SessionEnded).reason == "client_closed"

    def test_the_side_that_finished_first_is_the_reason(self) -> None:
        world = connected(Splice())
        world.backend.finishes()
        assert world.client.state == "finished"
        world.client.finishes()
        world.lose_all()
        assert world.note(SessionEnded).reason == "backend_closed"

    def test_what_the_front_sent_before_goes_first(self) -> None:
        world = connected(SendToBackend(b"early "), Splice())
        world.client.says(b"late")
        assert world.backend.written == b"early late"

    def test_a_splice_without_a_backend_ends_the_session_and_nothing_else(self) -> None:
        world = opened(Splice())
        assert world.client.state == "aborted"


class TestNotes:
    def test_what_the_front_reports_is_noted(self) -> None:
        note = opened(Report("smuggling", "bare LF")).note(FrontReported)
        assert (note.what, note.detail) == ("smuggling", "bare LF")

    def test_a_request_is_noted_with_its_duration(self) -> None:
        world = opened(BeginRequest())
        world.clock.advance(1.5)
        on_client_data(world, LogRequest("GET", "/", 200, 10, 20))
        note = world.note(RequestServed)
        assert (note.method, note.path, note.status, note.bytes_in, note.bytes_out, note.duration) == (
            "GET",
            "/",
            200,
            10,
            20,
            1.5,
        )

    def test_the_end_is_noted_with_what_moved(self) -> None:
        world = connected(SendToClient(b"220\r\n"))
        world.client.says(b"QUIT\r\n")
        world.clock.advance(2)
        world.session.close("client_quit")
        world.lose_all()
        note = world.note(SessionEnded)
        assert (note.reason, note.kind, note.duration) == ("client_quit", "esmtp", 2.0)
        assert (note.bytes_from_client, note.bytes_to_client) == (6, 5)
        assert (note.backend, note.server, note.version) == ("old", SERVER, None)
        assert world.ended == [world.session]


class TestTimer:
    def test_it_is_told_when_its_time_is_over(self) -> None:
        world = opened(StartTimer(3))
        world.clock.advance(2.9)
        assert world.told(TimerExpired) == []
        world.clock.advance(0.2)
        assert world.told(TimerExpired) == [TimerExpired()]

    def test_there_is_one_which_starts_anew(self) -> None:
        world = opened(StartTimer(3), StartTimer(5))
        world.clock.advance(4)
        assert world.told(TimerExpired) == []
        world.clock.advance(1)
        assert world.told(TimerExpired) == [TimerExpired()]
        on_client_data(world, StartTimer(1))
        world.clock.advance(1)
        assert len(world.told(TimerExpired)) == 2

    def test_it_can_be_stopped(self) -> None:
        world = opened(StartTimer(3), StopTimer(), StopTimer())
        world.clock.advance(4)
        assert world.told(TimerExpired) == []


def test_a_session_without_tls_says_so_and_one_that_asks_for_it_all_the_same_ends() -> None:
    world = opened(StartTls())
    assert world.client.state == "aborted"
