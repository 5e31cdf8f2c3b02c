"""Where log lines go.

A note travels through Twisted's log (:func:`publish_notes`), so that whoever runs the process decides where lines go:
``twistd -n`` to standard output, ``--logfile`` to a file, ``--syslog`` to syslog, ``--logger`` to the operator's own
observer. Twisted's file observer would put a time and a system of its own before each line; :class:`LogObserver` takes its
place (:func:`twistd_observer` builds the one that twistd's options ask for), so that a line of ours is the whole line and
a line of Twisted's (a start-up message, a traceback) has the same form.
"""

import os
import signal
import sys
import syslog
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Protocol, TextIO

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile
from zope.interface import implementer

from tlsproxy.notes import Level, Note, Notify
from tlsproxy.ops.lines import ForeignEvent, LineFormat, TextLines, line_format

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


@frozen
class StreamSink:
    """A file or a terminal."""

    stream: Stream

    def write(self, level: Level, line: str) -> None:  # noqa: ARG002 - the line says it
        """Write the line."""
        self.stream.write(line + "\n")
        self.stream.flush()


@frozen
class JournalSink:
    """Standard output that the journal reads: each line begins with its priority, ``<4>`` (sd-daemon(3))."""

    stream: Stream

    def write(self, level: Level, line: str) -> None:
        """Write the line."""
        prefix = f"<{_PRIORITY[level]}>"
        self.stream.write(prefix + line.replace("\n", "\n" + prefix) + "\n")
        self.stream.flush()


class SyslogSink:
    """syslog(3)."""

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix, syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, level: Level, line: str) -> None:
        """Send the line; a traceback's lines each by itself."""
        for part in line.split("\n"):
            syslog.syslog(_PRIORITY[level], part)


@implementer(ILogObserver)
@define(eq=False)
class LogObserver:
    """Twisted's log, written in one of our formats. Never raises: a log that fails doesn't end a session."""

    _format: LineFormat
    _sink: Sink
    on_loss: Callable[[], None] | None = None
    """Called for everything that could not be written."""
    lost: int = field(default=0, init=False)
    """How much could not be written."""

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

    def write_line(self, level: Level, line: str) -> None:
        """Write a line that another process made of its note."""
        try:
            self._sink.write(level, line)
        except Exception:  # noqa: BLE001 - as above
            self._lose()

    def _lose(self) -> None:
        self.lost += 1
        if self.on_loss is not None:
            self.on_loss()

    def _write(self, event: LogEvent) -> None:
        when = event.get("log_time") or time.time()
        note = event.get("tlsproxy_note")
        if isinstance(note, Note):
            self._sink.write(note.level, self._format.note(note, when))
            return
        foreign = _foreign(event)
        if foreign is not None:
            self._sink.write(foreign.level, self._format.foreign(foreign, when))


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


def attach(application: object, observer: LogObserver | None) -> None:
    """Make ``observer`` the log of a twistd application: twistd prefers a component of the application to its own.

    For ``setServiceParent`` of the service that a plugin makes. A parent that isn't an application has no log.
    """
    if observer is not None and isinstance(application, Componentized):
        application.setComponent(ILogObserver, observer)
