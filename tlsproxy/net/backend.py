"""Connections to a backend: which server, how many, how long a client waits, and what is kept for later.

:mod:`tlsproxy.policy.selection` decides; what is here carries it out. A client's wait goes from server to server until one
is reached, each was tried, or its time is over. Where all are full it stands in a queue: first come, first served.
"""

from functools import partial
from socket import gethostname
from typing import Any, Final, Protocol

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tlsproxy.config.backend import Backend, BackendTls, HealthCheck, Server
from tlsproxy.config.backend_checks import server_name
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.identity.client import ClientAddress
from tlsproxy.net.approach import CLOSE_TIMEOUT, Approach, Approaching, BackendServer
from tlsproxy.net.dialing import SHORTAGE, Dialer, DialingReactor
from tlsproxy.net.health import Checker
from tlsproxy.net.leg import Leg
from tlsproxy.net.names import RememberingResolver
from tlsproxy.net.pool import IdlePool
from tlsproxy.net.transparent import TransparentReactor
from tlsproxy.notes import BackendReached, BackendServerDown, BackendServerUp, Notify
from tlsproxy.policy.selection import Attempt, NoServer, Selection, ServerLoad, Standing
from tlsproxy.tls.client import ClientContext

_PROXY_HEADERS: Final = (IdentityMode.PROXY_V1, IdentityMode.PROXY_V2)
_ONE_CLIENT_S: Final = (*_PROXY_HEADERS, IdentityMode.TRANSPARENT)
"""With these a connection is known to the server as one client's."""

_ANY_PAUSE: Final = (
    Leg.PAUSED_BY_CONSUMER | Leg.PAUSED_BY_CONNECTING | Leg.PAUSED_BY_FRONT | Leg.PAUSED_BY_RENEGOTIATION
)


@frozen(kw_only=True)
class ConnectionRequest:
    """What a session wants."""

    client: ClientAddress
    smtp: bool = False
    """The front speaks SMTP, and waits for a greeting."""
    hostname: str = ""
    """Our name, for an EHLO before STARTTLS."""
    fresh: bool = False
    """Not one that has served before."""


class Connecting(Protocol):
    """A session's wait for a connection."""

    def cancel(self) -> None:
        """Give it up. Nothing is told any more. Harmless when it is over."""


class BackendUser(Protocol):
    """Who wants a connection."""

    def backend_attempt_failed(self, server: str, detail: str) -> None:
        """A server couldn't be reached. Another may be tried."""

    def backend_full(self, detail: str) -> None:
        """No server had room in time."""

    def backend_connected(self, connection: "BackendConnection") -> None:
        """It is up, and the user's, who sets its leg's owner and ``deliver``. Then comes what the server said so far."""

    def backend_unavailable(self, detail: str) -> None:
        """There will be none."""


@frozen
class ServerState:
    """How one server is, at a moment."""

    address: str
    """As configured."""
    standing: Standing
    load: ServerLoad


@define(eq=False)
class _Desk:
    """What all who wait for one backend share."""

    backend: Backend
    servers: tuple[BackendServer, ...]
    selection: Selection
    reactor: Any
    """Provides ``IReactorTime`` and what opens connections."""
    clock: Any
    """Provides ``IReactorTime``."""
    notify: Notify
    pool: IdlePool = field(init=False)
    queue: "dict[_Wait, None]" = field(init=False, factory=dict)
    _waking: bool = field(init=False, default=False)
    _woken: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.pool = IdlePool(
            self.reactor,
            limit=0 if self.backend.identity in _ONE_CLIENT_S else self.backend.keepalive_connections,
            timeout=self.backend.keepalive_timeout,
            dropped=self._dropped,
        )

    def _dropped(self, server: int) -> None:
        self.selection.dropped(server)
        self.wake()

    def is_up(self, server: int) -> bool:
        return self.selection.standing(server) in (Standing.UP, Standing.RETURNING)

    def make_room(self, server: int) -> None:
        """Close a kept connection, where one more would be too many."""
        limit = self.backend.max_connections
        if limit and self.selection.connections(server) > limit:
            self.pool.drop(server)

    def wake(self) -> None:
        """Let those in the queue try again, after something changed. What changes by that is seen to as well."""
        self._woken = True
        if self._waking:
            return
        self._waking = True
        try:
            while self._woken:
                self._woken = False
                for wait in list(self.queue):
                    if wait in self.queue and not wait.try_again():
                        break
        finally:
            self._waking = False

    def checked(self, server: int, fit: bool, detail: str) -> None:
        """Take in what an active check found."""
        if not self.selection.checked(server, self.reactor.seconds(), fit=fit):
            return
        if fit:
            self.note_up(server)
            self.wake()
        else:
            self.note_down(server, detail)

    def note_down(self, server: int, detail: str) -> None:
        self.notify(
            BackendServerDown(backend=self.backend.name, server=self.servers[server].address, detail=detail)
        )

    def note_reached(self, connection: "BackendConnection", duration: float) -> None:
        self.notify(
            BackendReached(
                backend=self.backend.name,
                server=connection.server,
                duration=duration,
                reused=connection.reused,
            )
        )

    def note_up(self, server: int) -> None:
        self.notify(BackendServerUp(backend=self.backend.name, server=self.servers[server].address))


