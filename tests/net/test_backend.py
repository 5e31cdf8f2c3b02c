"""A session's wait for a connection: server after server, in the queue, and what is kept."""

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.task import Clock

from tests.net.servers import Dialled, FakeDialer
from tests.net.test_names import NameServer
from tlsproxy.config.addresses import TcpAddress
from tlsproxy.config.backend import Backend, BackendTls, Server
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.identity.client import ClientAddress, normalized_address
from tlsproxy.net.backend import BackendConnection, BackendConnector, Connecting, ConnectionRequest
from tlsproxy.net.dialing import SHORTAGE
from tlsproxy.net.transparent import TransparentReactor
from tlsproxy.notes import BackendReached, BackendServerDown, BackendServerUp, Note
from tlsproxy.policy.selection import SelectionPolicy, ServerLoad, Standing

CLIENT = ClientAddress(normalized_address("192.0.2.7"), 51234)
A, B = "192.0.2.10:25", "192.0.2.11:25"
GREETING = b"220 old.example\r\n"


class Reactor(Clock):
    """A clock that also has a resolver."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver: IHostnameResolver = NameServer()


class User:
    """Remembers what it was told. Stands for a session, as owner of its leg too."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.connection: BackendConnection | None = None
        self.received = b""

    def backend_attempt_failed(self, server: str, detail: str) -> None:
        self.told.append(("failed", server, detail))

    def backend_full(self, detail: str) -> None:
        self.told.append(("full", detail))

    def backend_connected(self, connection: BackendConnection) -> None:
        self.told.append(("connected", connection.server))
        self.connection = connection
        owner: Any = self
        connection.leg.owner = owner
        connection.leg.deliver = self.deliver

    def backend_unavailable(self, detail: str) -> None:
        self.told.append(("unavailable", detail))

    def deliver(self, data: bytes) -> None:
        self.received += data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("leg_"):
            return lambda *_: None
        raise AttributeError(name)

    @property
    def connected(self) -> BackendConnection:
        assert self.connection is not None
        return self.connection

    @property
    def server(self) -> str | None:
        return self.connection.server if self.connection is not None else None


class World:
    """A backend with servers in memory."""

    def __init__(self, servers: int = 2, **options: Any) -> None:
        addresses = (TcpAddress("192.0.2.10", 25), TcpAddress("192.0.2.11", 25))[:servers]
        backend = Backend(
            name="mail",
            servers=tuple(Server(address=address) for address in addresses),
            **options,
        )
        self.reactor = Reactor()
        self.notes: list[Note] = []
        """What is logged."""
        self.reached: list[BackendReached] = []
        self.connector = BackendConnector(backend, self.reactor, notify=self.take_note)
        self.dialers = [FakeDialer() for _ in addresses]
        desk: Any = self.connector._desk
        desk.servers = tuple(
            evolve(server, dialer=dialer) for server, dialer in zip(desk.servers, self.dialers, strict=True)
        )
        for checker, server in zip(self.connector._checkers, desk.servers, strict=False):
            checker._server = server
        self.desk = desk

    def take_note(self, note: Note) -> None:
        if isinstance(note, BackendReached):
            self.reached.append(note)
        else:
            self.notes.append(note)

    def connect(self, **request: Any) -> tuple[User, Connecting]:
        user = User()
        return user, self.connector.connect(user, ConnectionRequest(client=CLIENT, **request))

    def user(self, **request: Any) -> User:
        return self.connect(**request)[0]

    def connected(self, server: int = 0, **request: Any) -> User:
        user = self.user(**request)
        if user.connection is None:
            self.last(server).connects()
        return user

    def last(self, server: int = 0) -> Dialled:
        return self.dialers[server].dialled[-1]

    @property
    def attempts(self) -> list[int]:
        """Connections that each server was asked for."""
        return [len(dialer.dialled) for dialer in self.dialers]

    def connections(self, server: int = 0) -> int:
        count = self.desk.selection.connections(server)
        assert isinstance(count, int)
        return count

    @property
    def noted(self) -> list[tuple[str, str]]:
        return [
            (note.event, note.server)
            for note in self.notes
            if isinstance(note, BackendServerDown | BackendServerUp)
        ]


