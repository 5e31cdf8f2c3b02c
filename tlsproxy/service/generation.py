"""A generation: workers with one configuration, and the process that they are forked from.

``python -m tlsproxy.service.generation FD`` is started by the supervisor, with a channel to it
(:mod:`tlsproxy.service.channel`) as descriptor ``FD``. A program of its own, and not a fork of the supervisor, so that a
reload runs what is installed at that time, and so that no reactor exists where workers are forked: an epoll descriptor
can't be shared. What is prepared here once, workers have in common: memory, and the keys that session tickets are made
with, so that a client may resume its TLS session at any of them.

The conversation, in order; ``<`` is from the supervisor, ``>`` to it:

==================  =======================================================================================================
``< prepare``       the configuration file, what names certificates had so far, and whom to become
``> failed``        every problem; the process ends. Or:
``> prepared``      the configuration can be served; privileges are given up
``< sockets``       listening sockets, as many messages as needed
``< serve``         what they are; this generation's number, and that of workers
``> worker``        for each that is started: its end of a channel, its log. It says ``ready`` there itself
``> ended``         for each that ended. Another is started, sooner or later (:mod:`tlsproxy.service.backoff`)
``< replace``       a worker is about to end: start another in its place
``< kill``          a worker doesn't answer: end it
``< retire``        start no more workers: those that run finish their sessions; ``< drain``: or make them end
``> closed``        after ``drain``: the listening sockets are the workers' alone
==================  =======================================================================================================

It ends when its last worker has ended after ``retire``, ``drain``, SIGTERM, or the end of the supervisor, which is a
``drain``, too.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, ClassVar, Final

import twisted.internet.default  # noqa: F401 - what a reactor is made of, for workers to share; importing it makes none
from attrs import define, field, frozen
from twisted.python.util import switchUID

from tlsproxy.errors import ConfigurationError, Problem
from tlsproxy.service.backoff import Backoff
from tlsproxy.service.channel import BlockingChannel, ChannelError, Message, close_all, socket_pair
from tlsproxy.service.prepare import Prepared, prepare
from tlsproxy.service.sockets import ListeningSocket
from tlsproxy.service.worker import FAILED, Assignment, exit_now, sockets_of
from tlsproxy.service.worker import run as run_worker

FIRST_TIMEOUT: Final = 30.0
"""Seconds for the supervisor's first message, which it sends at once."""

IGNORED: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals for the supervisor, which a terminal or an operator sends to the whole process group."""


@define
class Post:
    """A worker's number, and how it stands with whoever has it."""

    number: int
    pid: int | None = None
    due: float | None = None
    """When another is to be started."""
    backoff: Backoff = field(factory=Backoff)


@frozen
class Running:
    """A process forked from this one."""

    number: int
    """Of the worker: another may have it by then, if this one drains."""
    since: float
    slot: int
    """Its own in the memory of shared counts."""


@frozen
class ListenSockets:
    """The sockets of one listen."""

    opened: tuple[ListeningSocket, ...]
    shared: bool
    """Whether every worker accepts on all of them."""


