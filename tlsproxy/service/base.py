"""What the service is in both of its forms: one process that serves itself, or a supervisor of workers.

Here is all that an operator deals with: start and stop, reloads, the log, the metrics, what the service manager hears. How
sessions are served is a subclass's, by five hooks: :meth:`TlsproxyService._open`, :meth:`~TlsproxyService._begin`,
:meth:`~TlsproxyService._switch`, :meth:`~TlsproxyService._drain` and :meth:`~TlsproxyService.processes`.
"""

from abc import abstractmethod
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlsproxy import __version__
from tlsproxy.config.model import Configuration
from tlsproxy.errors import ConfigurationError, Problem, TlsproxyError
from tlsproxy.notes import ConfigurationWarned, Note, Notify, ServiceStarted, ServiceStopped
from tlsproxy.ops.logging import attach, publish_notes
from tlsproxy.ops.metrics import Metrics, metrics_site
from tlsproxy.service.notify import notify as tell_manager
from tlsproxy.service.reload import Reloader, ReloadResult
from tlsproxy.tls.library import library_version

_log = Logger()


@frozen(eq=False)
class Switched:
    """What new sessions are served with, after a start or a reload."""

    configuration: Configuration
    warnings: tuple[Problem, ...]
    """What about it may not do what its author thinks."""
    listening: tuple[str, ...]
    """Addresses listened on, in the order of the configuration, with real port numbers."""


