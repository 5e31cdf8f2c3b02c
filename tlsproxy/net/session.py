"""One client connection and the backend connection that serves it.

The session owns two legs and a front. It turns what happens on the legs into the front's events and carries out the
commands that come back; once the front says :class:`~tlsproxy.fronts.commands.Splice`, bytes run from leg to leg. It knows
no protocol: every kind of listener runs on this one class.

How a session ends: the first cause is its reason, for the log. After an end in order both legs close as
:mod:`tlsproxy.net.leg` says. When a leg is reset, or its TLS fails, the other learns that too: the backend is reset, unless
the client had finished sending, and the client gets no close_notify, so that it can tell that something is missing.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final

from attrs import Factory, evolve, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from tlsproxy.config.settings import Settings
from tlsproxy.errors import KeyUpdateLimitExceeded, RenegotiationRefused, TlsError
from tlsproxy.fronts import Front, Kind
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
    ClientTooSlow,
    DrainRequested,
    Event,
    IdleTimedOut,
    SessionOpened,
    TimerExpired,
    TlsStarted,
)
from tlsproxy.fronts.options import FrontOptions
from tlsproxy.identity.client import ClientAddress
from tlsproxy.net.addresses import own_address
from tlsproxy.net.backend import BackendConnection, BackendConnector, Connecting, ConnectionRequest
from tlsproxy.net.identifiers import next_identifier
from tlsproxy.net.leg import Leg
from tlsproxy.notes import (
    BackendFailed,
    BackendFull,
    FrontReported,
    KeyUpdateLimitHit,
    LimitHit,
    Notify,
    RenegotiationAttempted,
    RequestServed,
    SessionEnded,
    SessionFault,
    SessionStarted,
    TlsEstablished,
    TlsRefused,
    WouldBeRefused,
)
from tlsproxy.policy.candidate import refuses_nobody
from tlsproxy.policy.handshakes import HandshakePolicy, Outcome
from tlsproxy.policy.limits import Counts, Held, LocalCounts, SessionLimits
from tlsproxy.policy.pace import Due, Lag, Pace, PaceRules, Sight
from tlsproxy.tls.contexts import ServerContext
from tlsproxy.tls.engine import Engine

MAX_HELO: Final = 255
"""Bytes of a HELO that are noted: the longest domain (RFC 5321 §4.5.3.1.2)."""

_PAUSED_BY_BACKEND: Final = Leg.PAUSED_BY_CONSUMER | Leg.PAUSED_BY_CONNECTING | Leg.PAUSED_BY_RENEGOTIATION
"""Why a client isn't read on a backend's account."""

_FOR_THE_LOG: Final = (Report, LogRequest)

_TRUNCATED: Final = "the backend's TLS connection ended without close_notify"


def _discard(_data: bytes) -> None:
    """Takes what comes from a connection that nobody listens to any more."""


@frozen(eq=False)
class SessionPlan:
    """What a session's settings come to: made once for each distinct settings, not per session."""

    settings: Settings
    handshakes: HandshakePolicy
    context: ServerContext | None
    """None where TLS can't be had: no certificate is in force."""
    front_options: FrontOptions
    limits: SessionLimits | None = None
    pace: PaceRules = field(init=False, default=Factory(lambda self: _pace(self.settings), True))
    candidate: str | None = field(init=False, default=Factory(lambda self: _candidate(self.settings), True))
    """The versions that ``tls_protocols_report`` has; None where it isn't set."""


def _pace(settings: Settings) -> PaceRules:
    return PaceRules(
        settings.idle_timeout,
        settings.smtp_command_timeout,
        settings.min_data_rate,
        settings.min_data_rate_window,
    )


def _candidate(settings: Settings) -> str | None:
    candidate = settings.tls_protocols_report
    return None if candidate is None or refuses_nobody(candidate) else str(candidate)


@frozen(eq=False)
class SessionHost:
    """What the sessions of one listen share."""

    listen: str
    """The listen's address, as configured."""
    kind: Kind
    connector: BackendConnector
    clock: IReactorTime
    notify: Notify
    opened: Callable[["Session"], None]
    ended: Callable[["Session"], None]
    counts: Counts = field(factory=LocalCounts)
    """Of what limits count."""


