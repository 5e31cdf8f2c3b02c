"""Active checks of a backend's servers."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.net.servers import Addressed, Dialled, FakeDialer
from tests.net.test_backend import A, B, World
from tlsproxy.config.addresses import TcpAddress
from tlsproxy.config.backend import Backend, BackendTls, HealthCheck, Server
from tlsproxy.config.declaration import StatusRange
from tlsproxy.errors import TlsRecordError
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.identity.proxy_header import LOCAL_V2
from tlsproxy.net.approach import BackendServer
from tlsproxy.net.health import Checker
from tlsproxy.notes import BackendServerDown, BackendServerUp


class Checked:
    """A server in memory, its checker, and what that found."""

    def __init__(self, check: HealthCheck, **options: Any) -> None:
        self.clock = Clock()
        self.dialer = FakeDialer()
        self.found: list[tuple[bool, str]] = []
        backend = Backend(
            name="x",
            servers=(Server(address=TcpAddress("192.0.2.10", 80)),),
            health_check=check,
            health_check_interval=10,
            health_check_timeout=4,
            **options,
        )
        dialer: Any = self.dialer
        server = BackendServer(
            address="192.0.2.10:80",
            dialer=dialer,
            tls=BackendTls.NONE,
            context=None,
            name="",
            connect_timeout=5,
            greeting_timeout=30,
        )
        self.checker = Checker(server, backend, self.clock, lambda fit, why: self.found.append((fit, why)))
        self.checker.start()

    @property
    def server(self) -> Dialled:
        return self.dialer.dialled[-1]

    def connects(self) -> Dialled:
        self.server.connects()
        return self.server

    def fails_twice(self) -> str:
        """Why, if the second check fails as the first did."""
        assert self.found == [], "one alone means nothing"
        self.clock.advance(10)
        self.server.fails("connection refused")
        ((fit, why),) = self.found
        assert not fit
        return why


class TestTcp:
    def test_a_connection_is_enough(self) -> None:
        checked = Checked(HealthCheck.TCP)
        server = checked.connects()
        assert checked.found == [(True, "health check: ")]
        assert server.hears() == b""
        assert server.transport.half_closed

    def test_no_connection_is_a_failure(self) -> None:
        checked = Checked(HealthCheck.TCP)
        checked.server.fails("connection refused")
        assert checked.fails_twice() == "health check: connection refused"

    def test_checks_come_at_the_interval(self) -> None:
        checked = Checked(HealthCheck.TCP)
        for _ in range(3):
            checked.connects()
            checked.clock.advance(10)
        assert len(checked.dialer.dialled) == 4

    def test_one_that_hangs_is_given_up_in_time(self) -> None:
        checked = Checked(HealthCheck.TCP)
        checked.clock.advance(4)
        assert checked.server.cancelled
        checked.clock.advance(6)
        checked.clock.advance(4)
        assert checked.found == [(False, "health check: no answer within 4 s")]

    def test_a_server_that_stays_down_is_told_once(self) -> None:
        checked = Checked(HealthCheck.TCP)
        for _ in range(5):
            checked.server.fails("connection refused")
            checked.clock.advance(10)
        assert len(checked.found) == 1
        checked.connects()
        assert [fit for fit, _ in checked.found] == [False, True]

    def test_a_success_in_between_begins_the_count_anew(self) -> None:
        checked = Checked(HealthCheck.TCP)
        for fails in (True, False, True, False):
            checked.server.fails() if fails else checked.server.connects()
            checked.clock.advance(10)
        assert [fit for fit, _ in checked.found] == [True, True]

    def test_when_it_is_stopped_nothing_goes_on(self) -> None:
        checked = Checked(HealthCheck.TCP)
        checked.checker.stop()
        assert checked.server.cancelled
        assert checked.clock.getDelayedCalls() == []
        assert checked.found == []


class TestSmtp:
    def test_a_greeting_is_answered_with_quit(self) -> None:
        checked = Checked(HealthCheck.SMTP)
        server = checked.connects()
        server.says(b"220 mail.example\r\n")
        assert checked.found == [(True, "health check: ")]
        assert server.hears() == b"QUIT\r\n"
        assert server.transport.half_closed

    def test_another_greeting_is_a_failure_and_politely_answered_too(self) -> None:
        checked = Checked(HealthCheck.SMTP)
        server = checked.connects()
        server.says(b"421 closing\r\n")
        assert server.hears() == b"QUIT\r\n"
        checked.clock.advance(10)
        checked.connects().says(b"421 closing\r\n")
        assert checked.found == [(False, "health check: greeting 421 closing")]

    def test_no_greeting_is_a_failure(self) -> None:
        checked = Checked(HealthCheck.SMTP)
        server = checked.connects()
        checked.clock.advance(4)
        assert server.transport.half_closed
        assert server.hears() == b""

    def test_a_server_behind_a_proxy_header_is_told_that_it_is_us(self) -> None:
        for identity, header in (
            (IdentityMode.PROXY_V1, b"PROXY TCP4 192.0.2.1 192.0.2.10 40000 80\r\n"),
            (IdentityMode.PROXY_V2, LOCAL_V2),
        ):
            checked = Checked(HealthCheck.SMTP, identity=identity)
            checked.server.transport = Addressed()
            assert checked.connects().hears() == header
            checked.server.says(b"220 mail.example\r\n")
            assert checked.found[0][0]


class TestHttp:
    def asked(self, **options: Any) -> Checked:
        checked = Checked(HealthCheck.HTTP, **options)
        assert checked.connects().hears().startswith(b"GET / HTTP/1.1\r\nHost: 192.0.2.10:80\r\n")
        return checked

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (b"HTTP/1.1 200 OK\r\n", ""),
            (b"HTTP/1.1 302 Found\r\n", ""),
            (b"HTTP/1.1 503 Service Unavailable\r\n", "status 503"),
            (b"HTTP/1.1 404 Not Found\r\n", "status 404"),
            (b"220 mail.example\r\n", "what it answers is no HTTP"),
        ],
    )
    def test_the_status_counts(self, answer: bytes, why: str) -> None:
        checked = self.asked()
        checked.server.says(answer)
        assert checked.server.transport.half_closed
        if why:
            assert checked.found == []
            checked.clock.advance(10)
            checked.connects().says(answer)
        assert checked.found == [(not why, f"health check: {why}")]

    def test_which_ones_are_good_is_said(self) -> None:
        checked = self.asked(health_check_status=StatusRange(404, 404))
        checked.server.says(b"HTTP/1.1 404 Not Found\r\n")
        assert checked.found == [(True, "health check: ")]

    def test_an_answer_in_pieces_is_waited_for(self) -> None:
        checked = self.asked()
        checked.server.says(b"HTTP/1.")
        assert checked.found == []
        checked.server.says(b"1 200 OK\r\n")
        checked.server.says(b"Content-Length: 0\r\n\r\n")
        assert checked.found == [(True, "health check: ")]

    @pytest.mark.parametrize("end", ["finishes", "resets"])
    def test_none_is_a_failure(self, end: str) -> None:
        checked = self.asked()
        getattr(checked.server, end)()
        checked.clock.advance(10)
        getattr(checked.connects(), end)()
        ((fit, why),) = checked.found
        assert not fit
        assert why.startswith("health check: no answer: the ")

    def test_so_is_what_goes_wrong_in_tls_or_with_us(self) -> None:
        checked = self.asked()
        leg = checked.server.protocol
        leg.owner.leg_refused(leg, TlsRecordError("broken"))
        checked.clock.advance(10)
        checked.connects()
        leg = checked.server.protocol
        leg.owner.leg_faulted(leg, Failure(ZeroDivisionError("odd")))
        assert checked.found == [(False, "health check: internal error: odd")]


class TestBackend:
    """What checks mean for sessions."""

    @pytest.fixture
    def world(self) -> World:
        world = World(health_check=HealthCheck.TCP, slow_start=0)
        world.connector.start()
        return world

    def fail_checks(self, world: World, *servers: int) -> None:
        for _ in range(2):
            for server, _ in enumerate(world.dialers):
                check = world.last(server)
                check.fails("connection refused") if server in servers else check.connects()
            world.reactor.advance(10)

    def test_a_server_that_fails_gets_no_sessions_until_it_passes(self, world: World) -> None:
        self.fail_checks(world, 0)
        assert world.notes == [
            BackendServerDown(backend="mail", server=A, detail="health check: connection refused")
        ]
        check = world.last(0)
        assert world.connected(1).server == B
        check.connects()
        assert world.notes[1:] == [BackendServerUp(backend="mail", server=A)]
        assert world.connected(0).server == A

    def test_who_waits_for_room_gets_it_at_a_server_that_passes(self) -> None:
        world = World(max_connections=1, health_check=HealthCheck.TCP)
        world.connector.start()
        self.fail_checks(world, 0)
        check = world.last(0)
        world.connected(1)
        resort = world.user()
        waiting = world.user()
        check.connects()
        world.last(0).connects()
        assert (resort.server, waiting.server) == (A, None)

    def test_when_the_connector_stops_so_do_the_checks(self, world: World) -> None:
        world.connector.stop()
        assert all(dialer.dialled[-1].cancelled for dialer in world.dialers)
        assert world.reactor.getDelayedCalls() == []
