"""Tests for tlsproxy.net.leg: how a connection is read, paused, and ended."""

from typing import cast

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.transports import RecordingTransport
from tlsproxy.errors import TlsError, TlsRecordError
from tlsproxy.net.leg import DRAIN_LIMIT, Leg
from tlsproxy.tls.engine import Engine


class Owner:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def leg_connected(self, leg: Leg) -> None:
        self.told.append("connected")

    def leg_established(self, leg: Leg) -> None:
        self.told.append("established")

    def leg_refused(self, leg: Leg, error: TlsError) -> None:
        self.told.append(f"refused {error.reason}")

    def leg_finished(self, leg: Leg) -> None:
        self.told.append("finished")

    def leg_lost(self, leg: Leg) -> None:
        self.told.append("lost")

    def leg_faulted(self, leg: Leg, failure: Failure) -> None:
        self.told.append(f"faulted {failure.getErrorMessage()}")


class Connection:
    """A leg on a recording transport."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.clock = Clock()
        self.delivered = bytearray()
        self.leg = Leg(self.owner, self.clock, self.delivered.extend)
        self.transport = RecordingTransport()
        self.leg.makeConnection(self.transport)

    def close(self) -> None:
        self.leg.close(flush_timeout=5, drain_timeout=2)

    def fin_sent(self) -> None:
        self.leg.writeConnectionLost()

    def lost(self) -> None:
        self.leg.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_a_connection_is_told_and_has_no_nagle_delay(connection: Connection) -> None:
    assert connection.owner.told == ["connected"]
    assert connection.transport.no_delay


def test_bytes_are_counted_both_ways(connection: Connection) -> None:
    connection.leg.dataReceived(b"abc")
    connection.leg.send(b"de")
    assert (connection.delivered, connection.leg.received) == (b"abc", 3)
    assert (connection.transport.written, connection.leg.sent) == (b"de", 2)


def test_half_close_sends_fin_and_goes_on_reading(connection: Connection) -> None:
    connection.leg.finish()
    connection.fin_sent()
    connection.leg.dataReceived(b"more")
    assert connection.transport.half_closed
    assert not connection.transport.closed
    assert connection.delivered == b"more"


def test_nothing_is_sent_after_the_half_close(connection: Connection) -> None:
    connection.leg.finish()
    connection.leg.send(b"late")
    assert (connection.transport.written, connection.leg.sent) == (b"", 0)


def test_the_socket_is_closed_when_both_directions_have_finished(connection: Connection) -> None:
    connection.leg.readConnectionLost()
    assert connection.owner.told == ["connected", "finished"]
    assert not connection.transport.closed
    connection.leg.finish()
    assert connection.transport.closed


def test_the_socket_is_closed_when_the_peers_fin_comes_second(connection: Connection) -> None:
    connection.leg.finish()
    connection.fin_sent()
    connection.leg.readConnectionLost()
    assert connection.transport.closed


def test_a_close_drains_until_the_peer_closes(connection: Connection) -> None:
    connection.leg.send(b"last words")
    connection.close()
    connection.leg.dataReceived(b"ignored")
    assert connection.transport.half_closed
    assert not connection.transport.closed
    assert connection.delivered == b""
    connection.fin_sent()
    connection.leg.readConnectionLost()
    assert connection.transport.closed
    assert connection.owner.told == ["connected"]


def test_a_peer_that_does_not_close_is_left_after_the_drain_timeout(connection: Connection) -> None:
    connection.close()
    connection.fin_sent()
    connection.clock.advance(1.9)
    assert not connection.transport.closed
    connection.clock.advance(0.2)
    assert connection.transport.closed
    assert not connection.transport.aborted


def test_a_peer_that_does_not_read_is_reset_after_the_flush_timeout(connection: Connection) -> None:
    connection.close()
    connection.clock.advance(4.9)
    assert not connection.transport.aborted
    connection.clock.advance(0.2)
    assert connection.transport.aborted


def test_a_peer_that_floods_a_closed_connection_is_reset(connection: Connection) -> None:
    connection.close()
    chunk = bytes(1024 * 1024)
    for _ in range(DRAIN_LIMIT // len(chunk)):
        connection.leg.dataReceived(chunk)
    assert not connection.transport.aborted
    connection.leg.dataReceived(b"x")
    assert connection.transport.aborted


def test_no_timer_survives_the_connection(connection: Connection) -> None:
    connection.close()
    connection.lost()
    assert connection.clock.getDelayedCalls() == []
    assert connection.owner.told == ["connected", "lost"]


def test_a_leg_is_paused_until_every_cause_is_gone(connection: Connection) -> None:
    connection.leg.pauseProducing()
    connection.leg.pause(Leg.PAUSED_BY_FRONT)
    connection.leg.resumeProducing()
    assert not connection.transport.reading
    connection.leg.resume(Leg.PAUSED_BY_FRONT)
    assert connection.transport.reading


def test_the_time_in_which_it_is_not_read_is_known_whatever_the_causes(connection: Connection) -> None:
    leg, clock = connection.leg, connection.clock
    clock.advance(1)
    leg.pause(Leg.PAUSED_BY_FRONT)
    clock.advance(2)
    leg.pause(Leg.PAUSED_BY_CONSUMER)
    assert leg.held(clock.seconds()) == 2
    leg.resume(Leg.PAUSED_BY_FRONT)
    clock.advance(3)
    leg.resume(Leg.PAUSED_BY_CONSUMER)
    leg.resume(Leg.PAUSED_BY_CONSUMER)
    clock.advance(10)
    assert leg.held(clock.seconds()) == 5


def test_a_connection_that_is_gone_owes_nothing(connection: Connection) -> None:
    connection.leg.send(b"hello")
    connection.lost()
    assert connection.leg.untaken == 0


def test_a_finished_peer_is_not_read_again(connection: Connection) -> None:
    connection.leg.pause(Leg.PAUSED_BY_FRONT)
    connection.leg.readConnectionLost()
    connection.transport.reading = False
    connection.leg.resume(Leg.PAUSED_BY_FRONT)
    assert not connection.transport.reading


def test_closing_reads_a_paused_peer_so_that_its_end_is_seen(connection: Connection) -> None:
    connection.leg.pause(Leg.PAUSED_BY_FRONT)
    connection.close()
    assert connection.transport.reading


def test_an_exception_while_taking_data_is_told_not_raised(connection: Connection) -> None:
    def fail(data: bytes) -> None:
        raise ZeroDivisionError("unexpected")

    connection.leg.deliver = fail
    connection.leg.dataReceived(b"x")
    assert connection.owner.told[-1] == "faulted unexpected"


def test_the_consumers_write_buffer_paces_the_reading(connection: Connection) -> None:
    consumer = Connection()
    consumer.leg.be_fed_by(connection.leg)
    consumer.transport.producer.pauseProducing()
    assert not connection.transport.reading
    consumer.transport.producer.resumeProducing()
    assert connection.transport.reading


class ScriptedEngine:
    """An engine whose peer is in the middle of a renegotiation as long as ``blocked``."""

    def __init__(self) -> None:
        self.blocked = False
        self.established = True
        self.peer_closed = False
        self.fault: TlsError | None = None

    def start_handshake(self) -> None:
        """Nothing to say first."""

    def receive(self, data: bytes, now: float) -> bytes:
        return data

    def send(self, plaintext: bytes) -> None:
        if self.fault is not None:
            raise self.fault

    def bytes_to_send(self) -> bytes:
        return b""


@pytest.fixture
def engine(connection: Connection) -> ScriptedEngine:
    scripted = ScriptedEngine()
    connection.leg.start_tls(cast("Engine", scripted))
    connection.leg.dataReceived(b"the end of the handshake")
    return scripted


def test_whoever_sends_to_a_peer_that_renegotiates_waits_for_it(
    connection: Connection, engine: ScriptedEngine
) -> None:
    feeder = Connection()
    connection.leg.be_fed_by(feeder.leg)
    engine.blocked = True
    connection.leg.send(b"held")
    assert not feeder.transport.reading
    engine.blocked = False
    connection.leg.dataReceived(b"Finished")
    assert feeder.transport.reading


def test_a_leg_that_cannot_send_is_the_one_refused(connection: Connection, engine: ScriptedEngine) -> None:
    engine.fault = TlsRecordError("the client doesn't finish its renegotiation")
    connection.leg.send(b"too much")
    assert connection.owner.told[-1] == "refused tls_protocol_error"


class TestEnds:
    def test_a_connection_that_had_finished_is_closed_at_once_behind_the_peer_s_end(
        self, connection: Connection
    ) -> None:
        connection.leg.readConnectionLost()
        connection.close()
        assert connection.transport.closed

    def test_a_fin_that_is_with_the_kernel_is_only_followed_by_the_drain(
        self, connection: Connection
    ) -> None:
        connection.leg.finish()
        connection.fin_sent()
        connection.close()
        connection.clock.advance(1.9)
        assert not connection.transport.closed
        connection.clock.advance(0.2)
        assert connection.transport.closed

    def test_a_fin_behind_the_peer_s_closes_the_socket(self, connection: Connection) -> None:
        connection.leg.finish()
        connection.leg.readConnectionLost()
        connection.fin_sent()
        assert connection.transport.closed
        assert connection.clock.getDelayedCalls() == []

    def test_a_fin_that_is_told_too_late_is_nothing(self, connection: Connection) -> None:
        connection.close()
        connection.lost()
        connection.fin_sent()
        assert connection.clock.getDelayedCalls() == []

    def test_ends_of_a_connection_that_isn_t_there_do_nothing(self) -> None:
        clock = Clock()
        leg = Leg(Owner(), clock, lambda _: None)
        leg.send(b"x")
        leg.finish()
        leg.close(flush_timeout=1, drain_timeout=1)
        leg.abort()
        leg.be_fed_by(leg)
        assert (leg.sent, clock.getDelayedCalls()) == (0, [])

    def test_ends_of_a_connection_that_is_lost_do_nothing(self, connection: Connection) -> None:
        connection.lost()
        connection.close()
        connection.leg.abort()
        connection.leg.be_fed_by(connection.leg)
        assert not connection.transport.half_closed
        assert not connection.transport.aborted
        assert connection.transport.producer is None


class TestFaults:
    """Whatever is raised while the transport calls is told, and doesn't reach the reactor."""

    def test_when_the_connection_comes_up(self) -> None:
        class Faulty(Owner):
            def leg_connected(self, leg: Leg) -> None:
                raise ZeroDivisionError("unexpected")

        owner = Faulty()
        Leg(owner, Clock(), lambda _: None).makeConnection(RecordingTransport())
        assert owner.told == ["faulted unexpected"]

    def test_when_the_peer_finishes(self) -> None:
        class Faulty(Owner):
            def leg_finished(self, leg: Leg) -> None:
                raise ZeroDivisionError("unexpected")

        connection = Connection()
        owner = connection.leg.owner = Faulty()
        connection.leg.readConnectionLost()
        assert owner.told == ["faulted unexpected"]


