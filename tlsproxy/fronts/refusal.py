"""Sessions over a limit, in the protocols that have words for it: a refusal, and the end.

Where TLS comes first, the client has to be let through the handshake to be told. The backend hears nothing of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

from tlsproxy.fronts import replies
from tlsproxy.fronts.commands import (
    BeginRequest,
    CloseSession,
    Command,
    LogRequest,
    SendToClient,
    StartTimer,
    StartTls,
)
from tlsproxy.fronts.events import ClientDataReceived, Event, SessionOpened, TlsStarted
from tlsproxy.fronts.http_answers import NO_STORE, answer, explanation
from tlsproxy.fronts.options import FrontOptions, TlsSecurityLevel
from tlsproxy.policy.pace import Due

REQUEST_TIMEOUT: Final = 5.0
"""Seconds for the first bytes of a request that is to be refused: it follows upon the handshake."""

RETRY_AFTER: Final = 30
"""Seconds until an HTTP client should try again: half the minute that rates are counted in."""

_ALL: Final = "max_sessions"
"""The option whose limit is no matter of who the client is."""


class _Refusal(ABC):
    """One session that is refused."""

    client_name: ClassVar[None] = None
    due: ClassVar[Due] = Due.NOTHING
    step: ClassVar[int] = 0

    def __init__(self, options: FrontOptions, limit: str) -> None:
        """:param limit: The option that sets the limit; the reason that the log gives for the end."""
        self._options = options
        self._limit = limit

    def handle(self, event: Event) -> Sequence[Command]:
        """Take an event; what is to be done, in order. Whatever isn't foreseen ends the session."""
        match event:
            case SessionOpened(tls_available=available):
                if not self._tls_first():
                    return self._begin()
                return [StartTls()] if available else [self._end()]
            case TlsStarted():
                return self._begin()
            case ClientDataReceived(data):
                return self._answer(data)
            case _:
                return [self._end()]

    def _end(self) -> CloseSession:
        return CloseSession(self._limit)

    @abstractmethod
    def _tls_first(self) -> bool:
        """Whether nothing can be said before a handshake."""

    @abstractmethod
    def _begin(self) -> Sequence[Command]:
        """The client can be spoken to."""

    @abstractmethod
    def _answer(self, data: bytes) -> Sequence[Command]:
        """It has said something."""


class SmtpRefusal(_Refusal):
    """421 in place of a greeting (RFC 5321 §3.8), with the enhanced code of Postfix's ``smtpd_client_*_limit``."""

    def _tls_first(self) -> bool:
        return self._options.settings.tls_wrappermode

    def _begin(self) -> Sequence[Command]:
        reply = replies.TOO_MANY_SESSIONS if self._limit == _ALL else replies.TOO_MANY_OF_PEER
        hostname = self._options.settings.smtp_hostname.encode()
        return [SendToClient(reply.replace(b"{hostname}", hostname)), self._end()]

    def _answer(self, _data: bytes) -> Sequence[Command]:
        return [self._end()]


class HttpRefusal(_Refusal):
    """503, or 429 (RFC 6585 §4) where it is this client that is too much, in answer to the first request.

    Not before it: a client may take a response that nothing asked for, on a connection that it just opened, for a fault,
    and open another one at once.
    """

    def _tls_first(self) -> bool:
        return self._options.settings.tls_security_level is not TlsSecurityLevel.NONE

    def _begin(self) -> Sequence[Command]:
        return [BeginRequest(), StartTimer(REQUEST_TIMEOUT)]

    def _answer(self, data: bytes) -> Sequence[Command]:
        status, detail = (
            (503, "too many sessions")
            if self._limit == _ALL
            else (429, "too many connections from your address")
        )
        response = answer(
            status,
            explanation(status, detail),
            now=self._options.now(),
            fields=b"Retry-After: %d\r\n" % RETRY_AFTER + NO_STORE,
            head=data.startswith(b"HEAD "),
        )
        return [
            SendToClient(response),
            LogRequest(None, None, status, len(data), len(response)),
            self._end(),
        ]
