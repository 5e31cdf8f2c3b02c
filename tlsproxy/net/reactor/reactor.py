"""The reactor: Twisted's, with a straight way for the events of TCP connections."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from socket import AF_INET, AF_INET6
from typing import Any, Final

from twisted.internet import error
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorFDSet, IReactorSocket, IReactorTCP
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.log import callWithLogger
from zope.interface import implementer

from tlsproxy.net.reactor.client import Attempt, Connector
from tlsproxy.net.reactor.connection import Connection, failure_of
from tlsproxy.net.reactor.port import Port

EVENTS_AT_ONCE: Final = 512
"""Events taken in one turn of the loop: what is beyond waits for the next, after timers had theirs."""

_GONE: Final = EPOLLHUP | EPOLLERR

_log = Logger()


@implementer(IReactorFDSet, IReactorTCP, IReactorSocket)
class ProxyReactor(EPollReactor):
    """See :mod:`tlsproxy.net.reactor`."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []
        super().__init__()  # type: ignore[no-untyped-call]

    def soon(self, call: Callable[[], None]) -> None:
        """Do something when the protocols' own calls are over, in this turn of the loop: cheaper than ``callLater(0)``."""
        self._soon.append(call)

    # The loop

    def timeout(self) -> float | None:
        """As in Twisted: None, where nothing is to be done without an event."""
        return 0.0 if self._soon else super().timeout()

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, and have them dealt with."""
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, EVENTS_AT_ONCE)
        except InterruptedError:
            return
        selectables = self._selectables
        for number, event in events:
            selectable: Any = selectables.get(number)
            kind = type(selectable)
            if kind is Connection:
                self._deliver(selectable, event)
            elif kind is Attempt:
                self._conclude(selectable)
            elif selectable is not None:
                callWithLogger(selectable, self._doReadOrWrite, selectable, number, event)
        if self._soon:
            self._do_what_waits()

    doIteration = doPoll

    def _do_what_waits(self) -> None:
        waiting, self._soon = self._soon, []
        for call in waiting:
            try:
                call()
            except Exception:  # noqa: BLE001 - one connection's fault isn't another's
                _log.failure("Unhandled error in the protocol")

    def _conclude(self, attempt: Attempt) -> None:
        try:
            attempt.doWrite()
        except Exception:  # noqa: BLE001 - as above
            _log.failure("Unhandled error in the protocol")

    def _deliver(self, connection: Connection, event: int) -> None:
        """Read and write; the system calls tell themselves what a hang-up means."""
        why: Exception | None = None
        read = event & (EPOLLIN | _GONE)
        try:
            if not read:
                pass
            elif connection._reading:  # noqa: SLF001 - the two are one
                why = connection.doRead()
            else:
                connection.unwatch()
            if why is None and event & (EPOLLOUT | _GONE) and connection._writing:  # noqa: SLF001
                read = 0
                why = connection.doWrite()
        except Exception as fault:  # noqa: BLE001 - a fault of the protocol's ends this connection
            _log.failure("Unhandled error in the protocol")
            connection.connectionLost(Failure(fault))
            return
        if why is not None:
            if read and type(why) is error.ConnectionDone:
                connection.readConnectionLost(failure_of(why))
            else:
                connection.connectionLost(failure_of(why))

    def getReaders(self) -> list[Any]:
        """See ``IReactorFDSet``: without the paused connections that are watched until something comes."""
        readers: list[Any] = super().getReaders()  # type: ignore[no-untyped-call]
        return [each for each in readers if type(each) is not Connection or each._reading]  # noqa: SLF001

    # Connections

    def hand_over(self, connection: Connection) -> None:
        """Watch for input of ``connection``, where its socket was watched until it could be written to."""
        number = connection.fileno()
        self._poller.modify(number, EPOLLIN)
        self._writes.discard(number)
        self._reads.add(number)
        self._selectables[number] = connection

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See ``IReactorSocket``."""
        if addressFamily not in (AF_INET, AF_INET6):
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)  # type: ignore[no-untyped-call]
        make: Any = Port._fromListeningDescriptor  # noqa: SLF001 - as Twisted does
        port = make(self, fileDescriptor, addressFamily, factory)
        port.startListening()
        return port

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See ``IReactorTCP``."""
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> Any:
        """See ``IReactorTCP``. A name, as opposed to an address, is left to Twisted."""
        if not _is_address(host) or not isinstance(port, int):
            return super().connectTCP(host, port, factory, timeout, bindAddress)
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector


@lru_cache(maxsize=1024)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def install() -> None:
    """Make this the process's reactor: what ``twistd --reactor`` calls."""
    from twisted.internet.main import installReactor

    installReactor(ProxyReactor())
