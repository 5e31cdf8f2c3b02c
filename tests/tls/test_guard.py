"""tlsproxy.tls.guard: what a peer tries once the handshake is done."""

import pytest
from OpenSSL import SSL

from tests.tls.conftest import Serve, Server
from tests.tls.crafted import (
    APPLICATION_DATA,
    EMPTY_CLIENT_HELLO,
    HANDSHAKE,
    TLS12_SUITE,
    TLS13_SUITE,
    Secrets,
    Tls12Writer,
    Tls13Writer,
)
from tests.tls.peers import Peer, client_context, exchange
from tlsproxy.errors import HandshakeFailed, KeyUpdateLimitExceeded, RenegotiationRefused, TlsRecordError
from tlsproxy.policy.handshakes import HandshakePolicy, Outcome, RenegotiationAction
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.engine import BATCH, Engine
from tlsproxy.tls.guard import HandshakeGuard
from tlsproxy.tls.wire import ContentType, records

NO_RENEGOTIATION = 100

old_versions = pytest.mark.parametrize("version", list(TlsVersion)[:3], ids=lambda version: version.label)


def tls12(server: Server) -> tuple[Engine, Peer, Tls12Writer]:
    engine, peer = server.connect(client_context(TlsVersion.TLS1_2, ciphers=f"{TLS12_SUITE}:@SECLEVEL=0"))
    return engine, peer, Tls12Writer(peer.connection)


def tls13(server: Server) -> tuple[Engine, Peer, Tls13Writer]:
    context = client_context(TlsVersion.TLS1_3, ciphersuites=TLS13_SUITE)
    secrets = Secrets(context)
    engine, peer = server.connect(context)
    return engine, peer, Tls13Writer(secrets)