class BackendConnection:
    """A connection to one of a backend's servers, at a session's disposal.

    :ivar server: Its address, as configured.
    :ivar reused: It has served another before.
    """

    __slots__ = ("_attempt", "_blamed", "_desk", "_since", "leg", "reused", "server")

    def __init__(self, desk: _Desk, attempt: Attempt, leg: Leg, *, since: float, reused: bool) -> None:
        self.leg = leg
        self.server = desk.servers[attempt.server].address
        self.reused = reused
        self._desk = desk
        self._attempt = attempt
        self._since = since
        self._blamed = False
        leg.on_lost = self._lost

    def release(self) -> None:
        """Give the connection back, for others to use. Nothing is owed on it either way.

        It is closed instead where it can't be kept: too many are, it is too old, or it is known as one client's.
        """
        desk, leg = self._desk, self.leg
        leg.be_fed_by(None)
        leg.resume(_ANY_PAUSE)
        engine = leg.engine
        fit = (
            not (engine is not None and engine.blocked)
            and desk.is_up(self._attempt.server)
            and desk.pool.keep(leg, self._attempt.server, self._since)
        )
        if fit:
            leg.on_lost = None
            desk.selection.parked(self._attempt)
            desk.wake()
        else:
            leg.close(flush_timeout=CLOSE_TIMEOUT, drain_timeout=CLOSE_TIMEOUT)

    def blame(self, detail: str) -> None:
        """Note that the server failed this session, although it took the connection."""
        desk = self._desk
        self._blamed = True
        if desk.selection.blamed(self._attempt, desk.clock.seconds()):
            desk.note_down(self._attempt.server, detail)

    def _lost(self) -> None:
        self._desk.selection.closed(self._attempt, blamed=self._blamed)
        self._desk.wake()


