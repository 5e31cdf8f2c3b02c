"""What a front asks for, in the imperative. The session carries commands out in order."""

from typing import Literal

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
class DisconnectBackend:
    """Close the connection to the backend in order, and forget it: no event comes from it any more.

    :class:`ConnectBackend` may follow, at once or later.
    """


@frozen
class AbortBackend:
    """Reset the connection to the backend, and forget it: a message is left unfinished.

    A FIN could be taken for its end by a server that doesn't keep to RFC 5321 §4.1.1.4.
    """


@frozen
class PauseClient:
    """Stop reading the client: the front holds enough of what it sent. Bytes on their way may still be delivered."""


@frozen
class ResumeClient:
    """Read the client again."""


Reported = Literal[
    "auth_refused",
    "backend_protocol_error",
    "http_request",
    "identity_refused",
    "smuggling",
    "starttls_injection",
    "too_many_errors",
    "xclient_refused",
]
"""What a front reports:

``auth_refused``
    The client said AUTH without the TLS that ``tls_auth_only`` and ``smtp_auth_tls_protocols`` ask for. Its password may
    have gone over the wire in the clear.
``backend_protocol_error``
    The backend sent what is no reply, or one that nothing asked for.
``http_request``
    The client said an HTTP method.
``identity_refused``
    The backend can't be told who the client is, as its ``identity`` demands.
``smuggling``
    Bare newlines in a message, or in a command.
``starttls_injection``
    Plaintext behind STARTTLS.
``too_many_errors``
    The client was cut off for commands that the proxy refused, or that do no work.
``xclient_refused``
    The client tried XCLIENT, XFORWARD or their like.
"""


@frozen
class Report:
    """Something for the log, and for metrics by ``what``."""

    what: Reported
    detail: str
    """For the log. Never holds credentials or content."""


@frozen
class Splice:
    """From now on bytes and ends run client to backend and back without the front, which gets no more events."""


@frozen
class CloseSession:
    """End both connections in order: last bytes out, close_notify, FIN."""

    reason: str
    """For the session's last log line."""


Command = (
    StartTls
    | ConnectBackend
    | DisconnectBackend
    | AbortBackend
    | SendToClient
    | SendToBackend
    | FinishClient
    | FinishBackend
    | PauseClient
    | ResumeClient
    | Report
    | Splice
    | CloseSession
)
