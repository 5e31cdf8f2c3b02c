"""The proxy as a Twisted service: opens the sockets, accepts, and ends in order.

Sockets are opened in ``privilegedStartService``, before twistd gives up its privileges, and accepted on in
``startService``, after.
"""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IListeningPort

from tlsproxy import __version__
from tlsproxy.notes import ConfigurationWarned, Note, Notify, ServiceStarted, ServiceStopped
from tlsproxy.ops.logging import attach, publish_notes
from tlsproxy.ops.metrics import Metrics, metrics_site
from tlsproxy.service.activation import activated_sockets
from tlsproxy.service.notify import notify as tell_manager
from tlsproxy.service.prepare import Prepared
from tlsproxy.service.serving import Serving
from tlsproxy.service.sockets import ListeningSocket, open_sockets
from tlsproxy.tls.library import library_version


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
        self._serving: Serving | None = None

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
        serving = self._serving = Serving(self._prepared, reactor=self._reactor, notify=self._take_note)
        self._metrics.set_certificates({each.path: each.not_after for each in serving.certificates})
        for problem in self._prepared.warnings:
            self._take_note(ConfigurationWarned(path=problem.path, message=problem.message))
        serving.start(self._sockets)
        self._serve_metrics()
        self.listening = tuple(opened.name for sockets in self._sockets for opened in sockets)
        tell_manager(ready=True, status=f"listening on {', '.join(self.listening)}")

    def _serve_metrics(self) -> None:
        address = self._prepared.configuration.metrics_listen
        if address is not None:
            site = metrics_site(self._metrics)
            self._ports.append(self._reactor.listenTCP(address.port, site, interface=address.host))

    # Stop

    def stopService(self) -> Deferred[None]:
        """Stop listening, and wait for the sessions to end: see :meth:`~tlsproxy.service.serving.Serving.drain`.

        :returns: Fires when nothing is left.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        tell_manager(stopping=True)
        for sockets in self._sockets:
            for opened in sockets:
                opened.close()
        stopped = [port.stopListening() for port in self._ports]
        drained = self._serving.drain() if self._serving is not None else succeed(0)
        drained.addCallback(lambda cut: self._take_note(ServiceStopped(sessions_cut=cut)))
        ending: list[Any] = [*filter(None, stopped), drained]
        return DeferredList(ending).addCallback(lambda _: None)