class Generation:
    """See the module."""

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel
        self._orders: Mapping[str, Any] = {}
        self._prepared: Prepared | None = None
        self._descriptors: list[int] = []
        self._listens: list[ListenSockets] = []
        self._posts: list[Post] = []
        self._running: dict[int, Running] = {}
        self._counts: int | None = None
        self._slots: list[int] = []
        self._number = 0
        self._serial = 0
        self._ending = False
        self._woken, self._wakeup = socket.socketpair()

    def run(self) -> int:
        """See the module.

        :returns: The exit status.
        """
        self._prepare(self._channel.receive(FIRST_TIMEOUT))
        if self._prepared is None:
            return 1
        self._handle_signals()
        while self._running or not self._ending:
            for message in self._wait():
                self._obey(message)
            self._reap()
            self._start_those_due()
        return 0

    def close(self) -> None:
        """Close what it opened."""
        for each in (self._channel, self._woken, self._wakeup):
            each.close()

    # Begin

    def _prepare(self, message: Message) -> None:
        self._orders = message.values
        try:
            self._prepared = prepare(self._orders["config"], replacing=self._orders["replacing"])
        except ConfigurationError as error:
            self._channel.send("failed", problems=[_plain(problem) for problem in error.problems])
            return
        self._give_up_privileges()
        listens = [str(each.listen.address) for each in self._prepared.listens]
        self._channel.send(
            "prepared",
            listens=listens,
            names={path: sorted(names) for path, names in self._prepared.names_by_certificate.items()},
            warnings=[_plain(problem) for problem in self._prepared.warnings],
        )

    def _give_up_privileges(self) -> None:
        """As twistd does it, but for good also where it is told to keep a way back: workers need none."""
        uid, gid = self._orders["uid"], self._orders["gid"]
        if uid is not None or gid is not None:
            switchUID(uid if uid != os.getuid() else None, gid)

    def _handle_signals(self) -> None:
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        for end in (self._woken, self._wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, _signal: int, _frame: FrameType | None) -> None:
        self._drain()

    # What comes

    def _wait(self) -> list[Message]:
        """Wait for the supervisor, a signal, or the time to start a worker."""
        due = [post.due for post in self._posts if post.due is not None]
        timeout = max(0.0, min(due) - time.monotonic()) if due and not self._ending else None
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if not self._channel.closed:
            poll.register(self._channel, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000)]
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        if self._channel.closed or self._channel.fileno() not in ready:
            return []
        try:
            return self._channel.read()
        except EOFError:
            # Workers see for themselves that the supervisor is gone; those that are being started may not yet.
            self._channel.close()
            self._drain()
            return []

    def _obey(self, message: Message) -> None:
        order = self._ORDERS.get(message.type)
        if order is None:
            message.close()
            raise ChannelError(f"{message.type!r} is no message to a generation")
        order(self, message)

    def _take_sockets(self, message: Message) -> None:
        self._descriptors += message.fds

    def _serve(self, message: Message) -> None:
        descriptors = iter(self._descriptors)
        self._listens = [
            ListenSockets(
                tuple(
                    ListeningSocket(socket.socket(fileno=next(descriptors)), name) for name in listen["names"]
                ),
                listen["shared"],
            )
            for listen in message.values["listens"]
        ]
        self._number = message.values["generation"]
        self._slots = message.values["slots"]
        self._counts = message.fds[0] if message.fds else None
        self._posts = [Post(number, due=0.0) for number in range(message.values["workers"])]
        # Nothing that is there by then is looked at by a worker's collector: its memory stays shared.
        gc.collect()
        gc.freeze()
        gc.set_threshold(5000)  # sessions leave no cycles behind: what comes of faults and reloads can wait

    def _replace(self, message: Message) -> None:
        for post in self._posts:
            if post.pid == message.values["pid"]:
                post.pid, post.due = None, time.monotonic()

    def _kill(self, message: Message) -> None:
        # A child that wasn't waited for: its number can't be another's.
        if message.values["pid"] in self._running:
            os.kill(message.values["pid"], signal.SIGKILL)

    def _retire(self, _message: Message | None = None) -> None:
        self._ending = True
        self._close_sockets()

    def _told_to_drain(self, _message: Message) -> None:
        """The supervisor tells the workers: once nobody else listens, they alone can serve who still waits in a queue."""
        self._retire()
        self._tell("closed")

    def _drain(self) -> None:
        self._retire()
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)

    _ORDERS: ClassVar[Mapping[str, Callable[["Generation", Message], None]]] = {
        "sockets": _take_sockets,
        "serve": _serve,
        "replace": _replace,
        "kill": _kill,
        "retire": _retire,
        "drain": _told_to_drain,
    }

    def _close_sockets(self) -> None:
        """What isn't accepted on by anybody mustn't seem to be listened on."""
        for listen in self._listens:
            for each in listen.opened:
                each.close()
        self._listens = []

    # Workers

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, status: int) -> None:
        running = self._running.pop(pid)
        self._slots.append(running.slot)
        now = time.monotonic()
        wait = None
        post = self._posts[running.number]
        if post.pid == pid:
            post.pid = None
            wait = post.backoff.died(now - running.since)
            post.due = now + wait
        self._tell(
            "ended", worker=running.number, pid=pid, status=status, restart=None if self._ending else wait
        )

    def _start_those_due(self) -> None:
        now = time.monotonic()
        for post in self._posts:
            # Without a slot: predecessors of this one still drain. One of them ends sooner or later.
            if not self._ending and post.due is not None and post.due <= now and self._slots:
                self._start(post, now)

    def _start(self, post: Post, now: float) -> None:
        post.due = None
        slot = self._slots.pop()
        ours, workers_own = socket_pair()
        reading, writing = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes
            post.due = now + post.backoff.died(0.0)
            self._slots.append(slot)
            for end in (ours, workers_own):
                end.close()
            close_all((reading, writing))
            self._tell("trouble", message=f"can't start a worker: {error.strerror}")
            return
        if pid == 0:
            ours.close()
            os.close(reading)
            exit_now(self._work(post.number, workers_own, writing, slot))
        workers_own.close()
        os.close(writing)
        post.pid = pid
        self._running[pid] = Running(post.number, now, slot)
        self._tell("worker", fds=[ours.fileno(), reading], worker=post.number, pid=pid)
        ours.close()
        os.close(reading)
        self._serial += 1

    def _tell(self, kind: str, *, fds: Sequence[int] = (), **values: Any) -> None:
        # A supervisor that is gone shows at the next read.
        with contextlib.suppress(OSError):
            if not self._channel.closed:
                self._channel.send(kind, fds=fds, **values)

    def _work(self, number: int, channel: socket.socket, log: int, slot: int) -> int:
        """Be a worker: in the process that was forked."""
        try:
            signal.set_wakeup_fd(-1)
            # Until the worker has a handler of its own, SIGTERM just ends it: there is nothing to be drained yet.
            for caught in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(caught, signal.SIG_DFL)
            for each in (self._channel, self._woken, self._wakeup):
                each.close()
            return run_worker(self._assignment(number, channel, log, slot))
        except BaseException:  # noqa: BLE001 - nothing may get back into what is the generation's
            traceback.print_exc()
            sys.stderr.flush()
            return FAILED

    def _assignment(self, number: int, channel: socket.socket, log: int, slot: int) -> Assignment:
        assert self._prepared is not None  # noqa: S101 - nothing is forked before
        return Assignment(
            prepared=self._prepared,
            sockets=[self._sockets_of(number, listen) for listen in self._listens],
            worker=number,
            generation=self._number,
            serial=self._serial,
            channel=channel,
            log=log,
            timed=self._orders["timed"],
            reactor=self._orders["reactor"],
            counts=self._counts,
            slot=slot,
        )

    def _sockets_of(self, number: int, listen: ListenSockets) -> list[ListeningSocket]:
        taken = sockets_of(listen.opened, number, len(self._posts), shared=listen.shared)
        for each in listen.opened:
            if each not in taken:
                each.close()
        return taken


def _plain(problem: Problem) -> dict[str, str]:
    return {"path": problem.path, "message": problem.message}


def _do_nothing(_signal: int, _frame: FrameType | None) -> None:
    """A signal is caught, and not ignored, so that it wakes the process up."""


def main(arguments: Sequence[str] = sys.argv) -> int:
    """Be a generation.

    :param arguments: The program, and the descriptor of the channel.
    :returns: The exit status.
    """
    channel = BlockingChannel(socket.socket(fileno=int(arguments[1])))
    os.set_inheritable(channel.fileno(), False)
    generation = Generation(channel)
    try:
        return generation.run()
    except (EOFError, ConnectionError):
        return 0  # the supervisor is gone, or doesn't want it any more
    finally:
        generation.close()


if __name__ == "__main__":
    sys.exit(main())
