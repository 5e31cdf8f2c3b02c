"""How many handshake messages a peer may send once the first handshake is done.

A peer can make a server work again and again over one connection: by renegotiating (TLS 1.0 to 1.2;
CVE-2011-1473) or by TLS 1.3's KeyUpdate (RFC 8446 §4.6.3), which needs no reply. :mod:`tlsproxy.tls.guard`
counts what OpenSSL reports; the rules here say what follows. The words are Momentum's
``TLS_Allow_Renegotiation``, made to act at once.
"""

from collections import deque
from enum import Enum

from attrs import define, field, frozen


class RenegotiationAction(Enum):
    """``tls_renegotiation_action``: what a refused attempt leads to, beside a ``no_renegotiation`` alert."""

    CLOSE = "close"
    """The connection is closed at the first attempt."""
    WARN = "warn"
    """The connection is kept until there were more than ``tls_renegotiation_limit`` attempts."""


class Outcome(Enum):
    """What one renegotiation attempt led to."""

    ALLOWED = "allowed"
    WARNED = "warned"
    CLOSED = "closed"


@frozen
class HandshakePolicy:
    """The rules for one connection, from its settings."""

    allow_renegotiation: bool = False
    renegotiation_action: RenegotiationAction = RenegotiationAction.CLOSE
    renegotiation_limit: int = 3
    """Attempts per connection: allowed ones with ``allow_renegotiation``, tolerated ones with ``WARN``."""
    key_update_limit: int = 32
    """KeyUpdate messages within any second of a connection."""

    def renegotiation_outcome(self, attempt: int, *, refused: bool = False) -> Outcome:
        """What follows from the connection's attempt number ``attempt``, counted from 1.

        :param refused: The TLS library refused it, whether allowed or not.
        """
        if attempt > self.renegotiation_limit:
            return Outcome.CLOSED
        if self.allow_renegotiation and not refused:
            return Outcome.ALLOWED
        return Outcome.WARNED if self.renegotiation_action is RenegotiationAction.WARN else Outcome.CLOSED


@define
class KeyUpdateBudget:
    """Counts KeyUpdate messages in a sliding second. Remembers at most ``limit`` times, however many come."""

    limit: int
    _times: deque[float] | None = field(init=False, default=None)
    """None before the first message: most connections see none."""

    def spend(self, count: int, now: float) -> bool:
        """Take ``count`` messages that came at ``now`` (seconds, monotonic). False: the limit is exceeded."""
        times = self._times
        if times is None:
            times = self._times = deque(maxlen=self.limit)
        for _ in range(count):
            if self.limit == 0 or (len(times) == self.limit and now - times[0] < 1.0):
                return False
            times.append(now)
        return True
