"""File descriptors: as many as can be had, whether they suffice, and what is done when they run out.

A session takes two, one to its client and one to its backend. When a process has none left, accept(2) fails with EMFILE and
leaves the connection in the queue, where it makes the socket readable again at once: a server that just tries again spins.
Twisted keeps one in reserve, to accept such connections with and close them. Here it doesn't come to that: POSIX gives
every new descriptor the lowest number that is free, so a number near the limit says that few are left. Then all listens
stop accepting for a moment, and clients wait in the kernel's queues; what is left serves the backends' connections of the
sessions that have begun. Should Twisted meet EMFILE all the same, in a burst of connections, its reserve is still there.
"""

import os
import resource
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tlsproxy.config.resolve import Resolution
from tlsproxy.errors import Problem
from tlsproxy.notes import DescriptorsScarce, Notify
from tlsproxy.service.prepare import Prepared

PER_SESSION: Final = 2

OVERHEAD: Final = 64
"""Descriptors of a process beside those of its sessions: log, epoll, threads' pipes, connections for metrics and status."""

BURST: Final = 21
"""Connections accepted in one turn of the reactor, which can't be stopped in the middle. Twisted takes ever more."""

RESERVE: Final = 48
"""The fewest that are left when no more are accepted: for a burst with its backends' connections, and those of sessions
that have begun. A process that could have no more than twice as many beside its own goes on to the half of them."""

RESERVE_SHARE: Final = 16
"""One in so many is left, where that is more."""

PAUSE: Final = 0.25
"""Seconds until it is looked again: short for a client that waits, long for a process that can do nothing else."""

QUIET: Final = 10.0
"""Seconds after which a shortage is another one, and is told again."""


def raise_soft_limit() -> int:
    """Raise this process's soft limit on descriptors to the hard one.

    :returns: The limit in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # some kernels take no "unlimited" here
            return soft
    return hard


def shortage(prepared: Prepared, limit: int) -> Problem | None:
    """What is to be told where ``limit`` descriptors for each process aren't enough for as many sessions as are allowed.

    A configuration that sets no limit on sessions asks for no number of descriptors either.
    """
    allowed = sessions_allowed(
        resolution for listen in prepared.listens for resolution in listen.resolver.resolutions()
    )
    if allowed is None:
        return None
    processes = prepared.configuration.workers.number
    overhead = OVERHEAD + len(prepared.listens)
    needed = -(-allowed // processes) * PER_SESSION + overhead
    if needed <= limit:
        return None
    fitting = max(0, (limit - overhead) // PER_SESSION * processes)
    return Problem(
        "max_sessions",
        f"{allowed} sessions need {needed} file descriptors in each of {processes} process{'es' if processes > 1 else ''}, "
        f"and {limit} can be had: enough for {fitting} sessions. Raise the hard limit (LimitNOFILE= in the systemd unit, "
        "ulimit -Hn in a shell), or set max_sessions to that",
    )


def sessions_allowed(resolutions: Iterable[Resolution]) -> int | None:
    """The sum over the scopes that set ``max_sessions`` for somebody; None where there is no limit for some."""
    by_scope = {each.origins["max_sessions"]: each.settings.max_sessions for each in resolutions}
    return sum(by_scope.values()) if all(by_scope.values()) else None


class DescriptorWatch:
    """Stops accepting while descriptors are scarce."""

    def __init__(
        self,
        limit: int,
        *,
        clock: IReactorTime,
        notify: Notify,
        next_descriptor: Callable[[], int] | None = None,
    ) -> None:
        """
        :param limit: How many this process may have.
        :param next_descriptor: Says which one would be next; for tests.
        """
        self._limit = limit
        self._clock = clock
        self._notify = notify
        self._next_descriptor = next_descriptor or _next_descriptor
        half = (self._next_descriptor() + limit) // 2
        self._threshold = max(limit - max(RESERVE, limit // RESERVE_SHARE), half)
        self._ports: list[Any] = []
        self._retry: IDelayedCall | None = None
        self._over = -QUIET

    def guard(self, port: Any) -> None:
        """Watch what a port accepts.

        :param port: A ``twisted.internet.tcp.Port``, whose attribute ``transport`` makes something of each connection.
        """
        make = port.transport
        burst = max(1, min(BURST, (self._limit - self._threshold) // PER_SESSION))
        # When a turn ends, Twisted makes of this number what was accepted in it; or 20 more, where it is that already.
        settled = 1 if burst == BURST else 0

        def transport(accepted: Any, *arguments: Any) -> Any:
            port.numberAccepts = settled
            if accepted.fileno() >= self._threshold:
                self._pause()
            return make(accepted, *arguments)

        port.transport = transport
        port.numberAccepts = burst
        self._ports.append(port)

    def stop(self) -> None:
        """The ports accept no more anyway."""
        self._ports.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _pause(self) -> None:
        if self._retry is not None:
            return
        now = self._clock.seconds()
        if now - self._over >= QUIET:
            self._notify(DescriptorsScarce(limit=self._limit))
        for port in self._ports:
            port.stopReading()
        self._retry = self._clock.callLater(PAUSE, self._look)

    def _look(self) -> None:
        if self._next_descriptor() >= self._threshold:
            self._retry = self._clock.callLater(PAUSE, self._look)
            return
        self._retry = None
        self._over = self._clock.seconds()
        for port in self._ports:
            if port.connected:
                port.startReading()


def _next_descriptor() -> int:
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.close(descriptor)
    return descriptor
