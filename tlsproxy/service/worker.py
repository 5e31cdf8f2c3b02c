"""A worker: one of the processes that serve sessions for a supervisor.

It is forked from a generation (:mod:`tlsproxy.service.generation`), which has prepared the configuration and imported all
that is needed but for a reactor: that has to be a process's own, since it holds an epoll descriptor. The supervisor is at
the other end of the channel, hears how the worker is, and reads the log lines.

==================  =======================================================================================================
``> ready``         connections are accepted
``> status``        how the worker is, every second, and when asked
``> report``        sessions that a stricter policy would refuse
``> leaving``       somebody sent SIGTERM: may I?
``> draining``      it accepts no more
``> final``         how it was, and how many sessions were cut; it ends
``< status``        how is it?
``< retire``        accept no more, end when the sessions have; ``< drain``: and ask them to; ``< cut``: and make them
==================  =======================================================================================================

The end of the supervisor is a ``drain``, too: the sockets may be another's by then.
"""

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from types import FrameType
from typing import Any, ClassVar, Final

from attrs import frozen
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from tlsproxy.config.model import LogLevel
from tlsproxy.net.identifiers import use_prefix
from tlsproxy.net.shared_counts import SharedCounts
from tlsproxy.notes import ListenOpened, Note
from tlsproxy.ops.lines import line_format
from tlsproxy.ops.logging import LogObserver
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.report.buffer import ReportBuffer
from tlsproxy.ops.status.model import process_to_values
from tlsproxy.policy.limits import LocalCounts
from tlsproxy.service.channel import ChannelError, Message, ReactorChannel
from tlsproxy.service.garbage import collect_less_often
from tlsproxy.service.log_pipe import PipeSink
from tlsproxy.service.prepare import Prepared
from tlsproxy.service.reactors import reactor_of
from tlsproxy.service.serving import Serving
from tlsproxy.service.snapshot import process_status
from tlsproxy.service.sockets import ListeningSocket

FLUSH_TIMEOUT: Final = 2.0
"""Seconds for the supervisor to take the last figures and lines: it reads at once, unless it is gone."""

LEAVE_TIMEOUT: Final = 5.0
"""Seconds for the supervisor to answer a worker that was told to end."""

STATUS_INTERVAL: Final = 1.0
"""Seconds between two reports: what a worker counted after its last is lost, should it be killed. It is also how the
supervisor knows that the worker isn't stuck."""

STATUS_SHARE: Final = 50
"""A report comes after at least so many times as long as it took to make: two per cent of the processor are for reports."""

FAILED: Final = 70
"""Exit status of a worker that couldn't begin, or met what nobody expected: sysexits' ``EX_SOFTWARE``."""

_log = Logger()


@frozen(eq=False)
class Assignment:
    """What a worker is to do, and with what. Descriptors become the worker's."""

    prepared: Prepared
    sockets: Sequence[Sequence[ListeningSocket]]
    """For each listen those to accept on."""
    worker: int
    """Its number, from 0."""
    generation: int
    serial: int
    """How many were forked in this generation before it."""
    channel: socket.socket
    log: int
    """Where log lines go: a pipe to the supervisor."""
    timed: bool
    """Whether readable lines begin with a time."""
    reactor: str | None
    """The kind that twistd was told to use; None for the platform's own."""
    counts: int | None
    """Memory for :class:`~tlsproxy.net.shared_counts.SharedCounts`."""
    slot: int
    """The worker's own in that memory."""

    @property
    def prefix(self) -> str:
        """What identifiers of its sessions begin with: no two workers of a service have the same."""
        return f"{self.generation:x}.{self.serial:x}."


class Stand(IntEnum):
    """Where a worker stands: it never goes back."""

    SERVING = 0
    RETIRED = 1
    DRAINING = 2


