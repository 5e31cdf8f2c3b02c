"""One configuration at work in one process: accepts on its sockets, until it is drained.

A process has one of these, or two for a while: a reload starts the next before it drains the last. Sockets are the
caller's; each is accepted on through a duplicate, so that one can go on listening for the other.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from tlsproxy.config.rules import offers_tls
from tlsproxy.net.adoption import adopt
from tlsproxy.net.backend import BackendConnector
from tlsproxy.net.listener import Listener
from tlsproxy.net.session import Session
from tlsproxy.net.sockets import BACKLOG
from tlsproxy.net.timers import CoarseClock
from tlsproxy.notes import ConfigurationWarned, ListenOpened, Notify
from tlsproxy.policy.limits import Counts, LocalCounts
from tlsproxy.service.descriptors import DescriptorWatch, raise_soft_limit, shortage
from tlsproxy.service.prepare import Prepared, PreparedListen
from tlsproxy.service.sockets import ListeningSocket
from tlsproxy.tls.certificates import Certificate

SESSIONS_END: Final = 1.0
"""Seconds beyond the longest ``close_timeout`` after which sessions that still haven't ended are reset at a stop."""


class Serving:
    """A prepared configuration at work.

    :ivar prepared: The configuration.
    :ivar connectors: Its backends, by name; from the construction on.
    :ivar listeners: What accepts, one for each socket; once started.
    """

    def __init__(
        self, prepared: Prepared, *, reactor: Any, notify: Notify, counts: Counts | None = None
    ) -> None:
        """:param counts: Of what limits count, where others share them: other processes, or the next configuration."""
        self.prepared = prepared
        self.listeners: list[Listener] = []
        self._clock = CoarseClock(reactor)
        self.connectors = {
            name: BackendConnector(
                backend,
                reactor,
                notify=notify,
                context=prepared.client_contexts.get(name),
                clock=self._clock,
            )
            for name, backend in prepared.configuration.backends.items()
        }
        self._reactor = reactor
        self._notify = notify
        self._counts = counts if counts is not None else LocalCounts()
        self._ports: list[IListeningPort] = []
        self._descriptors: DescriptorWatch | None = None
        self._emptied: list[Deferred[None]] = []
        """Of those who wait for the last session's end."""
        self._deadline: IDelayedCall | None = None
        self._cutting = False
        self._sessions_cut = 0

    @property
    def sessions(self) -> list[Session]:
        """Those that run."""
        return [session for listener in self.listeners for session in listener.sessions]

    @property
    def certificates(self) -> Iterator[Certificate]:
        """Those that are in use, by clients' sessions and to servers."""
        yield from self.prepared.contexts.certificates
        for context in self.prepared.client_contexts.values():
            if context.certificate is not None:
                yield context.certificate

    @property
    def _empty(self) -> bool:
        return all(listener.empty for listener in self.listeners)

    # Start

    def start(self, sockets: Sequence[Sequence[ListeningSocket]]) -> None:
        """Accept connections.

        :param sockets: For each listen of the configuration, in order, those to accept on. They stay the caller's.
        """
        limit = raise_soft_limit()
        problem = shortage(self.prepared, limit)
        if problem is not None:
            self._notify(ConfigurationWarned(path=problem.path, message=problem.message))
        self._descriptors = DescriptorWatch(limit, clock=self._reactor, notify=self._notify)
        for connector in self.connectors.values():
            connector.start()
        for prepared, opened in zip(self.prepared.listens, sockets, strict=True):
            for each in opened:
                self._accept(prepared, each)

    def _accept(self, prepared: PreparedListen, opened: ListeningSocket) -> None:
        listener = Listener(
            name=opened.name,
            listen=prepared.listen,
            kind=prepared.kind,
            resolver=prepared.resolver,
            contexts=self.prepared.contexts,
            connector=self.connectors[prepared.backend.name],
            clock=self._clock,
            notify=self._notify,
            counts=self._counts,
            on_empty=self._listener_emptied,
        )
        self.listeners.append(listener)
        port = adopt(self._reactor, opened.opened, listener)
        self._ports.append(port)
        if self._descriptors is not None and isinstance(port, Port):
            self._descriptors.guard(port)
        settings = prepared.resolver.settings_for(None)
        spoken = str(settings.tls_protocols) if offers_tls(settings, prepared.kind) else "plaintext"
        self._notify(ListenOpened(listen=opened.name, kind=prepared.kind.name, tls_protocols=spoken))

    # Stop

    def retire(self) -> Deferred[None]:
        """Accept no more: another serves who comes from here on. Sessions run on to their own end.

        May be followed by :meth:`drain`, more than once: the first time counts. All results fire.

        :returns: Fires when nothing is left.
        """
        for connector in self.connectors.values():
            connector.stop()
        return DeferredList([self._accept_no_more(), self._until_empty()]).addCallback(self._release)

    def _release(self, _result: object) -> None:
        self.prepared.contexts.release()

    def drain(self, *, queued: bool = False) -> Deferred[int]:
        """Accept no more, and wait for the sessions to end.

        They are asked to end as soon as nothing would be lost by it. Those that still run after ``drain_timeout`` are cut,
        in order; and those that take too long about that are reset.

        :param queued: Accept first who waits in the sockets' queues. When the last process that has a socket closes it,
            the kernel resets them; this way they are told, each in the words of its protocol.
        :returns: Fires when nothing is left, with the number of sessions that were cut.
        """
        if queued:
            self._accept_queued()
        stopped = self._accept_no_more()
        for listener in self.listeners:
            listener.drain()
        for connector in self.connectors.values():
            connector.stop()
        if not self._empty and self._deadline is None:
            drain_timeout = self.prepared.configuration.drain_timeout
            self._deadline = self._reactor.callLater(drain_timeout, self._cut_sessions)
        return DeferredList([stopped, self._until_empty()]).addCallback(lambda _: self._sessions_cut)

    def cut(self) -> None:
        """End a :meth:`drain` now, not when ``drain_timeout`` is over."""
        if self._deadline is not None and self._deadline.active() and not self._cutting:
            self._deadline.reset(0)

    def _accept_no_more(self) -> Deferred[Any]:
        if self._descriptors is not None:
            self._descriptors.stop()
        ports, self._ports = self._ports, []
        return DeferredList([stopped for port in ports if (stopped := port.stopListening()) is not None])

    def _accept_queued(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            if not isinstance(port, Port):
                self._ports.append(port)
                continue
            port.stopReading()
            port.numberAccepts = BACKLOG
            port.doRead()
            # At once: stopListening() leaves it open for another turn of the reactor, and who comes meanwhile is reset.
            port.connectionLost(Failure(ConnectionDone()))

    def _until_empty(self) -> Deferred[None]:
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        self._listener_emptied()
        return emptied

    def _cut_sessions(self) -> None:
        self._cutting = True
        sessions = self.sessions
        longest = max((session.close_timeout for session in sessions), default=0.0)
        self._deadline = self._reactor.callLater(longest * 2 + SESSIONS_END, self._reset_sessions)
        self._sessions_cut = sum(session.cut("shutdown") for session in sessions)
        for listener in self.listeners:
            listener.cut()

    def _reset_sessions(self) -> None:
        for session in self.sessions:
            session.abort("shutdown")

    def _listener_emptied(self) -> None:
        if not self._emptied or not self._empty:
            return
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        waiting, self._emptied = self._emptied, []
        for emptied in waiting:
            emptied.callback(None)
