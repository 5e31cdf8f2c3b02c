"""The proxy in one process, which serves the sessions itself."""

from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, succeed

from tlsproxy.ops.status.model import ProcessStatus
from tlsproxy.policy.limits import LocalCounts
from tlsproxy.service.base import Surroundings, Switched, TlsproxyService
from tlsproxy.service.prepare import Prepared, prepare
from tlsproxy.service.serving import Serving
from tlsproxy.service.snapshot import process_status
from tlsproxy.service.socket_set import ListenSockets

LATE: Final = 60.0
"""Seconds in which a connection that was accepted may still become a session: ``proxy_protocol_timeout`` at most."""


MAX_RETIRED: Final = 6
"""Configurations from before reloads that still have sessions. Each holds its contexts and backends: the sessions of older
ones are asked to end, as at a stop."""


@frozen(eq=False)
class _Retired:
    """What served before a reload, and when it ceased to."""

    serving: Serving
    since: float


class ProxyService(TlsproxyService):
    """A prepared configuration at work in this process."""

    def __init__(
        self,
        prepared: Prepared,
        *,
        reactor: Any,
        log_observer: Any = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        super().__init__(
            prepared.configuration, reactor=reactor, log_observer=log_observer, surroundings=surroundings
        )
        self._prepared = prepared
        self._serving: Serving | None = None
        self._retired: list[_Retired] = []
        # One for all: sessions from before a reload count as well.
        self._counts = LocalCounts()

    def _open(self) -> None:
        """See :class:`~tlsproxy.service.base.TlsproxyService`, as for all hooks."""
        self._sockets.prepare([each.listen for each in self._prepared.listens]).commit()

    def _begin(self) -> Deferred[Switched]:
        self._serving = self._serve(self._prepared, self._sockets.sockets)
        return succeed(Switched(self._prepared.configuration, self._prepared.warnings))

    def _serve(self, prepared: Prepared, sockets: list[ListenSockets]) -> Serving:
        serving = Serving(prepared, reactor=self._reactor, notify=self.notify, counts=self._counts)
        try:
            serving.start(sockets)
        except BaseException:
            serving.retire()
            raise
        return serving

    def _switch(self) -> Deferred[Switched]:
        replacing = self._prepared.names_by_certificate
        return self._in_thread(lambda: prepare(self.path, replacing=replacing)).addCallback(self._switch_to)

    def _switch_to(self, prepared: Prepared) -> Switched:
        change = self._sockets.prepare([each.listen for each in prepared.listens])
        try:
            self._admit(prepared.configuration)
            serving = self._serve(prepared, change.sockets)
        except BaseException:
            change.abandon()
            raise
        change.commit()
        before, self._serving, self._prepared = self._serving, serving, prepared
        if before is not None:
            self._retire(before)
        return Switched(prepared.configuration, prepared.warnings)

    def _retire(self, serving: Serving) -> None:
        """Let ``serving``'s sessions go on. It is kept as long as there are any, for a stop to drain them."""
        self._retired = [*self._still_at_work(), _Retired(serving, self._reactor.seconds())]
        serving.retire()
        with_sessions = [each.serving for each in self._retired if each.serving.sessions]
        for each in with_sessions[:-MAX_RETIRED]:
            each.drain()

    def _still_at_work(self) -> list[_Retired]:
        now = self._reactor.seconds()
        return [each for each in self._retired if each.serving.sessions or now - each.since < LATE]

    def _drain(self) -> Deferred[int]:
        everything = [each.serving for each in self._still_at_work()]
        if self._serving is not None:
            everything.append(self._serving)
        drained = DeferredList([serving.drain(queued=not self._handed_over) for serving in everything])
        return drained.addCallback(lambda results: sum(cut for _, cut in results))

    def _cut(self) -> None:
        for serving in [*(each.serving for each in self._retired), self._serving]:
            if serving is not None:
                serving.cut()

    def processes(self) -> Deferred[list[ProcessStatus]]:
        """See :class:`~tlsproxy.ops.status.model.StatusSource`."""
        if self._serving is None:
            return succeed([])
        draining = [each.serving for each in self._still_at_work()]
        return succeed(
            [process_status(self._serving, self._metrics, generation=self.generation, draining=draining)]
        )