class TestServers:
    def test_the_first_is_reached(self) -> None:
        world = World()
        user = world.connected()
        assert user.told == [("connected", A)]
        assert world.attempts == [1, 0]
        assert not user.connected.reused
        assert world.reactor.getDelayedCalls() == []

    def test_the_next_is_tried_within_one_wait(self) -> None:
        world = World()
        user = world.user()
        world.last(0).fails("connection refused")
        world.last(1).connects()
        assert user.told == [("failed", A, "connection refused"), ("connected", B)]

    def test_where_all_fail_the_last_reason_is_told(self) -> None:
        world = World()
        user = world.user()
        world.last(0).fails("connection refused")
        world.last(1).fails("no route to host")
        assert user.told[-1] == ("unavailable", f"{B}: no route to host")
        assert world.reactor.getDelayedCalls() == []
        assert (world.connections(0), world.connections(1)) == (0, 0)

    def test_one_that_hangs_costs_its_time_alone(self) -> None:
        world = World(connect_timeout=5)
        user = world.user()
        world.reactor.advance(5)
        assert user.told == [("failed", A, "no connection within 5 s")]
        world.last(1).connects()
        assert user.server == B

    def test_the_whole_wait_has_its_time(self) -> None:
        world = World(connect_timeout=5, connect_deadline=8)
        user = world.user()
        world.reactor.pump([5, 3])
        assert user.told[-1] == (
            "unavailable",
            f"no server within 8 s ({A}: no connection within 5 s)",
        )
        assert world.last(1).cancelled
        assert world.reactor.getDelayedCalls() == []

    def test_one_that_had_its_time_when_the_wait_ended_failed(self) -> None:
        world = World(connect_timeout=5, greeting_timeout=30, connect_deadline=8, max_failures=1)
        user = world.user(smtp=True)
        world.last(0).connects()
        world.reactor.advance(8)
        assert user.told == [
            ("failed", A, "no session came about in time"),
            ("unavailable", f"no server within 8 s ({A}: no session came about in time)"),
        ]
        assert world.noted == [("backend_server_down", A)]

    def test_nothing_is_told_of_a_wait_that_was_given_up(self) -> None:
        world = World()
        user, connecting = world.connect()
        connecting.cancel()
        connecting.cancel()
        assert world.last(0).cancelled
        assert user.told == []
        assert world.connections() == 0
        assert world.reactor.getDelayedCalls() == []

    def test_a_client_that_loses_patience_is_nothing_against_the_server(self) -> None:
        world = World(max_failures=1, connect_timeout=1)
        user, connecting = world.connect(smtp=True)
        world.last().connects()
        world.reactor.advance(20)
        connecting.cancel()
        assert user.told == []
        assert world.notes == []
        assert world.connections() == 0

    def test_a_connection_is_counted_until_it_is_gone(self) -> None:
        world = World()
        world.connected()
        assert world.connections() == 1
        world.last().closes()
        assert world.connections() == 0


class TestTelling:
    """What the metrics and the status page are told."""

    def test_a_connection_and_how_long_it_took(self) -> None:
        world = World(keepalive_connections=1)
        user = world.user()
        world.reactor.advance(0.5)
        world.last().connects()
        user.connected.release()
        world.user()
        assert world.reached == [
            BackendReached(backend="mail", server=A, duration=0.5, reused=False),
            BackendReached(backend="mail", server=A, duration=0.0, reused=True),
        ]

    def test_a_server_that_failed_costs_none_of_the_next_one_s_time(self) -> None:
        world = World()
        world.user()
        world.reactor.advance(2)
        world.last(0).fails("connection refused")
        world.reactor.advance(0.5)
        world.last(1).connects()
        assert world.reached == [BackendReached(backend="mail", server=B, duration=0.5, reused=False)]

    def test_how_each_server_is(self) -> None:
        world = World(max_failures=1, keepalive_connections=1, max_connections=1)
        world.user()
        world.last(0).fails("connection refused")
        world.last(1).connects()
        world.user()
        told = [(each.address, each.standing, each.load) for each in world.connector.servers]
        assert told == [
            (A, Standing.EJECTED, ServerLoad(busy=0, idle=0, pending=0)),
            (B, Standing.UP, ServerLoad(busy=1, idle=0, pending=0)),
        ]
        assert world.connector.waiting == 1


