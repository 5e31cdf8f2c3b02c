"""Every exception that tlsproxy raises on purpose, in one tree."""

from attrs import frozen


class TlsproxyError(Exception):
    """Root of the tree: catching it catches what tlsproxy refused, and no programming error."""


@frozen
class Problem:
    """One thing wrong with a configuration, as its author has to see it."""

    path: str
    """Key path in the file: ``esmtp_listener[0].listen[1].tls_protocols``. Empty: the file as a whole."""
    message: str
    """What is wrong with which value, and what would be valid."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigurationError(TlsproxyError):
    """A configuration can't be used. Carries every problem found, never only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class TlsProtocolsError(TlsproxyError, ValueError):
    """A ``tls_protocols`` string isn't valid, or allows nothing."""


class TlsError(TlsproxyError):
    """A TLS connection has to end. What OpenSSL wrote for the peer (an alert) is still to be sent."""

    reason = "tls_error"
    """Stable word for logs and metrics; each subclass has its own."""


class HandshakeFailed(TlsError):
    """The first handshake didn't complete."""

    reason = "handshake_failed"


class TlsRecordError(TlsError):
    """The peer broke the TLS protocol, or sent a fatal alert, after the handshake."""

    reason = "tls_protocol_error"


class VersionRefused(TlsError):
    """The negotiated version lies outside ``tls_protocols``, although OpenSSL agreed to it."""

    reason = "version_refused"


class RenegotiationRefused(TlsError):
    """The peer tried to renegotiate, and the policy ends the connection for it."""

    reason = "renegotiation_refused"


class KeyUpdateLimitExceeded(TlsError):
    """The peer sent more TLS 1.3 KeyUpdate messages in a second than ``tls_key_update_limit``."""

    reason = "key_update_limit"


class ProxyHeaderError(TlsproxyError):
    """A connection that has to begin with a PROXY header doesn't, or the header is malformed."""

    reason = "proxy_header_error"
    """Stable word for logs and metrics."""


class XclientError(TlsproxyError):
    """XCLIENT can't tell this backend who the client is."""

    reason = "xclient_error"
    """Stable word for logs and metrics."""


class OptionsError(TlsproxyError):
    """Options can't be put into force. Carries every problem found: the option's name, and what is wrong with it."""

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__("\n".join(f"{option}: {message}" for option, message in problems))
        self.problems = problems


class ReportError(TlsproxyError):
    """The database of the shadow report can't be read, or written."""

    reason = "report_error"
    """Stable word for logs and metrics."""
