"""A worker as its supervisor has it: the other end of its channel and of its log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

from twisted.internet.defer import Deferred

from tlsproxy.notes import Level
from tlsproxy.ops.status.model import ProcessStatus, process_from_values
from tlsproxy.service.channel import ChannelError, Message, ReactorChannel, socket_from
from tlsproxy.service.log_pipe import LogReader

SILENCE: Final = 30.0
"""Seconds without a word from a worker after which it is stuck. It reports every second, unless its reports are large
(:data:`~tlsproxy.service.worker.STATUS_SHARE`) or the machine is so busy that nothing would be gained by another."""


class Watcher(Protocol):
    """Who hears of workers."""

    def worker_ready(self, worker: "WorkerHandle") -> None:
        """It accepts connections."""

    def worker_leaving(self, worker: "WorkerHandle") -> None:
        """It was told to end, by somebody else."""

    def worker_draining(self, worker: "WorkerHandle") -> None:
        """It accepts no more."""

    def worker_told(self, worker: "WorkerHandle", status: ProcessStatus) -> None:
        """It says how it is."""

    def worker_reported(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """It found sessions that a stricter policy would refuse."""

    def worker_gone(self, worker: "WorkerHandle") -> None:
        """It has ended. The last that is told of it."""


class WorkerHandle:
    """See the module.

    :ivar ready: Whether it accepts connections, or did.
    :ivar draining: Whether it accepts no more.
    :ivar finished: Whether it ends in order.
    :ivar gone: Whether it has ended.
    :ivar sessions_cut: At its end.
    """

    def __init__(
        self,
        *,
        number: int,
        pid: int,
        fds: Sequence[int],
        reactor: Any,
        watcher: Watcher,
        write_line: Callable[[Level, str], None],
    ) -> None:
        """
        :param fds: The ends of its channel and of its log; the handle's from here on.
        """
        self.number = number
        self.pid = pid
        self.ready = self.draining = self.finished = self.gone = False
        self.sessions_cut = 0
        self._watcher = watcher
        self._reactor = reactor
        self._heard: float = reactor.seconds()
        self._asked: list[Deferred[None]] = []
        channel, log = fds
        LogReader(log, reactor=reactor, write=write_line, ended=lambda: None)
        self._channel = ReactorChannel(
            socket_from(channel), reactor=reactor, received=self._received, lost=self._lost
        )

    @property
    def silence(self) -> float:
        """Seconds since it was heard last."""
        silence: float = self._reactor.seconds() - self._heard
        return silence

    def forgive(self) -> None:
        """Begin to count the silence again: it was the supervisor that slept."""
        self._heard = self._reactor.seconds()

    def ask(self) -> Deferred[None]:
        """Ask how it is. Fires once it has told its watcher, or has ended."""
        asked: Deferred[None] = Deferred()
        self._asked.append(asked)
        self._channel.send("status")
        return asked

    def retire(self) -> None:
        """Have it accept no more, and end when its sessions have."""
        self._channel.send("retire")

    def drain(self, *, queued: bool) -> None:
        """Have it accept no more, and make its sessions end.

        :param queued: Those who wait in its queues are served first.
        """
        self._channel.send("drain", queued=queued)

    def cut(self) -> None:
        """Have it end its sessions at once; while it drains."""
        self._channel.send("cut")

    def _received(self, message: Message) -> None:
        message.close()
        self._heard = self._reactor.seconds()
        take = self._MESSAGES.get(message.type)
        if take is None:
            raise ChannelError(f"{message.type!r} is no message from a worker")
        take(self, message.values)

    def _is_ready(self, _values: Mapping[str, Any]) -> None:
        self.ready = True
        self._watcher.worker_ready(self)

    def _is_leaving(self, _values: Mapping[str, Any]) -> None:
        self._watcher.worker_leaving(self)

    def _is_draining(self, _values: Mapping[str, Any]) -> None:
        if not self.draining:
            self.draining = True
            self._watcher.worker_draining(self)

    def _tells(self, values: Mapping[str, Any]) -> None:
        self._watcher.worker_told(self, process_from_values(values["status"]))
        self._answer()

    def _finishes(self, values: Mapping[str, Any]) -> None:
        self.finished = True
        self.sessions_cut = values["cut"]
        self._tells(values)

    def _reports(self, values: Mapping[str, Any]) -> None:
        self._watcher.worker_reported(values["entries"])

    _MESSAGES: ClassVar[Mapping[str, Callable[["WorkerHandle", Mapping[str, Any]], None]]] = {
        "ready": _is_ready,
        "leaving": _is_leaving,
        "draining": _is_draining,
        "status": _tells,
        "final": _finishes,
        "report": _reports,
    }

    def _lost(self, _reason: str) -> None:
        self.gone = True
        self._answer()
        self._watcher.worker_gone(self)

    def _answer(self) -> None:
        asked, self._asked = self._asked, []
        for each in asked:
            each.callback(None)