class TestOutages:
    def test_a_shortage_on_this_machine_is_no_server_s_fault(self) -> None:
        world = World(max_failures=1)
        user = world.user()
        world.last(0).fails(SHORTAGE)
        assert user.told == [("failed", A, SHORTAGE)]
        assert world.noted == []

    def test_a_server_that_fails_is_out_and_comes_back(self) -> None:
        world = World(max_failures=2, ejection_time=10)
        for _ in range(2):
            world.user()
            world.last(0).fails("connection refused")
            world.last(1).connects()
        assert world.noted == [("backend_server_down", A)]
        assert world.notes[0] == BackendServerDown(backend="mail", server=A, detail="connection refused")
        world.connected(1)
        assert world.attempts == [2, 3]
        world.reactor.advance(10)
        assert world.connected().server == A
        assert world.noted == [("backend_server_down", A), ("backend_server_up", A)]

    def test_one_that_takes_connections_and_fails_sessions_is_out_too(self) -> None:
        world = World(max_failures=2)
        for _ in range(2):
            world.connected().connected.blame("no response within 60 s")
        assert world.notes == [BackendServerDown(backend="mail", server=A, detail="no response within 60 s")]
        assert world.connected(1).server == B

    def test_sessions_that_end_well_in_between_clear_it(self) -> None:
        world = World(max_failures=2)
        world.connected().connected.blame("slow")
        world.connected()
        world.last().closes()
        world.connected().connected.blame("slow")
        assert world.noted == []


class TestGreeting:
    def test_what_the_server_said_comes_after_the_connection(self) -> None:
        world = World()
        user = world.user(smtp=True)
        world.last().connects()
        assert user.told == []
        world.last().says(GREETING)
        assert user.told == [("connected", A)]
        assert user.received == GREETING

    def test_one_that_hangs_is_passed_over(self) -> None:
        world = World(greeting_timeout=30)
        user = world.user(smtp=True)
        world.last(0).connects()
        world.reactor.advance(30)
        world.last(1).connects()
        world.last(1).says(GREETING)
        assert user.told == [("failed", A, "no greeting within 30 s"), ("connected", B)]

    def test_so_is_one_that_turns_away(self) -> None:
        world = World()
        user = world.user(smtp=True)
        world.last(0).connects()
        world.last(0).says(b"421 too busy\r\n")
        assert world.last(0).transport.half_closed
        world.last(1).connects()
        world.last(1).says(GREETING)
        assert user.told == [("failed", A, "greeting 421 too busy"), ("connected", B)]
        assert user.received == GREETING

    def test_the_last_one_s_refusal_is_the_client_s(self) -> None:
        world = World(servers=1, max_failures=2)
        for _ in range(2):
            user = world.user(smtp=True)
            world.last().connects()
            world.last().says(b"554 no service\r\n")
            assert user.told == [("connected", A)]
            assert user.received == b"554 no service\r\n"
        assert world.notes == [BackendServerDown(backend="mail", server=A, detail="greeting 554 no service")]

    @pytest.mark.parametrize("identity", [IdentityMode.NONE, IdentityMode.TRANSPARENT])
    def test_it_is_not_where_starttls_is_wanted(self, identity: IdentityMode) -> None:
        """What the client says then would go on in plaintext."""
        world = World(servers=1, tls=BackendTls.STARTTLS, identity=identity)
        user = world.user(smtp=True)
        world.last().connects()
        world.last().says(b"554 no service\r\n")
        assert user.told == [
            ("failed", A, "greeting 554 no service"),
            ("unavailable", f"{A}: greeting 554 no service"),
        ]

    def test_a_refusal_of_the_client_s_own_address_is_the_client_s(self) -> None:
        world = World(identity=IdentityMode.TRANSPARENT)
        user = world.user(smtp=True)
        world.last(0).connects()
        world.last(0).says(b"554 not you\r\n")
        assert user.told == [("connected", A)]
        assert world.attempts == [1, 0]

    @pytest.mark.parametrize("identity", [IdentityMode.PROXY_V1, IdentityMode.PROXY_V2])
    def test_none_is_waited_for_where_the_front_speaks_first(self, identity: IdentityMode) -> None:
        world = World(identity=identity)
        assert world.connected(smtp=True).server == A