class TestClose:
    """``tls_allow_renegotiation = false``, ``tls_renegotiation_action = "close"``: the defaults."""

    @old_versions
    def test_the_first_attempt_ends_the_connection_with_the_alert(
        self, serve: Serve, version: TlsVersion
    ) -> None:
        server = serve()
        engine, peer = server.connect_at(version)
        with pytest.raises(RenegotiationRefused, match="attempt 1 refused"):
            engine.receive(peer.renegotiation(), 0.0)
        peer.feed(engine.bytes_to_send())
        assert peer.alerts == [NO_RENEGOTIATION]
        assert server.attempts == [(1, Outcome.CLOSED)]
        assert engine.renegotiations == 1

    def test_afterwards_it_can_be_closed_in_order_and_nothing_else(self, serve: Serve) -> None:
        engine, peer, writer = tls12(serve())
        with pytest.raises(RenegotiationRefused):
            engine.receive(writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO), 0.0)
        assert engine.receive(writer.record(APPLICATION_DATA, b"still there?"), 0.0) == b""
        engine.send(b"no")
        engine.close_write()
        last = engine.bytes_to_send()
        assert [kind for kind, _ in records(last)] == [ContentType.ALERT] * 2, (
            "no_renegotiation, close_notify"
        )
        peer.feed(last)
        assert peer.alerts == [NO_RENEGOTIATION]

    def test_two_thousand_attempts_in_one_write_are_one(self, serve: Serve) -> None:
        server = serve()
        engine, _, writer = tls12(server)
        burst = b"".join(writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO) for _ in range(2000))
        with pytest.raises(RenegotiationRefused):
            engine.receive(burst, 0.0)
        assert engine.renegotiations == 1
        assert len(engine.bytes_to_send()) < 64, "one alert"
        assert server.attempts == [(1, Outcome.CLOSED)]

    def test_four_thousand_attempts_in_one_record_are_one(self, serve: Serve) -> None:
        engine, _, writer = tls12(serve())
        with pytest.raises(RenegotiationRefused):
            engine.receive(writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO * 4000), 0.0)
        assert engine.renegotiations == 1
        assert len(engine.bytes_to_send()) < 64

    def test_an_attempt_in_pieces_ends_the_connection_by_its_first_record(self, serve: Serve) -> None:
        server = serve()
        engine, _, writer = tls12(server)
        with pytest.raises(RenegotiationRefused):
            engine.receive(writer.record(HANDSHAKE, b"\x01\x00\x40\x00"), 0.0)
        engine.close_write()
        assert server.attempts == [(1, Outcome.CLOSED)]

    def test_the_attempt_counts_in_the_middle_of_data(self, serve: Serve) -> None:
        engine, _, writer = tls12(serve())
        lines = [writer.record(APPLICATION_DATA, b"x") for _ in range(BATCH // 2)]
        hello = writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO)
        with pytest.raises(RenegotiationRefused):
            engine.receive(b"".join(lines) + hello + writer.record(APPLICATION_DATA, b"y"), 0.0)

    def test_a_limit_changes_nothing(self, serve: Serve) -> None:
        engine, peer = serve(tls_renegotiation_limit=100).connect_at(TlsVersion.TLS1_2)
        with pytest.raises(RenegotiationRefused):
            engine.receive(peer.renegotiation(), 0.0)

    def test_a_context_that_would_allow_it_changes_nothing(self, serve: Serve) -> None:
        server = serve(tls_allow_renegotiation=True)
        engine = Engine(
            server.context.new_connection(), protocols=server.settings.tls_protocols, policy=HandshakePolicy()
        )
        peer = Peer.client(client_context(TlsVersion.TLS1_2))
        exchange(engine, peer)
        with pytest.raises(RenegotiationRefused):
            engine.receive(peer.renegotiation(), 0.0)
        peer.feed(engine.bytes_to_send())
        assert peer.alerts == [NO_RENEGOTIATION]

    def test_the_guard_survives_a_certificate_chosen_by_sni(
        self, serve: Serve, two_names: dict[str, object]
    ) -> None:
        server = serve(**two_names)
        client = Peer.client(client_context(TlsVersion.TLS1_2), server_name=b"other.example")
        engine, peer = server.connect(client)
        with pytest.raises(RenegotiationRefused):
            engine.receive(peer.renegotiation(), 0.0)
        peer.feed(engine.bytes_to_send())
        assert peer.alerts == [NO_RENEGOTIATION]


class TestWarn:
    """``tls_renegotiation_action = "warn"``."""

    @old_versions
    def test_attempts_are_answered_and_the_connection_kept_up_to_the_limit(
        self, serve: Serve, version: TlsVersion
    ) -> None:
        # A client of OpenSSL gives up at the first alert, so the attempts are made by several messages, below.
        server = serve(tls_renegotiation_action=RenegotiationAction.WARN)
        engine, peer = server.connect_at(version)
        assert engine.receive(peer.renegotiation(), 0.0) == b""
        engine.send(b"250 go on\r\n")
        answer = engine.bytes_to_send()
        peer.feed(answer)
        assert peer.alerts == [NO_RENEGOTIATION]
        assert server.attempts == [(1, Outcome.WARNED)]

    @pytest.mark.parametrize("limit", [0, 1, 3, 20])
    def test_one_attempt_more_than_the_limit_closes(self, serve: Serve, limit: int) -> None:
        server = serve(tls_renegotiation_action=RenegotiationAction.WARN, tls_renegotiation_limit=limit)
        engine, _, writer = tls12(server)
        for number in range(limit):
            attempt = writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO) + writer.record(
                APPLICATION_DATA, b"%d" % number
            )
            assert engine.receive(attempt, 0.0) == b"%d" % number
        with pytest.raises(RenegotiationRefused, match=f"attempt {limit + 1} refused"):
            engine.receive(writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO), 0.0)
        warned = [(number, Outcome.WARNED) for number in range(1, limit + 1)]
        assert server.attempts == [*warned, (limit + 1, Outcome.CLOSED)]
        while engine.bytes_to_send():
            pass

    @pytest.mark.parametrize("per_record", [1, 2000])
    def test_a_burst_goes_one_beyond_the_limit_and_no_further(self, serve: Serve, per_record: int) -> None:
        server = serve(tls_renegotiation_action=RenegotiationAction.WARN, tls_renegotiation_limit=5)
        engine, peer, writer = tls12(server)
        records = (
            writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO * per_record) for _ in range(2000 // per_record)
        )
        with pytest.raises(RenegotiationRefused):
            engine.receive(b"".join(records), 0.0)
        assert engine.renegotiations == 6
        assert [outcome for _, outcome in server.attempts] == [Outcome.WARNED] * 5 + [Outcome.CLOSED]
        peer.feed(engine.bytes_to_send())
        assert set(peer.alerts) == {NO_RENEGOTIATION}

    def test_data_goes_on_after_a_warning(self, serve: Serve) -> None:
        server = serve(tls_renegotiation_action=RenegotiationAction.WARN)
        engine, _, writer = tls12(server)
        assert engine.receive(writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO), 0.0) == b""
        alert = engine.bytes_to_send()
        assert alert[0] == 21
        assert engine.receive(writer.record(APPLICATION_DATA, b"MAIL FROM"), 0.0) == b"MAIL FROM"
        engine.send(b"250 ok")
        assert engine.bytes_to_send()[0] == 23


