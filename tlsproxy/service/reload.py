"""One reload at a time: what it came to, and who hears of it.

A request that comes while one runs waits for another, since what it is about may have changed after the running one read
it. However many come meanwhile, that other one is for all of them.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from tlsproxy.errors import Problem

SIGHUP: Final = "SIGHUP"
"""Trigger of a reload: the signal."""

COMMAND: Final = "command"
"""Trigger of a reload: ``tlsproxy reload``, through the control socket."""

CERTIFICATE: Final = "certificate"
"""Trigger of a reload: a file that TLS options name has changed."""


@frozen(kw_only=True)
class ReloadResult:
    """What came of a reload."""

    trigger: str
    when: datetime
    """Its begin, with the time zone."""
    duration: float
    """Seconds from its begin to the switch, or to the refusal."""
    problems: tuple[Problem, ...]
    """Why it was refused; empty where it was carried out."""
    generation: int
    """The generation that serves new sessions: 1 since the start, one more with each reload carried out."""

    @property
    def ok(self) -> bool:
        """Whether the configuration is in force."""
        return not self.problems


@define(eq=False)
class Reloader:
    """Runs reloads one after the other."""

    _run: Callable[[str], Deferred[ReloadResult]]
    """Carries one out. Its failures are results, too: it doesn't fail itself."""
    _running: bool = field(default=True, init=False)
    """As long as the service starts, too."""
    _waiting: list[Deferred[ReloadResult]] = field(factory=list, init=False)
    _trigger: str = field(default="", init=False)
    """Of the first that waits."""

    def start(self) -> None:
        """Run what was asked for so far, and from here on."""
        self._running = False
        if self._waiting:
            self._begin()

    def request(self, trigger: str) -> Deferred[ReloadResult]:
        """Ask for a reload that begins after this call.

        :returns: Fires with its result, also where it was refused.
        """
        asked: Deferred[ReloadResult] = Deferred()
        if not self._waiting:
            self._trigger = trigger
        self._waiting.append(asked)
        if not self._running:
            self._begin()
        return asked

    def _begin(self) -> None:
        asked, self._waiting = self._waiting, []
        self._running = True
        self._run(self._trigger).addCallback(self._done, asked)

    def _done(self, result: ReloadResult, asked: list[Deferred[ReloadResult]]) -> None:
        self._running = False
        for each in asked:
            each.callback(result)
        # Whoever was told may have asked again, and that has begun.
        if self._waiting and not self._running:
            self._begin()
