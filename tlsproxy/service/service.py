"""The proxy in one process, which serves the sessions itself.

Sockets are opened in ``privilegedStartService``, before twistd gives up its privileges, and accepted on in
``startService``, after.
"""

from typing import Any

from twisted.internet.defer import Deferred, succeed

from tlsproxy.service.activation import activated_sockets
from tlsproxy.service.base import Switched, TlsproxyService
from tlsproxy.service.prepare import Prepared
from tlsproxy.service.serving import Serving
from tlsproxy.service.sockets import ListeningSocket, open_sockets


class ProxyService(TlsproxyService):
    """A prepared configuration at work in this process."""

    def __init__(self, prepared: Prepared, *, reactor: Any, log_observer: Any = None) -> None:
        super().__init__(prepared.configuration, reactor=reactor, log_observer=log_observer)
        self._prepared = prepared
        self._sockets: list[list[ListeningSocket]] = []
        self._serving: Serving | None = None

    def _open(self) -> None:
        """See :class:`~tlsproxy.service.base.TlsproxyService`, as for all hooks."""
        listens = [prepared.listen for prepared in self._prepared.listens]
        self._sockets = open_sockets(listens, activated_sockets())

    def _begin(self) -> Deferred[Switched]:
        serving = self._serving = Serving(self._prepared, reactor=self._reactor, notify=self.notify)
        self._metrics.set_certificates({each.path: each.not_after for each in serving.certificates})
        serving.start(self._sockets)
        return succeed(self._switched())

    def _switched(self) -> Switched:
        return Switched(
            configuration=self._prepared.configuration,
            warnings=self._prepared.warnings,
            listening=tuple(opened.name for sockets in self._sockets for opened in sockets),
        )

    def _drain(self) -> Deferred[int]:
        for sockets in self._sockets:
            for opened in sockets:
                opened.close()
        return self._serving.drain() if self._serving is not None else succeed(0)

    def _cut(self) -> None:
        if self._serving is not None:
            self._serving.cut()

    def _switch(self) -> Deferred[Switched]:
        raise NotImplementedError

    def processes(self) -> Deferred[list[Any]]:
        return succeed([])
