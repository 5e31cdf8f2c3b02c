"""Keeps the report's database up to date, in a thread of the reactor's pool: a disk that hangs holds up no session."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from tlsproxy.errors import ReportError
from tlsproxy.notes import Note, Notify, ReportFailed
from tlsproxy.ops.report.buffer import ReportBuffer

if TYPE_CHECKING:
    from tlsproxy.ops.report.store import ReportStore

INTERVAL: Final = 5.0
"""Seconds between two writes. The end of the process by force loses as much."""

TOP: Final = 100
"""Rows kept at hand for the status page."""

_NOWHERE: Final = ""
"""No file has this name: the next write is due whether there is something to write or not."""

InThread = Callable[..., Deferred[Any]]
"""Calls a function with arguments in another thread; fires with what it gives."""


@frozen
class _Written:
    """What one write came to."""

    damaged: str | None = None
    top: tuple[dict[str, Any], ...] = ()
    summary: tuple[dict[str, Any], ...] = ()


class ReportWriter:
    """The one that writes the database of a service.

    :ivar path: The file; None to remember only while the process lives. May be set at any time: the next write heeds it.
    :ivar top: The :data:`TOP` clients with most sessions, as JSON's types: the fields of
        :class:`~tlsproxy.ops.report.entries.ClientRow`.
    :ivar summary: The fields of each :class:`~tlsproxy.ops.report.summary.Summary`.
    """

    def __init__(
        self, path: str | None, *, reactor: Any, notify: Notify, in_thread: InThread | None = None
    ) -> None:
        self.path = path
        self.top: list[dict[str, Any]] = []
        self.summary: list[dict[str, Any]] = []
        self._notify = notify
        self._in_thread = in_thread or _in_thread_of(reactor)
        self._buffer = ReportBuffer()
        self._store: ReportStore | None = None
        self._loop = LoopingCall(self._write)
        self._loop.clock = reactor
        self._writing: Deferred[None] | None = None
        self._failing = False
        self._current: str | None = _NOWHERE  # where what is at hand was read

    def hear(self, note: Note) -> None:
        """Take a note of this process."""
        self._buffer(note)

    def merge(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Take what a :class:`~tlsproxy.ops.report.buffer.ReportBuffer` of another process gave."""
        self._buffer.merge(entries)

    def start(self) -> None:
        """Begin to write. What was written in an earlier life is at hand after the first time."""
        self._loop.start(INTERVAL)

    def stop(self) -> Deferred[None]:
        """Write what is left, and close the file.

        :returns: Fires when that is done, or can't be. Never fails.
        """
        if self._loop.running:
            self._loop.stop()
        before = self._writing or succeed(None)
        done: Deferred[None] = Deferred()
        before.addBoth(lambda _: self._write()).addBoth(lambda _: self._in_thread(self._close))
        before.addBoth(lambda _: done.callback(None))
        return done

    def _write(self) -> Deferred[None]:
        """Write in a thread; LoopingCall waits for it before the next time."""
        entries = self._buffer.take()
        nothing_remembered = self.path is None and self._store is None
        if not entries and (nothing_remembered or self._current == self.path):
            return succeed(None)
        writing: Deferred[None] = self._in_thread(self._write_in_thread, self.path, entries)
        writing.addCallbacks(self._written, self._failed, callbackArgs=(self.path,), errbackArgs=(entries,))
        self._writing = writing
        return writing

    def _written(self, written: _Written, path: str | None) -> None:
        self._failing, self._current = False, path
        self.top, self.summary = list(written.top), list(written.summary)
        if written.damaged is not None:
            self._notify(
                ReportFailed(
                    detail=f"{self.path} was damaged: it is now {written.damaged}, and a new one begins"
                )
            )

    def _failed(self, failure: Failure, entries: list[dict[str, Any]]) -> None:
        self._buffer.merge(entries)
        self._current = _NOWHERE
        if not self._failing:
            self._failing = True
            self._notify(ReportFailed(detail=failure.getErrorMessage()))

    # In the thread, one call at a time

    def _write_in_thread(self, path: str | None, entries: list[dict[str, Any]]) -> _Written:
        from tlsproxy.ops.report.store import ReportStore  # SQLite is 2 MiB that few need

        store = self._store
        opened = store is None or store.path != path
        if store is None or opened:
            self._close()
            store = self._store = ReportStore(path)
        try:
            store.add(entries)
            return _Written(
                damaged=store.damaged if opened else None,
                top=tuple(asdict(row) for row in store.rows(limit=TOP)),
                summary=tuple(asdict(each) for each in store.summaries()),
            )
        except ReportError:
            self._close()  # it is opened anew, and looked at, the next time
            raise

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()


def _in_thread_of(reactor: Any) -> InThread:
    def in_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)

    return in_thread
