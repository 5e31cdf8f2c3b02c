"""Which server of a backend the next connection goes to.

How a server stands (:class:`Standing`):

=========  =========  ==============================================================================================
from       to         when
=========  =========  ==============================================================================================
UP         EJECTED    ``max_failures`` attempts in a row failed, all within ``ejection_time``
RETURNING  EJECTED    the same; for twice as long as the last time
EJECTED    EJECTED    its time was over, and the one attempt made then failed; for twice as long as the last time
EJECTED    RETURNING  an attempt succeeded
RETURNING  UP         ``slow_start`` seconds passed
any        DOWN       an active check found it unfit
DOWN       RETURNING  an active check found it fit
=========  =========  ==============================================================================================

Failures count in a row: of a server that is busy one attempt in a thousand fails, and ejecting it would put its load on
the others until all are gone. A server whose time is over is tried by one client at a time. When that goes well it returns
slowly, in two respects: attempts under way at the same time are as many as have succeeded since, and one more; and its
share among the others grows from a tenth to all of its weight.

Where none is left that stands well, the others are tried as a last resort, one attempt at a time at each: what was ejected
may be there again, and a client that is refused gets nothing for certain.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import ClassVar, Final

from attrs import Factory, define, field, frozen

FIRST_SHARE: Final = 0.1
"""Of its weight, what a server gets at first when it returns."""

MAX_EJECTION: Final = 300.0
"""Seconds that an ejection lasts at most, however often it was doubled: Envoy's ``max_ejection_time``."""

_MAX_DOUBLED: Final = 32
"""Doublings that are counted: by then the shortest ejection is longer than ``MAX_EJECTION``."""


class SelectionPolicy(Enum):
    """``policy``: how connections are spread over a backend's servers."""

    FAILOVER = "failover"
    """All to the first in the list that can take them."""
    ROUND_ROBIN = "round_robin"
    """In turn, by weight."""
    LEAST_CONNECTIONS = "least_connections"
    """To the one with the fewest sessions for its weight."""


class Standing(Enum):
    """What is known of a server."""

    UP = "up"
    RETURNING = "returning"
    EJECTED = "ejected"
    DOWN = "down"


_UP: Final = Standing.UP
"""Bound once: a member of an enumeration is looked up in Python code."""


class NoServer(Enum):
    """Why there is no attempt."""

    BUSY = "busy"
    """Each that could be tried has all it may have: something may come free."""
    NONE = "none"
    """Each was tried."""


@frozen
class SelectionRules:
    """The rules for one backend, from its configuration."""

    policy: SelectionPolicy = SelectionPolicy.FAILOVER
    max_connections: int = 0
    """To one server, open or being opened; 0: any number."""
    max_failures: int = 3
    """0: no server is ever ejected."""
    ejection_time: float = 10.0
    slow_start: float = 10.0


@frozen
class ServerLoad:
    """Connections to a server."""

    busy: int
    """At work."""
    idle: int
    """Kept for later use."""
    pending: int
    """Being opened."""


@define(eq=False)
class _Server:
    index: int
    weight: int
    standing: Standing = Standing.UP
    era: int = 0
    """Counts ejections: an attempt that began before the last one says nothing of the server as it is since."""
    pending: int = 0
    """Attempts under way."""
    busy: int = 0
    """Connections at work."""
    idle: int = 0
    """Connections kept for later use."""
    failures: deque[float] = Factory(deque)
    """Times of attempts that failed, since the last that didn't."""
    faults: deque[float] = Factory(deque)
    """Times at which a connection that was up failed its session, since the last that didn't."""
    ejections: int = 0
    """In a row."""
    until: float = 0.0
    returned: float = 0.0
    allowance: int = 1
    """Attempts that may be under way while it isn't UP."""
    credit: float = 0.0
    """What it is owed by the others, in turns."""

    @property
    def load(self) -> int:
        return self.pending + self.busy

    @property
    def stands_well(self) -> bool:
        return self.standing in (Standing.UP, Standing.RETURNING)


@frozen(eq=False)
class Attempt:
    """An attempt to connect, or the connection that came of it."""

    server: int
    """Position in the list of servers."""
    era: int = field(repr=False)


