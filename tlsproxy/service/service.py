"""The proxy as a Twisted service: opens the sockets, accepts, and ends in order.

Sockets are opened in ``privilegedStartService``, before twistd gives up its privileges, and accepted on in
``startService``, after.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IListeningPort

from tlsproxy import __version__
from tlsproxy.config.model import Configuration
from tlsproxy.config.rules import offers_tls
from tlsproxy.net.backend import BackendConnector
from tlsproxy.net.listener import Listener
from tlsproxy.net.session import Session
from tlsproxy.notes import ConfigurationWarned, ListenOpened, Note, Notify, ServiceStarted, ServiceStopped
from tlsproxy.ops.logging import attach, publish_notes
from tlsproxy.ops.metrics import Metrics, metrics_site
from tlsproxy.service.activation import activated_sockets
from tlsproxy.service.notify import notify as tell_manager
from tlsproxy.service.prepare import Prepared, PreparedListen
from tlsproxy.service.sockets import ListeningSocket, open_sockets
from tlsproxy.tls.certificates import Certificate
from tlsproxy.tls.contexts import library_version

SESSIONS_END: Final = 1.0
"""Seconds beyond the longest ``close_timeout`` after which sessions that still haven't ended are reset at a stop."""


class ProxyService(Service):
    """A prepared configuration at work.

    :ivar listening: Addresses listened on, in the order of the configuration, with real port numbers; once started.
    """

    def __init__(self, prepared: Prepared, *, reactor: Any, log_observer: Any = None) -> None:
        self.listening: tuple[str, ...] = ()
        self._prepared = prepared
        self._reactor = reactor
        self._log_observer = log_observer
        self._metrics = Metrics()
        if log_observer is not None:
            log_observer.on_loss = self._metrics.log_line_lost
        self._log = publish_notes()
        self._sockets: list[list[ListeningSocket]] = []
        self._ports: list[IListeningPort] = []
        self._listeners: list[Listener] = []
        self._connectors: Mapping[str, BackendConnector] = {}
        self._emptied: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self._sessions_cut = 0

    @property
    def notify(self) -> Notify:
        """Where this service's notes go: to the log and to the metrics."""
        return self._take_note

    def _take_note(self, note: Note) -> None:
        self._metrics.take(note)
        self._log(note)

    # Start

    def setServiceParent(self, parent: Any) -> None:
        """As in ``Service``; twistd's log becomes ours, whose lines are of the configured form."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self._log_observer is not None:
            attach(parent, self._log_observer)

    def privilegedStartService(self) -> None:
        """Open the sockets, while ports below 1024 may still be had.

        :raises ListenError: One can't be opened.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        if not self._sockets:
            listens = [prepared.listen for prepared in self._prepared.listens]
            self._sockets = open_sockets(listens, activated_sockets())

    def startService(self) -> None:
        """Accept connections."""
        if not self._sockets:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]
        configuration = self._prepared.configuration
        self._take_note(
            ServiceStarted(version=__version__, tls_library=library_version(), config=configuration.source)
        )
        self._metrics.set_certificates({each.path: each.not_after for each in self._certificates()})
        for problem in self._prepared.warnings:
            self._take_note(ConfigurationWarned(path=problem.path, message=problem.message))
        self._connectors = {
            name: BackendConnector(
                backend,
                self._reactor,
                notify=self._take_note,
                context=self._prepared.client_contexts.get(name),
            )
            for name, backend in configuration.backends.items()
        }
        for connector in self._connectors.values():
            connector.start()
        for prepared, sockets in zip(self._prepared.listens, self._sockets, strict=True):
            for opened in sockets:
                self._accept(prepared, opened)
        self._serve_metrics(configuration)
        self.listening = tuple(opened.name for sockets in self._sockets for opened in sockets)
        tell_manager(ready=True, status=f"listening on {', '.join(self.listening)}")

    def _certificates(self) -> Iterator[Certificate]:
        """Those that are in use, by clients' sessions and to servers."""
        yield from self._prepared.contexts.certificates
        for context in self._prepared.client_contexts.values():
            if context.certificate is not None:
                yield context.certificate

    def _accept(self, prepared: PreparedListen, opened: ListeningSocket) -> None:
        listener = Listener(
            name=opened.name,
            listen=prepared.listen,
            kind=prepared.kind,
            resolver=prepared.resolver,
            contexts=self._prepared.contexts,
            connector=self._connectors[prepared.backend.name],
            clock=self._reactor,
            notify=self._take_note,
            on_empty=self._listener_emptied,
        )
        self._listeners.append(listener)
        sock = opened.opened
        self._ports.append(self._reactor.adoptStreamPort(sock.fileno(), sock.family, listener))
        settings = prepared.resolver.settings_for(None)
        spoken = str(settings.tls_protocols) if offers_tls(settings, prepared.kind) else "plaintext"
        self._take_note(ListenOpened(listen=opened.name, kind=prepared.kind.name, tls_protocols=spoken))

    def _serve_metrics(self, configuration: Configuration) -> None:
        address = configuration.metrics_listen
        if address is not None:
            site = metrics_site(self._metrics)
            self._ports.append(self._reactor.listenTCP(address.port, site, interface=address.host))

    # Stop

    def stopService(self) -> Deferred[None]:
        """Stop listening, and wait for the sessions to end.

        They are asked to end as soon as nothing would be lost by it. Those that still run after ``drain_timeout`` are cut,
        in order; and those that take too long about that are reset.

        :returns: Fires when nothing is left.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        tell_manager(stopping=True)
        for sockets in self._sockets:
            for opened in sockets:
                opened.close()
        stopped = [port.stopListening() for port in self._ports]
        for listener in self._listeners:
            listener.drain()
        for connector in self._connectors.values():
            connector.stop()
        waiting = DeferredList([*filter(None, stopped), self._until_empty()])
        return waiting.addCallback(lambda _: self._take_note(ServiceStopped(sessions_cut=self._sessions_cut)))

    def _sessions(self) -> list[Session]:
        return [session for listener in self._listeners for session in listener.sessions]

    def _until_empty(self) -> Deferred[None]:
        emptied: Deferred[None] = Deferred()
        self._emptied = emptied
        self._listener_emptied()
        if not emptied.called:
            drain_timeout = self._prepared.configuration.drain_timeout
            self._deadline = self._reactor.callLater(drain_timeout, self._cut_sessions)
        return emptied

    def _cut_sessions(self) -> None:
        sessions = self._sessions()
        longest = max(session.close_timeout for session in sessions)
        self._deadline = self._reactor.callLater(longest * 2 + SESSIONS_END, self._reset_sessions)
        self._sessions_cut = sum(session.cut("shutdown") for session in sessions)

    def _reset_sessions(self) -> None:
        for session in self._sessions():
            session.abort("shutdown")

    def _listener_emptied(self) -> None:
        emptied = self._emptied
        if emptied is None or emptied.called or self._sessions():
            return
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        emptied.callback(None)
