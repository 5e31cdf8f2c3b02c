"""Noticing that certificates, keys and their like have been renewed.

Files are looked at once a second, instead of asking the kernel (inotify): what changes is often not the file but a symbolic
link on the way to it (certbot's ``live/``, Kubernetes' ``..data``), and a network's file system tells the kernel nothing.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from tlsproxy.config.model import Configuration
from tlsproxy.config.resolve import Resolver

INTERVAL: Final = 1.0
"""Seconds between two looks. A change is told when the next look finds nothing else changed: three seconds at most."""

State = dict[str, tuple[int, ...] | None]
"""For each file what tells one version from another; None where it isn't there."""


def watched_files(configuration: Configuration) -> frozenset[str]:
    """Every file that TLS options name, and that of TLSA records."""
    files: set[str | None] = {configuration.tls_certificate_tlsa}
    for listener in configuration.listeners:
        for listen in listener.listens:
            for resolution in Resolver(configuration, listener, listen).resolutions():
                settings = resolution.settings
                files |= {*settings.tls_certificate, *settings.tls_key, settings.tls_client_ca}
    for backend in configuration.backends.values():
        files |= {backend.tls_ca, backend.tls_certificate, backend.tls_key}
    return frozenset(file for file in files if file)


def state_of(files: Iterable[str]) -> State:
    """How the files are now. Symbolic links are followed."""
    return {file: _identity(file) for file in files}


_CLOCK_TICK: Final = 0.02
"""Seconds by which a file's time may lie behind the clock: the kernel takes it from the last tick of its timer."""


def _changed_since(state: tuple[int, ...] | None, since: float) -> bool:
    return state is not None and bool(state) and state[-1] / 1e9 >= since - _CLOCK_TICK


def _identity(file: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - a string is all there is
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@define(eq=False)
class FileWatch:
    """Looks at files, and calls ``changed`` once for a change, when it is over.

    A certificate and its key are two files, and each may be written in pieces: as long as two looks differ, a renewal is
    under way. One that doesn't come to an end is told of no sooner.
    """

    _clock: Any
    _in_thread: Callable[[Callable[[], State]], Deferred[State]]
    """A file system may be slow, and of a network that is gone."""
    _changed: Callable[[], object]
    _files: frozenset[str] = field(factory=frozenset, init=False)
    _told: State = field(factory=dict, init=False)
    """As they were when they were last read."""
    _last: State | None = field(default=None, init=False)
    """As they were at the last look."""
    _timer: IDelayedCall | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def files_read(self, files: frozenset[str], since: float) -> None:
        """Watch ``files``, which have been read.

        :param since: When reading them began, in seconds since the epoch: what is younger will be read again.
        """
        told, state = self._told, state_of(files)
        self._told = {
            file: told.get(file, ()) if _changed_since(each, since) else each for file, each in state.items()
        }
        if self._last is None or files != self._files:
            self._last = state
        self._files = files
        if self._timer is None:
            self._look_later()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _look_later(self) -> None:
        if self._files and not self._stopped:
            self._timer = self._clock.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        self._timer = None
        files = self._files
        looked = self._in_thread(lambda: state_of(files))
        looked.addCallback(self._compare).addErrback(_ignore).addBoth(lambda _: self._look_later())

    def _compare(self, state: State) -> None:
        if self._stopped or state.keys() != self._files:
            return
        settled, self._last = state == self._last, state
        if settled and state != self._told:
            self._told = state
            self._changed()


def _ignore(failure: Failure) -> None:
    """The thread pool stops together with the service."""