class TestQueue:
    def full(self, **options: Any) -> tuple[World, User]:
        """A server with all the connections that it may have."""
        world = World(servers=1, max_connections=1, **options)
        return world, world.connected()

    def test_who_finds_no_room_waits_for_it(self) -> None:
        world, _ = self.full()
        first, second = world.user(), world.user()
        assert world.attempts == [1]
        world.last().closes()
        world.last().connects()
        assert (first.server, second.server) == (A, None)

    def test_not_for_long(self) -> None:
        world, _ = self.full(queue_timeout=3)
        user = world.user()
        world.reactor.advance(3)
        detail = "every server is full: no room within 3 s"
        assert user.told == [("full", detail), ("unavailable", detail)]
        assert world.desk.queue == {}

    def test_not_too_many(self) -> None:
        world, _ = self.full(queue_size=1)
        world.user()
        detail = "every server is full: the queue is full (1)"
        assert world.user().told == [("full", detail), ("unavailable", detail)]

    def test_who_waits_while_another_tries_the_only_server_is_told_so(self) -> None:
        world = World(servers=1, max_failures=1, queue_size=0)
        world.user()
        world.last().fails()
        world.user()
        detail = "no server is up, and others try: the queue is full (0)"
        assert world.user().told == [("full", detail), ("unavailable", detail)]

    def test_who_goes_away_leaves_the_queue(self) -> None:
        world, _ = self.full()
        _, connecting = world.connect()
        other = world.user()
        connecting.cancel()
        world.last().closes()
        world.last().connects()
        assert other.server == A

    def test_an_attempt_that_fails_makes_room_as_well(self) -> None:
        world = World(servers=1, max_connections=1)
        first, second = world.user(), world.user()
        world.last().fails()
        assert first.told[-1] == ("unavailable", f"{A}: connection refused")
        world.last().connects()
        assert second.server == A

    def test_so_does_one_that_is_given_up(self) -> None:
        world = World(servers=1, max_connections=1)
        _, connecting = world.connect()
        second = world.user()
        connecting.cancel()
        world.last().connects()
        assert second.server == A

    def test_who_has_tried_all_servers_does_not_hold_up_the_others(self) -> None:
        world = World(max_connections=1)
        world.connected(0)
        refused = world.user()
        world.last(1).fails("connection refused")
        assert refused.told == [("failed", B, "connection refused")], "and waits for the first server"
        other = world.user()
        world.last(1).connects()
        assert other.server == B

    def test_those_that_wait_for_a_server_to_return_come_to_it_bit_by_bit(self) -> None:
        world = World(servers=1, max_failures=1)
        world.user()
        world.last().fails()
        users = [world.user() for _ in range(7)]
        begun = []
        for _ in range(3):
            under_way = world.dialers[0].dialled[sum(begun) + 1 :]
            begun.append(len(under_way))
            for each in under_way:
                each.connects()
        assert begun == [1, 2, 4]
        assert all(user.server == A for user in users)

    def test_the_time_in_the_queue_is_part_of_the_wait(self) -> None:
        world, _ = self.full(queue_timeout=20, connect_deadline=8)
        user = world.user()
        world.reactor.advance(8)
        assert user.told == [("unavailable", "no server within 8 s")]
        assert world.desk.queue == {}


