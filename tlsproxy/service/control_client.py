"""Commands to a running service, through its control socket: the side of those who ask.

See :mod:`tlsproxy.service.control` for what they are.

Blocking, and with nothing but the standard library: a command line has no reactor, and a process that starts none yet.
"""

import array
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from attrs import define, field, frozen

from tlsproxy.errors import TlsproxyError
from tlsproxy.service.socket_set import HandedOver

TIMEOUT: Final = 60.0
"""Seconds for an answer: a reload of many certificates takes some."""

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes: the status of many workers with thousands of series each."""

MAX_DESCRIPTORS: Final = 253
"""In one message (``SCM_MAX_FD``, unix(7))."""


class ControlError(TlsproxyError):
    """The service can't be reached, or its answer can't be understood."""


@define(eq=False)
class ControlConnection:
    """A connection to a control socket. Use it as a context manager."""

    _socket: socket.socket
    _received: bytearray = field(factory=bytearray, init=False)
    _descriptors: list[int] = field(factory=list, init=False)

    @classmethod
    def open(cls, path: str, timeout: float = TIMEOUT) -> Self:
        """
        :param timeout: Seconds that one answer may take.
        :raises ControlError: Nobody listens there, or who does is out of reach.
        """
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        opened.settimeout(timeout)
        try:
            opened.connect(path)
        except OSError as error:
            opened.close()
            raise ControlError(f"can't reach the service at {path}: {_reason(error)}") from error
        return cls(opened)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        :raises ControlError: There is none in time, or none that is one.
        """
        try:
            self._socket.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            line = self._line()
        except TimeoutError as error:
            raise ControlError("the service doesn't answer") from error
        except OSError as error:
            raise ControlError(f"the service is gone: {_reason(error)}") from error
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise ControlError("the service's answer isn't JSON") from error
        if not isinstance(answer, dict):
            raise ControlError("the service's answer isn't an object")
        return answer

    def take_sockets(self) -> list[socket.socket]:
        """Those that came with the last answer: the caller's."""
        taken, self._descriptors = self._descriptors, []
        return [socket.socket(fileno=descriptor) for descriptor in taken]

    def close(self) -> None:
        """Close the connection, and sockets that nobody took."""
        for opened in self.take_sockets():
            opened.close()
        self._socket.close()

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
            data, ancillary, _, _ = self._socket.recvmsg(65536, space, socket.MSG_CMSG_CLOEXEC)
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._descriptors += array.array("i", content[: len(content) - len(content) % 4])
            if not data:
                raise ControlError("the service closed the connection without an answer")
            self._received += data
            if len(self._received) > MAX_ANSWER:
                raise ControlError(f"the service's answer has more than {MAX_ANSWER} bytes")
        line, _, rest = self._received.partition(b"\n")
        self._received = bytearray(rest)
        return bytes(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(path: str, command: str, timeout: float = TIMEOUT, **arguments: Any) -> dict[str, Any]:
    """Ask the service at ``path`` for one thing: the answer, ``ok`` or not.

    :raises ControlError: There is no answer.
    """
    with ControlConnection.open(path, timeout) as connection:
        return connection.ask(command, **arguments)


def problems_of(answer: Mapping[str, Any]) -> list[str]:
    """Why the answer isn't ``ok``, one line for each problem."""
    problems = answer.get("problems")
    found = [each for each in problems if isinstance(each, dict)] if isinstance(problems, list) else []
    return [
        ": ".join(str(part) for part in (each.get("path"), each.get("message")) if part) for each in found
    ]


@frozen(eq=False)
class Predecessor:
    """The process whose place this one takes."""

    handed_over: tuple[HandedOver, ...]
    """Its listening sockets."""
    _connection: ControlConnection = field(repr=False)
    """Kept: another process listens at the control socket's path soon."""

    @classmethod
    def ask(cls, path: str | None) -> Self:
        """Ask the service at ``path`` for its listening sockets. It goes on as before until :meth:`drain`.

        :raises ControlError: There is none, or it refuses.
        """
        if path is None:
            raise ControlError("can't take over: no control_socket is configured at which to ask")
        connection = ControlConnection.open(path)
        try:
            handed_over = _handed_over(connection.ask("take_over"), connection.take_sockets())
        except BaseException:
            connection.close()
            raise
        return cls(handed_over, connection)

    def drain(self) -> None:
        """Tell it to drain, and to end.

        :raises ControlError: It is gone.
        """
        with self._connection as connection:
            connection.ask("drain")


def _handed_over(answer: Mapping[str, Any], opened: Sequence[socket.socket]) -> tuple[HandedOver, ...]:
    """
    :raises ControlError: The service refuses, or doesn't say what the sockets are.
    """
    listens = answer.get("sockets")
    if not answer.get("ok") or not isinstance(listens, list) or len(listens) != len(opened):
        for each in opened:
            each.close()
        raise ControlError(f"can't take over: {'; '.join(problems_of(answer)) or 'sockets are missing'}")
    for each in opened:
        each.setblocking(False)
    return tuple(
        HandedOver(str(listen["address"]), str(listen["name"]), each)
        for listen, each in zip(listens, opened, strict=True)
    )


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
