"""What a front asks for, in the imperative. The session carries commands out in order."""

from typing import Literal

from attrs import define


@define
class StartTls:
    """Handshake with the client. Nothing else is read until it is done."""


@define
class ConnectBackend:
    """Open a connection to the backend. The client isn't read until it is up, or has failed."""

    fresh: bool = False
    """Not one that was given back with :class:`ReleaseBackend`."""


@define
class SendToClient:
    data: bytes


@define
class SendToBackend:
    data: bytes


@define
class FinishBackend:
    """No more bytes to the backend: FIN. It is still read."""


@define
class DisconnectBackend:
    """Close the connection to the backend in order, and forget it: no event comes from it any more.

    :class:`ConnectBackend` may follow, at once or later.
    """


@define
class AbortBackend:
    """Reset the connection to the backend, and forget it: a message is left unfinished.

    A FIN could be taken for its end by a server that doesn't keep to RFC 5321 §4.1.1.4.
    """


@define
class ReleaseBackend:
    """Give the connection to the backend back, for other sessions to use, and forget it: no event comes from it any more.

    It is at rest: nothing is owed on it either way. :class:`ConnectBackend` may follow, at once or later.
    """


@define
class PauseClient:
    """Stop reading the client: the front holds enough of what it sent. Bytes on their way may still be delivered."""


@define
class ResumeClient:
    """Read the client again."""


@define
class StartTimer:
    """Tell :class:`~tlsproxy.fronts.events.TimerExpired` after ``seconds``. There is one timer; it starts anew."""

    seconds: float


@define
class StopTimer:
    """Don't tell it."""


@define
class BeginRequest:
    """Note the time, for the duration of the next :class:`LogRequest`."""


@define
class LogRequest:
    """A request has been answered, or what was sent of an answer is all that there will be."""

    method: str | None
    """None, as ``path``, where the request was refused before they were known."""
    path: str | None
    """Without the query, which may hold secrets. Printable ASCII."""
    status: int
    bytes_in: int
    """The request's, head and body, as far as it was read."""
    bytes_out: int
    """The response's, head and body."""


Reported = Literal[
    "auth_refused",
    "backend_protocol_error",
    "http_request",
    "identity_refused",
    "request_refused",
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
    The backend sent what is no reply or response, or one that nothing asked for.
``http_request``
    The client said an HTTP method.
``identity_refused``
    The backend can't be told who the client is, as its ``identity`` demands.
``request_refused``
    An HTTP request that is malformed, or could be understood in two ways.
``smuggling``
    Bare newlines in a message, or in a command.
``starttls_injection``
    Plaintext behind STARTTLS.
``too_many_errors``
    The client was cut off for commands that the proxy refused, or that do no work.
``xclient_refused``
    The client tried XCLIENT, XFORWARD or their like.
"""


@define
class Report:
    """Something for the log, and for metrics by ``what``."""

    what: Reported
    detail: str
    """For the log. Never holds credentials or content."""


@define
class Splice:
    """From now on bytes and ends run client to backend and back without the front, which gets no more events."""


@define
class CloseSession:
    """End both connections in order: last bytes out, close_notify, FIN."""

    reason: str
    """For the session's last log line."""


Command = (
    StartTls
    | ConnectBackend
    | DisconnectBackend
    | AbortBackend
    | ReleaseBackend
    | SendToClient
    | SendToBackend
    | FinishBackend
    | PauseClient
    | ResumeClient
    | StartTimer
    | StopTimer
    | BeginRequest
    | LogRequest
    | Report
    | Splice
    | CloseSession
)
