"""A generation as the supervisor has it: :mod:`tlsproxy.service.generation` is its other side."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

import tlsproxy
from tlsproxy.errors import ConfigurationError, Problem, TlsproxyError
from tlsproxy.notes import Level, Notify, WorkerDied, WorkerEnded, WorkersLost, WorkerStarted, WorkerStuck
from tlsproxy.service.channel import (
    MAX_FDS,
    BlockingChannel,
    ChannelError,
    Message,
    ReactorChannel,
    socket_pair,
)
from tlsproxy.service.sockets import ListeningSocket
from tlsproxy.service.worker_handle import SILENCE, Watcher, WorkerHandle

PREPARE_TIMEOUT: Final = 120.0
"""Seconds for a configuration to be prepared: thousands of certificates take some."""

START_TIMEOUT: Final = 60.0
"""Seconds for all workers to accept connections: each needs a fraction of one."""

END_TIMEOUT: Final = 1.0
"""Seconds between a generation's last word and its end, which follows at once."""

MODULE: Final = "tlsproxy.service.generation"

_NOT_PASSED_ON: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""What the service manager tells the supervisor, and nobody else."""

_log = Logger()


@frozen(kw_only=True)
class Orders:
    """What every generation is told."""

    uid: int | None = None
    """Whom to become once the keys are read; None: nobody else."""
    gid: int | None = None
    timed: bool = True
    """Whether readable log lines begin with a time."""
    reactor: str | None = None
    """Kind of the workers' reactor; None for the platform's own."""


@frozen(kw_only=True)
class Facts:
    """What a generation has prepared."""

    listens: tuple[str, ...]
    """Their addresses, as configured."""
    names: Mapping[str, Sequence[str]]
    """Those that each certificate is for, by file."""
    warnings: tuple[Problem, ...]


@frozen(kw_only=True)
class ListenSockets:
    """What a generation's workers accept on, of one listen."""

    opened: Sequence[ListeningSocket]
    shared: bool
    """Whether all workers accept on all of them: they aren't copies of one, each with a queue."""


class GenerationError(TlsproxyError):
    """A generation can't be had, or didn't come up."""


class Employer(Watcher, Protocol):
    """Who hears of a generation and of its workers."""

    def worker_replaced(self) -> None:
        """Another worker takes the place of one that died."""

    def generation_lost(self, generation: "GenerationHandle") -> None:
        """Its process died. Its workers go on."""


