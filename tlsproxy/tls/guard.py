"""Sees what a peer tries once the first handshake is done, and stops OpenSSL where the policy says stop.

OpenSSL tells of handshake messages through an info callback, and of nothing else: ``SSL_read(3)`` works silently through
all that its input holds. What it reports, on either side of a connection:

=====================================  ==============================================================================
event                                  meaning
=====================================  ==============================================================================
``HANDSHAKE_START``                    a renegotiation begins: the peer's ClientHello, or a server's HelloRequest
``WRITE_ALERT``, ``no_renegotiation``  OpenSSL refused it
``HANDSHAKE_DONE``                     it is over, *refused or completed*: on its own no proof of either
a ``LOOP`` in ``read … key update``    a KeyUpdate (RFC 8446 §4.6.3); it has neither START nor DONE of its own
=====================================  ==============================================================================

TLS 1.3 has no renegotiation, and never fires START here.

One record may hold thousands of ClientHellos, four bytes each, and each is answered with an alert (or a KeyUpdate with a
KeyUpdate) in one and the same call. So the guard acts inside the callback: it marks the connection's read side as shut
down (``SSL_set_shutdown(3)``), and OpenSSL takes in nothing more. An exception there would be lost, hence the verdict is
raised by :meth:`HandshakeGuard.check`, after the OpenSSL call.
"""

from collections.abc import Callable
from typing import Final

from OpenSSL import SSL

from tlsproxy.errors import KeyUpdateLimitExceeded, RenegotiationRefused
from tlsproxy.policy.handshakes import HandshakePolicy, KeyUpdateBudget, Outcome

_NO_RENEGOTIATION: Final = 100
"""Alert description ``no_renegotiation`` (RFC 5246 §7.2.2). The callback gets it with the level in the high byte."""

_KEY_UPDATE_STATES: Final = frozenset({b"TLSv1.3 read client key update", b"TLSv1.3 read server key update"})
"""``SSL_state_string_long(3)`` while a peer's KeyUpdate is worked on, in the role of server and of client."""

ReportRenegotiation = Callable[[int, Outcome], None]
"""Takes the attempt's number, counted from 1, and what it led to. Must not raise."""


class HandshakeGuard:
    """Holds one connection to a policy, from the end of its first handshake on.

    :ivar now: Seconds, monotonic. To be set before OpenSSL is given input.
    :ivar touched: OpenSSL reported something since the last :meth:`check`; most often it has something to send, then.
    :ivar attempts: Renegotiations that the peer attempted.
    :ivar key_updates: KeyUpdate messages that the peer sent.
    """

    __slots__ = (
        "_accepting",
        "_budget",
        "_completed",
        "_over_budget",
        "_policy",
        "_refused",
        "_running",
        "_verdicts",
        "attempts",
        "key_updates",
        "now",
        "touched",
    )

    def __init__(self, policy: HandshakePolicy) -> None:
        self._policy = policy
        self._accepting = policy.allow_renegotiation
        self._budget = KeyUpdateBudget(policy.key_update_limit)
        self._running = False
        self._refused = False
        self._completed = False
        self._over_budget = False
        self._verdicts: list[tuple[int, Outcome]] = []
        # No longer than ``renegotiation_limit`` and one: the one is CLOSED, and OpenSSL reads no further.
        self.attempts = 0
        self.key_updates = 0
        self.now = 0.0
        self.touched = False

    def arm(self, connection: SSL.Connection) -> None:
        """Watch ``connection``. To be called when the first handshake is done, in which there are 40 events for nothing."""
        if not self._policy.allow_renegotiation or self._policy.renegotiation_limit == 0:
            self._forbid(connection)
        connection.set_info_callback(self._on_event)

    def check(self, report: ReportRenegotiation | None) -> bool:
        """Judge what was reported. To be called after each OpenSSL call that left the guard ``touched``.

        :param report: Told of each attempt that was decided.
        :returns: Whether a renegotiation was completed.
        :raises RenegotiationRefused: The connection is to be closed.
        :raises KeyUpdateLimitExceeded: The connection is to be closed.
        """
        self.touched = False
        verdicts, self._verdicts = self._verdicts, []
        if self._running and self._policy.renegotiation_outcome(self.attempts) is Outcome.CLOSED:
            # Begun, and not over: a ClientHello in several records. There is nothing to wait for.
            verdicts.append((self.attempts, Outcome.CLOSED))
        for attempt, outcome in verdicts:
            if report is not None:
                report(attempt, outcome)
            if outcome is Outcome.CLOSED:
                raise RenegotiationRefused(f"renegotiation attempt {attempt} refused")
        if self._over_budget:
            raise KeyUpdateLimitExceeded(
                f"more than {self._policy.key_update_limit} KeyUpdate messages within a second"
            )
        completed, self._completed = self._completed, False
        return completed

    def _on_event(self, connection: SSL.Connection, where: int, value: int) -> None:
        self.touched = True
        if where == SSL.SSL_CB_HANDSHAKE_START:
            self.attempts += 1
            self._running = True
            self._refused = False
        elif where == SSL.SSL_CB_WRITE_ALERT:
            self._alert_written(connection, value & 0xFF)
        elif where == SSL.SSL_CB_HANDSHAKE_DONE:
            self._handshake_done(connection)
        elif where & SSL.SSL_CB_LOOP and connection.get_state_string() in _KEY_UPDATE_STATES:
            self._key_update_read(connection)

    def _alert_written(self, connection: SSL.Connection, description: int) -> None:
        if self._running and description == _NO_RENEGOTIATION:
            self._refused = True
            if self._outcome() is Outcome.CLOSED:
                _read_no_further(connection)

    def _handshake_done(self, connection: SSL.Connection) -> None:
        if not self._running:
            return
        self._running = False
        self._verdicts.append((self.attempts, self._outcome()))
        if not self._refused:
            self._completed = True
        if self._accepting and self.attempts >= self._policy.renegotiation_limit:
            self._forbid(connection)

    def _outcome(self) -> Outcome:
        # OpenSSL refuses what the policy allows where the peer lacks RFC 5746.
        return self._policy.renegotiation_outcome(self.attempts, refused=self._refused)

    def _forbid(self, connection: SSL.Connection) -> None:
        """Let OpenSSL refuse whatever comes next."""
        self._accepting = False
        connection.set_options(SSL.OP_NO_RENEGOTIATION)

    def _key_update_read(self, connection: SSL.Connection) -> None:
        self.key_updates += 1
        if not self._budget.spend(1, self.now):
            self._over_budget = True
            _read_no_further(connection)


def _read_no_further(connection: SSL.Connection) -> None:
    connection.set_shutdown(connection.get_shutdown() | SSL.RECEIVED_SHUTDOWN)
