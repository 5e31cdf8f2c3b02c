"""Idle connections to a backend's servers, kept for the next session that wants one.

Nothing is to come on an idle connection. Whatever does, an end included, makes it useless: an answer that nobody asked for
would be taken for the next one's.
"""

from collections.abc import Callable
from typing import Final

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from tlsproxy.errors import TlsError
from tlsproxy.net.leg import Leg
from tlsproxy.policy.handshakes import Outcome

MAX_AGE: Final = 3600.0
"""Seconds that a connection is used at most, from when it came up: so that a server's new address is used some time.
nginx's ``keepalive_time``."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for a server to close a connection that isn't kept any longer."""


@define(eq=False)
class _Idle:
    """An idle connection, as its leg's owner."""

    leg: Leg
    server: int
    since: float
    """When the connection came up."""
    until: float
    discard: Callable[["_Idle"], None]

    def unexpected(self, _data: bytes) -> None:
        self.discard(self)

    def leg_connected(self, leg: Leg) -> None:
        """See :class:`~tlsproxy.net.leg.LegOwner`, as for all methods here."""

    def leg_established(self, leg: Leg) -> None: ...

    def leg_refused(self, leg: Leg, error: TlsError) -> None:  # noqa: ARG002
        self.discard(self)

    def leg_finished(self, leg: Leg) -> None:  # noqa: ARG002
        self.discard(self)

    def leg_lost(self, leg: Leg) -> None:  # noqa: ARG002
        self.discard(self)

    def leg_renegotiation_attempted(self, leg: Leg, attempt: int, outcome: Outcome) -> None:
        """What follows is told by :meth:`leg_refused`, or nothing does."""

    def leg_faulted(self, leg: Leg, failure: Failure) -> None:  # noqa: ARG002
        self.discard(self)


class IdlePool:
    """The idle connections of one backend: of each server a few, the whole within a limit, none for long."""

    def __init__(
        self, clock: IReactorTime, *, limit: int, timeout: float, dropped: Callable[[int], None]
    ) -> None:
        """
        :param limit: Connections kept at most.
        :param timeout: Seconds that one is kept.
        :param dropped: Told the server of each that is closed without having been taken.
        """
        self._clock = clock
        self._limit = limit
        self._timeout = timeout
        self._dropped = dropped
        self._idle: dict[_Idle, None] = {}
        # In the order in which they became idle, which is that in which their time is over.
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._idle)

    def keep(self, leg: Leg, server: int, since: float) -> bool:
        """Take a connection over. False: it isn't kept, and stays the caller's.

        :param since: When it came up.
        """
        now = self._clock.seconds()
        if leg.lost or leg.read_finished or now - since >= MAX_AGE or self._limit == 0:
            return False
        if len(self._idle) >= self._limit:
            self._discard(next(iter(self._idle)))
        idle = _Idle(leg, server, since, now + self._timeout, self._discard)
        self._idle[idle] = None
        leg.owner = idle
        leg.deliver = idle.unexpected
        self._await_timeout()
        return True

    def take(self, server: int) -> tuple[Leg, float] | None:
        """The connection to ``server`` that was idle for the shortest time, and when it came up. It is the caller's."""
        idle = next((each for each in reversed(self._idle) if each.server == server), None)
        if idle is None:
            return None
        del self._idle[idle]
        return idle.leg, idle.since

    def drop(self, server: int) -> None:
        """Close the connection to ``server`` that was idle for the longest time, if there is one."""
        idle = next((each for each in self._idle if each.server == server), None)
        if idle is not None:
            self._discard(idle)

    def close(self) -> None:
        """Close all, and keep none any more."""
        self._limit = 0
        for idle in list(self._idle):
            self._discard(idle)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _discard(self, idle: _Idle) -> None:
        if idle not in self._idle:
            return
        del self._idle[idle]
        idle.leg.close(flush_timeout=CLOSE_TIMEOUT, drain_timeout=CLOSE_TIMEOUT)
        self._dropped(idle.server)

    def _await_timeout(self) -> None:
        """One timer for all, which isn't stopped when the last is taken: the next is kept a moment later."""
        if self._idle and self._timer is None:
            first = next(iter(self._idle))
            remaining = max(0.0, first.until - self._clock.seconds())
            self._timer = self._clock.callLater(remaining, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for idle in [each for each in self._idle if each.until <= now]:
            self._discard(idle)
        self._await_timeout()