class _Wait:
    """One client's wait. See :class:`Connecting`; an :class:`~tlsproxy.net.approach.ApproachUser`."""

    def __init__(self, desk: _Desk, user: BackendUser, request: ConnectionRequest) -> None:
        self._desk = desk
        self._user = user
        self._request = request
        self._tried: set[int] = set()
        self._detail = "no server"
        self._transparent: TransparentReactor | None = None
        if desk.backend.identity is IdentityMode.TRANSPARENT:
            self._transparent = TransparentReactor(desk.reactor, request.client)
        self._attempt: Attempt | None = None
        self._approach: Approach | None = None
        self._approached = 0.0
        self._deadline: IDelayedCall | None = None
        self._queue_timer: IDelayedCall | None = None
        self._over = False

    def start(self) -> None:
        deadline = self._desk.backend.connect_deadline
        self._deadline = self._desk.clock.callLater(deadline, self._deadline_passed)
        self._advance()

    def cancel(self) -> None:
        """See :class:`Connecting`."""
        if self._over:
            return
        self._finish()
        if self._approach is not None:
            self._approach.cancel()
            self._desk.selection.abandoned(self._taken())
        self._desk.wake()

    def try_again(self) -> bool:
        """Leave the queue, if there is room. False: there is none, for anybody in it."""
        attempt = self._begin()
        if attempt is NoServer.BUSY:
            # Who was failed by a server has fewer to choose from than the others.
            return bool(self._tried)
        self._leave_queue()
        self._proceed(attempt)
        return True

    # From server to server

    def _begin(self) -> Attempt | NoServer:
        return self._desk.selection.begin(self._desk.clock.seconds(), self._tried)

    def _advance(self) -> None:
        self._proceed(self._begin())

    def _proceed(self, attempt: Attempt | NoServer) -> None:
        if attempt is NoServer.BUSY:
            self._stand_in_queue()
        elif attempt is NoServer.NONE:
            self._give_up(self._detail)
        else:
            self._try(attempt)

    def _try(self, attempt: Attempt) -> None:
        desk, request = self._desk, self._request
        kept = desk.pool.take(attempt.server) if not request.fresh else None
        if kept is not None:
            leg, since = kept
            desk.selection.reused(attempt)
            self._hand_over(BackendConnection(desk, attempt, leg, since=since, reused=True), b"")
            return
        desk.make_room(attempt.server)
        plan = Approaching(
            smtp=request.smtp and desk.backend.identity not in _PROXY_HEADERS,
            hostname=request.hostname or gethostname(),
            reactor=self._transparent,
        )
        self._attempt = attempt
        self._approached = desk.clock.seconds()
        self._approach = Approach(desk.servers[attempt.server], self, desk.clock, plan)
        self._approach.start()

    def approach_succeeded(self, leg: Leg, said: bytes) -> None:
        """See :class:`~tlsproxy.net.approach.ApproachUser`, as for all ``approach_`` methods."""
        attempt = self._taken()
        if self._desk.selection.proved(attempt, self._desk.clock.seconds()):
            self._desk.note_up(attempt.server)
        self._open(attempt, leg, said)

    def approach_turned_away(self, leg: Leg, said: bytes, detail: str) -> None:
        """A greeting that turns away the proxy is another server's chance; what turns away the client is the client's.

        Never where STARTTLS is wanted: what the client says then would go on in plaintext.
        """
        backend = self._desk.backend
        in_plaintext = backend.tls is BackendTls.STARTTLS
        if self._transparent is not None and not in_plaintext:
            self.approach_succeeded(leg, said)
            return
        attempt = self._taken()
        following = self._begin_after(attempt)
        if isinstance(following, Attempt) or in_plaintext:
            leg.close(flush_timeout=CLOSE_TIMEOUT, drain_timeout=CLOSE_TIMEOUT)
            self._failed(attempt, detail)
            self._proceed(following)
            self._desk.wake()
        else:
            connection = self._open(attempt, leg, said)
            connection.blame(detail)

    def approach_failed(self, detail: str) -> None:
        own_fault = detail == SHORTAGE or (self._transparent is not None and self._transparent.refused)
        self._failed(self._taken(), detail, blamed=not own_fault)
        self._advance()
        self._desk.wake()

    def _taken(self) -> Attempt:
        """The attempt that the approach was for; both are over."""
        attempt, self._attempt, self._approach = self._attempt, None, None
        assert attempt is not None  # noqa: S101 - an approach is made for one
        return attempt

    def _begin_after(self, attempt: Attempt) -> Attempt | NoServer:
        self._tried.add(attempt.server)
        return self._begin()

    def _failed(self, attempt: Attempt, detail: str, *, blamed: bool = True) -> None:
        """:param blamed: It counts against the server."""
        desk = self._desk
        server = desk.servers[attempt.server].address
        self._tried.add(attempt.server)
        self._detail = f"{server}: {detail}"
        self._user.backend_attempt_failed(server, detail)
        if not blamed:
            desk.selection.abandoned(attempt)
        elif desk.selection.failed(attempt, desk.clock.seconds()):
            desk.note_down(attempt.server, detail)

    def _open(self, attempt: Attempt, leg: Leg, said: bytes) -> BackendConnection:
        desk = self._desk
        desk.selection.opened(attempt)
        connection = BackendConnection(desk, attempt, leg, since=desk.clock.seconds(), reused=False)
        self._hand_over(connection, said)
        return connection

    def _hand_over(self, connection: BackendConnection, said: bytes) -> None:
        self._finish()
        duration = 0.0 if connection.reused else self._desk.clock.seconds() - self._approached
        self._desk.note_reached(connection, duration)
        self._user.backend_connected(connection)
        if said:
            connection.leg.deliver(said)
        self._desk.wake()

    # The queue

    def _stand_in_queue(self) -> None:
        backend, queue = self._desk.backend, self._desk.queue
        if len(queue) >= backend.queue_size:
            self._find_no_room(f"the queue is full ({len(queue)})")
            return
        queue[self] = None
        self._queue_timer = self._desk.clock.callLater(backend.queue_timeout, self._queue_timed_out)

    def _leave_queue(self) -> None:
        self._desk.queue.pop(self, None)
        if self._queue_timer is not None and self._queue_timer.active():
            self._queue_timer.cancel()
        self._queue_timer = None

    def _queue_timed_out(self) -> None:
        self._find_no_room(f"no room within {self._desk.backend.queue_timeout:g} s")

    def _find_no_room(self, why: str) -> None:
        desk = self._desk
        up = any(desk.is_up(server) for server, _ in enumerate(desk.servers))
        detail = f"{'every server is full' if up else 'no server is up, and others try'}: {why}"
        self._user.backend_full(detail)
        self._give_up(detail)

    # The ends

    def _deadline_passed(self) -> None:
        self._finish()
        if self._approach is not None:
            self._cut_short(self._approach)
        detail = f"no server within {self._desk.backend.connect_deadline:g} s"
        self._user.backend_unavailable(f"{detail} ({self._detail})" if self._tried else detail)
        self._desk.wake()

    def _cut_short(self, approach: Approach) -> None:
        """Give an approach up. It is held against the server if it had its time."""
        approach.cancel()
        attempt, desk = self._taken(), self._desk
        if desk.clock.seconds() - self._approached < desk.backend.connect_timeout:
            desk.selection.abandoned(attempt)
        else:
            self._failed(attempt, "no session came about in time")

    def _give_up(self, detail: str) -> None:
        self._finish()
        self._user.backend_unavailable(detail)

    def _finish(self) -> None:
        self._over = True
        self._leave_queue()
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()