def test_a_peer_that_ends_within_the_handshake_is_refused(
    connection: Connection, engine: ScriptedEngine
) -> None:
    def fail() -> None:
        raise TlsRecordError("truncated")

    engine.receive_eof = fail  # type: ignore[attr-defined]
    connection.leg.readConnectionLost()
    assert connection.owner.told[-1] == "refused tls_protocol_error"


def test_tls_that_fails_on_a_lost_connection_has_nobody_to_alert(
    connection: Connection, engine: ScriptedEngine
) -> None:
    engine.fault = TlsRecordError("too much")
    engine.bytes_to_send = lambda: b"alert"  # type: ignore[method-assign]
    connection.lost()
    connection.leg.send(b"x")
    assert connection.transport.written == b""


def test_a_unix_socket_has_no_nagle_delay_to_turn_off() -> None:
    owner = Owner()
    Leg(owner, Clock(), lambda _: None).makeConnection(object())
    assert owner.told == ["connected"]


def test_a_peer_s_end_is_told_once(connection: Connection, engine: ScriptedEngine) -> None:
    """close_notify, and then FIN."""
    engine.receive_eof = lambda: None  # type: ignore[attr-defined]
    engine.peer_closed = True
    connection.leg.dataReceived(b"close_notify")
    connection.leg.readConnectionLost()
    assert connection.owner.told.count("finished") == 1


def test_tls_that_fails_elsewhere_while_plaintext_is_taken_is_told(connection: Connection) -> None:
    def fail(data: bytes) -> None:
        raise TlsRecordError("elsewhere")

    connection.leg.deliver = fail
    connection.leg.dataReceived(b"x")
    assert connection.owner.told[-1] == "refused tls_protocol_error"
