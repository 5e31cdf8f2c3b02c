"""What the service is in both of its forms: one process that serves itself, or a supervisor of workers.

Here is all that an operator deals with: start and stop, reloads, commands, the log, the metrics, what the service manager
hears. How sessions are served is a subclass's, by hooks: :meth:`TlsproxyService._open`, :meth:`~TlsproxyService._begin`,
:meth:`~TlsproxyService._switch`, :meth:`~TlsproxyService._drain`, :meth:`~TlsproxyService._cut` and
:meth:`~TlsproxyService.processes`.
"""

import os
import signal
import time
from abc import abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from attrs import evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlsproxy import __version__
from tlsproxy.config.model import Configuration, LogLevel
from tlsproxy.errors import ConfigurationError, Problem, TlsproxyError
from tlsproxy.notes import (
    ConfigurationRefused,
    ConfigurationWarned,
    DrainStarted,
    Note,
    Notify,
    Reloaded,
    ReloadRefused,
    ServiceStarted,
    ServiceStopped,
    SocketsHandedOver,
)
from tlsproxy.ops.logging import attach, publish_notes
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.report.writer import ReportWriter
from tlsproxy.ops.status.model import (
    ProcessStatus,
    ReloadProblem,
    ReloadStatus,
    ServiceState,
    ServiceStatus,
    ShadowReport,
)
from tlsproxy.service.activation import activated_sockets
from tlsproxy.service.changes import why_not_by_reload
from tlsproxy.service.control import ControlFactory
from tlsproxy.service.control_client import Predecessor
from tlsproxy.service.ending import CUT, ExitStatus, SignalHandlers
from tlsproxy.service.garbage import collect_less_often
from tlsproxy.service.notify import notify as tell_manager
from tlsproxy.service.notify import watchdog_interval
from tlsproxy.service.own_ports import CONTROL, OwnChange, OwnPorts
from tlsproxy.service.reload import CERTIFICATE, SIGHUP, Reloader, ReloadResult
from tlsproxy.service.socket_set import HandedOver, SocketSet, from_systemd
from tlsproxy.service.watch import FileWatch, watched_files
from tlsproxy.tls.library import library_version

FAILED = 1
"""Exit status of a start that failed once the reactor ran."""

T = TypeVar("T")

_log = Logger()


@frozen(eq=False)
class Switched:
    """What new sessions are served with, after a start or a reload."""

    configuration: Configuration
    warnings: tuple[Problem, ...]
    """What about it may not do what its author thinks."""


@frozen(kw_only=True)
class Surroundings:
    """What the service finds where it runs."""

    owner: tuple[int, int] | None = None
    """User and group that privileges will be given up for; None where they aren't."""
    take_over: bool = False
    """Whether to take the place of the process that listens on the control socket."""
    exit_status: ExitStatus = field(factory=ExitStatus)
    read_since: float = field(factory=time.time)
    """When reading the configuration and its files began, in seconds since the epoch."""
    handle_signals: bool = False
    """Whether the process is this service's own."""