class Session:
    """A session, from accept until both sockets are closed.

    It owns its legs (:class:`~tlsproxy.net.leg.LegOwner`), and uses a backend (:class:`~tlsproxy.net.backend.BackendUser`).
    """

    __slots__ = (
        "_address",
        "_awaits_backend",
        "_backend",
        "_connecting",
        "_connection",
        "_dispatching",
        "_events",
        "_front",
        "_front_timer",
        "_handshake_admitted",
        "_handshake_timer",
        "_host",
        "_local",
        "_look_timer",
        "_pace",
        "_plan",
        "_reason",
        "_request",
        "_request_began",
        "_said",
        "_server",
        "_spliced",
        "_started",
        "client",
        "held",
        "identifier",
    )

    def __init__(
        self,
        host: SessionHost,
        plan: SessionPlan,
        address: ClientAddress,
        local: ClientAddress | None = None,
        *,
        held: Held = (),
        refusal: Front | None = None,
    ) -> None:
        """
        :param address: Where the client connects from.
        :param local: What it connected to, where that isn't the connection's own address.
        :param held: The places that it takes until it has ended.
        :param refusal: Serves the client in place of the listener's front: it is over a limit.
        """
        self._host = host
        self._plan = plan
        self._address = address
        self._local = local
        self.identifier = next_identifier()
        self._said = {"session": self.identifier, "client": str(address), "listen": host.listen}
        self.held: Held | None = None if refusal is not None else held
        self._front = refusal or host.kind.front(plan.front_options)
        self.client = Leg(self, host.clock, self._client_data)
        self._backend: Leg | None = None
        self._connection: BackendConnection | None = None
        self._connecting: Connecting | None = None
        self._awaits_backend = False
        self._request: ConnectionRequest | None = None
        self._server: str | None = None
        # Of one or two, most often: an empty deque takes 0.7 KiB.
        self._events: list[Event] = []
        self._dispatching = False
        self._spliced = False
        self._reason: str | None = None
        self._started = 0.0
        self._handshake_timer: IDelayedCall | None = None
        self._front_timer: IDelayedCall | None = None
        self._request_began = 0.0
        self._handshake_admitted = False
        self._look_timer: IDelayedCall | None = None
        self._pace: Pace | None = None

    @property
    def close_timeout(self) -> float:
        """Seconds that each phase of an end in order may take."""
        return self._plan.settings.close_timeout

    # Ends

    def close(self, reason: str) -> None:
        """End both connections in order. The first reason given stays."""
        if self._end(reason):
            self._close_legs(flush_timeout=self._plan.settings.close_timeout)

    def drain(self) -> None:
        """End as soon as nothing would be lost by it, as far as the front can tell: a spliced session goes on."""
        if not self._spliced:
            self._handle(DrainRequested())

    def cut(self, reason: str) -> bool:
        """End both connections in order and at once, whatever is lost by it. The front may have a last word to say.

        :returns: False where it was ending already.
        """
        running = self._reason is None
        self.drain()
        self.close(reason)
        return running

    def abort(self, reason: str) -> None:
        """Reset both connections."""
        self._end(reason)
        self.client.abort()
        if self._backend is not None:
            self._backend.abort()

    def _end(self, reason: str) -> bool:
        """Note why the session ends. False: it is ending already."""
        if self._reason is not None:
            return False
        self._reason = reason
        self._cancel_timers()
        self._stop_connecting()
        return True

    def _close_legs(self, *, flush_timeout: float, close_notify: bool = True) -> None:
        drain_timeout = self._plan.settings.close_timeout
        self.client.close(flush_timeout=flush_timeout, drain_timeout=drain_timeout, close_notify=close_notify)
        if self._backend is not None:
            self._backend.close(flush_timeout=flush_timeout, drain_timeout=drain_timeout)

    # Events: from the legs to the front

    def _handle(self, event: Event) -> None:
        """Give an event to the front and carry out its commands; events that this causes wait for their turn."""
        self._events.append(event)
        if not self._dispatching:
            self._dispatch()

    def _dispatch(self) -> None:
        self._dispatching = True
        try:
            while self._events and self._reason is None:
                for command in self._front.handle(self._events.pop(0)):
                    self._obey(command)
        except Exception:  # noqa: BLE001 - a fault ends this session, not the process
            self._fault(Failure())
        finally:
            self._dispatching = False

    def _obey(self, command: Command) -> None:
        # A command before it may have ended the session: CloseSession, or a SendToClient that failed in TLS.
        if self._reason is None or isinstance(command, _FOR_THE_LOG):
            self._carry_out[type(command)](self, command)

    def _client_data(self, data: bytes) -> None:
        self._handle(ClientDataReceived(data))

    def _backend_data(self, data: bytes) -> None:
        self._handle(BackendDataReceived(data))

    def leg_connected(self, leg: Leg) -> None:  # noqa: ARG002 - the client's: that of a backend comes connected
        """See :class:`~tlsproxy.net.leg.LegOwner`, as for all ``leg_`` methods."""
        host = self._host
        self._started = host.clock.seconds()
        self._await_look()
        host.notify(SessionStarted(**self._context(), kind=host.kind.name))
        local = self._local or own_address(self.client.transport)
        opened = SessionOpened(self._address, local, self._plan.context is not None, self.identifier)
        limits = self._plan.limits
        if limits is not None and limits.handshake_rate is not None:
            opened = evolve(opened, allows_handshake=self._admit_handshake)
        self._events.append(opened)
        host.opened(self)  # which may drain it at once
        self._dispatch()

    def leg_established(self, leg: Leg) -> None:
        assert self._handshake_timer is not None  # noqa: S101 - it was set when the handshake began
        self._handshake_timer.cancel()
        self._handshake_timer = None
        engine = leg.engine
        assert engine is not None and engine.facts is not None  # noqa: S101, PT018 - an established leg has facts
        facts = engine.facts
        candidate = self._plan.candidate
        self._host.notify(
            TlsEstablished(
                **self._context(),
                version=facts.version,
                cipher=facts.cipher,
                cipher_bits=facts.cipher_bits,
                group=facts.group,
                server_name=facts.server_name,
                server_name_known=self._knows(facts.server_name),
                alpn=facts.alpn,
                resumed=facts.resumed,
                client_subject=facts.client_subject,
                client_verified=facts.client_verified if facts.client_subject is not None else None,
                candidate=candidate,
                would_be_refused=engine.refused_offer is not None if candidate is not None else None,
            )
        )
        if not self._host.kind.smtp:
            self._note_would_be_refused(engine)
        self._handle(TlsStarted(facts))

    def _knows(self, server_name: str | None) -> bool | None:
        context = self._plan.context
        return None if server_name is None or context is None else context.knows(server_name)

    def leg_finished(self, leg: Leg) -> None:
        backend = self._backend
        if self._spliced and backend is not None:
            self._finish_other(leg, backend if leg is self.client else self.client)
        elif leg is not self.client:
            # One that the front has let go is closing, and tells no end.
            self._handle(BackendLost(_TRUNCATED) if leg.truncated else BackendFinished())
        elif leg.engine is not None and not leg.engine.established:
            self.close("client_closed")
        else:
            self._handle(ClientFinished())

    def _finish_other(self, leg: Leg, other: Leg) -> None:
        """A half-close runs through, and so does what it lacks; with the second the session is over, and each side may take
        what it was sent."""
        other.finish(close_notify=not leg.truncated)
        if other.read_finished and self._end(self._ended_by(other)):
            self._close_legs(flush_timeout=self._plan.settings.idle_timeout)

    def _ended_by(self, first: Leg) -> str:
        return f"{self._name(first)}_{'truncated' if first.truncated else 'closed'}"

    def leg_lost(self, leg: Leg) -> None:
        if leg is not self.client and leg is not self._backend:
            return  # one that the front has let go
        if self._reason is None:
            self._lost(leg)
        backend = self._backend
        if self.client.lost and (backend is None or backend.lost):
            self._finished()

    def _lost(self, leg: Leg) -> None:
        """A leg was reset. Whoever had finished sending before is still delivered, in order."""
        finished = leg.read_finished
        if leg is self._backend and not self._spliced:
            self._backend = self._connection = None
            self.client.resume(_PAUSED_BY_BACKEND)
            self._handle(BackendLost("the backend reset the connection"))
            return
        self._end(f"{self._name(leg)}_{'closed' if finished else 'lost'}")
        if leg is self.client and not finished and self._backend is not None:
            self._backend.abort()
        else:
            self._close_legs(flush_timeout=self._plan.settings.idle_timeout, close_notify=finished)

    def leg_refused(self, leg: Leg, error: TlsError) -> None:
        if leg is not self.client:
            self._backend_refused(leg, error)
            return
        if isinstance(error, KeyUpdateLimitExceeded):
            limit = self._plan.handshakes.key_update_limit
            self._host.notify(KeyUpdateLimitHit(**self._context(), limit=limit, leg="client"))
        elif not isinstance(error, RenegotiationRefused):  # noted when it was attempted
            self._note_refusal(error.reason, str(error))
        established = leg.engine is not None and leg.engine.established
        if self._backend is not None and established and not leg.read_finished:
            self._backend.abort()  # a FIN could be taken for the end of what the client was in the middle of
        self.close(error.reason)

    def _backend_refused(self, leg: Leg, error: TlsError) -> None:
        """As where the connection was reset, but that the server gets its alert."""
        if leg is not self._backend or self._connection is None:
            return  # one that the front has let go
        self._note_backend_failure(self._connection.server, str(error))
        if self._spliced:
            self.close(error.reason)
        else:
            self._disconnect_backend()
            self._handle(BackendLost(str(error)))

    def leg_renegotiation_attempted(self, leg: Leg, attempt: int, outcome: Outcome) -> None:
        self._host.notify(
            RenegotiationAttempted(
                **self._context(), attempt=attempt, outcome=outcome.value, leg=self._name(leg)
            )
        )

    def leg_faulted(self, leg: Leg, failure: Failure) -> None:  # noqa: ARG002 - the session ends, whichever leg it was
        self._fault(failure)

    def _fault(self, failure: Failure) -> None:
        self._host.notify(
            SessionFault(
                **self._context(), detail=failure.getErrorMessage(), traceback=failure.getTraceback()
            )
        )
        self.abort("internal_error")

    # Commands: from the front to the legs

    def _start_tls(self, _command: StartTls) -> None:
        plan = self._plan
        assert plan.context is not None  # noqa: S101 - a front asks for what it was told is available
        if not self._handshake_admitted and not self._admit_handshake():
            self.close("handshake_rate_per_peer")
            return
        self._handshake_timer = self._host.clock.callLater(
            plan.settings.handshake_timeout, self._handshake_timed_out
        )
        self.client.start_tls(
            Engine(
                plan.context.new_connection(),
                protocols=plan.settings.tls_protocols,
                policy=plan.handshakes,
                on_renegotiation=partial(self.leg_renegotiation_attempted, self.client),
                candidate=plan.settings.tls_protocols_report,
            )
        )

    def _admit_handshake(self) -> bool:
        """Whether the client may begin a handshake; the front asks where it can say no itself."""
        limits, host = self._plan.limits, self._host
        refused = (
            limits.admit_handshake(host.counts, self._address.ip, host.clock.seconds())
            if limits is not None
            else None
        )
        if refused is not None:
            self._note_limit(refused.option, refused.detail)
        self._handshake_admitted = refused is None
        return refused is None

    def _connect_backend(self, command: ConnectBackend) -> None:
        request = self._request
        if request is None or request.fresh is not command.fresh:
            request = self._request = ConnectionRequest(
                client=self._address,
                smtp=self._host.kind.smtp,
                hostname=self._plan.front_options.settings.smtp_hostname,
                fresh=command.fresh,
            )
        self._awaits_backend = True
        connecting = self._host.connector.connect(self, request)
        if self._awaits_backend:  # a connection that was kept is there by now
            self._connecting = connecting
            self.client.pause(Leg.PAUSED_BY_CONNECTING)

    def backend_attempt_failed(self, server: str, detail: str) -> None:
        """See :class:`~tlsproxy.net.backend.BackendUser`, as for all ``backend_`` methods."""
        self._note_backend_failure(server, detail)

    def backend_full(self, detail: str) -> None:
        self._host.notify(
            BackendFull(**self._context(), backend=self._host.connector.backend.name, detail=detail)
        )

    def backend_connected(self, connection: BackendConnection) -> None:
        leg = connection.leg
        leg.owner = self
        leg.deliver = self._backend_data
        self._connecting = None
        self._awaits_backend = False
        self._connection = connection
        self._server = connection.server
        self._backend = leg
        self.client.be_fed_by(leg)
        leg.be_fed_by(self.client)
        self.client.resume(Leg.PAUSED_BY_CONNECTING)
        self._handle(BackendConnected(reused=connection.reused))

    def backend_unavailable(self, detail: str) -> None:
        self._connecting = None
        self._awaits_backend = False
        self.client.resume(Leg.PAUSED_BY_CONNECTING)
        self._handle(BackendUnavailable(detail))

    def _stop_connecting(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None

    def _release_backend(self, _command: ReleaseBackend) -> None:
        connection = self._connection
        if self._forget_backend() is not None and connection is not None:
            connection.release()

    def _disconnect_backend(self, _command: DisconnectBackend | None = None) -> None:
        """The leg ends by itself; what it still tells is no longer heard."""
        backend = self._forget_backend()
        if backend is not None:
            timeout = self._plan.settings.close_timeout
            backend.close(flush_timeout=timeout, drain_timeout=timeout)

    def _abort_backend(self, _command: AbortBackend) -> None:
        backend = self._forget_backend()
        if backend is not None:
            backend.abort()

    def _forget_backend(self) -> Leg | None:
        backend, self._backend, self._connection = self._backend, None, None
        self._stop_connecting()
        self.client.resume(_PAUSED_BY_BACKEND)
        if backend is not None:
            self.client.be_fed_by(None)
            backend.deliver = _discard
        return backend

    def _pause_client(self, _command: PauseClient) -> None:
        self.client.pause(Leg.PAUSED_BY_FRONT)

    def _resume_client(self, _command: ResumeClient) -> None:
        self.client.resume(Leg.PAUSED_BY_FRONT)

    def _report(self, command: Report) -> None:
        self._host.notify(FrontReported(**self._context(), what=command.what, detail=command.detail))

    def _start_timer(self, command: StartTimer) -> None:
        if self._front_timer is not None:
            self._front_timer.reset(command.seconds)
        else:
            self._front_timer = self._host.clock.callLater(command.seconds, self._front_timer_expired)

    def _stop_timer(self, _command: StopTimer) -> None:
        timer, self._front_timer = self._front_timer, None
        if timer is not None:
            timer.cancel()

    def _front_timer_expired(self) -> None:
        self._front_timer = None
        self._handle(TimerExpired())

    def _begin_request(self, _command: BeginRequest) -> None:
        self._request_began = self._host.clock.seconds()

    def _log_request(self, command: LogRequest) -> None:
        self._host.notify(
            RequestServed(
                **self._context(),
                method=command.method,
                path=command.path,
                status=command.status,
                duration=self._host.clock.seconds() - self._request_began,
                bytes_in=command.bytes_in,
                bytes_out=command.bytes_out,
            )
        )

    def _send_to_client(self, command: SendToClient) -> None:
        self.client.send(command.data)

    def _send_to_backend(self, command: SendToBackend) -> None:
        if self._backend is not None:
            self._backend.send(command.data)

    def _finish_backend(self, _command: FinishBackend) -> None:
        if self._backend is not None:
            self._backend.finish()

    def _splice(self, _command: Splice) -> None:
        backend = self._backend
        assert backend is not None  # noqa: S101 - a front splices what it has connected
        self._spliced = True
        self.client.deliver = backend.send
        backend.deliver = self.client.send

    def _close_session(self, command: CloseSession) -> None:
        self.close(command.reason)

    _carry_out: ClassVar[Mapping[type[Command], Callable[["Session", Any], None]]] = {
        StartTls: _start_tls,
        ConnectBackend: _connect_backend,
        DisconnectBackend: _disconnect_backend,
        AbortBackend: _abort_backend,
        ReleaseBackend: _release_backend,
        PauseClient: _pause_client,
        ResumeClient: _resume_client,
        Report: _report,
        StartTimer: _start_timer,
        StopTimer: _stop_timer,
        BeginRequest: _begin_request,
        LogRequest: _log_request,
        SendToClient: _send_to_client,
        SendToBackend: _send_to_backend,
        FinishBackend: _finish_backend,
        Splice: _splice,
        CloseSession: _close_session,
    }

    # Time

    def _handshake_timed_out(self) -> None:
        self._handshake_timer = None
        timeout = self._plan.settings.handshake_timeout
        self._note_refusal("handshake_timeout", f"no TLS handshake within {timeout:g} s")
        self.close("handshake_timeout")

    def _await_look(self) -> None:
        self._look_timer = self._host.clock.callLater(self._plan.pace.interval, self._look)

    def _look(self) -> None:
        """See whether the client keeps up, from time to time instead of by a timer that every chunk resets."""
        self._look_timer = None
        if self._pace is None:
            self._pace = Pace(self._plan.pace, Sight(self._started, Due.NOTHING, 0, 0, 0, 0.0, 0))
        try:
            lag = self._pace.look(self._sight())
        except Exception:  # noqa: BLE001 - a session that can't be looked at would have no time-outs
            self._fault(Failure())
            return
        if lag is None:
            self._await_look()
        elif lag is not Lag.IDLE:
            self._fell_behind(lag)
        elif self.client.waits_for_consumer and not self._spliced:
            self._await_look()
            self._pace.forgive(self._host.clock.seconds())
            self._give_up_backend()
        else:
            self._idle_timed_out()

    def _sight(self) -> Sight:
        client, front, now = self.client, self._front, self._host.clock.seconds()
        untaken = client.untaken if self._plan.pace.data_rate else 0
        return Sight(now, front.due, front.step, client.received, client.sent, client.held(now), untaken)

    def _give_up_backend(self) -> None:
        """It isn't the client that is idle: it waits for the backend to take what it sends, and will get an answer."""
        assert self._connection is not None  # noqa: S101 - who waits for a consumer has one
        detail = f"took nothing for {self._plan.settings.idle_timeout:g} s"
        self._note_backend_failure(self._connection.server, detail)
        self._connection.blame(detail)
        self._connection.leg.abort()

    def _idle_timed_out(self) -> None:
        """The front may have a last word to say; none of them goes on."""
        if not self._spliced:
            self._handle(IdleTimedOut())
        self.close("idle_timeout")

    def _fell_behind(self, lag: Lag) -> None:
        """As with idleness."""
        rules = self._plan.pace
        detail = (
            f"no command within {rules.command_timeout:g} s"
            if lag is Lag.COMMAND
            else f"less than {rules.data_rate} bytes/s over {rules.data_rate_window:g} s"
        )
        self._note_limit(lag.value, detail)
        if not self._spliced:
            self._handle(ClientTooSlow(lag.value))
        self.close(lag.value)

    def _cancel_timers(self) -> None:
        for timer in (self._handshake_timer, self._look_timer, self._front_timer):
            if timer is not None:
                timer.cancel()
        self._handshake_timer = self._look_timer = self._front_timer = None

    # Notes

    def _context(self) -> dict[str, str]:
        return self._said

    def _name(self, leg: Leg) -> str:
        return "client" if leg is self.client else "backend"

    def _note_backend_failure(self, server: str, detail: str) -> None:
        backend = self._host.connector.backend.name
        self._host.notify(BackendFailed(**self._context(), backend=backend, server=server, detail=detail))

    def _note_limit(self, limit: str, detail: str) -> None:
        self._host.notify(LimitHit(**self._context(), limit=limit, detail=detail))

    def _note_refusal(self, reason: str, detail: str) -> None:
        engine = self.client.engine
        self._host.notify(
            TlsRefused(
                **self._context(),
                reason=reason,
                detail=detail,
                offered_versions=engine.offered_versions if engine is not None else None,
                server_name=engine.offered_server_name if engine is not None else None,
            )
        )

    def _note_would_be_refused(self, engine: Engine) -> None:
        """Tell whom ``tls_protocols_report`` would refuse: an SMTP client when it has told its name, so at the end."""
        facts, offered = engine.facts, engine.refused_offer
        if facts is None or offered is None:
            return
        settings = self._plan.settings
        name = self._front.client_name
        self._host.notify(
            WouldBeRefused(
                **self._context(),
                candidate=self._plan.candidate or "",
                network=self._address.network(
                    ipv4=settings.tls_protocols_report_prefix_ipv4,
                    ipv6=settings.tls_protocols_report_prefix_ipv6,
                ),
                version=facts.version,
                offered=offered,
                cipher=facts.cipher,
                server_name=facts.server_name,
                helo=None if name is None else name[:MAX_HELO].decode(errors="backslashreplace").lower(),
            )
        )

    def _finished(self) -> None:
        """Both sockets are closed."""
        engine = self.client.engine
        facts = engine.facts if engine is not None else None
        if engine is not None and self._host.kind.smtp:
            self._note_would_be_refused(engine)
        self._host.notify(
            SessionEnded(
                **self._context(),
                kind=self._host.kind.name,
                reason=self._reason or "closed",
                duration=self._host.clock.seconds() - self._started,
                bytes_from_client=self.client.received,
                bytes_to_client=self.client.sent,
                backend=self._host.connector.backend.name if self._server is not None else None,
                server=self._server,
                version=facts.version if facts is not None else None,
                cipher=facts.cipher if facts is not None else None,
                group=facts.group if facts is not None else None,
                server_name=facts.server_name if facts is not None else None,
                renegotiations=engine.renegotiations if engine is not None else 0,
                key_updates=engine.key_updates if engine is not None else 0,
            )
        )
        self._host.ended(self)
        self.client.release()
        if self._backend is not None:
            self._backend.release()
