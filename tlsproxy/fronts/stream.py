"""The ``stream`` front: TLS from the first byte, then bytes both ways. Momentum's ECStream slot.

The backend is left alone until the handshake is done, so that a client which can't speak TLS costs it nothing. What a
client sends together with its Finished arrives before the backend is there and is handed on first; before that goes the
PROXY header, where the backend's ``identity`` is one.
"""

from collections.abc import Sequence
from typing import ClassVar

from attrs import define, field

from tlsproxy.fronts.commands import (
    CloseSession,
    Command,
    ConnectBackend,
    FinishBackend,
    SendToBackend,
    Splice,
    StartTls,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendUnavailable,
    ClientDataReceived,
    ClientFinished,
    ClientTooSlow,
    Event,
    IdleTimedOut,
    SessionOpened,
    TlsStarted,
)
from tlsproxy.fronts.introduction import proxy_header
from tlsproxy.fronts.options import FrontOptions
from tlsproxy.identity.client import TlsFacts
from tlsproxy.policy.pace import Due


@define
class StreamFront:
    """One session of a stream listener."""

    client_name: ClassVar[None] = None
    due: ClassVar[Due] = Due.NOTHING
    step: ClassVar[int] = 0

    _options: FrontOptions
    _opened: SessionOpened | None = None
    _tls: TlsFacts | None = None
    _early: list[bytes] = field(factory=list)
    # At most what one read of the socket held: the session doesn't read the client while it connects.
    _client_finished: bool = False

    def handle(self, event: Event) -> Sequence[Command]:
        """Take an event; what is to be done, in order."""
        match event:
            case SessionOpened():
                self._opened = event
                return [StartTls()]
            case TlsStarted(facts):
                self._tls = facts
                return [ConnectBackend()]
            case ClientDataReceived(data):
                self._early.append(data)
                return []
            case ClientFinished():
                self._client_finished = True
                return []
            case BackendConnected():
                return self._spliced()
            case BackendUnavailable():
                return [CloseSession("backend_unavailable")]
            case IdleTimedOut():
                return [CloseSession("idle_timeout")]
            case ClientTooSlow(limit):
                return [CloseSession(limit)]
            case _:  # raw bytes have no end that DrainRequested could wait for
                return []

    def _spliced(self) -> list[Command]:
        commands: list[Command] = [SendToBackend(data) for data in (*self._header(), *self._early)]
        self._early.clear()
        if self._client_finished:
            commands.append(FinishBackend())
        return [*commands, Splice()]

    def _header(self) -> list[bytes]:
        if self._opened is None:
            return []
        header = proxy_header(self._options.identity, self._opened.client, self._opened.local, self._tls)
        return [header] if header else []
