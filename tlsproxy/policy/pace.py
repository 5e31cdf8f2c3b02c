"""Whether a client keeps up: with anything at all, with the command it owes, with the content, with what it is sent.

Nothing here runs for every byte. The session looks at its counters from time to time, :data:`LOOKS` times in the shortest
of the spans that matter, and tells what it sees; so a time-out may come a quarter of its span late, and never early.

What a backend takes is never the client's fault. The front says what the client owes (:class:`Due`), which is nothing while
the client waits for an answer; and time in which the client isn't read, because the backend takes no more, isn't counted.
"""

from enum import Enum, auto
from typing import Final

from attrs import define, field, frozen

LOOKS: Final = 8
"""Looks within one span: what happened may be seen one look late, and that its time is over, another."""

_ROUNDING: Final = 1e-3
"""Seconds that sums of fractions may fall short by."""


class Due(Enum):
    """What a client has to send."""

    NOTHING = auto()
    """It waits itself; or nobody knows, in a spliced stream; or another time-out runs."""
    COMMAND = auto()
    CONTENT = auto()


class Lag(Enum):
    """How a client fell behind: the option that says so."""

    IDLE = "idle_timeout"
    COMMAND = "smtp_command_timeout"
    DATA_RATE = "min_data_rate"


@frozen
class PaceRules:
    """The rules for a session, from its settings. Times in seconds."""

    idle_timeout: float
    command_timeout: float
    data_rate: int
    """Bytes a second; 0: none is asked for."""
    data_rate_window: float

    @property
    def interval(self) -> float:
        """From one look to the next."""
        spans = [self.idle_timeout, self.command_timeout]
        return min([*spans, self.data_rate_window] if self.data_rate else spans) / LOOKS


@frozen
class Sight:
    """What is to be seen of a session at one moment. Bytes and seconds are since it began, but for ``untaken``."""

    now: float
    due: Due
    step: int
    """Another number whenever something else became due."""
    received: int
    """Plaintext bytes from the client."""
    sent: int
    """Plaintext bytes to it."""
    held: float
    """Seconds in which it wasn't read."""
    untaken: int
    """Bytes on their way to it that it hasn't taken yet."""


@define
class _Flow:
    """Bytes one way, while there should be some."""

    _bytes: int = 0
    _seconds: float = 0.0

    def is_slow(self, count: int, seconds: float, rules: PaceRules) -> bool:
        """Take what came in a time; whether it is too little for the window that ends with it."""
        self._bytes += count
        self._seconds += seconds
        if self._seconds + _ROUNDING < rules.data_rate_window:
            return False
        slow = self._bytes < rules.data_rate * self._seconds
        self._bytes, self._seconds = 0, 0.0
        return slow


@define
class Pace:
    """What was seen of one session so far."""

    _rules: PaceRules
    _last: Sight
    _moved_at: float = field(init=False)
    _due_at: float = field(init=False)
    _from_client: _Flow = field(init=False, factory=_Flow)
    _to_client: _Flow = field(init=False, factory=_Flow)

    def __attrs_post_init__(self) -> None:
        self._moved_at = self._due_at = self._last.now

    def look(self, sight: Sight) -> Lag | None:
        """Compare with the look before. None: the client keeps up."""
        last, self._last = self._last, sight
        now = sight.now + _ROUNDING
        if sight.received + sight.sent != last.received + last.sent:
            self._moved_at = sight.now
        if (sight.due, sight.step) != (last.due, last.step):
            self._due_at = sight.now
        if sight.due is Due.COMMAND and now - self._due_at >= self._rules.command_timeout:
            return Lag.COMMAND
        if self._rules.data_rate and self._is_slow(last, sight):
            return Lag.DATA_RATE
        return Lag.IDLE if now - self._moved_at >= self._rules.idle_timeout else None

    def forgive(self, now: float) -> None:
        """Begin to wait for any byte anew."""
        self._moved_at = now

    def _is_slow(self, last: Sight, sight: Sight) -> bool:
        """Both ways are followed, whatever comes of the first."""
        rules, seconds = self._rules, sight.now - last.now
        slow = False
        if sight.due is last.due is Due.CONTENT and sight.step == last.step:
            open_for = max(0.0, seconds - (sight.held - last.held))
            slow = self._from_client.is_slow(sight.received - last.received, open_for, rules)
        if sight.untaken and last.untaken:
            taken = sight.sent - last.sent - (sight.untaken - last.untaken)
            slow |= self._to_client.is_slow(taken, seconds, rules)
        return slow