class GenerationHandle:
    """A process that was started, and is to prepare ``config``.

    :ivar number: As its workers know it; 0 until they are started.
    :ivar workers: Those that haven't ended.
    :ivar retired: Whether they accept no more; with ``draining``, sessions are made to end.
    :ivar ended: Fires when all of it is over, with the number of sessions that were cut.
    """

    def __init__(
        self,
        config: str,
        orders: Orders,
        *,
        replacing: Mapping[str, Sequence[str]] | None,
        reactor: Any,
        employer: Employer,
        notify: Notify,
        write_line: Callable[[Level, str], None],
    ) -> None:
        """
        :param replacing: Names of the certificates in use, by file, which new ones mustn't lack; None at the start.
        :raises GenerationError: It can't be started.
        """
        self.number = 0
        self.workers: list[WorkerHandle] = []
        self.ended: Deferred[int] = Deferred()
        self.retired = self.draining = False
        self._reactor = reactor
        self._employer = employer
        self._notify = notify
        self._write_line = write_line
        self._exits: dict[int, tuple[int, float | None]] = {}
        self._wanted = 0
        self._came_up: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self._sessions_cut = 0
        self._queued = False
        self._reactor_channel: ReactorChannel | None = None
        ours, its_own = socket_pair()
        with its_own:
            try:
                self._process = _start(its_own.fileno())
            except OSError as error:
                ours.close()
                raise GenerationError(
                    f"can't start {sys.executable} for workers: {error.strerror}"
                ) from error
        self._channel = BlockingChannel(ours)
        with contextlib.suppress(OSError):  # it died already: that shows when it should answer
            self._channel.send(
                "prepare",
                config=config,
                replacing=None if replacing is None else dict(replacing),
                uid=orders.uid,
                gid=orders.gid,
                timed=orders.timed,
                reactor=orders.reactor,
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def prepare(self) -> Facts:
        """Wait until the configuration is prepared. May be called in a thread.

        :raises ConfigurationError: with every problem.
        :raises GenerationError: It died, or takes too long.
        """
        try:
            message = self._channel.receive(PREPARE_TIMEOUT)
        except (EOFError, ChannelError):
            self._kill_process()
            raise GenerationError(f"the process for workers {_exit_text(self._process.wait())}") from None
        except OSError as error:
            self._kill_process()
            what = "took too long" if isinstance(error, TimeoutError) else f"failed: {error.strerror}"
            raise GenerationError(f"preparing workers {what}") from None
        values = message.values
        if message.type == "failed":
            self.abandon()
            raise ConfigurationError(_problems(values["problems"]))
        return Facts(
            listens=tuple(values["listens"]), names=values["names"], warnings=_problems(values["warnings"])
        )

    def abandon(self) -> None:
        """End it before it serves; also while another thread waits for it to be prepared."""
        self._kill_process()
        self._process.wait()
        if self._reactor_channel is None:
            self._channel.close()

    # Serving

    def serve(
        self,
        number: int,
        listens: Sequence[ListenSockets],
        *,
        workers: int,
        slots: Sequence[int],
        counts: int | None,
    ) -> Deferred[None]:
        """Have workers accept connections.

        :param number: Which generation it is: larger than any before.
        :param slots: For each worker two of those that ``counts`` has: one more for a predecessor that drains.
        :param counts: Descriptor of memory for what workers count together.
        :returns: Fires when all do; fails with :class:`GenerationError` when one dies before that, or it takes too long.
        """
        self.number = number
        self._wanted = workers
        sock, decoder, _ = self._channel.detach()
        channel = self._reactor_channel = ReactorChannel(
            sock, reactor=self._reactor, received=self._received, lost=self._lost, decoder=decoder
        )
        opened = [each.opened.fileno() for listen in listens for each in listen.opened]
        for some in _parts(opened):
            channel.send("sockets", fds=some)
        channel.send(
            "serve",
            fds=[] if counts is None else [counts],
            generation=number,
            workers=workers,
            slots=list(slots),
            listens=[
                {"names": [each.name for each in listen.opened], "shared": listen.shared}
                for listen in listens
            ],
        )
        came_up = self._came_up = Deferred()
        self._deadline = self._reactor.callLater(
            START_TIMEOUT, self._fail_to_come_up, "workers take too long to accept connections"
        )
        return came_up

    def retire(self) -> None:
        """Have its workers accept no more, and end when their sessions have."""
        self.retired = True
        self._send("retire")
        for worker in self.workers:
            worker.retire()

    def drain(self, *, queued: bool = False) -> None:
        """Have its workers accept no more, and make their sessions end.

        :param queued: Those who wait in queues are served first: nobody else will.
        """
        self.retired = self.draining = True
        self._queued = queued
        if self._running:
            self._send("drain")
        else:
            self._drain_workers()

    def _drain_workers(self) -> None:
        for worker in self.workers:
            worker.drain(queued=self._queued)

    def cut(self) -> None:
        """End its workers' sessions at once, while they drain."""
        for worker in self.workers:
            worker.cut()

    def look_after(self, *, forgiving: bool) -> None:
        """Kill workers that are stuck: another takes their place. To be called every few seconds.

        :param forgiving: Give each of them time to tell first.
        """
        for worker in self.workers:
            if forgiving:
                worker.forgive()
            elif worker.silence > SILENCE:
                self._notify(
                    WorkerStuck(
                        worker=worker.number, pid=worker.pid, generation=self.number, silence=worker.silence
                    )
                )
                worker.forgive()
                self._send("kill", pid=worker.pid)

    def _send(self, kind: str, **values: Any) -> None:
        if self._reactor_channel is not None:
            self._reactor_channel.send(kind, **values)

    # What it tells

    def _received(self, message: Message) -> None:
        take = self._MESSAGES.get(message.type)
        if take is None:
            message.close()
            raise ChannelError(f"{message.type!r} is no message from a generation")
        take(self, message)

    def _worker_started(self, message: Message) -> None:
        worker = WorkerHandle(
            number=message.values["worker"],
            pid=message.values["pid"],
            fds=message.fds,
            reactor=self._reactor,
            watcher=self,
            write_line=self._write_line,
        )
        self.workers.append(worker)
        if self.retired:  # it was forked before the generation heard of that
            worker.drain(queued=False)

    def _worker_ended(self, message: Message) -> None:
        values = message.values
        self._exits[values["pid"]] = values["status"], values["restart"]
        self._take_leave(values["pid"])

    def _sockets_closed(self, _message: Message) -> None:
        self._drain_workers()

    def _in_trouble(self, message: Message) -> None:
        text = message.values["message"]
        _log.error("{message}", message=text)
        self._fail_to_come_up(text)

    _MESSAGES: ClassVar[Mapping[str, Callable[["GenerationHandle", Message], None]]] = {
        "worker": _worker_started,
        "ended": _worker_ended,
        "trouble": _in_trouble,
        "closed": _sockets_closed,
    }

    # What its workers tell: a Watcher

    def worker_ready(self, worker: WorkerHandle) -> None:
        """See :class:`~tlsproxy.service.worker_handle.Watcher`, as for all of these."""
        self._notify(WorkerStarted(worker=worker.number, pid=worker.pid, generation=self.number))
        self._employer.worker_ready(worker)
        if (
            self._came_up is not None
            and len({each.number for each in self.workers if each.ready}) == self._wanted
        ):
            came_up, self._came_up = self._came_up, None
            self._cancel_deadline()
            came_up.callback(None)

    def worker_leaving(self, worker: WorkerHandle) -> None:
        if not self.draining:  # otherwise it is about to be told
            self._send("replace", pid=worker.pid)
            worker.drain(queued=False)
        self._employer.worker_leaving(worker)

    def worker_draining(self, worker: WorkerHandle) -> None:
        self._send("replace", pid=worker.pid)
        self._employer.worker_draining(worker)

    def worker_told(self, worker: WorkerHandle, status: Any) -> None:
        self._employer.worker_told(worker, status)

    def worker_reported(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self._employer.worker_reported(entries)

    def worker_gone(self, worker: WorkerHandle) -> None:
        self._take_leave(worker.pid)

    def _take_leave(self, pid: int) -> None:
        """Of a worker that has ended, once all is known of that."""
        worker = next((each for each in self.workers if each.pid == pid), None)
        reaped = pid in self._exits or not self._running
        if worker is None or not worker.gone or not reaped:
            return
        self.workers.remove(worker)
        status, restart = self._exits.pop(pid, (None, None))
        self._sessions_cut += worker.sessions_cut
        self._note_end(worker, status, restart)
        self._employer.worker_gone(worker)
        self._fail_to_come_up(f"worker {worker.number} {_exit_text(status)} before it accepted connections")
        self._look_whether_over()

    def _note_end(self, worker: WorkerHandle, status: int | None, restart: float | None) -> None:
        if worker.finished and not status:
            self._notify(
                WorkerEnded(
                    worker=worker.number,
                    pid=worker.pid,
                    generation=self.number,
                    sessions_cut=worker.sessions_cut,
                )
            )
            return
        self._notify(
            WorkerDied(
                worker=worker.number,
                pid=worker.pid,
                generation=self.number,
                detail=_exit_text(status),
                restart=restart,
            )
        )
        if restart is not None:
            self._employer.worker_replaced()

    # Its end

    @property
    def _running(self) -> bool:
        return self._reactor_channel is not None and self._reactor_channel.open

    def _lost(self, _reason: str) -> None:
        try:
            status = self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._kill_process()
            status = self._process.wait()
        if not self.retired:
            self._notify(WorkersLost(generation=self.number, detail=_exit_text(status)))
        self._fail_to_come_up(f"the process for workers {_exit_text(status)}")
        for worker in list(self.workers):
            self._take_leave(worker.pid)
        if not self.retired:
            self._employer.generation_lost(self)
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if not self._running and not self.workers and not self.ended.called:
            self.ended.callback(self._sessions_cut)

    def _fail_to_come_up(self, message: str) -> None:
        if self._came_up is not None:
            came_up, self._came_up = self._came_up, None
            self._cancel_deadline()
            came_up.errback(GenerationError(message))

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _kill_process(self) -> None:
        if self._process.poll() is None:
            self._process.kill()


def _start(descriptor: int) -> subprocess.Popen[bytes]:
    """Start the program with the packages that this process runs with, wherever those lie."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    package = str(Path(tlsproxy.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH"))))
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", MODULE, str(descriptor)],
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
        env=environment,
    )


def _parts(descriptors: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(descriptors), MAX_FDS):
        yield descriptors[start : start + MAX_FDS]


def _problems(values: Sequence[Mapping[str, str]]) -> tuple[Problem, ...]:
    return tuple(Problem(each["path"], each["message"]) for each in values)


def _exit_text(status: int | None) -> str:
    """An exit status as in ``subprocess``, in words."""
    if status is None:
        return "ended"
    if status >= 0:
        return f"ended with exit status {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