class TestAllow:
    """``tls_allow_renegotiation = true``."""

    @old_versions
    def test_renegotiations_complete_up_to_the_limit_and_not_beyond(
        self, serve: Serve, version: TlsVersion
    ) -> None:
        server = serve(tls_allow_renegotiation=True, tls_renegotiation_limit=3)
        engine, peer = server.connect_at(version)
        for number in range(1, 4):
            finished = peer.connection.get_finished()
            peer.feed(b"".join(answers(engine, peer, peer.renegotiation())))
            assert peer.connection.get_finished() != finished, "a handshake was completed"
            assert server.attempts[-1] == (number, Outcome.ALLOWED)
            assert engine.receive(peer.encrypt(b"after"), 0.0) == b"after"
        finished = peer.connection.get_finished()
        with pytest.raises(RenegotiationRefused, match="attempt 4 refused"):
            engine.receive(peer.renegotiation(), 0.0)
        peer.feed(engine.bytes_to_send())
        assert peer.alerts == [NO_RENEGOTIATION]
        assert peer.connection.get_finished() == finished
        assert peer.connection.total_renegotiations() >= 3
        assert server.attempts == [*((number, Outcome.ALLOWED) for number in (1, 2, 3)), (4, Outcome.CLOSED)]

    def test_facts_are_those_of_the_last_handshake(self, serve: Serve) -> None:
        engine, peer = serve(tls_allow_renegotiation=True).connect_at(TlsVersion.TLS1_2)
        before = engine.facts
        exchange_from(engine, peer, peer.renegotiation())
        assert engine.facts is not before
        assert engine.facts == before

    def test_the_version_is_checked_again(self, serve: Serve) -> None:
        class Once(TlsProtocols):
            asked = 0

            def allows(self, version: int) -> bool:
                Once.asked += 1
                return Once.asked == 1

        server = serve(tls_allow_renegotiation=True)
        engine = Engine(
            server.context.new_connection(),
            protocols=Once.parse(">=TLSv1"),
            policy=server.settings.handshake_policy,
        )
        peer = Peer.client(client_context(TlsVersion.TLS1_2))
        exchange(engine, peer)
        with pytest.raises(Exception, match="was negotiated, allowed are"):
            exchange_from(engine, peer, peer.renegotiation())

    def test_with_a_limit_of_none_the_first_is_refused(self, serve: Serve) -> None:
        server = serve(tls_allow_renegotiation=True, tls_renegotiation_limit=0)
        engine, peer = server.connect_at(TlsVersion.TLS1_2)
        with pytest.raises(RenegotiationRefused):
            engine.receive(peer.renegotiation(), 0.0)
        peer.feed(engine.bytes_to_send())
        assert peer.alerts == [NO_RENEGOTIATION]

    @pytest.mark.parametrize(
        ("action", "outcome"),
        [(RenegotiationAction.CLOSE, Outcome.CLOSED), (RenegotiationAction.WARN, Outcome.WARNED)],
    )
    def test_an_attempt_that_openssl_refuses_counts_as_refused(
        self, serve: Serve, action: RenegotiationAction, outcome: Outcome
    ) -> None:
        """As it does where the client lacks RFC 5746; here the context forbids it."""
        server = serve()
        attempts: list[tuple[int, Outcome]] = []
        engine = Engine(
            server.context.new_connection(),
            protocols=server.settings.tls_protocols,
            policy=HandshakePolicy(allow_renegotiation=True, renegotiation_action=action),
            on_renegotiation=lambda attempt, outcome: attempts.append((attempt, outcome)),
        )
        peer = Peer.client(client_context(TlsVersion.TLS1_2))
        exchange(engine, peer)
        try:
            engine.receive(peer.renegotiation(), 0.0)
        except RenegotiationRefused:
            assert outcome is Outcome.CLOSED
        assert attempts == [(1, outcome)]
        peer.feed(engine.bytes_to_send())
        assert peer.alerts == [NO_RENEGOTIATION]

    def test_an_attempt_that_isnt_over_is_not_yet_reported(self, serve: Serve) -> None:
        server = serve(tls_allow_renegotiation=True)
        engine, peer = server.connect_at(TlsVersion.TLS1_2)
        engine.receive(peer.renegotiation(), 0.0)
        assert engine.renegotiations == 1
        assert server.attempts == []
        engine.receive_eof()
        assert engine.truncated

    def test_a_renegotiation_that_breaks_off_is_an_error(self, serve: Serve) -> None:
        engine, _, writer = tls12(serve(tls_allow_renegotiation=True, tls_ciphers=TLS12_SUITE))
        with pytest.raises(TlsRecordError):
            engine.receive(writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO), 0.0)


