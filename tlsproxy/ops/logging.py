"""Where log lines go.

A note travels through Twisted's log (:func:`publish_notes`), or straight to :class:`LogObserver` where that is all of
Twisted's log. So whoever runs the process decides where lines go:
``twistd -n`` to standard output, ``--logfile`` to a file, ``--syslog`` to syslog, ``--logger`` to the operator's own
observer. Twisted's file observer would put a time and a system of its own before each line; :class:`LogObserver` takes its
place (:func:`twistd_observer` builds the one that twistd's options ask for), so that a line of ours is the whole line and
a line of Twisted's (a start-up message, a traceback) has the same form.
"""

import atexit
import os
import signal
import sys
import syslog
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final, Protocol, TextIO

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from zope.interface import implementer

from tlsproxy.notes import Level, Note, Notify, SessionNote
from tlsproxy.ops.lines import ForeignEvent, LineFormat, TextLines, line_format

HELD_FOR: Final = 0.02
"""Seconds that a session's informational line may wait for others, to be written with them in one system call. A process
that is killed loses no more than that; nobody who reads a log sees it come later."""

HELD: Final = 500
"""Lines that wait at most, a hundred kilobytes."""

# sd-daemon(3) numbers levels as syslog(3) does.
_PRIORITY = {Level.INFO: syslog.LOG_INFO, Level.WARNING: syslog.LOG_WARNING, Level.ERROR: syslog.LOG_ERR}

_TO_TWISTED = {Level.INFO: LogLevel.info, Level.WARNING: LogLevel.warn, Level.ERROR: LogLevel.error}
_FROM_TWISTED = {
    LogLevel.info: Level.INFO,
    LogLevel.warn: Level.WARNING,
    LogLevel.error: Level.ERROR,
    LogLevel.critical: Level.ERROR,
}


class Stream(Protocol):
    """What lines are written to: a text file, or Twisted's rotating one."""

    def write(self, data: str, /) -> object:
        """Take text. May raise anything."""

    def flush(self) -> None:
        """See to it that it arrives."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, level: Level, line: str) -> None:
        """Take one happening. May raise anything."""

    def flush(self) -> None:
        """See to it that all that was taken arrives. May raise anything; what it was about is lost, then."""


@define
class StreamSink:
    """A file or a terminal."""

    stream: Stream
    _taken: list[str] = field(factory=list, init=False, eq=False)

    def write(self, level: Level, line: str) -> None:  # noqa: ARG002 - the line says it
        """Take the line."""
        self._taken.append(line + "\n")

    def flush(self) -> None:
        """Write what was taken."""
        text = "".join(self._taken)
        self._taken.clear()
        self.stream.write(text)
        self.stream.flush()


@define
class JournalSink(StreamSink):
    """Standard output that the journal reads: each line begins with its priority, ``<4>`` (sd-daemon(3))."""

    def write(self, level: Level, line: str) -> None:
        """Take the line."""
        prefix = f"<{_PRIORITY[level]}>"
        self._taken.append(prefix + line.replace("\n", "\n" + prefix) + "\n")


class SyslogSink:
    """syslog(3)."""

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix, syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, level: Level, line: str) -> None:
        """Send the line; a traceback's lines each by itself."""
        for part in line.split("\n"):
            syslog.syslog(_PRIORITY[level], part)

    def flush(self) -> None:
        """Nothing waits."""


@implementer(ILogObserver)
@define(eq=False)
class LogObserver:
    """Twisted's log, written in one of our formats. Never raises: a log that fails doesn't end a session.

    What is told of a session without a warning waits a moment for others, where :meth:`hold_back` was called. Everything
    else takes along at once all that waits: so the order stays, and the lines before an error and before the end of the
    process are there.
    """

    _format: LineFormat
    _sink: Sink
    on_loss: Callable[[], None] | None = None
    """Called for everything that could not be written."""
    warnings_only: bool = False
    """What is of level ``info`` isn't written, not even made a line of."""
    lost: int = field(default=0, init=False)
    """How much could not be written."""
    _call_later: Callable[[float, Callable[[], None]], object] | None = field(default=None, init=False)
    _held: int = field(default=0, init=False)
    _flush_due: bool = field(default=False, init=False)

    @property
    def timed(self) -> bool:
        """Whether lines say when: where they go doesn't."""
        return not isinstance(self._format, TextLines) or self._format.with_time

    def __call__(self, event: LogEvent) -> None:
        """Write one event of Twisted's log: a note, or anything else."""
        try:
            self._write(event)
        except Exception:  # noqa: BLE001 - a full disk, a closed pipe, an object that can't be printed
            self._lose()
        self.flush()

    def hold_back(self, call_later: Callable[[float, Callable[[], None]], object]) -> None:
        """Let sessions' informational lines wait for others, :data:`HELD_FOR` seconds and :data:`HELD` lines at most.

        :param call_later: A running reactor's ``callLater``.
        """
        if self._call_later is None:
            atexit.register(self.flush)
        self._call_later = call_later

    def take(self, note: Note) -> None:
        """Write a note: a :data:`~tlsproxy.notes.Notify` without the way through Twisted's log."""
        if not note.logged or (self.warnings_only and note.level is Level.INFO):
            return
        try:
            waits = note.level is Level.INFO and isinstance(note, SessionNote)
            self._put(note.level, self._format.note(note, time.time()), waits=waits)
        except Exception:  # noqa: BLE001 - as above
            self._lose()

    def write_line(self, level: Level, line: str) -> None:
        """Write a line that another process made of its note."""
        try:
            self._put(level, line, waits=level is Level.INFO)
        except Exception:  # noqa: BLE001 - as above
            self._lose()

    def flush(self) -> None:
        """Write what waits."""
        held, self._held = self._held, 0
        if not held:
            return
        try:
            self._sink.flush()
        except Exception:  # noqa: BLE001 - as above
            self._lose(held)

    def _put(self, level: Level, line: str, *, waits: bool = False) -> None:
        if self.warnings_only and level is Level.INFO:
            return
        self._sink.write(level, line)
        self._held += 1
        if not waits or self._call_later is None or self._held >= HELD:
            self.flush()
        elif not self._flush_due:
            self._flush_due = True
            self._call_later(HELD_FOR, self._flush_held)

    def _flush_held(self) -> None:
        self._flush_due = False
        self.flush()

    def _lose(self, lines: int = 1) -> None:
        self.lost += lines
        if self.on_loss is not None:
            for _ in range(lines):
                self.on_loss()

    def _write(self, event: LogEvent) -> None:
        when = event.get("log_time", time.time())
        note = event.get("tlsproxy_note")
        if isinstance(note, Note):
            self._put(note.level, self._format.note(note, when))
            return
        foreign = _foreign(event)
        if foreign is not None:
            self._put(foreign.level, self._format.foreign(foreign, when))


