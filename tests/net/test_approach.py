"""The way to one server."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.net.servers import Addressed, Dialled, FakeDialer
from tests.support.certificates import Authority
from tests.tls.conftest import STREAM
from tlsproxy.config.addresses import TcpAddress
from tlsproxy.config.backend import Backend, BackendTls, Server
from tlsproxy.config.settings import Settings
from tlsproxy.fronts.smtp_opening import SmtpOpening
from tlsproxy.net.approach import Approach, Approaching, BackendServer
from tlsproxy.net.leg import Leg
from tlsproxy.policy.protocols import TlsProtocols
from tlsproxy.tls.client import client_context
from tlsproxy.tls.contexts import ContextStore
from tlsproxy.tls.engine import Engine

NAME = "mx.example.org"
GREETING = b"220 old.example ESMTP\r\n"


class World:
    """An approach, its server in memory, and what its user was told."""

    def __init__(
        self,
        authority: Authority,
        tls: BackendTls = BackendTls.NONE,
        plan: Approaching | None = None,
        **options: Any,
    ) -> None:
        self.authority = authority
        self.clock = Clock()
        self.dialer = FakeDialer()
        self.told: list[tuple[str, bytes | str]] = []
        self.leg: Leg | None = None
        context = None
        if tls is not BackendTls.NONE:
            backend = Backend(
                name="x",
                servers=(Server(address=TcpAddress(NAME, 25)),),
                tls=tls,
                tls_ca=str(authority.path),
                **options,
            )
            context = client_context(backend)
        dialer: Any = self.dialer
        server = BackendServer(
            address=f"{NAME}:25",
            dialer=dialer,
            tls=tls,
            context=context,
            name=NAME,
            connect_timeout=5,
            greeting_timeout=30,
        )
        self.approach = Approach(server, self, self.clock, plan or Approaching())
        self.approach.start()

    @property
    def server(self) -> Dialled:
        return self.dialer.dialled[0]

    def engine(self, *names: str) -> Engine:
        issued = self.authority.issue(*names)
        settings = Settings(tls_certificate=(str(issued.chain_path),), tls_key=(str(issued.key_path),))
        return Engine(
            ContextStore().server_context(settings, STREAM).new_connection(),
            protocols=settings.tls_protocols,
            policy=settings.handshake_policy,
        )

    def approach_succeeded(self, leg: Leg, said: bytes) -> None:
        self.leg = leg
        self.told.append(("succeeded", said))

    def approach_turned_away(self, leg: Leg, said: bytes, detail: str) -> None:
        self.leg = leg
        self.told.append(("turned away", detail))

    def approach_failed(self, detail: str) -> None:
        self.told.append(("failed", detail))

    def is_over(self) -> bool:
        """No timer runs, and the connection is closed or somebody's."""
        closing = self.server.transport.half_closed or self.server.cancelled
        return bool(self.told) and (closing or self.leg is not None)


SMTP = Approaching(smtp=True, hostname="proxy.example")


class TestPlaintext:
    def test_a_connection_is_enough_where_nothing_is_said_first(self, authority: Authority) -> None:
        world = World(authority)
        world.server.connects()
        assert world.told == [("succeeded", b"")]
        assert world.clock.getDelayedCalls() == []

    def test_a_header_goes_first(self, authority: Authority) -> None:
        world = World(authority, plan=Approaching(header=lambda own, server: f"{own} {server} ".encode()))
        world.server.transport = Addressed()
        world.server.connects()
        assert world.server.hears() == b"192.0.2.1:40000 192.0.2.10:80 "
        assert world.told == [("succeeded", b"")]

    def test_a_failure_is_told(self, authority: Authority) -> None:
        world = World(authority)
        world.server.fails("connection refused")
        assert world.told == [("failed", "connection refused")]
        assert world.clock.getDelayedCalls() == []

    def test_a_connection_has_its_time(self, authority: Authority) -> None:
        world = World(authority)
        world.clock.advance(5)
        assert world.told == [("failed", "no connection within 5 s")]
        assert world.server.cancelled

    def test_nothing_is_told_of_what_was_given_up(self, authority: Authority) -> None:
        world = World(authority)
        world.approach.cancel()
        world.approach.cancel()
        assert world.server.cancelled
        world.server.connects()
        assert world.server.transport.aborted
        world.server.resets()
        assert world.told == []
        assert world.clock.getDelayedCalls() == []


