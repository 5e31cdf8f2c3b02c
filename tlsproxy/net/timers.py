"""Deadlines of sessions: many, and most of them given up long before they are due.

A session has half a dozen. Each of them by itself in the reactor's heap costs more than what it guards: here those that
are due within the same quarter of a second share one call of the reactor's, and giving one up is the end of a dictionary's
entry. So a deadline may come a quarter of a second late, and never comes early.
"""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import AlreadyCalled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

GRAIN: Final = 0.25
"""Seconds that a deadline may be late: nobody tells a limit of seconds from it."""

SHORTEST: Final = 1.0
"""Seconds from which on a delay is a deadline. A shorter one is meant as it is given, and is the reactor's."""

_log = Logger()


@implementer(IDelayedCall)
class Deadline:
    """One call to come."""

    __slots__ = ("_bucket", "_call", "_clock", "_due")

    def __init__(self, clock: "CoarseClock", due: float, call: Callable[[], object]) -> None:
        self._clock = clock
        self._call = call
        self._due = due
        self._bucket: dict[Deadline, Callable[[], object]] | None = None

    def enter(self, bucket: "dict[Deadline, Callable[[], object]]") -> None:
        """Be called when ``bucket`` is due."""
        bucket[self] = self._call
        self._bucket = bucket

    def leave(self) -> None:
        """Not be called.

        :raises AlreadyCalled: It was called, or given up.
        """
        if self._bucket is None:
            raise AlreadyCalled
        del self._bucket[self]
        self._bucket = None

    def called(self) -> None:
        """Its time has come."""
        self._bucket = None

    def getTime(self) -> float:
        """See ``IDelayedCall``."""
        return self._due

    def cancel(self) -> None:
        """See ``IDelayedCall``."""
        self.leave()

    def delay(self, secondsLater: float) -> None:
        """See ``IDelayedCall``."""
        self._move(self._due + secondsLater)

    def reset(self, secondsFromNow: float) -> None:
        """See ``IDelayedCall``."""
        self._move(self._clock.seconds() + secondsFromNow)

    def active(self) -> bool:
        """See ``IDelayedCall``."""
        return self._bucket is not None

    def _move(self, due: float) -> None:
        self.leave()
        self._due = due
        self._clock.enter(self, due)


@implementer(IReactorTime)
class CoarseClock:
    """A reactor's clock, whose longer delays are deadlines."""

    def __init__(self, clock: Any) -> None:
        """:param clock: Provides ``IReactorTime``."""
        self._clock = clock
        self._buckets: dict[int, dict[Deadline, Callable[[], object]]] = {}
        self.seconds: Callable[[], float] = clock.seconds

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002 - Twisted's name
        *args: object,
        **kwargs: object,
    ) -> Any:
        """See ``IReactorTime``."""
        if delay < SHORTEST:
            return self._clock.callLater(delay, callable, *args, **kwargs)
        due = self.seconds() + delay
        deadline = Deadline(self, due, (lambda: callable(*args, **kwargs)) if args or kwargs else callable)
        self.enter(deadline, due)
        return deadline

    def enter(self, deadline: Deadline, due: float) -> None:
        """Have ``deadline`` called at ``due``, or up to :data:`GRAIN` later."""
        tick = int(due / GRAIN) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            self._clock.callLater(max(0.0, tick * GRAIN - self.seconds()), self._call, tick)
        deadline.enter(bucket)

    def getDelayedCalls(self) -> list[Any]:
        """See ``IReactorTime``."""
        return [deadline for bucket in self._buckets.values() for deadline in bucket]

    def _call(self, tick: int) -> None:
        bucket = self._buckets.pop(tick)
        while bucket:  # what is called may give up others
            deadline, call = bucket.popitem()
            deadline.called()
            try:
                call()
            except Exception:  # noqa: BLE001 - one session's fault isn't another's
                _log.failure("a deadline's call")