class TestKeeping:
    def released(self, **options: Any) -> World:
        """A backend with one connection that is kept."""
        world = World(**options)
        world.connected().connected.release()
        return world

    def test_a_connection_given_back_is_the_next_session_s(self) -> None:
        world = self.released()
        user = world.user()
        assert user.told == [("connected", A)]
        assert user.connected.reused
        assert world.attempts == [1, 0]
        world.last().says(b"HTTP/1.1 200 OK\r\n")
        assert user.received == b"HTTP/1.1 200 OK\r\n"
        world.last().closes()
        assert world.connections() == 0

    def test_it_is_read_again_whatever_held_it_up(self) -> None:
        world = World()
        user = world.connected()
        user.connected.leg.pauseProducing()
        user.connected.release()
        assert world.last().transport.reading
        assert world.last().transport.producer is None

    def test_who_wants_a_fresh_one_gets_it(self) -> None:
        world = self.released()
        user = world.connected(fresh=True)
        assert not user.connected.reused
        assert world.attempts == [2, 0]
        assert world.connections() == 2

    def test_and_room_is_made_for_it(self) -> None:
        world = self.released(servers=1, max_connections=1)
        user = world.user(fresh=True)
        assert world.dialers[0].dialled[0].transport.half_closed
        world.last().connects()
        assert not user.connected.reused
        assert world.connections() == 1

    def test_one_that_waits_in_the_queue_gets_it_at_once(self) -> None:
        world = World(servers=1, max_connections=1)
        first = world.connected()
        second = world.user()
        first.connected.release()
        assert second.connected.reused

    def test_one_that_is_closed_meanwhile_is_not_used(self) -> None:
        world = self.released()
        world.last().finishes()
        assert world.connections() == 0
        assert not world.connected().connected.reused

    @pytest.mark.parametrize(
        "options",
        [
            {"keepalive_connections": 0},
            {"identity": IdentityMode.PROXY_V2},
            {"identity": IdentityMode.TRANSPARENT},
        ],
    )
    def test_what_is_one_client_s_or_too_many_is_closed(self, options: dict[str, Any]) -> None:
        world = self.released(**options)
        assert world.last().transport.half_closed
        world.last().closes()
        assert world.connections() == 0

    def test_so_is_one_to_a_server_that_is_out(self) -> None:
        world = World(max_failures=1)
        user = world.connected()
        user.connected.blame("odd")
        user.connected.release()
        assert world.last().transport.half_closed

    def test_the_policy_decides_whose_is_used(self) -> None:
        world = World(policy=SelectionPolicy.ROUND_ROBIN)
        for server in (0, 1):
            world.connected(server).connected.release()
        assert [world.user().server for _ in range(2)] == [A, B]
        assert world.attempts == [1, 1]

    def test_when_the_connector_stops_none_is_kept(self) -> None:
        world = self.released()
        user = world.user()
        world.connector.stop()
        user.connected.release()
        assert world.last().transport.half_closed


class TestTransparent:
    """Connections that come from the client's own address."""

    def test_they_are_opened_by_a_reactor_of_the_client_s(self) -> None:
        world = World(identity=IdentityMode.TRANSPARENT)
        world.user()
        assert isinstance(world.last().reactor, TransparentReactor)

    def test_others_are_not(self) -> None:
        world = World()
        world.user()
        assert world.last().reactor is None

    def test_a_client_that_can_t_be_connected_is_not_held_against_a_server(self) -> None:
        world = World(servers=1, identity=IdentityMode.TRANSPARENT, max_failures=1)
        user = world.user()
        world.last().reactor.refused = True
        world.last().fails("an IPv6 client can't come there")
        assert user.told[-1] == ("unavailable", f"{A}: an IPv6 client can't come there")
        assert world.noted == []
        world.user()
        world.last().fails()
        assert world.noted == [("backend_server_down", A)]