def _foreign(event: LogEvent) -> ForeignEvent | None:
    """The event as we write it; None for one that helps only those who debug Twisted."""
    level = _FROM_TWISTED.get(event.get("log_level", LogLevel.info))
    if level is None:
        return None
    namespace = str(event.get("log_namespace", "-"))
    failure = event.get("log_failure") or event.get("failure")
    if failure is None:
        return ForeignEvent(level, namespace, formatEvent(event))
    # The text that twisted.python.log.err() leads to repeats the traceback.
    message = event.get("why") or "Unhandled error" if "log_text" in event else formatEvent(event)
    return ForeignEvent(level, namespace, message, failure.getTraceback())


@frozen
class _Readable:
    """A note as observers other than :class:`LogObserver` see it, rendered only when one asks."""

    note: Note

    def __str__(self) -> str:
        return TextLines(with_time=False).note(self.note, 0.0)


def publish_notes(
    publisher: Callable[[LogEvent], None] = globalLogPublisher, clock: Callable[[], float] = time.time
) -> Notify:
    """The :data:`~tlsproxy.notes.Notify` that puts notes into Twisted's log.

    :param publisher: Twisted's log; the default catches what its observers raise.
    :param clock: Seconds since the epoch.
    """

    def publish(note: Note) -> None:
        if not note.logged:
            return
        publisher(
            {
                "log_time": clock(),
                "log_level": _TO_TWISTED[note.level],
                "log_namespace": "tlsproxy",
                "log_format": "{readable}",
                "readable": _Readable(note),
                "tlsproxy_note": note,
            }
        )

    return publish


def publish_line(level: Level, line: str, publisher: Callable[[LogEvent], None] = globalLogPublisher) -> None:
    """Put a line that another process made of its note into Twisted's log, for an observer that isn't ours."""
    publisher(
        {
            "log_time": time.time(),
            "log_level": _TO_TWISTED[level],
            "log_namespace": "tlsproxy",
            "log_format": "{line}",
            "line": line,
        }
    )


def is_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether systemd's journal reads ``stream``.

    ``$JOURNAL_STREAM`` names a device and an inode (systemd.exec(5)). A process whose output was redirected since, or that
    was started from a terminal which inherited the variable, writes elsewhere.
    """
    journal = environ.get("JOURNAL_STREAM")
    if not journal:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal == f"{status.st_dev}:{status.st_ino}"


def stream_observer(
    log_format: str,
    stream: TextIO,
    *,
    environ: Mapping[str, str] = os.environ,
    on_loss: Callable[[], None] | None = None,
) -> LogObserver:
    """The observer that writes to ``stream``, with priorities and without times where the journal reads it."""
    if is_journal(stream, environ):
        return LogObserver(line_format(log_format, with_time=False), JournalSink(stream), on_loss)
    return LogObserver(line_format(log_format), StreamSink(stream), on_loss)


def twistd_observer(
    log_format: str, options: Mapping[str, Any], *, on_loss: Callable[[], None] | None = None
) -> LogObserver | None:
    """The observer that writes where twistd's own would, for :func:`attach`.

    :param options: twistd's own (``parent`` of the plugin's).
    :return: None where that is left to whoever runs the plugin: it isn't twistd, ``--logger`` names an observer, or the
        options contradict each other, which twistd explains.
    """
    path = options.get("logfile")
    foreground = options.get("nodaemon")
    if foreground is None or options.get("logger") or (path == "-" and not foreground):
        return None
    if options.get("syslog"):
        sink = SyslogSink(options.get("prefix", ""))
        return LogObserver(line_format(log_format, with_time=False), sink, on_loss)
    if path == "-" or (foreground and not path):
        return stream_observer(log_format, sys.stdout, on_loss=on_loss)
    return LogObserver(line_format(log_format), StreamSink(_rotated_file(path or "twistd.log")), on_loss)


def _rotated_file(path: str) -> Stream:
    """The log file as twistd keeps it: a new one for every megabyte, and on SIGUSR1 unless somebody has taken that."""
    log_file = LogFile.fromFullPath(path)

    def rotate(_signal: int, _frame: FrameType | None) -> None:
        from twisted.internet import reactor

        IReactorFromThreads(reactor).callFromThread(log_file.rotate)

    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, rotate)
    stream: Stream = log_file
    return stream


def attach(application: object, observer: LogObserver | None) -> bool:
    """Make ``observer`` the log of a twistd application: twistd prefers a component of the application to its own.

    For ``setServiceParent`` of the service that a plugin makes. A parent that isn't an application has no log.

    :returns: Whether it is.
    """
    if observer is None or not isinstance(application, Componentized):
        return False
    application.setComponent(ILogObserver, observer)
    return True
