"""Limits in :mod:`tlsproxy.net.session`: handshakes that are one too many, clients that fall behind."""

from typing import Any

import pytest
from attrs import evolve

from tests.net.world import CLIENT, ScriptedFront, TlsClient, World
from tests.support.certificates import Authority
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import KINDS
from tlsproxy.fronts.commands import (
    CloseSession,
    ConnectBackend,
    SendToClient,
    Splice,
    StartTls,
)
from tlsproxy.fronts.events import BackendConnected, ClientTooSlow, SessionOpened, TlsStarted
from tlsproxy.net.session import Session
from tlsproxy.notes import LimitHit, SessionEnded
from tlsproxy.policy.limits import SessionLimits
from tlsproxy.policy.pace import LOOKS, Due
from tlsproxy.tls.contexts import ContextStore, ServerContext


def limits(**options: Any) -> SessionLimits | None:
    return SessionLimits.of(Settings(**options), lambda option: f"listen.{option}")


class Limited(World):
    """A session with limits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        options.pop("context", None)
        self.session._plan = evolve(self.session._plan, limits=limits(**options))

    @property
    def reason(self) -> str:
        self.lose_all()
        reason: str = self.note(SessionEnded).reason
        return reason


@pytest.fixture(scope="module")
def context(authority: Authority) -> ServerContext:
    issued = authority.issue("mx.example.org", stem="session-limits")
    settings = Settings(tls_certificate=(str(issued.chain_path),), tls_key=(str(issued.key_path),))  # type: ignore[arg-type]
    return ContextStore().server_context(settings, KINDS["esmtp"])


class TestHandshakes:
    def spent(self, world: Limited) -> None:
        """The client's peer has had its rate."""
        counter = "handshake_rate_per_peer listen.handshake_rate_per_peer"
        assert CLIENT.ip is not None
        assert world.session._host.counts.spend(counter, int(CLIENT.ip), 1, 0.0)

    def test_one_within_the_rate_goes_on(self, context: ServerContext) -> None:
        world = Limited(context=context, handshake_rate_per_peer=1)
        world.front.on(SessionOpened, StartTls())
        world.open()
        TlsClient(world).exchange()
        assert len(world.told(TlsStarted)) == 1

    def test_one_too_many_ends_before_it_begins(self, context: ServerContext) -> None:
        world = Limited(context=context, handshake_rate_per_peer=1)
        self.spent(world)
        world.front.on(SessionOpened, StartTls())
        world.open()
        assert world.client.state == "finished"
        assert world.client.written == b""
        assert world.session.client.engine is None
        note = world.note(LimitHit)
        assert (note.session, note.limit, note.detail) == (
            world.session.identifier,
            "handshake_rate_per_peer",
            "1, set by listen.handshake_rate_per_peer",
        )
        assert world.reason == "handshake_rate_per_peer"

    def test_a_front_that_asks_is_told_and_nobody_asks_twice(self, context: ServerContext) -> None:
        world = Limited(context=context, handshake_rate_per_peer=1)
        world.open()
        (opened,) = world.told(SessionOpened)
        assert opened.allows_handshake()
        world.front.on(type(world.front.told[0]), StartTls())
        world.session._start_tls(StartTls())
        TlsClient(world).exchange()
        assert len(world.told(TlsStarted)) == 1
        assert world.noted(LimitHit) == []

    def test_a_front_that_is_refused_can_go_on(self, context: ServerContext) -> None:
        world = Limited(context=context, handshake_rate_per_peer=1)
        self.spent(world)
        world.open()
        (opened,) = world.told(SessionOpened)
        assert not opened.allows_handshake()
        assert world.client.state == "open"
        assert world.note(LimitHit).limit == "handshake_rate_per_peer"

    def test_without_a_rate_every_one_is_allowed(self) -> None:
        world = Limited()
        world.open()
        assert world.told(SessionOpened)[0].allows_handshake()


class TestRefusals:
    def test_the_front_of_a_refusal_serves_and_no_place_is_held(self) -> None:
        world = World()
        front = ScriptedFront()
        front.on(SessionOpened, SendToClient(b"421\r\n"), CloseSession("max_sessions"))
        session = Session(world.session._host, world.session._plan, CLIENT, refusal=front)
        session.client.makeConnection(world.client)
        assert world.client.written == b"421\r\n"
        assert session.held is None


