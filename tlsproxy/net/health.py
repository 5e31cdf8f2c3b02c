"""Active checks: each server of a backend is asked at an interval whether it is fit.

A check goes the way of a session, TLS and its verification included, and leaves as a client would: to an MTA it is a
connection, a greeting and QUIT, two lines in its log.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from tlsproxy.config.backend import Backend, HealthCheck
from tlsproxy.errors import TlsError
from tlsproxy.fronts.http_check import HttpCheck
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.identity.client import ClientAddress
from tlsproxy.identity.proxy_header import LOCAL_V2, encode_v1
from tlsproxy.net.approach import CLOSE_TIMEOUT, Approach, Approaching, BackendServer
from tlsproxy.net.leg import Leg
from tlsproxy.policy.handshakes import Outcome

FALL: Final = 2
"""Checks in a row that a server has to fail: one alone may have met a moment when it was busy."""

Found = Callable[[bool, str], None]
"""Takes whether a server is fit, and why if it isn't."""


def _local(_own: ClientAddress, _server: ClientAddress) -> bytes:
    """PROXY protocol v2's way to say that this connection is the proxy's own."""
    return LOCAL_V2


_HEADERS: Final = {IdentityMode.PROXY_V1: encode_v1, IdentityMode.PROXY_V2: _local}


class Checker:
    """Checks one server, again and again."""

    def __init__(self, server: BackendServer, backend: Backend, clock: IReactorTime, found: Found) -> None:
        """:param found: Told after each check, but for failures before there were ``FALL`` in a row."""
        self._server = server
        self._backend = backend
        self._clock = clock
        self._found = found
        self._failures = 0
        self._approach: Approach | None = None
        self._leg: Leg | None = None
        self._http: HttpCheck | None = None
        self._timer: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None

    def start(self) -> None:
        """Begin with the first check."""
        backend = self._backend
        self._timer = self._clock.callLater(backend.health_check_interval, self.start)
        self._deadline = self._clock.callLater(backend.health_check_timeout, self._timed_out)
        self._leg = self._http = None
        plan = Approaching(
            smtp=backend.health_check is HealthCheck.SMTP, header=_HEADERS.get(backend.identity)
        )
        self._approach = Approach(self._server, self, self._clock, plan)
        self._approach.start()

    def stop(self) -> None:
        """Check no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._end()

    def approach_succeeded(self, leg: Leg, said: bytes) -> None:  # noqa: ARG002 - the greeting was found good
        """See :class:`~tlsproxy.net.approach.ApproachUser`, as for all ``approach_`` methods."""
        self._take(leg)
        if self._backend.health_check is HealthCheck.HTTP:
            self._http = HttpCheck(self._server.address, self._backend.health_check_path)
            leg.send(self._http.request)
        else:
            self._verdict("")

    def approach_turned_away(self, leg: Leg, said: bytes, detail: str) -> None:  # noqa: ARG002
        self._take(leg)
        self._verdict(detail)

    def approach_failed(self, detail: str) -> None:
        self._approach = None
        self._verdict(detail)

    # The leg, once it is up

    def _take(self, leg: Leg) -> None:
        self._approach = None
        self._leg = leg
        leg.owner = self
        leg.deliver = self._receive

    def _receive(self, data: bytes) -> None:
        if self._http is None:
            return
        status = self._http.receive(data)
        if status is None:
            return
        if status in self._backend.health_check_status:
            self._verdict("")
        else:
            self._verdict(f"status {status}" if status else "what it answers is no HTTP")

    def leg_connected(self, leg: Leg) -> None:
        """See :class:`~tlsproxy.net.leg.LegOwner`, as for all ``leg_`` methods."""

    def leg_established(self, leg: Leg) -> None: ...

    def leg_refused(self, leg: Leg, error: TlsError) -> None:
        self._lost(leg, str(error))

    def leg_finished(self, leg: Leg) -> None:
        self._lost(leg, "no answer: the server closed the connection")

    def leg_lost(self, leg: Leg) -> None:
        self._lost(leg, "no answer: the connection was reset")

    def leg_renegotiation_attempted(self, leg: Leg, attempt: int, outcome: Outcome) -> None:
        """What follows is told by :meth:`leg_refused`, or nothing does."""

    def leg_faulted(self, leg: Leg, failure: Failure) -> None:
        self._lost(leg, f"internal error: {failure.getErrorMessage()}")

    def _lost(self, leg: Leg, detail: str) -> None:
        if leg is self._leg:
            self._verdict(detail)

    # The verdict

    def _timed_out(self) -> None:
        self._verdict(f"no answer within {self._backend.health_check_timeout:g} s")

    def _verdict(self, detail: str) -> None:
        """:param detail: Why it isn't fit; empty if it is."""
        self._end()
        self._failures = self._failures + 1 if detail else 0
        if self._failures in (0, FALL):
            self._found(not detail, f"health check: {detail}")
        elif self._failures > FALL:
            self._failures = FALL + 1

    def _end(self) -> None:
        """Close what is open, in order."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        approach, self._approach = self._approach, None
        if approach is not None:
            approach.cancel()
        leg, self._leg = self._leg, None
        if leg is not None:
            if self._backend.health_check is HealthCheck.SMTP:
                leg.send(b"QUIT\r\n")
            leg.close(flush_timeout=CLOSE_TIMEOUT, drain_timeout=CLOSE_TIMEOUT)
