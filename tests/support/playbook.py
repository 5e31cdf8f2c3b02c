"""Conversations with a front, written as dialogue, after mitmproxy's playbook.

``playbook >> event`` tells the front something, ``playbook << command`` is what it must ask for next. A playbook goes on,
or ends, only when every command was expected::

    playbook >> client("NOOP") << to_backend("NOOP")
    playbook >> backend("250 Ok") << to_client("250 Ok")
"""

from collections import deque

from attrs import define, field

from tlsproxy.fronts import Front
from tlsproxy.fronts.commands import Command, SendToBackend, SendToClient
from tlsproxy.fronts.events import BackendDataReceived, ClientDataReceived, Event


def wire(*lines: str | bytes) -> bytes:
    """Text is a line, and gets its CRLF; bytes are what they are."""
    return b"".join(line if isinstance(line, bytes) else line.encode() + b"\r\n" for line in lines)


def client(*lines: str | bytes) -> Event:
    """The client says."""
    return ClientDataReceived(wire(*lines))


def backend(*lines: str | bytes) -> Event:
    """The backend says."""
    return BackendDataReceived(wire(*lines))


def to_client(*lines: str | bytes) -> Command:
    """The client is told."""
    return SendToClient(wire(*lines))


def to_backend(*lines: str | bytes) -> Command:
    """The backend is told."""
    return SendToBackend(wire(*lines))


@define
class Playbook:
    """A conversation with one front."""

    front: Front
    _unexpected: deque[Command] = field(init=False, factory=deque)

    def __rshift__(self, event: Event) -> "Playbook":
        self.end()
        self._unexpected.extend(self.front.handle(event))
        return self

    def __lshift__(self, command: Command) -> "Playbook":
        assert self._unexpected, f"nothing asked for, expected {command}"
        assert self._unexpected.popleft() == command
        return self

    def end(self) -> None:
        """Nothing more was asked for."""
        assert not self._unexpected, f"not expected: {list(self._unexpected)}"
