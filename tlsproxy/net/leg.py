"""One of the two connections of a session: a transport, the TLS engine on it, and how it ends.

A leg ends in one of three ways. *Finished*: no more is written (close_notify, FIN), reading goes on; when both directions
have finished the socket is closed. *Closed*: finished, and what still comes in is drained for a moment and thrown away,
because a socket closed with unread input resets the connection and the peer loses the last bytes written to it (RFC 1122
§4.2.2.13, RFC 9293 §3.6.1). *Aborted*: reset, buffers thrown away.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from tlsproxy.errors import TlsError
from tlsproxy.net.transport import Transport, untaken
from tlsproxy.policy.handshakes import Outcome
from tlsproxy.tls.engine import Engine

DRAIN_LIMIT: Final = 8 * 1024 * 1024
"""Bytes thrown away after a close: a peer may have a receive window's worth in flight (Linux: 6 MiB at most by default)."""


def _ignore(_data: bytes) -> None:
    """Nothing comes any more."""


class LegOwner(Protocol):
    """Who is told what happens on a leg."""

    def leg_connected(self, leg: "Leg") -> None:
        """The connection is up. The first call."""

    def leg_established(self, leg: "Leg") -> None:
        """The TLS handshake is done."""

    def leg_refused(self, leg: "Leg", error: TlsError) -> None:
        """TLS has to end; the alert is on its way."""

    def leg_finished(self, leg: "Leg") -> None:
        """The peer sends no more. Told once."""

    def leg_lost(self, leg: "Leg") -> None:
        """The connection is gone. The last call."""

    def leg_renegotiation_attempted(self, leg: "Leg", attempt: int, outcome: Outcome) -> None:
        """A backend's server sent HelloRequest, for the ``attempt``-th time."""

    def leg_faulted(self, leg: "Leg", failure: Failure) -> None:
        """An exception that nobody expected."""


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Leg:
    """A connection of a session, plaintext or TLS. As a producer it stands for what the peer sends.

    :ivar owner: Can be another from one moment to the next.
    :ivar deliver: Takes the plaintext that the peer sent.
    :ivar on_lost: Called when the connection is gone, before its owner.
    :ivar received: Plaintext bytes from the peer.
    :ivar sent: Plaintext bytes to the peer.
    :ivar read_finished: The peer sends no more.
    """

    __slots__ = (
        "_blocked",
        "_clock",
        "_close_deadline",
        "_closing",
        "_drain_timeout",
        "_drained",
        "_feeder",
        "_fin_sent",
        "_heard_tls",
        "_held",
        "_held_since",
        "_pauses",
        "_receive",
        "_tcp_read_finished",
        "_write_finished",
        "deliver",
        "engine",
        "lost",
        "on_lost",
        "owner",
        "read_finished",
        "received",
        "sent",
        "transport",
    )

    PAUSED_BY_CONSUMER: Final = 1
    """The other leg's write buffer is full."""
    PAUSED_BY_CONNECTING: Final = 2
    """The other leg isn't up yet."""
    PAUSED_BY_FRONT: Final = 4
    """The front holds enough."""
    PAUSED_BY_RENEGOTIATION: Final = 8
    """Nothing can be sent to the other leg's peer until it has finished the renegotiation that it began."""

    def __init__(self, owner: LegOwner, clock: IReactorTime, deliver: Callable[[bytes], None]) -> None:
        self.owner = owner
        self._clock = clock
        self.deliver = deliver
        self.on_lost: Callable[[], None] | None = None
        self.transport: Transport | None = None
        self.engine: Engine | None = None
        self.received = 0
        self.sent = 0
        self.read_finished = False
        self.lost = False
        self._receive: Callable[[bytes], None] = self._receive_plain
        self._tcp_read_finished = False
        self._write_finished = False
        self._closing = False
        self._close_deadline: IDelayedCall | None = None
        self._drain_timeout = 0.0
        self._drained = 0
        self._feeder: Leg | None = None
        self._blocked = False
        self._fin_sent = False
        self._held = self._held_since = 0.0
        self._heard_tls = False
        self._pauses = 0

    # What the owner asks for

    def start_tls(self, engine: Engine) -> None:
        """From here on bytes are TLS records. Whatever the peer sent before must have been dealt with."""
        self.engine = engine
        self._receive = self._receive_handshake
        engine.start_handshake()
        self._flush(engine)

    def send(self, data: bytes) -> None:
        """Send plaintext. Nothing is sent once the leg has finished."""
        if self._write_finished or self.transport is None:
            return
        self.sent += len(data)
        engine = self.engine
        if engine is None:
            self.transport.write(data)
        else:
            self._send_tls(engine, self.transport, data)

    def _send_tls(self, engine: Engine, transport: Transport, data: bytes) -> None:
        try:
            engine.send(data)
        except TlsError as error:
            self._refuse(error)
            return
        transport.write(engine.bytes_to_send())
        if engine.blocked and self._feeder is not None:
            self._blocked = True
            self._feeder.pause(self.PAUSED_BY_RENEGOTIATION)

    def finish(self, *, close_notify: bool = True) -> None:
        """Send no more: what was sent, then close_notify, then FIN. Reading goes on.

        :param close_notify: False leaves it out, so that the peer can tell truncation from an end (RFC 8446 §6.1).
        """
        if self._write_finished or self.transport is None:
            return
        self._write_finished = True
        if self.engine is not None and close_notify:
            self.engine.close_write()
            self._flush(self.engine)
        self.transport.unregisterProducer()
        if self._tcp_read_finished:
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def close(self, *, flush_timeout: float, drain_timeout: float, close_notify: bool = True) -> None:
        """Finish, drain what still comes, and close the socket.

        :param flush_timeout: Seconds for the peer to take what was sent; then the connection is aborted.
        :param drain_timeout: Seconds from our FIN until the peer must have closed as well.
        """
        if self._closing or self.lost or self.transport is None:
            return
        self._closing = True
        self._receive = self._drain
        self._drain_timeout = drain_timeout
        self._pauses = 0
        if not self._tcp_read_finished:
            self.transport.resumeProducing()
        if self._fin_sent:
            self._await_peer()
        else:
            self._close_deadline = self._clock.callLater(flush_timeout, self.abort)
            self.finish(close_notify=close_notify)

    def _await_peer(self) -> None:
        """All bytes are with the kernel: closing the socket doesn't lose them, unread input would."""
        if self._close_deadline is not None and self._close_deadline.active():
            self._close_deadline.cancel()
        if self.transport is None or self.lost:
            return
        if self._tcp_read_finished:
            self.transport.loseConnection()
        else:
            self._close_deadline = self._clock.callLater(self._drain_timeout, self.transport.loseConnection)

    def abort(self) -> None:
        """Reset the connection."""
        self._closing = True
        if self.transport is not None and not self.lost:
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    def be_fed_by(self, producer: "Leg | None") -> None:
        """Let the fill of this leg's write buffer pause and resume ``producer``. None: nobody."""
        if self.transport is None or self.lost:
            return
        self._feeder = producer
        self.transport.unregisterProducer()
        if producer is not None and not self._write_finished:
            self.transport.registerProducer(producer, True)

    def pause(self, cause: int) -> None:
        """Stop reading for one of the ``PAUSED_BY`` causes: until :meth:`resume` was called for each that there is."""
        if not self._pauses:
            self._held_since = self._clock.seconds()
            if not self._closing and self._readable():
                self.transport.pauseProducing()  # type: ignore[union-attr]
        self._pauses |= cause

    def resume(self, cause: int) -> None:
        """Read again, unless there is another cause to wait."""
        was_paused = self._pauses
        self._pauses &= ~cause
        if was_paused and not self._pauses:
            self._held += self._clock.seconds() - self._held_since
            if self._readable():
                self.transport.resumeProducing()  # type: ignore[union-attr]

    def held(self, now: float) -> float:
        """Seconds up to ``now`` in which the peer wasn't read, for whatever cause."""
        return self._held + (now - self._held_since if self._pauses else 0.0)

    @property
    def untaken(self) -> int:
        """Bytes sent that the peer's kernel hasn't taken."""
        return 0 if self.transport is None or self.lost else untaken(self.transport)

    @property
    def truncated(self) -> bool:
        """Whether the peer's FIN came without close_notify: anybody on the way may have sent it (RFC 8446 §6.1)."""
        return self.engine is not None and self.engine.truncated

    @property
    def waits_for_consumer(self) -> bool:
        """Whether it isn't read because the other leg's write buffer is full."""
        return bool(self._pauses & self.PAUSED_BY_CONSUMER)

    # IPushProducer: called by the transport that this leg produces for

    def pauseProducing(self) -> None:
        self.pause(self.PAUSED_BY_CONSUMER)

    def resumeProducing(self) -> None:
        self.resume(self.PAUSED_BY_CONSUMER)

    def stopProducing(self) -> None:
        """The consumer is gone; its own leg tells the owner."""

    def _readable(self) -> bool:
        return self.transport is not None and not self.lost and not self._tcp_read_finished

    # IProtocol and IHalfCloseableProtocol: called by the transport

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        # Nagle's algorithm would hold back a reply until the last one was acknowledged. A Unix socket has none.
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        self.connectionMade()

    def connectionMade(self) -> None:
        try:
            self.owner.leg_connected(self)
        except Exception:  # noqa: BLE001 - a fault ends this session, not the process
            self.owner.leg_faulted(self, Failure())

    def dataReceived(self, data: bytes) -> None:
        try:
            self._receive(data)
        except TlsError as error:
            self._refuse(error)
        except Exception:  # noqa: BLE001 - as above
            self.owner.leg_faulted(self, Failure())

    def readConnectionLost(self) -> None:
        try:
            self._finish_reading()
        except TlsError as error:
            self._refuse(error)
        except Exception:  # noqa: BLE001 - as above
            self.owner.leg_faulted(self, Failure())

    def writeConnectionLost(self) -> None:
        """All that was sent is with the kernel, and our FIN."""
        self._fin_sent = True
        if self._closing or self._tcp_read_finished:
            self._await_peer()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002 - Twisted's signature
        self.lost = True
        if self._close_deadline is not None and self._close_deadline.active():
            self._close_deadline.cancel()
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None
        self._receive = self.deliver = _ignore
        self._feeder = self._close_deadline = None
        self.owner.leg_lost(self)

    def release(self) -> None:
        """Let go of all it has: the connection is gone, and the owner asks no more.

        Transport, engine and owner refer back to the leg. Left to the garbage collector, a session that lasted waits for
        one of its rare full rounds, and OpenSSL's 20 KiB with it.
        """
        self.engine = self.transport = None
        del self.owner

    def _finish_reading(self) -> None:
        self._tcp_read_finished = True
        if not self._closing:
            # Who says nothing before its FIN (a balancer's health check) didn't fail at TLS.
            if self.engine is not None and self._heard_tls:
                self.engine.receive_eof()
            self._tell_finished()
        # Last: Twisted may close the socket, and tell that it is lost, within this call.
        if self._write_finished and self.transport is not None and not self.lost:
            self.transport.loseConnection()

    # Receiving: one method for each phase of a leg

    def _receive_plain(self, data: bytes) -> None:
        self.received += len(data)
        self.deliver(data)

    def _receive_handshake(self, data: bytes) -> None:
        engine = self.engine
        assert engine is not None  # noqa: S101 - start_tls set it
        self._heard_tls = True
        plaintext = engine.receive(data, self._clock.seconds())
        self._flush(engine)
        if engine.established:
            self._receive = self._receive_tls
            self.owner.leg_established(self)
            self._take(engine, plaintext)

    def _receive_tls(self, data: bytes) -> None:
        engine = self.engine
        assert engine is not None  # noqa: S101 - start_tls set it
        plaintext = engine.receive(data, self._clock.seconds())
        self._flush(engine)
        if self._blocked and not engine.blocked and self._feeder is not None:
            self._blocked = False
            self._feeder.resume(self.PAUSED_BY_RENEGOTIATION)
        self._take(engine, plaintext)

    def _take(self, engine: Engine, plaintext: bytes) -> None:
        if self._closing:
            return
        if plaintext:
            self.received += len(plaintext)
            self.deliver(plaintext)
        if engine.peer_closed:
            self._tell_finished()

    def _drain(self, data: bytes) -> None:
        self._drained += len(data)
        if self._drained > DRAIN_LIMIT:
            self.abort()

    def _flush(self, engine: Engine) -> None:
        data = engine.bytes_to_send()
        if data and self.transport is not None and not self.lost:
            self.transport.write(data)

    def _refuse(self, error: TlsError) -> None:
        if self.engine is not None:
            self._flush(self.engine)
        self.owner.leg_refused(self, error)

    def _tell_finished(self) -> None:
        if not self.read_finished and not self._closing:
            self.read_finished = True
            self.owner.leg_finished(self)
