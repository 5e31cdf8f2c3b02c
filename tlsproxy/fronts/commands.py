"""What a front asks for, in the imperative. The session carries commands out in order."""

from attrs import frozen


@frozen
class StartTls:
    """Handshake with the client. Nothing else is read until it is done."""


@frozen
class ConnectBackend:
    """Open a connection to the backend. The client isn't read until it is up, or has failed."""


@frozen
class SendToClient:
    data: bytes


@frozen
class SendToBackend:
    data: bytes


@frozen
class FinishClient:
    """No more bytes to the client: close_notify and FIN. It is still read."""


@frozen
class FinishBackend:
    """No more bytes to the backend: FIN. It is still read."""


@frozen
class Splice:
    """From now on bytes and ends run client to backend and back without the front, which gets no more events."""


@frozen
class CloseSession:
    """End both connections in order: last bytes out, close_notify, FIN."""

    reason: str
    """For the session's last log line."""


Command = StartTls | ConnectBackend | SendToClient | SendToBackend | FinishClient | FinishBackend | Splice | CloseSession
