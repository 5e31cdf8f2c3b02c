"""How many sessions and handshakes clients may have: by limit, by the scope that sets it, and by the client's network.

A limit counts the sessions for which *its scope's* value is in force: a global ``max_sessions`` counts all that no narrower
scope gives a value of its own. So a counter's name is the option and the scope; where a limit is one for each peer, the
client's network tells the counters of one name apart. The network is the address cut to ``peer_prefix_ipv4`` or
``peer_prefix_ipv6`` bits: one customer has all of a /64. A client on a ``unix:`` listen has no address, and is no peer.

What is limited is a number of sessions that run at a time, or a rate: how many came within a minute. The minute slides, and
is made of two fixed ones: what came in the one before counts by the share of it that lies within the last 60 seconds. That
is exact for clients that come evenly, takes two numbers for each, and lets nobody have twice the rate at the turn of a
minute. What is refused doesn't count: who tries too often gets the rate, and no less.

Counters are found in :class:`Counts`: those of one process (:class:`LocalCounts`), or of several.
"""

from collections.abc import Callable
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

from attrs import define, field, frozen

WINDOW: Final = 60.0
"""Seconds that a rate is counted over: the unit of Postfix's ``anvil_rate_time_unit``."""

EVERYBODY: Final = -1
"""Stands for the peer where a limit counts all clients together."""

TABLE_LIMIT: Final = 65_536
"""Counters of peers kept, of each kind: some 250 bytes each, so 16 MiB.

A peer that finds no room isn't counted, and isn't refused. Whoever fills the table comes from more networks within two
minutes than any limit for one of them could hold back; to refuse the others for it would be the attack's success. What
counts everybody always has room, and still holds.
"""

SWEEP_INTERVAL: Final = 1.0
"""Seconds between two searches of a full table for counters that are over: one takes some 10 ms."""

_IPV6: Final = 1 << 128
"""Tells an IPv6 network from the IPv4 one of the same number."""


class Taken(Enum):
    """What came of asking for a place."""

    COUNTED = auto()
    """It is to be given back."""
    UNCOUNTED = auto()
    """There was no room for a counter: see :data:`TABLE_LIMIT`. Nothing is to be given back."""
    REFUSED = auto()
    """As many as the limit are taken."""


class Counts(Protocol):
    """Counters by name and peer."""

    def take(self, name: str, peer: int, limit: int) -> Taken:
        """Take one of ``limit`` places.

        :param name: From the configuration, so that there are few.
        :param peer: A client network as a number, or :data:`EVERYBODY`.
        """

    def give_back(self, name: str, peer: int) -> None:
        """Give back a place that was ``COUNTED``."""

    def spend(self, name: str, peer: int, limit: int, now: float) -> bool:
        """Count one, unless ``limit`` came within the last minute. False: it is refused.

        :param now: Seconds, of the same clock in every call and every process.
        """


