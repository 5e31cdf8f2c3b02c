"""Tests for :mod:`tlsproxy.net.session`: TLS with the client, over real handshakes in memory."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.net.world import TlsClient, World
from tests.support.certificates import Authority
from tests.tls.peers import Peer, client_context
from tlsproxy.config.settings import Settings
from tlsproxy.errors import KeyUpdateLimitExceeded
from tlsproxy.fronts import KINDS
from tlsproxy.fronts.commands import (
    CloseSession,
    Command,
    ConnectBackend,
    SendToBackend,
    SendToClient,
    Splice,
    StartTls,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendFinished,
    BackendLost,
    ClientDataReceived,
    ClientFinished,
    SessionOpened,
    TlsStarted,
)
from tlsproxy.notes import (
    KeyUpdateLimitHit,
    RenegotiationAttempted,
    SessionEnded,
    TlsEstablished,
    TlsRefused,
)
from tlsproxy.policy.handshakes import RenegotiationAction
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.contexts import ContextStore, ServerContext

Secured = Callable[..., World]


@pytest.fixture(scope="module")
def context(authority: Authority) -> ServerContext:
    issued = authority.issue("mx.example.org", stem="net-session")
    options = {"tls_certificate": (str(issued.chain_path),), "tls_key": (str(issued.key_path),)}
    return ContextStore().server_context(Settings(**options), KINDS["esmtp"])


@pytest.fixture
def secured(context: ServerContext) -> Secured:
    """A session that starts TLS at once, then does as told."""

    def make(*commands: Command, **options: Any) -> World:
        world = World(context=context, **options)
        world.front.on(SessionOpened, StartTls())
        world.front.on(TlsStarted, *commands)
        return world.open()

    return make


def established(world: World, peer: Peer | None = None) -> TlsClient:
    client = TlsClient(world, peer)
    client.exchange()
    assert client.peer.established
    return client


def test_tls_is_there_to_be_had(secured: Secured) -> None:
    assert secured().told(SessionOpened)[0].tls_available


def test_the_front_is_told_what_was_negotiated(secured: Secured) -> None:
    world = secured()
    established(world, Peer.client(server_name=b"mx.example.org"))
    (started,) = world.told(TlsStarted)
    assert (started.facts.version, started.facts.server_name) == ("TLSv1.3", "mx.example.org")
    note = world.note(TlsEstablished)
    assert (note.version, note.cipher, note.server_name) == (
        "TLSv1.3",
        started.facts.cipher,
        "mx.example.org",
    )
    assert note.client_verified is None


def test_bytes_are_plaintext_to_the_front_and_tls_on_the_wire(secured: Secured) -> None:
    world = secured(SendToClient(b"220 hello\r\n"))
    client = established(world)
    assert client.peer.received == b"220 hello\r\n"
    assert b"hello" not in world.client.written
    client.says(b"EHLO c\r\n")
    assert world.told(ClientDataReceived) == [ClientDataReceived(b"EHLO c\r\n")]
    world.lose_all()
    note = world.note(SessionEnded)
    assert (note.version, note.bytes_from_client, note.bytes_to_client) == ("TLSv1.3", 8, 11)


def test_bytes_before_the_handshake_are_not_of_it(context: ServerContext) -> None:
    """STARTTLS: the reply goes in plaintext, and TLS begins behind it."""
    world = World(context=context)
    world.front.on(ClientDataReceived, SendToClient(b"220 go\r\n"), StartTls())
    world.open()
    world.client.says(b"STARTTLS\r\n")
    assert world.client.written == b"220 go\r\n"
    world.client.written.clear()
    established(world)
    assert world.told(TlsStarted)


def test_close_notify_is_the_client_s_end(secured: Secured) -> None:
    world = secured()
    client = established(world)
    world.client.says(client.peer.close_notify())
    assert world.told(ClientFinished) == [ClientFinished()]


def test_an_end_in_order_has_a_close_notify(secured: Secured) -> None:
    world = secured(CloseSession("done"))
    client = established(world)
    assert client.peer.closed
    assert world.client.state == "finished"


def test_the_client_can_be_sent_close_notify_alone(secured: Secured) -> None:
    world = secured(ConnectBackend())
    world.front.on(BackendConnected, Splice())
    client = established(world)
    world.connect()
    world.backend.finishes()
    client.exchange()
    assert client.peer.closed
    client.says(b"more")
    assert world.backend.written == b"more"


def test_a_client_whose_backend_was_lost_can_tell_that_something_is_missing(secured: Secured) -> None:
    world = secured(ConnectBackend())
    world.front.on(BackendConnected, Splice())
    client = established(world)
    world.connect()
    world.backend.says(b"half of")
    world.backend.is_lost()
    client.exchange()
    assert client.peer.received == b"half of"
    assert not client.peer.closed
    assert world.client.state == "finished"


def test_a_stream_that_was_truncated_is_noted_as_such(secured: Secured) -> None:
    world = secured(ConnectBackend())
    world.front.on(BackendConnected, Splice())
    client = established(world)
    world.connect()
    client.says(b"all?")
    world.client.finishes()  # a FIN without close_notify
    world.backend.finishes()
    world.lose_all()
    assert world.backend.written == b"all?"
    assert world.note(SessionEnded).reason == "client_truncated"


class Truncated:
    """The engine of a connection that ended without close_notify."""

    truncated = True
    established = True


def test_a_backend_that_was_truncated_is_lost(secured: Secured) -> None:
    """Its last response may have been longer."""
    world = secured(ConnectBackend())
    established(world)
    world.connect(engine=Truncated())
    world.backend.finishes()
    (lost,) = world.told(BackendLost)
    assert "without close_notify" in lost.detail
    assert world.told(BackendFinished) == []


def test_a_truncation_by_the_backend_runs_through_to_the_client(secured: Secured) -> None:
    world = secured(ConnectBackend())
    world.front.on(BackendConnected, Splice())
    client = established(world)
    world.connect(engine=Truncated())
    world.backend.finishes()
    client.exchange()
    assert not client.peer.closed, "no close_notify"
    assert world.client.state == "finished"


class TestRefusals:
    def test_a_client_that_can_t_speak_the_version_gets_an_alert_and_is_noted(self, secured: Secured) -> None:
        world = secured()
        client = TlsClient(
            world, Peer.client(client_context(TlsVersion.TLS1_1), server_name=b"mx.example.org")
        )
        client.exchange()
        assert client.peer.alerts
        note = world.note(TlsRefused)
        assert note.reason == "handshake_failed"
        assert (note.offered_versions, note.server_name) == ("<=TLSv1.1", "mx.example.org")
        world.lose_all()
        assert world.note(SessionEnded).reason == "handshake_failed"
        assert world.told(TlsStarted) == []

    def test_the_negotiated_version_is_held_to_the_settings(self, secured: Secured) -> None:
        world = secured(tls_protocols=TlsProtocols.parse("TLSv1.2"))  # the context allows more
        TlsClient(world).exchange()
        assert world.note(TlsRefused).reason == "version_refused"

    def test_a_client_that_takes_too_long_is_noted(self, secured: Secured) -> None:
        world = secured()
        world.clock.advance(9.9)
        assert world.client.state == "open"
        world.clock.advance(0.2)
        assert world.client.state == "finished"
        note = world.note(TlsRefused)
        assert (note.reason, note.detail, note.offered_versions) == (
            "handshake_timeout",
            "no TLS handshake within 10 s",
            None,
        )
        world.lose_all()
        assert world.note(SessionEnded).reason == "handshake_timeout"
        assert world.clock.getDelayedCalls() == []

    def test_the_time_counts_until_the_handshake_alone(self, secured: Secured) -> None:
        world = secured()
        established(world)
        world.clock.advance(11)
        assert world.client.state == "open"

    def test_a_connection_closed_without_a_word_is_no_refusal(self, secured: Secured) -> None:
        """A balancer's health check."""
        world = secured()
        world.client.finishes()
        world.lose_all()
        assert world.noted(TlsRefused) == []
        assert world.note(SessionEnded).reason == "client_closed"

    def test_a_renegotiation_is_refused_noted_and_counted(self, secured: Secured) -> None:
        world = secured()
        client = established(world, Peer.client(client_context(TlsVersion.TLS1_2)))
        world.client.says(client.peer.renegotiation())
        note = world.note(RenegotiationAttempted)
        assert (note.attempt, note.outcome, note.leg) == (1, "closed", "client")
        assert world.noted(TlsRefused) == []
        assert world.client.state == "finished"
        world.lose_all()
        ended = world.note(SessionEnded)
        assert (ended.reason, ended.renegotiations) == ("renegotiation_refused", 1)

    def test_one_that_is_tolerated_is_noted(self, secured: Secured) -> None:
        world = secured(tls_renegotiation_action=RenegotiationAction.WARN)
        client = established(world, Peer.client(client_context(TlsVersion.TLS1_2)))
        world.client.says(client.peer.renegotiation())
        assert world.note(RenegotiationAttempted).outcome == "warned"
        assert world.client.state == "open"

    def test_too_many_key_updates_are_noted(self, secured: Secured) -> None:
        world = secured()
        world.session.leg_refused(world.session.client, KeyUpdateLimitExceeded("too many"))
        note = world.note(KeyUpdateLimitHit)
        assert (note.limit, note.leg) == (32, "client")
        world.lose_all()
        assert world.note(SessionEnded).reason == "key_update_limit"

    def test_a_broken_record_resets_the_backend_where_a_fin_would_look_like_an_end(
        self, secured: Secured
    ) -> None:
        world = secured(ConnectBackend())
        world.front.on(BackendConnected, SendToBackend(b"half a message"))
        client = established(world)
        world.connect()
        world.client.says(b"\x17\x03\x03\x00\x20" + bytes(32))
        client.exchange()
        assert client.peer.alerts
        assert world.client.state == "finished"
        assert world.backend.state == "aborted"
        assert world.note(TlsRefused).reason == "tls_protocol_error"

    def test_that_of_a_client_that_had_finished_leaves_the_backend_what_it_was_sent(
        self, secured: Secured
    ) -> None:
        world = secured(ConnectBackend())
        client = established(world)
        world.connect()
        world.client.says(client.peer.close_notify())
        world.session.leg_refused(world.session.client, KeyUpdateLimitExceeded("too many"))
        assert world.backend.state == "finished"


def test_what_openssl_holds_is_given_back_with_the_sessions_end(secured: Secured) -> None:
    """And not when garbage is collected, which may be long after."""
    world = secured(ConnectBackend())
    established(world)
    world.connect()
    engine = world.session.client.engine
    assert engine is not None
    connection = weakref.ref(engine._connection)
    del engine
    gc.disable()
    try:
        world.lose_all()
        assert connection() is None
    finally:
        gc.enable()