class TlsproxyService(Service):
    """A configuration at work.

    :ivar configuration: The one in force.
    :ivar generation: 1 since the start, one more with each reload that was carried out.
    :ivar last_reload: What came of the last one; None before the first.
    :ivar exit_status: What the process is to exit with.
    :ivar report: Whom a stricter policy would refuse.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        reactor: Any,
        log_observer: Any = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.configuration = configuration
        self.generation = 1
        self.last_reload: ReloadResult | None = None
        self._surroundings = surroundings or Surroundings()
        self.exit_status = self._surroundings.exit_status
        # A daemon works in another directory than it was started in.
        self._path = os.path.abspath(configuration.source)  # noqa: PTH100 - Path.absolute() keeps ".."
        self._reactor = reactor
        self._log_observer = log_observer
        self._metrics = Metrics()
        if log_observer is not None:
            log_observer.on_loss = self._metrics.log_line_lost
        self._heed_log_level()
        self._log = publish_notes()
        self.report = ReportWriter(configuration.report_database, reactor=reactor, notify=self._take_note)
        self._sockets = SocketSet()
        self._reloader = Reloader(self._reload)
        self._reloads = {True: 0, False: 0}
        self._own = OwnPorts(
            reactor,
            {
                "metrics_listen": self._metrics_site,
                "status_listen": self._status_site,
                CONTROL: lambda: ControlFactory(self, clock=reactor, notify=self._take_note),
            },
            self._surroundings.owner,
        )
        self._own_change: OwnChange | None = None
        self._watch = FileWatch(reactor, self._in_thread, lambda: self.reload(CERTIFICATE))
        self._watchdog: IDelayedCall | None = None
        self._predecessor: Predecessor | None = None
        self._started = time.time()
        self._opened = False
        self._state = ServiceState.RUNNING
        self._handed_over = False
        self._drain_trigger = ""

    # What a subclass does

    @abstractmethod
    def _open(self) -> None:
        """Open every socket of ``self.configuration`` in ``self._sockets``, while ports below 1024 may still be had.

        What systemd or another process handed over is in there already.

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
        the configuration. Never called while another is under way, nor before the start.

        :returns: Fires after the switch. On failure (:class:`~tlsproxy.errors.ConfigurationError` or another
            :class:`~tlsproxy.errors.TlsproxyError`) everything is as it was.
        """

    @abstractmethod
    def _drain(self) -> Deferred[int]:
        """Accept no more, let sessions end as soon as nothing is lost by it, cut the rest after ``drain_timeout``.

        ``self._sockets`` is closed already.

        :returns: Fires when nothing is left, with the number of sessions cut.
        """

    @abstractmethod
    def _cut(self) -> None:
        """Cut what still runs at once, while :meth:`_drain` waits for it."""

    @abstractmethod
    def processes(self) -> Deferred[list[ProcessStatus]]:
        """The state of each process that serves sessions."""

    # What a subclass may use

    @property
    def path(self) -> str:
        """The configuration file."""
        return self._path

    @property
    def notify(self) -> Notify:
        """Where this process's notes go: to the log and to the metrics."""
        return self._take_note

    @property
    def listening(self) -> tuple[str, ...]:
        """Addresses listened on, in the order of the configuration, with real port numbers; once opened."""
        return tuple(dict.fromkeys(each.name for group in self._sockets.sockets for each in group))

    def _admit(self, configuration: Configuration) -> None:
        """See whether the running process can change to ``configuration``, and open what that needs of its own.

        :raises TlsproxyError: It can't: an option needs a restart, a socket can't be opened, or the service stops.
        """
        if self._state is ServiceState.DRAINING:
            raise _Stopping("the service stops")
        problems = why_not_by_reload(self.configuration, configuration)
        if problems:
            raise ConfigurationError(problems)
        self._own_change = self._own.prepare(configuration)

    def _in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        """Do what may take long, in a thread."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

    def _take_note(self, note: Note) -> None:
        self._metrics.take(note)
        self.report.hear(note)
        self._log(note)

    # Start

    def setServiceParent(self, parent: Any) -> None:
        """As in ``Service``; twistd's log becomes ours, whose lines are of the configured form."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if attach(parent, self._log_observer):
            self._log = self._log_observer.take

    def privilegedStartService(self) -> None:
        """Open the sockets, while ports below 1024 may still be had.

        :raises TlsproxyError: One can't be opened, or there is no process to take over from.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        if self._opened:
            return
        self._opened = True
        handed_over = from_systemd(activated_sockets())
        if self._surroundings.take_over:
            self._predecessor = Predecessor.ask(self.configuration.control_socket)
            handed_over += self._predecessor.handed_over
        self._sockets.take([each for each in handed_over if "=" not in each.address])
        self._open()
        try:
            self._own_change = self._own.prepare(
                self.configuration, handed_over=handed_over, take_over=self._surroundings.take_over
            )
        except TlsproxyError:
            self._sockets.close(keep_paths=self._surroundings.take_over)
            raise
        if self._surroundings.handle_signals:
            self._take_signals()

    def startService(self) -> None:
        """Accept connections."""
        self.privilegedStartService()
        if self._log_observer is not None:
            self._log_observer.hold_back(self._reactor.callLater)
        super().startService()  # type: ignore[no-untyped-call]
        self._take_note(
            ServiceStarted(
                version=__version__, tls_library=library_version(), config=self.configuration.source
            )
        )
        maybeDeferred(self._begin).addCallback(self._began).addErrback(self._failed_to_begin)

    def _began(self, switched: Switched) -> None:
        self._adopt(switched)
        if self._surroundings.handle_signals:
            collect_less_often()
        self.report.start()
        self._watch.files_read(watched_files(self.configuration), self._surroundings.read_since)
        self._tell_ready()
        self._feed_watchdog()
        self._reloader.start()
        # What was opened before the reactor runs is accepted on once it does.
        self._reactor.callWhenRunning(self._dismiss_predecessor)

    def _dismiss_predecessor(self) -> None:
        predecessor, self._predecessor = self._predecessor, None
        if predecessor is not None:
            self._in_thread(predecessor.drain).addErrback(_ignore)

    def _failed_to_begin(self, failure: Failure) -> None:
        for problem in _problems(failure):
            self._take_note(ConfigurationRefused(path=problem.path, message=problem.message))
        self.exit_status.value = FAILED
        # Not before it runs: it may be called out of startService.
        self._reactor.callWhenRunning(self._reactor.stop)

    def _adopt(self, switched: Switched) -> None:
        self.configuration = switched.configuration
        self._heed_log_level()
        self.report.path = switched.configuration.report_database
        if self._own_change is not None:
            self._own.commit(self._own_change)
            self._own_change = None
        for problem in switched.warnings:
            self._take_note(ConfigurationWarned(path=problem.path, message=problem.message))

    def _heed_log_level(self) -> None:
        if self._log_observer is not None:
            self._log_observer.warnings_only = self.configuration.log_level is LogLevel.WARNING

    def _tell_ready(self) -> None:
        tell_manager(ready=True, status=f"listening on {', '.join(self.listening)}")

    def _feed_watchdog(self) -> None:
        interval = watchdog_interval()
        if interval is not None:
            tell_manager(watchdog=True)
            self._watchdog = self._reactor.callLater(interval, self._feed_watchdog)

    # Reload

    def reload(self, trigger: str) -> Deferred[ReloadResult]:
        """Read the configuration again and change to it, after any reload that runs.

        :param trigger: Who asks, for the log: :data:`~tlsproxy.service.reload.SIGHUP` and its like.
        :returns: Fires with the result, also where it was refused.
        """
        return self._reloader.request(trigger)

    def _reload(self, trigger: str) -> Deferred[ReloadResult]:
        result = ReloadResult(
            trigger=trigger, when=datetime.now(UTC), duration=0.0, problems=(), generation=self.generation
        )
        began = self._reactor.seconds()

        def finished(problems: tuple[Problem, ...]) -> ReloadResult:
            duration = self._reactor.seconds() - began
            return self._finished(
                evolve(result, duration=duration, problems=problems, generation=self.generation)
            )

        def switched(switched: Switched) -> ReloadResult:
            self.generation += 1
            self._adopt(switched)
            return finished(())

        def refused(failure: Failure) -> ReloadResult:
            if self._own_change is not None:
                self._own_change.abandon()
                self._own_change = None
            return finished(_problems(failure))

        if self._state is not ServiceState.DRAINING:
            self._state = ServiceState.RELOADING
            tell_manager(reloading=True)
        # What goes wrong behind the switch must not leave the service without reloads.
        return maybeDeferred(self._switch).addCallback(switched).addErrback(refused)

    def _finished(self, result: ReloadResult) -> ReloadResult:
        self._watch.files_read(watched_files(self.configuration), result.when.timestamp())
        self.last_reload = result
        self._reloads[result.ok] += 1
        if result.ok:
            self._take_note(
                Reloaded(trigger=result.trigger, duration=result.duration, generation=result.generation)
            )
        else:
            self._take_note(ReloadRefused(trigger=result.trigger, problems=len(result.problems)))
        for problem in result.problems:
            self._take_note(ConfigurationRefused(path=problem.path, message=problem.message))
        if self._state is ServiceState.RELOADING:
            self._state = ServiceState.RUNNING
            self._tell_ready()
        return result

    # Status, and what another process asks

    def service(self) -> ServiceStatus:
        """See :class:`~tlsproxy.ops.status.model.StatusSource`."""
        return ServiceStatus(
            version=__version__,
            tls_library=library_version(),
            config=self.configuration.source,
            started=self._started,
            state=self._state,
            generation=self.generation,
            last_reload=_told(self.last_reload),
            reloads=self._reloads[True],
            reloads_failed=self._reloads[False],
        )

    # A web server and all that the page is drawn with take 6 MiB: nobody pays for them without a port for it.

    def _metrics_site(self) -> IProtocolFactory:
        from tlsproxy.ops.status.sites import metrics_site

        return metrics_site(self)

    def _status_site(self) -> IProtocolFactory:
        from tlsproxy.ops.status.sites import status_site

        return status_site(self, report=self._shadow_report)

    def _shadow_report(self) -> ShadowReport:
        return ShadowReport(clients=self.report.top, summary=self.report.summary)

    def hand_over(self, pid: int) -> list[HandedOver]:
        """The listening sockets, for the process ``pid``. Both accept on them until :meth:`drain_for_successor`."""
        sockets = [*self._sockets.hand_over(), *self._own.hand_over()]
        self._take_note(SocketsHandedOver(sockets=len(sockets), pid=pid))
        return sockets

    def drain_for_successor(self) -> None:
        """Stop: the process that the sockets were handed over to serves who comes from here on."""
        self._handed_over = True
        self._stop_for("command")

    # Stop

    def _take_signals(self) -> None:
        """At once, and again when the reactor, which has handlers of its own, has installed them."""
        handlers = SignalHandlers(
            self._reactor,
            {
                signal.SIGHUP: lambda: _forget(self.reload(SIGHUP)),
                signal.SIGTERM: lambda: self._stop_for("SIGTERM"),
                signal.SIGINT: lambda: self._stop_for("SIGINT"),
            },
        )
        handlers.install()
        self._reactor.callWhenRunning(handlers.install)

    def _stop_for(self, trigger: str) -> None:
        """The first time: drain, then stop. The second time: don't wait any longer."""
        if self._state is ServiceState.DRAINING:
            self._cut()
        elif not self._drain_trigger:
            self._drain_trigger = trigger
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop listening, and wait for the sessions to end.

        They are asked to end as soon as nothing would be lost by it, and cut after ``drain_timeout``.

        :returns: Fires when nothing is left.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._state = ServiceState.DRAINING
        tell_manager(stopping=True)
        if self._drain_trigger:
            self._take_note(DrainStarted(trigger=self._drain_trigger))
        self._watch.stop()
        # Who was to be replaced, and isn't, goes on with its sockets.
        self._handed_over = self._handed_over or self._predecessor is not None
        self._sockets.close(keep_paths=self._handed_over)
        if self._handed_over:
            self._own.close()
        return maybeDeferred(self._drain).addCallback(self._drained)

    def _drained(self, sessions_cut: int) -> Deferred[Any]:
        if sessions_cut:
            self.exit_status.value = CUT
        self._take_note(ServiceStopped(sessions_cut=sessions_cut))
        if self._watchdog is not None and self._watchdog.active():
            self._watchdog.cancel()
        return DeferredList([self.report.stop(), self._own.close()])


class _Stopping(TlsproxyError):
    """Too late for a reload."""


def _problems(failure: Failure) -> tuple[Problem, ...]:
    """What a failure means to whoever asked for the reload."""
    if isinstance(failure.value, ConfigurationError):
        return failure.value.problems
    if not isinstance(failure.value, TlsproxyError):
        _log.failure("unexpected error", failure)
    return (Problem("", str(failure.value) or type(failure.value).__name__),)


def _told(result: ReloadResult | None) -> ReloadStatus | None:
    if result is None:
        return None
    return ReloadStatus(
        when=result.when.timestamp(),
        trigger=result.trigger,
        ok=result.ok,
        problems=tuple(ReloadProblem(problem.path, problem.message) for problem in result.problems),
    )


def _forget(_result: Deferred[ReloadResult]) -> None:
    """Who sends a signal is told by the log alone."""


def _ignore(failure: Failure) -> None:
    """The predecessor ended before it answered, as it was asked to."""
    _log.info("the process before this one: {error}", error=failure.getErrorMessage())