class BackendConnector:
    """Connects sessions to one backend. There is one for each, since limits and failures are the backend's."""

    def __init__(
        self,
        backend: Backend,
        reactor: Any,
        *,
        notify: Notify,
        context: ClientContext | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        :param reactor: Provides ``IReactorTime`` and what :class:`~tlsproxy.net.dialing.DialingReactor` has.
        :param context: For TLS to the servers, where it is configured.
        :param clock: For what each session waits for; None: ``reactor``.
        """
        self.backend = backend
        resolver = RememberingResolver(reactor.nameResolver, reactor, backend.resolve_interval)
        self._desk = _Desk(
            backend=backend,
            servers=tuple(_server(backend, each, reactor, resolver, context) for each in backend.servers),
            selection=Selection([each.weight for each in backend.servers], backend.rules),
            reactor=reactor,
            clock=clock or reactor,
            notify=notify,
        )
        self._checkers = [
            Checker(server, backend, reactor, partial(self._desk.checked, index))
            for index, server in enumerate(self._desk.servers)
            if backend.health_check is not HealthCheck.NONE
        ]

    @property
    def servers(self) -> tuple[ServerState, ...]:
        """How each server is, in the order of the configuration."""
        selection = self._desk.selection
        return tuple(
            ServerState(server.address, selection.standing(index), selection.load(index))
            for index, server in enumerate(self._desk.servers)
        )

    @property
    def waiting(self) -> int:
        """Clients in the queue."""
        return len(self._desk.queue)

    def start(self) -> None:
        """Begin to check the servers, where that is configured."""
        for checker in self._checkers:
            checker.start()

    def connect(self, user: BackendUser, request: ConnectionRequest) -> Connecting:
        """Connect ``user`` to a server. It may be told what came of it before this returns."""
        wait = _Wait(self._desk, user, request)
        wait.start()
        return wait

    def stop(self) -> None:
        """Close what is kept, and check no more. Sessions that run may still connect."""
        for checker in self._checkers:
            checker.stop()
        self._desk.pool.close()


def _server(
    backend: Backend,
    server: Server,
    reactor: DialingReactor,
    resolver: RememberingResolver,
    context: ClientContext | None,
) -> BackendServer:
    return BackendServer(
        address=str(server),
        dialer=Dialer(
            server.address,
            reactor,
            timeout=backend.connect_timeout,
            source_address=backend.source_address,
            resolver=resolver,
        ),
        tls=backend.tls,
        context=context,
        name=server_name(backend, server.address),
        connect_timeout=backend.connect_timeout,
        greeting_timeout=backend.greeting_timeout,
    )