def answers(engine: Engine, peer: Peer, attempt: bytes) -> list[bytes]:
    exchange_from(engine, peer, attempt)
    return [engine.bytes_to_send()]


def exchange_from(engine: Engine, peer: Peer, data: bytes) -> None:
    engine.receive(data, 0.0)
    peer.feed(engine.bytes_to_send())
    exchange(engine, peer)


class TestKeyUpdate:
    def test_updates_within_the_limit_pass_with_the_data_around_them(self, serve: Serve) -> None:
        engine, _, writer = tls13(serve(tls_key_update_limit=3))
        for number in range(3):
            data = (
                writer.record(APPLICATION_DATA, b"a")
                + writer.key_update()
                + writer.record(APPLICATION_DATA, b"b")
            )
            assert engine.receive(data, 0.0) == b"ab"
            assert engine.key_updates == number + 1
        assert engine.renegotiations == 0

    def test_one_more_within_a_second_ends_the_connection(self, serve: Serve) -> None:
        engine, _, writer = tls13(serve(tls_key_update_limit=3))
        for _ in range(3):
            engine.receive(writer.key_update(), 10.0)
        with pytest.raises(KeyUpdateLimitExceeded, match="more than 3 KeyUpdate messages within a second"):
            engine.receive(writer.key_update(), 10.9)

    def test_the_second_slides(self, serve: Serve) -> None:
        engine, _, writer = tls13(serve(tls_key_update_limit=3))
        for number in range(30):
            engine.receive(writer.key_update(), number * 0.334)
        assert engine.key_updates == 30

    @pytest.mark.parametrize("answer", [False, True])
    def test_two_thousand_in_one_write_stop_at_the_limit(self, serve: Serve, answer: bool) -> None:
        engine, peer, writer = tls13(serve(tls_key_update_limit=32))
        exchange(engine, peer)
        burst = b"".join(writer.key_update(answer=answer) for _ in range(2000))
        with pytest.raises(KeyUpdateLimitExceeded):
            engine.receive(burst, 0.0)
        assert engine.key_updates == 33
        assert len(engine.bytes_to_send()) <= 33 * 27, "no more answers than updates were taken"

    def test_without_the_guard_stopping_openssl_a_batch_is_the_bound(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(SSL.Connection, "set_shutdown", lambda _self, _state: None)
        engine, _, writer = tls13(serve(tls_key_update_limit=32))
        with pytest.raises(KeyUpdateLimitExceeded):
            engine.receive(b"".join(writer.key_update() for _ in range(2000)), 0.0)
        assert engine.key_updates <= 32 + BATCH

    def test_a_limit_of_none_refuses_the_first(self, serve: Serve) -> None:
        engine, _, writer = tls13(serve(tls_key_update_limit=0))
        with pytest.raises(KeyUpdateLimitExceeded):
            engine.receive(writer.key_update(), 0.0)

    def test_an_asked_for_answer_goes_out_with_the_next_data(self, serve: Serve) -> None:
        engine, peer, writer = tls13(serve())
        exchange(engine, peer)
        engine.receive(writer.key_update(answer=True), 0.0)
        engine.send(b"250 ok")
        peer.feed(engine.bytes_to_send())
        assert peer.received == b"250 ok"

    def test_afterwards_it_can_be_closed_in_order(self, serve: Serve) -> None:
        engine, peer, writer = tls13(serve(tls_key_update_limit=0))
        with pytest.raises(KeyUpdateLimitExceeded):
            engine.receive(writer.key_update(), 0.0)
        assert not engine.peer_closed, "the guard's stop isn't the peer's close_notify"
        engine.close_write()
        peer.feed(engine.bytes_to_send())
        assert peer.closed

    def test_a_client_hello_in_tls_13_is_an_error_as_such(self, serve: Serve) -> None:
        engine, _, writer = tls13(serve(tls_allow_renegotiation=True))
        with pytest.raises(TlsRecordError, match="unexpected message"):
            engine.receive(writer.record(HANDSHAKE, EMPTY_CLIENT_HELLO), 0.0)
        assert engine.renegotiations == 0


class TestClientRole:
    """The same rules hold for the backend's side of a session, where the engine is the client."""

    @staticmethod
    def connected(
        server: Server, version: TlsVersion, policy: HandshakePolicy
    ) -> tuple[Engine, Peer, list[object]]:
        connection = SSL.Connection(client_context(version))
        connection.set_connect_state()
        attempts: list[object] = []
        engine = Engine(
            connection,
            protocols=TlsProtocols.parse(">=TLSv1"),
            policy=policy,
            on_renegotiation=lambda attempt, outcome: attempts.append((attempt, outcome)),
            is_client=True,
        )
        engine.start_handshake()
        peer = Peer(server.context.new_connection())
        peer.feed(engine.bytes_to_send())
        exchange(engine, peer)
        return engine, peer, attempts

    @old_versions
    def test_a_hello_request_is_refused(self, serve: Serve, version: TlsVersion) -> None:
        server = serve(tls_allow_renegotiation=True)
        engine, peer, attempts = self.connected(server, version, HandshakePolicy())
        with pytest.raises(RenegotiationRefused):
            engine.receive(peer.renegotiation(), 0.0)
        assert attempts == [(1, Outcome.CLOSED)]
        peer.feed(engine.bytes_to_send())
        assert peer.alerts == [NO_RENEGOTIATION]

    def test_session_tickets_are_no_attempt(self, serve: Serve) -> None:
        engine, peer, attempts = self.connected(
            serve(), TlsVersion.TLS1_3, HandshakePolicy(key_update_limit=0)
        )
        assert engine.receive(peer.encrypt(b"220 ready"), 0.0) == b"220 ready"
        assert attempts == []
        assert (engine.renegotiations, engine.key_updates) == (0, 0)

    def test_a_hello_request_is_followed_where_that_is_allowed(self, serve: Serve) -> None:
        server = serve(tls_allow_renegotiation=True)
        policy = HandshakePolicy(allow_renegotiation=True, renegotiation_limit=1)
        engine, peer, attempts = self.connected(server, TlsVersion.TLS1_2, policy)
        exchange_from(engine, peer, peer.renegotiation())
        assert attempts == [(1, Outcome.ALLOWED)]
        with pytest.raises(RenegotiationRefused):
            engine.receive(peer.renegotiation(), 0.0)


def test_done_without_a_start_is_no_attempt(serve: Serve) -> None:
    guard = HandshakeGuard(HandshakePolicy())
    guard._on_event(serve().context.new_connection(), SSL.SSL_CB_HANDSHAKE_DONE, 1)
    assert guard.touched
    assert not guard.check(None)
    assert guard.attempts == 0


def test_handshakes_are_not_watched_before_they_are_done(serve: Serve) -> None:
    """A client that fails its first handshake attempted no renegotiation."""
    server = serve()
    engine = server.engine()
    with pytest.raises(HandshakeFailed):
        engine.receive(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 0.0)
    assert engine.renegotiations == 0
    assert server.attempts == []