class Worker:
    """A worker at work.

    :ivar status: Its exit status: 0 after a drain, whether or not sessions were cut; the supervisor is told of those.
    """

    def __init__(self, assignment: Assignment, reactor: Any) -> None:
        self.status = 0
        self._assignment = assignment
        self._reactor = reactor
        self._stand = Stand.SERVING
        self._metrics = Metrics()
        self._report = ReportBuffer()
        self._sink = PipeSink(assignment.log, reactor)
        configuration = assignment.prepared.configuration
        log_format = line_format(configuration.log_format, with_time=assignment.timed)
        self.observer = LogObserver(
            log_format,
            self._sink,
            self._metrics.log_line_lost,
            warnings_only=configuration.log_level is LogLevel.WARNING,
        )
        self._channel = ReactorChannel(
            assignment.channel, reactor=reactor, received=self._received, lost=self._supervisor_lost
        )
        counts = (
            LocalCounts() if assignment.counts is None else SharedCounts(assignment.counts, assignment.slot)
        )
        self._serving = Serving(assignment.prepared, reactor=reactor, notify=self._take_note, counts=counts)

    def start(self) -> None:
        """Accept connections."""
        self.observer.hold_back(self._reactor.callLater)
        try:
            self._serving.start(self._assignment.sockets)
        except Exception:  # noqa: BLE001 - whatever it is, the supervisor starts another
            _log.failure("a worker can't accept connections")
            self._end(FAILED)
            return
        # Serving has duplicates. One kept here would keep the queue of a drained worker open.
        for sockets in self._assignment.sockets:
            for each in sockets:
                each.close()
        self._channel.send("ready")
        self._tell_regularly()

    def retire(self) -> None:
        """Accept no more, end when the sessions have."""
        if self._stand < Stand.RETIRED:
            self._accept_no_more(Stand.RETIRED)
            maybeDeferred(self._serving.retire).addCallbacks(self._retired, self._failed)

    def drain(self, *, queued: bool) -> None:
        """Accept no more, and make the sessions end.

        :param queued: Serve those who wait in the queues: nobody else will.
        """
        if self._stand < Stand.DRAINING:
            self._accept_no_more(Stand.DRAINING)
            maybeDeferred(self._serving.drain, queued=queued).addCallbacks(self._finished, self._failed)

    def leave(self) -> None:
        """Ask to be replaced: for SIGTERM. The supervisor answers ``drain``."""
        if self._stand < Stand.DRAINING:
            self._channel.send("leaving")
            self._reactor.callLater(LEAVE_TIMEOUT, self.drain, queued=False)

    def flush(self) -> None:
        """See to it that the log gets the last lines."""
        self.observer.flush()
        self._sink.wait(FLUSH_TIMEOUT)

    def _take_note(self, note: Note) -> None:
        self._metrics.take(note)
        self._report(note)
        if not isinstance(note, ListenOpened):  # the supervisor says it once
            self.observer.take(note)

    def _accept_no_more(self, stand: Stand) -> None:
        self._stand = stand
        self._channel.send("draining")

    def _retired(self, _result: object) -> None:
        if (
            self._stand is Stand.RETIRED
        ):  # otherwise the drain ends as well, and knows how many sessions were cut
            self._finished(0)

    def _finished(self, sessions_cut: int) -> None:
        self._tell("final", cut=sessions_cut)
        self._end(0)

    def _failed(self, failure: Failure) -> None:
        _log.failure("a worker can't drain", failure)
        self._end(FAILED)

    def _end(self, status: int) -> None:
        self.status = status
        # Before the reactor stops: it closes whatever it watches.
        self._channel.flush(FLUSH_TIMEOUT)
        self._channel.close()
        self.flush()
        self._reactor.stop()

    # The supervisor

    def _tell_regularly(self) -> None:
        began = self._reactor.seconds()
        self._tell("status")
        took = self._reactor.seconds() - began
        self._reactor.callLater(max(STATUS_INTERVAL, STATUS_SHARE * took), self._tell_regularly)

    def _tell(self, kind: str, **values: Any) -> None:
        entries = self._report.take()
        if entries:
            self._channel.send("report", entries=entries)
        assignment = self._assignment
        status = process_status(
            self._serving, self._metrics, worker=assignment.worker, generation=assignment.generation
        )
        self._channel.send(kind, status=process_to_values(status), **values)

    def _received(self, message: Message) -> None:
        message.close()
        order = self._ORDERS.get(message.type)
        if order is None:
            raise ChannelError(f"{message.type!r} is no message to a worker")
        order(self, **message.values)

    def _supervisor_lost(self, reason: str) -> None:
        _log.warn("a worker has no supervisor any more ({reason}): it drains", reason=reason)
        self.drain(queued=True)

    _ORDERS: ClassVar[Mapping[str, Callable[..., None]]] = {
        "status": lambda worker: worker._tell("status"),  # noqa: SLF001 - its own
        "retire": retire,
        "drain": drain,
        "cut": lambda worker: worker._serving.cut(),  # noqa: SLF001
    }


def run(assignment: Assignment) -> int:
    """Work until drained.

    :returns: The exit status.
    """
    # After the fork: importing it installs it.
    reactor = reactor_of(assignment.reactor)
    use_prefix(assignment.prefix)
    collect_less_often()
    worker = Worker(assignment, reactor)
    globalLogBeginner.beginLoggingTo([worker.observer], redirectStandardIO=False)

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        reactor.callFromThread(worker.leave)

    # Twisted's handlers would stop the reactor at once.
    signal.signal(signal.SIGTERM, terminate)
    reactor.callWhenRunning(worker.start)
    reactor.run(installSignalHandlers=False)
    worker.flush()
    return worker.status


def sockets_of(
    sockets: Sequence[ListeningSocket], worker: int, workers: int, *, shared: bool
) -> list[ListeningSocket]:
    """The sockets of a listen that one worker accepts on.

    :param shared: They aren't copies with a queue each: every worker accepts on all.
    :returns: Of copies every ``workers``-th from its own on, so that none is left without a worker; where there are fewer
        than workers, some have the same.
    """
    if shared or not sockets:
        return list(sockets)
    return list(sockets[worker::workers]) or [sockets[worker % len(sockets)]]


def exit_now(status: int) -> None:
    """End a forked process without what its parent registered for its own end."""
    os._exit(status)
