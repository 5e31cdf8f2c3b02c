"""The way to one server: connection, TLS, an SMTP server's greeting and STARTTLS; then the leg is somebody's.

It owns the leg until then, and isn't on the way of any byte after it.
"""

from collections.abc import Callable
from typing import Final, Protocol

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlsproxy.config.backend import BackendTls
from tlsproxy.errors import TlsError
from tlsproxy.fronts.smtp_opening import (
    Failed,
    Opened,
    Result,
    SendToServer,
    SmtpOpening,
    StartServerTls,
    TurnedAway,
)
from tlsproxy.identity.client import ClientAddress
from tlsproxy.net.addresses import endpoint_address
from tlsproxy.net.dialing import Dialer, Dialing, DialingReactor
from tlsproxy.net.leg import Leg
from tlsproxy.policy.handshakes import Outcome
from tlsproxy.tls.client import ClientContext

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for a server that isn't used to take an alert, and to close."""

_log = Logger()


@frozen(eq=False)
class BackendServer:
    """One server of a backend, and how it is spoken to."""

    address: str
    """For logs, as configured."""
    dialer: Dialer
    tls: BackendTls
    context: ClientContext | None
    """None for plaintext."""
    name: str
    """What its certificate must be for."""
    connect_timeout: float
    greeting_timeout: float


@frozen(kw_only=True)
class Approaching:
    """What one approach is to be like."""

    smtp: bool = False
    """Its greeting is waited for."""
    hostname: str = "localhost"
    """Our name, for an EHLO before STARTTLS."""
    header: Callable[[ClientAddress, ClientAddress], bytes] | None = None
    """Makes what is sent before anything else, given our address and the server's."""
    reactor: DialingReactor | None = None
    """Opens the connection, in place of the usual one."""


class ApproachUser(Protocol):
    """Who wants the leg. One of these is called, once."""

    def approach_succeeded(self, leg: Leg, said: bytes) -> None:
        """The leg is the user's. ``said``: what the server said already, to be taken as if it came now."""

    def approach_turned_away(self, leg: Leg, said: bytes, detail: str) -> None:
        """The same, but its greeting says that the server doesn't serve."""

    def approach_failed(self, detail: str) -> None:
        """No leg came about."""


class Approach:
    """One approach to one server; a :class:`~tlsproxy.net.leg.LegOwner` until it is over."""

    def __init__(
        self, server: BackendServer, user: ApproachUser, clock: IReactorTime, plan: Approaching
    ) -> None:
        self._server = server
        self._user = user
        self._clock = clock
        self._plan = plan
        self._leg = Leg(self, clock, self._receive)
        self._dialing: Dialing | None = None
        self._opening: SmtpOpening | None = None
        self._awaited = ""
        self._timer: IDelayedCall | None = None
        self._over = False

    def start(self) -> None:
        """Begin. The user may be called before this returns."""
        self._await("no connection", self._server.connect_timeout)
        self._dialing = self._server.dialer.dial(self._leg, self._fail, self._plan.reactor)

    def cancel(self) -> None:
        """Give it up. The user isn't called any more."""
        if not self._over:
            self._end()

    # The leg

    def leg_connected(self, leg: Leg) -> None:
        """See :class:`~tlsproxy.net.leg.LegOwner`, as for all ``leg_`` methods."""
        self._dialing = None
        if self._over:
            leg.abort()
            return
        if self._plan.header is not None and leg.transport is not None:
            own, peer = leg.transport.getHost(), leg.transport.getPeer()
            leg.send(self._plan.header(endpoint_address(own), endpoint_address(peer)))
        if self._server.tls is BackendTls.IMPLICIT:
            self._awaited = "no TLS handshake"
            self._start_tls()
        else:
            self._connected()

    def leg_established(self, leg: Leg) -> None:  # noqa: ARG002 - there is only one
        if self._opening is None:
            self._connected()
        else:
            self._act(self._opening.tls_started())

    def leg_refused(self, leg: Leg, error: TlsError) -> None:  # noqa: ARG002
        self._fail(str(error))

    def leg_finished(self, leg: Leg) -> None:  # noqa: ARG002
        self._fail(f"{self._awaited}: the server closed the connection")

    def leg_lost(self, leg: Leg) -> None:  # noqa: ARG002
        self._fail(f"{self._awaited}: the connection was reset")

    def leg_renegotiation_attempted(self, leg: Leg, attempt: int, outcome: Outcome) -> None:
        """There is none before the first handshake is done, and then the leg is somebody's."""

    def leg_faulted(self, leg: Leg, failure: Failure) -> None:  # noqa: ARG002
        _log.failure("approaching {server}", failure, server=self._server.address)
        self._fail(f"internal error: {failure.getErrorMessage()}")

    # The steps

    def _start_tls(self) -> None:
        context, leg = self._server.context, self._leg
        assert context is not None  # noqa: S101 - there is one wherever tls isn't "none"
        engine = context.new_engine(
            self._server.name,
            lambda attempt, outcome: leg.owner.leg_renegotiation_attempted(leg, attempt, outcome),
        )
        try:
            leg.start_tls(engine)
        except TlsError as error:
            self._fail(str(error))

    def _connected(self) -> None:
        if not self._plan.smtp:
            self._succeed(b"")
            return
        starttls = self._server.tls is BackendTls.STARTTLS
        self._opening = SmtpOpening(starttls=starttls, hostname=self._plan.hostname)
        self._await("no greeting", self._server.greeting_timeout)

    def _receive(self, data: bytes) -> None:
        if self._opening is not None and not self._over:
            self._act(self._opening.receive(data))

    def _act(self, result: Result | None) -> None:
        match result:
            case SendToServer(data):
                self._await(f"no reply to {data.split()[0].decode()}", self._server.greeting_timeout)
                self._leg.send(data)
            case StartServerTls():
                self._await("no TLS handshake", self._server.connect_timeout)
                self._start_tls()
            case Opened(said):
                self._succeed(said)
            case TurnedAway(said, detail):
                self._stop()
                self._user.approach_turned_away(self._leg, said, detail)
            case Failed(detail):
                self._fail(detail)
            case None:
                pass

    def _await(self, what: str, timeout: float) -> None:
        """Give the server ``timeout`` seconds for what comes next."""
        self._awaited = what
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(timeout, self._timed_out, timeout)

    def _timed_out(self, timeout: float) -> None:
        self._timer = None
        self._fail(f"{self._awaited} within {timeout:g} s")

    # The ends

    def _stop(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._stop()
        if self._dialing is not None:
            self._dialing.cancel()
            self._dialing = None
        self._leg.close(flush_timeout=CLOSE_TIMEOUT, drain_timeout=CLOSE_TIMEOUT)

    def _succeed(self, said: bytes) -> None:
        self._stop()
        self._user.approach_succeeded(self._leg, said)

    def _fail(self, detail: str) -> None:
        if not self._over:
            self._end()
            self._user.approach_failed(detail)
