"""What a front is told, in the past tense. Bytes are plaintext: TLS is below."""

from collections.abc import Callable

from attrs import frozen

from tlsproxy.identity.client import ClientAddress, TlsFacts

_UNNAMED = ClientAddress(None)
_ALWAYS: Callable[[], bool] = lambda: True  # noqa: E731 - a value: it does nothing


@frozen
class SessionOpened:
    """A client connected. The first event of every session."""

    client: ClientAddress
    local: ClientAddress = _UNNAMED
    """What it connected to."""
    tls_available: bool = True
    """StartTls can be carried out: there is a usable certificate, and the host has room for one more handshake."""
    session: str = "0"
    """Identifies the session in the log."""
    allows_handshake: Callable[[], bool] = _ALWAYS
    """Whether the client may begin a handshake at this moment, which then counts as begun. For a front that can say no;
    :class:`~tlsproxy.fronts.commands.StartTls` asks by itself where nobody has."""


@frozen
class TlsStarted:
    """The handshake asked for with :class:`~tlsproxy.fronts.commands.StartTls` is done."""

    facts: TlsFacts


@frozen
class ClientDataReceived:
    data: bytes


@frozen
class ClientFinished:
    """The client sends no more (close_notify or TCP FIN); it may still receive."""


@frozen
class BackendConnected:
    """The connection asked for with :class:`~tlsproxy.fronts.commands.ConnectBackend` is up."""

    reused: bool = False
    """It has served others before, and may have been closed by the backend at this very moment."""


@frozen
class BackendUnavailable:
    """No server could be reached within the backend's time."""

    detail: str


@frozen
class BackendDataReceived:
    data: bytes


@frozen
class BackendFinished:
    """The backend sends no more; it may still receive."""


@frozen
class BackendLost:
    """The connection to the backend was up, and was reset or failed."""

    detail: str


@frozen
class IdleTimedOut:
    """No byte moved either way for ``idle_timeout``."""


@frozen
class ClientTooSlow:
    """The client fell behind: with what it owes (the front's ``due``), or with what it was sent."""

    limit: str
    """The option that it fell behind of; for the session's last log line."""


@frozen
class TimerExpired:
    """The time asked for with :class:`~tlsproxy.fronts.commands.StartTimer` is over."""


@frozen
class DrainRequested:
    """The service is going to stop: the session should end as soon as nothing would be lost by it.

    A second one: it ends now, whatever is lost by it, and this is the front's last word.
    """


Event = (
    SessionOpened
    | TlsStarted
    | ClientDataReceived
    | ClientFinished
    | BackendConnected
    | BackendUnavailable
    | BackendDataReceived
    | BackendFinished
    | BackendLost
    | IdleTimedOut
    | ClientTooSlow
    | TimerExpired
    | DrainRequested
)