class TestPace:
    def test_a_command_that_does_not_come_is_told_and_noted(self) -> None:
        world = Limited(smtp_command_timeout=8.0)
        world.front.on(ClientTooSlow, SendToClient(b"421\r\n"))
        world.open()
        world.front.due = Due.COMMAND
        for _ in range(LOOKS):
            world.clock.advance(1)
            world.client.says(b"x")
            assert world.told(ClientTooSlow) == []
        world.clock.advance(1)
        assert world.told(ClientTooSlow) == [ClientTooSlow("smtp_command_timeout")]
        assert world.client.written == b"421\r\n"
        assert world.note(LimitHit).detail == "no command within 8 s"
        assert world.reason == "smtp_command_timeout"

    def sending(self) -> Limited:
        world = Limited(min_data_rate=100, min_data_rate_window=8.0)
        world.client.__dict__.update(unsent=0, fileno=lambda: 0)
        world.front.on(SessionOpened, ConnectBackend())
        world.open()
        world.connect()
        world.front.due = Due.CONTENT
        return world

    @pytest.fixture(autouse=True)
    def no_queue(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is no kernel."""
        monkeypatch.setattr("tlsproxy.net.leg.untaken", lambda transport: transport.unsent)

    def test_content_that_trickles_is_cut_off(self) -> None:
        world = self.sending()
        for _ in range(LOOKS + 1):
            world.client.says(b"x")
            world.clock.advance(1)
        assert world.told(ClientTooSlow) == [ClientTooSlow("min_data_rate")]
        assert world.note(LimitHit).detail == "less than 100 bytes/s over 8 s"
        assert world.reason == "min_data_rate"

    def test_a_backend_that_takes_nothing_is_not_the_client_s_fault(self) -> None:
        world = self.sending()
        world.clock.advance(1)
        world.backend.producer.pauseProducing()
        world.clock.pump([1.0] * 50)
        assert world.told(ClientTooSlow) == []
        world.backend.producer.resumeProducing()
        world.clock.pump([1.0] * (LOOKS + 1))
        assert world.told(ClientTooSlow) == [ClientTooSlow("min_data_rate")]

    def test_a_pause_between_two_looks_is_counted_too(self) -> None:
        """Read for a third of the time, at the rate: it has all of the window for it."""
        world = self.sending()
        for _ in range(30):
            world.clock.advance(0.4)
            world.client.says(bytes(40))
            world.backend.producer.pauseProducing()
            world.clock.advance(0.6)
            world.backend.producer.resumeProducing()
        assert world.told(ClientTooSlow) == []

    def test_a_spliced_client_that_reads_nothing_is_cut_off_without_a_word(self) -> None:
        world = self.sending()
        world.front.due = Due.NOTHING
        world.session._splice(Splice())
        world.client.__dict__["unsent"] = 200_000
        world.backend.says(bytes(200_000))
        world.clock.pump([1.0] * (LOOKS + 2))
        assert world.told(ClientTooSlow) == []
        assert world.reason == "min_data_rate"

    def test_a_spliced_client_may_be_silent(self) -> None:
        world = self.sending()
        world.front.on(BackendConnected, Splice())
        world.front.due = Due.NOTHING
        world.clock.pump([1.0] * 100)
        assert world.noted(LimitHit) == []

    def test_no_timer_is_left_behind(self) -> None:
        world = self.sending()
        world.clock.pump([1.0] * 30)
        world.lose_all()
        assert [call for call in world.clock.getDelayedCalls() if call.active()] == []

    def test_a_fault_while_it_is_looked_at_ends_the_session(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would have no time-outs any more."""

        def broken(_transport: object) -> int:
            raise OSError(9, "Bad file descriptor")

        world = self.sending()
        monkeypatch.setattr("tlsproxy.net.leg.untaken", broken)
        world.clock.advance(1)
        assert world.client.state == "aborted"
        assert world.reason == "internal_error"
