"""What a front is told, in the past tense. Bytes are plaintext: TLS is below."""

from collections.abc import Callable

from attrs import define

from tlsproxy.identity.client import ClientAddress, TlsFacts

_UNNAMED = ClientAddress(None)
_ALWAYS: Callable[[], bool] = lambda: True  # noqa: E731 - a value: it does nothing


@define
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


@define
class TlsStarted:
    """The handshake asked for with :class:`~tlsproxy.fronts.commands.StartTls` is done."""

    facts: TlsFacts


@define
class ClientDataReceived:
    data: bytes


@define
class ClientFinished:
    """The client sends no more (close_notify or TCP FIN); it may still receive."""


@define
class BackendConnected:
    """The connection asked for with :class:`~tlsproxy.fronts.commands.ConnectBackend` is up."""

    reused: bool = False
    """It has served others before, and may have been closed by the backend at this very moment."""


@define
class BackendUnavailable:
    """No server could be reached within the backend's time."""

    detail: str


@define
class BackendDataReceived:
    data: bytes


@define
class BackendFinished:
    """The backend sends no more; it may still receive."""


@define
class BackendLost:
    """The connection to the backend was up, and was reset or failed."""

    detail: str


@define
class IdleTimedOut:
    """No byte moved either way for ``idle_timeout``."""


@define
class ClientTooSlow:
    """The client fell behind: with what it owes (the front's ``due``), or with what it was sent."""

    limit: str
    """The option that it fell behind of; for the session's last log line."""


@define
class TimerExpired:
    """The time asked for with :class:`~tlsproxy.fronts.commands.StartTimer` is over."""


@define
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
