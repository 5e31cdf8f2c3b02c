"""What a front is told, in the past tense. Bytes are plaintext: TLS is below."""

from attrs import frozen

from tlsproxy.identity.client import ClientAddress, TlsFacts


@frozen
class SessionOpened:
    """A client connected. The first event of every session."""

    client: ClientAddress


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


Event = (
    SessionOpened
    | TlsStarted
    | ClientDataReceived
    | ClientFinished
    | BackendConnected
    | BackendUnavailable
    | BackendDataReceived
    | BackendFinished
)
