"""The proxy as a supervisor of workers.

The supervisor serves no session. It holds every listening socket open all the time: clients that connect while a worker is
replaced, or a generation by the next, wait in a socket's queue and aren't refused. A TCP listen has a socket with a queue
for each worker (``SO_REUSEPORT``), so that none is waked for nothing; those of other listens all workers share.

What it starts are generations (:mod:`tlsproxy.service.generation`): one to serve, the next at a reload, whose workers must
all accept connections before the one before is told to retire. That one's sessions run to their end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from tlsproxy.config.addresses import TcpAddress
from tlsproxy.config.model import Configuration, Listen
from tlsproxy.config.parse import load
from tlsproxy.config.resolve import Resolver
from tlsproxy.config.rules import offers_tls
from tlsproxy.errors import TlsproxyError
from tlsproxy.fronts import KINDS
from tlsproxy.net.shared_counts import SharedCounts
from tlsproxy.notes import Level, ListenOpened
from tlsproxy.ops.logging import publish_line
from tlsproxy.ops.merge import Ledger, families_of
from tlsproxy.ops.status.model import ProcessStatus, ServiceState, ServiceStatus
from tlsproxy.service.backoff import Backoff
from tlsproxy.service.base import Surroundings, Switched, TlsproxyService
from tlsproxy.service.generation_handle import Facts, GenerationError, GenerationHandle, ListenSockets, Orders
from tlsproxy.service.reload import ReloadResult
from tlsproxy.service.sockets import ListeningSocket
from tlsproxy.service.worker_handle import WorkerHandle

MAX_RETIRED: Final = 6
"""Generations before the one that serves whose sessions may take their time. With one more, the oldest is drained: each
holds the memory of its workers."""

SLOTS: Final = 1024
"""Processes that count together: those of the generations above, and as many again for workers that are replaced, of up to
64 workers. With more workers fewer generations may be at work at a time."""

ANSWER_TIMEOUT: Final = 1.0
"""Seconds that a worker has to tell how it is; then the last that it told has to do."""

ROUND: Final = 5.0
"""Seconds between two looks whether workers are stuck."""

UNCHANGED: Final = -1
"""A user or group that stays what it is, in :class:`~tlsproxy.service.base.Surroundings`."""

RECOVERY: Final = "recovery"
"""Trigger of a reload: the process that workers are forked from died."""

T = TypeVar("T")


class SupervisorService(TlsproxyService):
    """A configuration at work in processes of its own."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        reactor: Any,
        log_observer: Any = None,
        surroundings: Surroundings | None = None,
        workers_reactor: str | None = None,
    ) -> None:
        """:param workers_reactor: Kind of reactor that workers are to use; None for the platform's own."""
        super().__init__(configuration, reactor=reactor, log_observer=log_observer, surroundings=surroundings)
        uid, gid = self._surroundings.owner or (UNCHANGED, UNCHANGED)
        self._orders = Orders(
            uid=None if uid == UNCHANGED else uid,
            gid=None if gid == UNCHANGED else gid,
            timed=log_observer is None or log_observer.timed,
            reactor=workers_reactor,
        )
        self._serving: GenerationHandle | None = None
        self._coming: GenerationHandle | None = None
        self._retired: list[GenerationHandle] = []
        self._facts: Facts | None = None
        self._numbers = count(1)
        self._ledger = Ledger()
        self._restarts = 0
        self._counts = SharedCounts.create(SLOTS)
        self._slots = list(range(SLOTS))
        self._round: IDelayedCall | None = None
        self._last_round = 0.0
        self._recovery = Backoff()
        self._write_line: Callable[[Level, str], None] = (
            publish_line if log_observer is None else log_observer.write_line
        )

    # Start

    def _open(self) -> None:
        """See :class:`~tlsproxy.service.base.TlsproxyService`, as for all hooks."""
        configuration = self.configuration
        generation = self._coming = self._start_generation()
        try:
            self._facts = generation.prepare()
            _check_same(self._facts, configuration)
            # Last: from here on clients wait for an answer.
            change = self._sockets.prepare(_listens(configuration), copies=configuration.workers.number)
        except TlsproxyError:
            generation.abandon()
            self._sockets.close()
            raise
        change.commit()

    def _begin(self) -> Deferred[Switched]:
        generation, facts = self._coming, self._facts
        assert generation is not None and facts is not None  # noqa: S101, PT018 - _open was first
        self._look_after_workers()
        came_up = self._serve(generation, self.configuration, self._sockets.sockets)
        return came_up.addCallback(lambda _: self._switched(generation, self.configuration, facts))

    def _start_generation(self) -> GenerationHandle:
        return GenerationHandle(
            self.path,
            self._orders,
            replacing=None if self._facts is None else self._facts.names,
            reactor=self._reactor,
            employer=self,
            notify=self.notify,
            write_line=self._write_line,
        )

    def _serve(
        self,
        generation: GenerationHandle,
        configuration: Configuration,
        sockets: Sequence[Sequence[ListeningSocket]],
    ) -> Deferred[None]:
        workers = configuration.workers.number
        # Two for each worker: one more for a predecessor that drains.
        slots, self._slots = self._slots[: 2 * workers], self._slots[2 * workers :]
        if len(slots) < workers:
            self._slots += slots
            raise GenerationError(
                f"{len(self._retired)} generations of workers are still at work: try again later"
            )
        generation.ended.addCallback(self._generation_ended, generation, slots)
        return generation.serve(
            next(self._numbers),
            [
                ListenSockets(opened=opened, shared=not isinstance(listen.address, TcpAddress))
                for listen, opened in zip(_listens(configuration), sockets, strict=True)
            ],
            workers=workers,
            slots=slots,
            counts=self._counts,
        )

    def _switched(self, generation: GenerationHandle, configuration: Configuration, facts: Facts) -> Switched:
        previous, self._serving, self._coming = self._serving, generation, None
        self._facts = facts
        for note in _opened(configuration, self._sockets.sockets):
            self.notify(note)
        if previous is not None:
            self._retire(previous)
        return Switched(configuration=configuration, warnings=facts.warnings)

    def _retire(self, generation: GenerationHandle) -> None:
        generation.retire()
        self._retired.append(generation)
        still_undisturbed = [each for each in self._retired if not each.draining]
        for each in still_undisturbed[:-MAX_RETIRED]:
            each.drain()

    # Reload

    def _switch(self) -> Deferred[Switched]:
        generation = self._coming = self._start_generation()
        prepared = self._in_thread(generation.prepare)
        return prepared.addCallback(self._change_to, generation).addErrback(self._give_up, generation)

    def _change_to(self, facts: Facts, generation: GenerationHandle) -> Deferred[Switched]:
        configuration = load(self.path)
        _check_same(facts, configuration)
        self._admit(configuration)
        change = self._sockets.prepare(_listens(configuration), copies=configuration.workers.number)

        def came_up(_result: None) -> Switched:
            change.commit()
            return self._switched(generation, configuration, facts)

        def failed(failure: Failure) -> Failure:
            change.abandon()
            return failure

        try:
            serving = self._serve(generation, configuration, change.sockets)
        except TlsproxyError:
            change.abandon()
            raise
        return serving.addCallbacks(came_up, failed)

    def _give_up(self, failure: Failure, generation: GenerationHandle) -> Failure:
        self._coming = None
        if generation.number:
            generation.drain()
        else:
            generation.abandon()
        return failure

    # Stop

    def _drain(self) -> Deferred[int]:
        if self._round is not None and self._round.active():
            self._round.cancel()
        if self._coming is not None and not self._coming.number:
            self._coming.abandon()
        generations = self._generations()
        serving = self._serving
        for generation in generations:
            generation.drain(queued=generation is serving and not self._handed_over)
        ended = DeferredList([generation.ended for generation in generations])
        return ended.addCallback(lambda results: sum(cut for _, cut in results))

    def _cut(self) -> None:
        for generation in self._generations():
            generation.cut()

    def _generations(self) -> list[GenerationHandle]:
        """Those that have workers, or will."""
        latest = [each for each in (self._serving, self._coming) if each is not None and each.number]
        return [*self._retired, *latest]

    def _generation_ended(self, sessions_cut: int, generation: GenerationHandle, slots: list[int]) -> int:
        self._slots += slots
        if generation in self._retired:
            self._retired.remove(generation)
        return sessions_cut

    # Workers: an Employer

    def worker_ready(self, worker: WorkerHandle) -> None:
        """See :class:`~tlsproxy.service.generation_handle.Employer`, as for all of these."""

    def worker_leaving(self, worker: WorkerHandle) -> None:
        """Its generation answers."""

    def worker_draining(self, worker: WorkerHandle) -> None:
        """Its generation sees to another."""

    def worker_told(self, worker: WorkerHandle, status: ProcessStatus) -> None:  # noqa: ARG002 - it names itself
        """Keep what a worker told, for its end, too."""
        self._ledger.seen(status)

    def worker_reported(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """See to it that they are stored."""
        self.report.merge(entries)

    def worker_gone(self, worker: WorkerHandle) -> None:
        """What it counted isn't taken back."""
        self._ledger.gone(worker.pid)

    def worker_replaced(self) -> None:
        """Count it."""
        self._restarts += 1

    def generation_lost(self, generation: GenerationHandle) -> None:
        """Have another, where it is the one that serves: its workers go on until that is there."""
        if generation is self._serving:
            self._reactor.callLater(self._recovery.died(0.0), self._recover, generation)

    def _recover(self, lost: GenerationHandle) -> None:
        def look(result: ReloadResult) -> None:
            if not result.ok and self._serving is lost:
                self.generation_lost(lost)

        if self._state is not ServiceState.DRAINING and self._serving is lost:
            self.reload(RECOVERY).addCallback(look)

    def _look_after_workers(self) -> None:
        """Every few seconds."""
        now = self._reactor.seconds()
        # Where this process slept as well, its workers may have told what it hasn't read yet.
        slept = now - self._last_round > 2 * ROUND
        for generation in self._generations():
            generation.look_after(forgiving=slept)
        self._last_round = now
        self._round = self._reactor.callLater(ROUND, self._look_after_workers)

    # Status

    def service(self) -> ServiceStatus:
        """See :class:`~tlsproxy.ops.status.model.StatusSource`."""
        return evolve(
            super().service(),
            workers=self.configuration.workers.number,
            worker_restarts=self._restarts,
            families=(*families_of(self._metrics.registry), *self._ledger.ended),
        )

    def processes(self) -> Deferred[list[ProcessStatus]]:
        """See :class:`~tlsproxy.service.base.TlsproxyService`."""
        answered: Deferred[list[ProcessStatus]] = Deferred()

        def answer(_result: object = None) -> None:
            if not answered.called:
                answered.callback(
                    sorted(self._ledger.latest, key=lambda each: (each.generation, each.worker))
                )

        workers = [
            worker for generation in self._generations() for worker in generation.workers if worker.ready
        ]
        late = self._reactor.callLater(ANSWER_TIMEOUT, answer)
        DeferredList([worker.ask() for worker in workers]).addCallback(answer)
        return answered.addCallback(_cancelling(late))


def _listens(configuration: Configuration) -> list[Listen]:
    return [listen for listener in configuration.listeners for listen in listener.listens]


def _check_same(facts: Facts, configuration: Configuration) -> None:
    """
    :raises GenerationError: The file was changed between two readings.
    """
    if facts.listens != tuple(str(listen.address) for listen in _listens(configuration)):
        raise GenerationError(f"{configuration.source} was changed while it was read: try again")


def _opened(
    configuration: Configuration, sockets: Sequence[Sequence[ListeningSocket]]
) -> Iterator[ListenOpened]:
    """What the service listens on; each once, however many sockets it has."""
    listens = [(listener, listen) for listener in configuration.listeners for listen in listener.listens]
    for (listener, listen), opened in zip(listens, sockets, strict=True):
        kind = KINDS[listener.kind]
        settings = Resolver(configuration, listener, listen).settings_for(None)
        spoken = str(settings.tls_protocols) if offers_tls(settings, kind) else "plaintext"
        for name in dict.fromkeys(each.name for each in opened):
            yield ListenOpened(listen=name, kind=kind.name, tls_protocols=spoken)


def _cancelling(late: IDelayedCall) -> Callable[[T], T]:
    def passed_on(result: T) -> T:
        if late.active():
            late.cancel()
        return result

    return passed_on