class TestGreeting:
    def test_an_smtp_server_has_to_greet(self, authority: Authority) -> None:
        world = World(authority, plan=SMTP)
        world.server.connects()
        assert world.told == []
        world.server.says(GREETING[:5])
        world.server.says(GREETING[5:])
        assert world.told == [("succeeded", GREETING)]
        assert world.clock.getDelayedCalls() == []

    def test_it_has_more_time_for_that_than_for_the_connection(self, authority: Authority) -> None:
        world = World(authority, plan=SMTP)
        world.server.connects()
        world.clock.advance(29)
        assert world.told == []
        world.clock.advance(1)
        assert world.told == [("failed", "no greeting within 30 s")]
        assert world.server.transport.half_closed

    def test_one_that_turns_away_is_told_apart(self, authority: Authority) -> None:
        world = World(authority, plan=SMTP)
        world.server.connects()
        world.server.says(b"421 too busy\r\n")
        assert world.told == [("turned away", "greeting 421 too busy")]
        assert world.clock.getDelayedCalls() == []

    @pytest.mark.parametrize(
        ("end", "detail"),
        [
            ("finishes", "no greeting: the server closed the connection"),
            ("resets", "no greeting: the connection was reset"),
        ],
    )
    def test_one_that_goes_away_failed(self, authority: Authority, end: str, detail: str) -> None:
        world = World(authority, plan=SMTP)
        world.server.connects()
        getattr(world.server, end)()
        assert world.told == [("failed", detail)]

    def test_what_comes_after_the_end_is_not_heard(self, authority: Authority) -> None:
        world = World(authority, plan=SMTP)
        world.server.connects()
        world.server.says(b"SSH-2.0\r\n")
        world.server.says(GREETING)
        world.server.finishes()
        assert [what for what, _ in world.told] == ["failed"]

    def test_an_exception_that_nobody_expected_is_a_failure(
        self, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise ZeroDivisionError("unexpected")

        monkeypatch.setattr(SmtpOpening, "receive", fail)
        world = World(authority, plan=SMTP)
        world.server.connects()
        world.server.says(GREETING)
        assert world.told == [("failed", "internal error: unexpected")]


class TestImplicitTls:
    def test_the_handshake_comes_first(self, authority: Authority) -> None:
        world = World(authority, BackendTls.IMPLICIT)
        world.server.connects()
        assert world.told == []
        world.server.handshakes(world.engine(NAME))
        assert world.told == [("succeeded", b"")]
        assert world.leg is not None
        world.leg.send(b"hello")
        assert world.server.hears() == b"hello"

    def test_the_greeting_comes_in_tls(self, authority: Authority) -> None:
        world = World(authority, BackendTls.IMPLICIT, SMTP)
        world.server.connects()
        world.server.handshakes(world.engine(NAME))
        assert world.told == []
        world.server.says(GREETING)
        assert world.told == [("succeeded", GREETING)]

    def test_a_server_with_another_name_is_not_used(self, authority: Authority) -> None:
        world = World(authority, BackendTls.IMPLICIT, SMTP)
        world.server.connects()
        world.server.handshakes(world.engine("other.example.org"))
        ((what, detail),) = world.told
        assert what == "failed"
        assert (
            detail == "server certificate not verified: it is for 'other.example.org', not for mx.example.org"
        )
        assert world.is_over()

    def test_the_handshake_is_part_of_the_time_to_connect(self, authority: Authority) -> None:
        world = World(authority, BackendTls.IMPLICIT)
        world.clock.advance(3)
        world.server.connects()
        world.clock.advance(2)
        assert world.told == [("failed", "no TLS handshake within 5 s")]
        assert world.is_over()

    def test_a_server_that_speaks_plaintext_is_not_used(self, authority: Authority) -> None:
        world = World(authority, BackendTls.IMPLICIT, SMTP)
        world.server.connects()
        world.server.says(GREETING)
        ((what, detail),) = world.told
        assert what == "failed"
        assert str(detail).startswith("not TLS: the server begins with b'220 old.example")

    def test_one_that_closes_in_the_middle_failed(self, authority: Authority) -> None:
        world = World(authority, BackendTls.IMPLICIT)
        world.server.connects()
        world.server.finishes()
        assert world.told == [("failed", "no TLS handshake: the server closed the connection")]

    def test_a_hello_that_can_not_be_made_failed(self, authority: Authority) -> None:
        options = {"tls_protocols": TlsProtocols.parse("TLSv1.3"), "tls_ciphersuites": ""}
        world = World(authority, BackendTls.IMPLICIT, **options)
        world.server.connects()
        assert world.told == [("failed", "no ciphers available")]
        assert world.is_over()


class TestStarttls:
    OFFER = b"250-old.example\r\n250 STARTTLS\r\n"
    READY = b"220 go on\r\n"

    def greeted(self, authority: Authority) -> World:
        world = World(authority, BackendTls.STARTTLS, SMTP)
        world.server.connects()
        world.server.says(GREETING)
        assert world.server.hears() == b"EHLO proxy.example\r\n"
        return world

    def test_the_leg_is_handed_over_in_tls_with_the_greeting_to_come(self, authority: Authority) -> None:
        world = self.greeted(authority)
        world.server.says(self.OFFER)
        assert world.server.hears() == b"STARTTLS\r\n"
        world.server.says(self.READY)
        world.server.handshakes(world.engine(NAME))
        assert world.told == [("succeeded", GREETING)]
        assert world.clock.getDelayedCalls() == []
        assert world.leg is not None
        world.leg.send(b"EHLO again\r\n")
        assert world.server.hears() == b"EHLO again\r\n"

    def test_a_server_that_does_not_offer_it_is_not_used(self, authority: Authority) -> None:
        world = self.greeted(authority)
        world.server.says(b"250 old.example\r\n")
        assert world.told == [("failed", "STARTTLS isn't offered")]
        assert world.server.hears() == b""
        assert world.is_over()

    def test_plaintext_behind_the_220_ends_it(self, authority: Authority) -> None:
        world = self.greeted(authority)
        world.server.says(self.OFFER)
        world.server.hears()
        world.server.says(self.READY + b"250 injected\r\n")
        ((what, detail),) = world.told
        assert what == "failed"
        assert "CVE-2011-0411" in str(detail)
        assert world.server.hears() == b"", "no ClientHello"

    def test_a_server_with_another_name_is_not_used(self, authority: Authority) -> None:
        world = self.greeted(authority)
        world.server.says(self.OFFER)
        world.server.hears()
        world.server.says(self.READY)
        world.server.handshakes(world.engine("other.example.org"))
        ((what, detail),) = world.told
        assert what == "failed"
        assert "not for mx.example.org" in str(detail)

    @pytest.mark.parametrize(
        ("said", "detail"),
        [
            ([], "no reply to EHLO within 30 s"),
            ([OFFER], "no reply to STARTTLS within 30 s"),
            ([OFFER, READY], "no TLS handshake within 5 s"),
        ],
    )
    def test_each_step_has_its_time(self, authority: Authority, said: list[bytes], detail: str) -> None:
        world = self.greeted(authority)
        for each in said:
            world.clock.advance(29)
            world.server.says(each)
        world.clock.advance(30)
        assert world.told == [("failed", detail)]
        assert world.is_over()


def test_a_hello_request_is_told_to_whoever_owns_the_leg(authority: Authority) -> None:
    class Owner:
        def __init__(self) -> None:
            self.told: list[Any] = []

        def leg_renegotiation_attempted(self, *attempt: Any) -> None:
            self.told.append(attempt)

    world = World(authority, BackendTls.IMPLICIT)
    world.server.connects()
    world.server.handshakes(world.engine(NAME))
    assert world.leg is not None
    owner: Any = Owner()
    world.leg.owner = owner
    assert world.leg.engine is not None
    report = world.leg.engine._on_renegotiation
    assert report is not None
    outcome: Any = object()
    report(1, outcome)
    assert owner.told == [(world.leg, 1, outcome)]