def window_number(now: float) -> int:
    """The fixed minute that ``now`` lies in. Fits in 31 bits until the year 6000."""
    return int(now // WINDOW)


def is_spent(current: int, previous: int, limit: int, now: float) -> bool:
    """Whether ``limit`` came within the minute before ``now``. The share is no whole number, so that one more may come.

    :param current: What came in the fixed minute of ``now``.
    :param previous: What came in the one before.
    """
    return current + previous * (1.0 - now % WINDOW / WINDOW) >= limit


@define
class _Rate:
    """What came in one fixed minute, and in the one before it."""

    window: int
    current: int = 0
    previous: int = 0

    def turn(self, window: int) -> None:
        """Go on to another minute. A clock that was set back loses what was counted."""
        if window != self.window:
            self.previous = self.current if window == self.window + 1 else 0
            self.window, self.current = window, 0


@define
class LocalCounts:
    """The counters of one process.

    :ivar table_limit: See :data:`TABLE_LIMIT`.
    """

    table_limit: int = TABLE_LIMIT
    _places: dict[tuple[str, int], int] = field(init=False, factory=dict)
    _rates: dict[tuple[str, int], _Rate] = field(init=False, factory=dict)
    _swept: float = field(init=False, default=-SWEEP_INTERVAL)

    def take(self, name: str, peer: int, limit: int) -> Taken:
        """See :class:`Counts`, as for all methods."""
        key = (name, peer)
        taken = self._places.get(key, 0)
        if taken >= limit:
            return Taken.REFUSED
        if not taken and peer != EVERYBODY and len(self._places) >= self.table_limit:
            return Taken.UNCOUNTED
        self._places[key] = taken + 1
        return Taken.COUNTED

    def give_back(self, name: str, peer: int) -> None:
        key = (name, peer)
        taken = self._places[key] - 1
        if taken:
            self._places[key] = taken
        else:
            del self._places[key]

    def spend(self, name: str, peer: int, limit: int, now: float) -> bool:
        window = window_number(now)
        key = (name, peer)
        rate = self._rates.get(key)
        if rate is None:
            if len(self._rates) >= self.table_limit and not self._make_room(window, now):
                return True
            rate = self._rates[key] = _Rate(window)
        else:
            rate.turn(window)
        if is_spent(rate.current, rate.previous, limit, now):
            return False
        rate.current += 1
        return True

    def _make_room(self, window: int, now: float) -> bool:
        """Forget the counters of minutes that no longer count. Whether there were any."""
        if abs(now - self._swept) < SWEEP_INTERVAL:
            return False
        self._swept = now
        over = [key for key, rate in self._rates.items() if abs(window - rate.window) > 1]
        for key in over:
            del self._rates[key]
        return bool(over)


class LimitOptions(Protocol):
    """The options that limits are made of. 0 is no limit."""

    @property
    def max_sessions(self) -> int: ...

    @property
    def max_sessions_per_peer(self) -> int: ...

    @property
    def session_rate_per_peer(self) -> int: ...

    @property
    def handshake_rate_per_peer(self) -> int: ...

    @property
    def peer_prefix_ipv4(self) -> int: ...

    @property
    def peer_prefix_ipv6(self) -> int: ...


@frozen
class Limit:
    """A limit in force."""

    option: str
    """The option that sets it."""
    value: int
    where: str
    """Key path at which it is set; empty for a default."""
    counter: str = field(init=False)
    """Name of its counters."""

    @counter.default
    def _name(self) -> str:
        return f"{self.option} {self.where}"

    @property
    def detail(self) -> str:
        """What was reached, for the log."""
        return f"{self.value}, set by {self.where}" if self.where else f"{self.value} by default"

    @property
    def per_peer(self) -> bool:
        """Whether each peer is counted by itself."""
        return self.option != "max_sessions"


Held = tuple[tuple[str, int], ...]
"""The places that a session has taken, by counter and peer."""


@frozen(eq=False)
class SessionLimits:
    """The limits in force for some clients. There is none of these where no option sets one."""

    places: tuple[Limit, ...]
    """On sessions that run at a time."""
    session_rate: Limit | None
    handshake_rate: Limit | None
    mask_ipv4: int
    mask_ipv6: int

    @classmethod
    def of(cls, options: LimitOptions, where: Callable[[str], str]) -> "SessionLimits | None":
        """The limits that ``options`` set; None where they set none.

        :param where: The key path at which an option is set, which names the scope; empty for a default.
        """

        def limit(option: str) -> Limit | None:
            value: int = getattr(options, option)
            return Limit(option, value, where(option)) if value else None

        places = tuple(filter(None, (limit("max_sessions"), limit("max_sessions_per_peer"))))
        session_rate, handshake_rate = limit("session_rate_per_peer"), limit("handshake_rate_per_peer")
        if not places and session_rate is None and handshake_rate is None:
            return None
        return cls(
            places,
            session_rate,
            handshake_rate,
            _mask(options.peer_prefix_ipv4, 32),
            _mask(options.peer_prefix_ipv6, 128),
        )

    def admit(self, counts: Counts, ip: IPv4Address | IPv6Address | None, now: float) -> Held | Limit:
        """Count a session that begins, or say which limit refuses it; then nothing is counted.

        :param ip: The client's address; None: it has none.
        :returns: What :meth:`release` is to be given when the session ends.
        """
        peer = self._peer(ip)
        held: Held = ()
        for limit in self.places:
            counted = peer if limit.per_peer else EVERYBODY
            if counted is None:
                continue
            taken = counts.take(limit.counter, counted, limit.value)
            if taken is Taken.REFUSED:
                release(counts, held)
                return limit
            if taken is Taken.COUNTED:
                held += ((limit.counter, counted),)
        rate = self.session_rate
        if rate is not None and peer is not None and not counts.spend(rate.counter, peer, rate.value, now):
            release(counts, held)
            return rate
        return held

    def admit_handshake(
        self, counts: Counts, ip: IPv4Address | IPv6Address | None, now: float
    ) -> Limit | None:
        """Count a handshake that is to begin. None, or the limit that refuses it."""
        rate = self.handshake_rate
        if rate is None:
            return None
        peer = self._peer(ip)
        if peer is None or counts.spend(rate.counter, peer, rate.value, now):
            return None
        return rate

    def _peer(self, ip: IPv4Address | IPv6Address | None) -> int | None:
        if ip is None:
            return None
        return int(ip) & self.mask_ipv4 if ip.version == 4 else int(ip) & self.mask_ipv6 | _IPV6


def release(counts: Counts, held: Held) -> None:
    """Give back all that a session has taken."""
    for name, peer in held:
        counts.give_back(name, peer)


def _mask(prefix: int, bits: int) -> int:
    return (1 << bits) - (1 << bits - prefix)
