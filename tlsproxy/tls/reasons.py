"""Why OpenSSL ended a connection, in words for a log.

pyOpenSSL hands on the reason's text alone, without its number (``ERR_reason_error_string(3)``); the texts below are those
of ssl/ssl_err.c. A reason that isn't here is told as OpenSSL says it.
"""

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen
from OpenSSL import SSL

from tlsproxy.policy.protocols import TlsProtocols
from tlsproxy.tls.client_hello import ClientHello, is_sslv2_client_hello

_ALERT: Final = re.compile(r"(?:sslv3|tlsv1|tlsv13|tls|ssl/tls) alert (.+)")
"""How OpenSSL words a fatal alert from the peer: the alert's name comes last."""

_VERSION_REASONS: Final = frozenset(
    {
        "unsupported protocol",
        "no protocols available",
        "version too low",
        "version too high",
        "wrong ssl version",
        "wrong version number",
    }
)
_NOT_TLS_REASONS: Final = frozenset({"wrong version number", "http request", "https proxy request"})
"""The first is also a version's, where there is a ClientHello."""
_VERIFY_REASON: Final = "certificate verify failed"

_UNDECIPHERABLE: Final = "a record that can't be decrypted: changed on the way, or forged"

_TEXTS: Final[Mapping[str, str]] = {
    "no shared cipher": "no cipher suite in common",
    "no suitable key share": "no key exchange group in common",
    "no suitable groups": "no key exchange group in common",
    "no suitable signature algorithm": "no signature algorithm in common for our certificate",
    "no shared signature algorithms": "no signature algorithm in common",
    "peer did not return a certificate": "a client certificate is required, and none was shown",
    "inappropriate fallback": "the peer fell back to a version lower than both sides speak (RFC 7507)",
    "data length too long": "a record or message longer than TLS allows",
    "packet length too long": "a record longer than TLS allows",
    "encrypted length too long": "a record longer than TLS allows",
    "decryption failed or bad record mac": _UNDECIPHERABLE,
    "cipher operation failed": _UNDECIPHERABLE,
    "bad record type": "something that isn't a TLS record",
    "unsupported protocol": "no TLS version in common",
    "unsafe legacy renegotiation disabled": "the peer lacks secure renegotiation (RFC 5746)",
}

_SHOWN_BYTES: Final = 16
"""How much of what isn't TLS is shown: enough to see HTTP, SMTP or a scanner in it."""

_VERIFY_TEXTS: Final[Mapping[int, str]] = {
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT: "its issuer is unknown",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its issuer is unknown",
    SSL.X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its issuer is unknown",
    SSL.X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "it is self-signed, and not a known authority",
    SSL.X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "its root is not a known authority",
    SSL.X509VerificationCodes.ERR_CERT_NOT_YET_VALID: "certificate is not yet valid",
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: "certificate has expired",
    SSL.X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: "its signature is wrong",
    SSL.X509VerificationCodes.ERR_INVALID_CA: "its issuer is no authority (basicConstraints)",
    SSL.X509VerificationCodes.ERR_INVALID_PURPOSE: "it isn't meant for this use (extendedKeyUsage)",
}


@frozen
class VerifyError:
    """The first thing that ``X509_verify_cert(3)`` found wrong with a peer's chain."""

    code: int
    """One of ``X509_V_ERR_*``."""
    depth: int
    """Position in the chain; 0 is the peer's own certificate."""

    def __str__(self) -> str:
        text = _VERIFY_TEXTS.get(self.code) or _code_name(self.code)
        return text if self.depth == 0 else f"{text} (certificate {self.depth} above the peer's own)"


def _code_name(code: int) -> str:
    for name, value in vars(SSL.X509VerificationCodes).items():
        if name.startswith("ERR_") and value == code:
            return name.removeprefix("ERR_").lower().replace("_", " ")
    return f"X.509 verification error {code}"


@frozen
class Handshake:
    """What is known of a handshake that failed."""

    peer: str
    """``client`` or ``server``."""
    protocols: TlsProtocols
    begin: bytes
    """The first bytes that the peer sent."""
    hello: ClientHello | None
    """Parsed from them."""
    verify_error: VerifyError | None

    def explain(self, error: SSL.Error) -> str:
        """Why it failed."""
        reason = reason_text(error)
        if self.hello is not None:
            if reason in _VERSION_REASONS or _alert_name(reason) == "protocol version":
                return f"no TLS version in common: offered are {self.hello.offered}, allowed are {self.protocols}"
        elif reason in _NOT_TLS_REASONS:
            return self._not_tls()
        if reason == _VERIFY_REASON and self.verify_error is not None:
            return f"{self.peer} certificate not verified: {self.verify_error}"
        return explain(error, self.peer)

    def _not_tls(self) -> str:
        if is_sslv2_client_hello(self.begin):
            return "the client begins with an SSLv2 ClientHello, which the TLS library doesn't read"
        return f"not TLS: the {self.peer} begins with {self.begin[:_SHOWN_BYTES]!r}"


def explain(error: SSL.Error, peer: str) -> str:
    """Why a connection ended."""
    if isinstance(error, SSL.ZeroReturnError):
        return f"the {peer} sent close_notify"
    reason = reason_text(error)
    alert = _alert_name(reason)
    if alert is not None:
        return f"the {peer} sent the alert {alert}"
    return _TEXTS.get(reason, reason)


def _alert_name(reason: str) -> str | None:
    match = _ALERT.fullmatch(reason)
    return match[1] if match is not None else None


def reason_text(error: SSL.Error) -> str:
    """OpenSSL's text for the first entry of the error queue."""
    match error.args:
        case ([(_, _, str(reason)), *_],):
            return reason
        case (int(), str(text)):  # SysCallError
            return text
        case _:
            return "unknown reason"