class TlsproxyService(Service):
    """A configuration at work.

    :ivar configuration: The one in force.
    :ivar generation: 1 since the start, one more with each reload that was carried out.
    :ivar listening: Addresses listened on, in the order of the configuration, with real port numbers; once started.
    :ivar last_reload: What came of the last one; None before the first.
    :ivar sessions_cut: Sessions that the stop cut; once it is over.
    """

    def __init__(self, configuration: Configuration, *, reactor: Any, log_observer: Any = None) -> None:
        self.configuration = configuration
        self.generation = 1
        self.listening: tuple[str, ...] = ()
        self.last_reload: ReloadResult | None = None
        self.sessions_cut = 0
        self._reactor = reactor
        self._log_observer = log_observer
        self._metrics = Metrics()
        if log_observer is not None:
            log_observer.on_loss = self._metrics.log_line_lost
        self._log = publish_notes()
        self._reloader = Reloader(self._reload)
        self._opened = False
        self._stopping = False
        self._ports: list[Any] = []

    # What a subclass does

    @abstractmethod
    def _open(self) -> None:
        """Open every socket of ``self.configuration``, while ports below 1024 may still be had and every file read.

        :raises TlsproxyError: One can't be opened; none is left open.
        """

    @abstractmethod
    def _begin(self) -> Deferred[Switched]:
        """Accept connections; privileges are given up.

        :returns: Fires when every socket is accepted on. Its failure ends the process.
        """

    @abstractmethod
    def _switch(self) -> Deferred[Switched]:
        """Read the configuration file (``self.path``) again, prepare all that serving it needs, then switch to it.

        New sessions get it, running ones go on as they began. Before anything is switched, :meth:`_admit` is called with
        the configuration. Never called while another is under way, nor before the start, nor once the stop began.

        :returns: Fires after the switch. On failure (:class:`~tlsproxy.errors.ConfigurationError` or another
            :class:`~tlsproxy.errors.TlsproxyError`) everything is as it was.
        """

    @abstractmethod
    def _drain(self) -> Deferred[int]:
        """Accept no more, let sessions end as soon as nothing is lost by it, cut the rest after ``drain_timeout``.

        :returns: Fires when nothing is left, with the number of sessions cut.
        """

    @abstractmethod
    def _cut(self) -> None:
        """Cut what still runs at once, while :meth:`_drain` waits for it."""

    @abstractmethod
    def processes(self) -> Deferred[list[Any]]:
        """The state of each process that serves sessions."""

    # What a subclass may use

    @property
    def path(self) -> str:
        """The configuration file."""
        return self.configuration.source

    @property
    def notify(self) -> Notify:
        """Where this process's notes go: to the log and to the metrics."""
        return self._take_note

    def _admit(self, configuration: Configuration) -> None:
        """See whether the running process can change to ``configuration``, and open what that needs of its own.

        :raises TlsproxyError: It can't: an option needs a restart, or a socket can't be opened.
        """

    def _take_note(self, note: Note) -> None:
        self._metrics.take(note)
        self._log(note)

    # Start

    def setServiceParent(self, parent: Any) -> None:
        """As in ``Service``; twistd's log becomes ours, whose lines are of the configured form."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self._log_observer is not None:
            attach(parent, self._log_observer)

    def privilegedStartService(self) -> None:
        """Open the sockets, while ports below 1024 may still be had.

        :raises TlsproxyError: One can't be opened.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        if not self._opened:
            self._open()
            self._opened = True

    def startService(self) -> None:
        """Accept connections."""
        self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]
        self._take_note(
            ServiceStarted(
                version=__version__, tls_library=library_version(), config=self.configuration.source
            )
        )
        self._begin().addCallbacks(self._began, self._failed_to_begin)

    def _began(self, switched: Switched) -> None:
        self._adopt(switched)
        self._serve_metrics()
        self._tell_ready()

    def _failed_to_begin(self, failure: Failure) -> None:
        _log.failure("can't start", failure)
        self._reactor.stop()

    def _adopt(self, switched: Switched) -> None:
        self.configuration = switched.configuration
        self.listening = switched.listening
        for problem in switched.warnings:
            self._take_note(ConfigurationWarned(path=problem.path, message=problem.message))

    def _tell_ready(self) -> None:
        tell_manager(ready=True, status=f"listening on {', '.join(self.listening)}")

    def _serve_metrics(self) -> None:
        address = self.configuration.metrics_listen
        if address is not None:
            site = metrics_site(self._metrics)
            self._ports.append(self._reactor.listenTCP(address.port, site, interface=address.host))

    # Reload

    def reload(self, trigger: str) -> Deferred[ReloadResult]:
        """Read the configuration again and change to it, after any reload that runs.

        :param trigger: Who asks, for the log: :data:`~tlsproxy.service.reload.SIGNAL` and its like.
        :returns: Fires with the result, also where it was refused.
        """
        return self._reloader.request(trigger)

    def _reload(self, trigger: str) -> Deferred[ReloadResult]:
        began, when = self._reactor.seconds(), datetime.now(UTC)

        def result(problems: tuple[Problem, ...]) -> ReloadResult:
            self.last_reload = ReloadResult(
                trigger=trigger,
                when=when,
                duration=self._reactor.seconds() - began,
                problems=problems,
                generation=self.generation,
            )
            self._tell_ready()
            return self.last_reload

        def switched(switched: Switched) -> ReloadResult:
            self.generation += 1
            self._adopt(switched)
            return result(())

        tell_manager(reloading=True)
        deferred = maybeDeferred(self._switch)
        return deferred.addCallbacks(switched, lambda failure: result(_problems(failure)))

    # Stop

    def stopService(self) -> Deferred[None]:
        """Stop listening, and wait for the sessions to end.

        They are asked to end as soon as nothing would be lost by it, and cut after ``drain_timeout``.

        :returns: Fires when nothing is left.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = True
        tell_manager(stopping=True)
        return maybeDeferred(self._drain).addCallback(self._drained)

    def _drained(self, sessions_cut: int) -> Deferred[Any] | None:
        self.sessions_cut = sessions_cut
        self._take_note(ServiceStopped(sessions_cut=sessions_cut))
        return DeferredList([port.stopListening() for port in self._ports])


def _problems(failure: Failure) -> tuple[Problem, ...]:
    """What a failure means to whoever asked for the reload."""
    if isinstance(failure.value, ConfigurationError):
        return failure.value.problems
    if not isinstance(failure.value, TlsproxyError):
        _log.failure("unexpected error in a reload", failure)
    return (Problem("", str(failure.value) or type(failure.value).__name__),)
