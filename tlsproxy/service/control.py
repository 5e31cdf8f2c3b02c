"""The control socket: commands to the running service, one JSON object on a line each way.

=============  =====================================  ===============================================================
``command``    answer where it was carried out        what it does
=============  =====================================  ===============================================================
``reload``     ``generation``                         reads the configuration again; answers when it is in force
``status``     ``status``                             tells what the status page tells
``take_over``  ``sockets``: ``address`` and ``name``  hands over the listening sockets, in this order (``SCM_RIGHTS``)
``drain``                                             lets the sessions end, then ends; whoever took over serves
=============  =====================================  ===============================================================

Every answer has ``ok``; one that is false has ``problems``, each with ``path`` and ``message``. The socket's mode keeps
others out; its peers' credentials are looked at all the same, since a mode may be changed.
"""

import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from tlsproxy.notes import ControlRefused, Notify
from tlsproxy.ops.status.model import StatusSource, service_to_values, whole_status
from tlsproxy.service.reload import COMMAND, ReloadResult
from tlsproxy.service.socket_set import HandedOver

MAX_REQUEST: Final = 4096
"""Bytes of a line: a command and a few arguments."""

MAX_CONNECTIONS: Final = 16
"""At once: an operator, the monitoring, a process that takes over. Reloads that wait are bounded by this, too."""

IDLE_TIMEOUT: Final = 30.0
"""Seconds in which a connection says something while nothing is owed on it."""

_CREDENTIALS: Final = struct.Struct("iII")
"""``struct ucred``: process, user, group (unix(7))."""

Answer = dict[str, Any]

_log = Logger()


class Commanded(StatusSource, Protocol):
    """Who is commanded."""

    def reload(self, trigger: str) -> Deferred[ReloadResult]:
        """Read the configuration again."""

    def hand_over(self, pid: int) -> list[HandedOver]:
        """The listening sockets, for another process."""

    def drain_for_successor(self) -> None:
        """Stop: another process serves who comes from here on."""


def refusal(message: str, path: str = "") -> Answer:
    """An answer that says what is wrong."""
    return {"ok": False, "problems": [{"path": path, "message": message}]}


class ControlProtocol(TwistedProtocol):
    """One connection. A command is answered before the next is read."""

    transport: Any

    def __init__(self, factory: "ControlFactory") -> None:
        self._factory = factory
        self._received = b""
        self._busy = False
        self._pid = 0
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """See who it is."""
        self._factory.connections.add(self)
        self._pid, uid, _ = _CREDENTIALS.unpack(
            self.transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid not in (0, os.geteuid()):
            self._factory.notify(ControlRefused(uid=uid))
            self._end(refusal("only root and the service's own user may command it"))
        elif len(self._factory.connections) > MAX_CONNECTIONS:
            self._end(refusal(f"there are {MAX_CONNECTIONS} control connections already"))
        else:
            self._wait()

    def dataReceived(self, data: bytes) -> None:
        """Take commands."""
        self._received += data
        self._proceed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Forget it; what it asked for is done all the same."""
        self._factory.connections.discard(self)
        self._stop_timer()

    def _proceed(self) -> None:
        if self._busy or self.transport.disconnecting:
            return
        line, newline, rest = self._received.partition(b"\n")
        if len(line) > MAX_REQUEST:
            self._end(refusal(f"a command has at most {MAX_REQUEST} bytes"))
        elif newline:
            self._received = rest
            self._stop_timer()
            self._busy = True
            self.transport.pauseProducing()
            self._factory.carry_out(line, self._pid, self.transport).addCallback(self._answer)

    def _answer(self, answer: Answer) -> None:
        self._busy = False
        if not self.connected:
            return
        self.transport.write(json.dumps(answer).encode() + b"\n")
        self.transport.resumeProducing()
        self._wait()
        self._proceed()

    def _end(self, answer: Answer) -> None:
        self.transport.write(json.dumps(answer).encode() + b"\n")
        self.transport.loseConnection()

    def _wait(self) -> None:
        self._stop_timer()
        self._timer = self._factory.clock.callLater(IDLE_TIMEOUT, self.transport.abortConnection)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class ControlFactory(Factory):
    """Carries out what comes through a control socket.

    :ivar connections: Those that are open.
    """

    noisy = False

    def __init__(self, service: Commanded, *, clock: IReactorTime, notify: Notify) -> None:
        self.clock = clock
        self.notify = notify
        self.connections: set[ControlProtocol] = set()
        self._service = service

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol:  # noqa: ARG002 - Twisted's signature
        """One for each connection."""
        return ControlProtocol(self)

    def carry_out(self, line: bytes, pid: int, transport: Any) -> Deferred[Answer]:
        """Do what a line says: fires with the answer, whatever happens.

        :param pid: Who asks.
        :param transport: Takes sockets that go with the answer.
        """
        try:
            command = json.loads(line)["command"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return succeed(refusal('not a command: {"command": "reload"} is one'))
        known = self._commands.get(command) if isinstance(command, str) else None
        if known is None:
            names = ", ".join(self._commands)
            return succeed(refusal(f"unknown command; those known are {names}"))
        return known(self, pid, transport).addErrback(_unexpected)

    def _reload(self, _pid: int, _transport: Any) -> Deferred[Answer]:
        return self._service.reload(COMMAND).addCallback(_result)

    def _status(self, _pid: int, _transport: Any) -> Deferred[Answer]:
        asked = ensureDeferred(whole_status(self._service))
        return asked.addCallback(lambda status: {"ok": True, "status": service_to_values(status)})

    def _take_over(self, pid: int, transport: Any) -> Deferred[Answer]:
        sockets = self._service.hand_over(pid)
        # Each travels with one byte of what is written next, and stays open here until the service ends.
        for each in sockets:
            transport.sendFileDescriptor(each.opened.fileno())
        listens = [{"address": each.address, "name": each.name} for each in sockets]
        return succeed({"ok": True, "sockets": listens})

    def _drain(self, _pid: int, _transport: Any) -> Deferred[Answer]:
        self._service.drain_for_successor()
        return succeed({"ok": True})

    _commands: Final[Mapping[str, Callable[["ControlFactory", int, Any], Deferred[Answer]]]] = {
        "reload": _reload,
        "status": _status,
        "take_over": _take_over,
        "drain": _drain,
    }


def _result(result: ReloadResult) -> Answer:
    problems = [{"path": problem.path, "message": problem.message} for problem in result.problems]
    return {"ok": result.ok, "generation": result.generation, "problems": problems}


def _unexpected(failure: Failure) -> Answer:
    _log.failure("unexpected error in a command", failure)
    return refusal(f"internal error: {failure.getErrorMessage()}")