class Selection:
    """The servers of one backend, and what goes on with each.

    Every attempt that :meth:`begin` gives ends in one call of :meth:`opened`, :meth:`reused`, :meth:`failed` or
    :meth:`abandoned`; every connection in one of :meth:`closed` or :meth:`parked`; one that was parked in one of
    :meth:`reused`, by the attempt that took it, or :meth:`dropped`. Times are seconds, monotonic.
    """

    def __init__(self, weights: Sequence[int], rules: SelectionRules) -> None:
        """:param weights: Of each server, 1 or more."""
        self._rules = rules
        self._servers = [_Server(index, weight) for index, weight in enumerate(weights)]

    def standing(self, server: int) -> Standing:
        """What is known of a server, as of the last call with a time."""
        return self._servers[server].standing

    def connections(self, server: int) -> int:
        """Connections to a server: open, kept, and being opened."""
        found = self._servers[server]
        return found.load + found.idle

    def load(self, server: int) -> ServerLoad:
        """The connections to a server, by what they are at."""
        found = self._servers[server]
        return ServerLoad(found.busy, found.idle, found.pending)

    # Attempts

    def begin(self, now: float, tried: Collection[int] = ()) -> Attempt | NoServer:
        """Choose a server. One that is full is among them where it has a connection that is kept: to be used, or dropped.

        :param tried: Servers that failed this client already.
        """
        only = self._servers[0]
        if len(self._servers) == 1 and only.standing is _UP and not self._rules.max_connections and not tried:
            only.pending += 1
            return Attempt(0, only.era)
        self._settle(now)
        untried = [server for server in self._servers if server.index not in tried]
        fit = [server for server in untried if server.stands_well or self._is_due(server, now)]
        candidates = fit or sorted(
            untried, key=lambda server: (server.standing is Standing.DOWN, server.until)
        )
        if not candidates:
            return NoServer.NONE
        ready = [server for server in candidates if self._has_room(server)]
        if not ready:
            return NoServer.BUSY
        chosen = self._CHOOSERS[self._rules.policy](self, ready, now) if fit else ready[0]
        chosen.pending += 1
        return Attempt(chosen.index, chosen.era)

    def opened(self, attempt: Attempt) -> None:
        """The connection is up, and somebody's."""
        server = self._servers[attempt.server]
        server.pending -= 1
        server.busy += 1

    def proved(self, attempt: Attempt, now: float) -> bool:
        """The server did what was wanted of it. True: it was ejected, and returns by that."""
        server = self._servers[attempt.server]
        if attempt.era != server.era or server.standing is Standing.DOWN:
            return False
        server.failures.clear()
        server.allowance += 1
        if server.standing is not Standing.EJECTED:
            return False
        self._return(server, now)
        return True

    def reused(self, attempt: Attempt) -> None:
        """A connection that was kept is used instead of a new one."""
        server = self._servers[attempt.server]
        server.pending -= 1
        server.idle -= 1
        server.busy += 1

    def failed(self, attempt: Attempt, now: float) -> bool:
        """No connection came about. True: the server is ejected for it, and wasn't before."""
        server = self._servers[attempt.server]
        server.pending -= 1
        return attempt.era == server.era and self._count(server, server.failures, now)

    def abandoned(self, attempt: Attempt) -> None:
        """The client didn't wait."""
        self._servers[attempt.server].pending -= 1

    # Connections

    def blamed(self, attempt: Attempt, now: float) -> bool:
        """A connection that was up failed its session. True: the server is ejected for it, and wasn't before."""
        server = self._servers[attempt.server]
        return attempt.era == server.era and self._count(server, server.faults, now)

    def parked(self, attempt: Attempt) -> None:
        """A connection is kept for later use."""
        server = self._servers[attempt.server]
        server.faults.clear()
        server.busy -= 1
        server.idle += 1

    def dropped(self, server: int) -> None:
        """A connection that was kept is closed."""
        self._servers[server].idle -= 1

    def closed(self, attempt: Attempt, *, blamed: bool = False) -> None:
        """A connection at work is closed.

        :param blamed: It was told to have failed its session.
        """
        server = self._servers[attempt.server]
        server.busy -= 1
        if not blamed:
            server.faults.clear()

    # Active checks

    def checked(self, index: int, now: float, *, fit: bool) -> bool:
        """What an active check found. True: the server stands well now and didn't before, or the other way round."""
        server = self._servers[index]
        if fit == (server.standing is not Standing.DOWN):
            return False
        if fit:
            self._return(server, now)
            return True
        stood_well = server.stands_well
        server.standing = Standing.DOWN
        server.era += 1
        server.allowance = 1
        return stood_well

    # How servers come and go

    def _settle(self, now: float) -> None:
        for server in self._servers:
            if server.standing is Standing.RETURNING and now - server.returned >= self._rules.slow_start:
                server.standing = Standing.UP
                server.ejections = 0

    def _is_due(self, server: _Server, now: float) -> bool:
        return server.standing is Standing.EJECTED and now >= server.until

    def _count(self, server: _Server, times: deque[float], now: float) -> bool:
        """Note a failure, and eject the server if it is the last that it may have."""
        rules = self._rules
        if not rules.max_failures or server.standing is Standing.DOWN:
            return False
        if not server.stands_well:
            # A last resort that fails says nothing new.
            if self._is_due(server, now):
                self._eject(server, now)
            return False
        times.append(now)
        while now - times[0] > rules.ejection_time:
            times.popleft()
        if len(times) < rules.max_failures:
            return False
        self._eject(server, now)
        return True

    def _eject(self, server: _Server, now: float) -> None:
        server.standing = Standing.EJECTED
        server.until = now + min(self._rules.ejection_time * 2**server.ejections, MAX_EJECTION)
        server.ejections = min(server.ejections + 1, _MAX_DOUBLED)
        server.era += 1
        server.allowance = 1
        server.failures.clear()
        server.faults.clear()

    def _return(self, server: _Server, now: float) -> None:
        server.standing = Standing.RETURNING
        server.returned = now
        # What it would have had in the meantime isn't owed to it.
        for each in self._servers:
            each.credit = 0.0

    def _has_room(self, server: _Server) -> bool:
        if server.standing is not Standing.UP and server.pending >= server.allowance:
            return False
        limit = self._rules.max_connections
        # One that is kept can be used, or closed to make room.
        return not limit or server.idle > 0 or server.load < limit

    # Policies: each chooses among servers that have room, in the list's order

    def _share(self, server: _Server, now: float) -> float:
        """Of a server's weight, what counts at present."""
        if server.standing is Standing.UP:
            return 1.0
        slow_start = self._rules.slow_start
        return max(FIRST_SHARE, (now - server.returned) / slow_start if slow_start else 1.0)

    def _first(self, ready: Sequence[_Server], now: float) -> _Server:
        for server in ready:
            if server.standing is not Standing.RETURNING:
                return server
            server.credit += self._share(server, now)
            if server.credit >= 1:
                server.credit -= 1
                return server
        return ready[0]

    def _in_turn(self, ready: Sequence[_Server], now: float) -> _Server:
        """Smooth weighted round robin, as nginx has it: no server gets its share in one go."""
        total = 0.0
        for server in ready:
            turn = server.weight * self._share(server, now)
            server.credit += turn
            total += turn
        chosen = max(ready, key=lambda server: server.credit)
        chosen.credit -= total
        return chosen

    def _least_loaded(self, ready: Sequence[_Server], now: float) -> _Server:
        loads = [(server.load + 1) / (server.weight * self._share(server, now)) for server in ready]
        least = min(loads)
        return self._in_turn(
            [server for server, load in zip(ready, loads, strict=True) if load == least], now
        )

    _CHOOSERS: ClassVar[
        Mapping[SelectionPolicy, Callable[["Selection", Sequence[_Server], float], _Server]]
    ] = {
        SelectionPolicy.FAILOVER: _first,
        SelectionPolicy.ROUND_ROBIN: _in_turn,
        SelectionPolicy.LEAST_CONNECTIONS: _least_loaded,
    }
