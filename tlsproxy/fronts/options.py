"""What a front is told once for all sessions with the same settings: options, identity mode, clock.

Fronts stand below the configuration. They name the options that they read in a protocol, which
:class:`tlsproxy.config.settings.Settings` fulfils by its attributes.
"""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from attrs import frozen

from tlsproxy.policy.protocols import TlsProtocols


class TlsSecurityLevel(Enum):
    """``tls_security_level``, in Postfix's words: whether STARTTLS is offered, and whether it is demanded."""

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"


class InjectionPolicy(Enum):
    """``starttls_injection_policy``: what follows from plaintext behind STARTTLS (CVE-2011-0411)."""

    REJECT = "reject"
    IGNORE = "ignore"


class BareNewline(Enum):
    """``smtp_bare_newline``: what is done with a LF or CR that isn't part of a CRLF."""

    REJECT = "reject"
    NORMALIZE = "normalize"
    PASS = "pass"  # noqa: S105 - no password


class IdentityMode(Enum):
    """``identity``: how the backend learns who the client is."""

    NONE = "none"
    PROXY_V1 = "proxy_v1"
    PROXY_V2 = "proxy_v2"
    XCLIENT = "xclient"
    TRACE_HEADER = "trace_header"
    TRANSPARENT = "transparent"


class EsmtpOptions(Protocol):
    """The options of an ``esmtp`` session."""

    @property
    def tls_security_level(self) -> TlsSecurityLevel: ...

    @property
    def tls_wrappermode(self) -> bool: ...

    @property
    def tls_auth_only(self) -> bool: ...

    @property
    def starttls_injection_policy(self) -> InjectionPolicy: ...

    @property
    def smtp_hostname(self) -> str: ...

    @property
    def smtp_auth_tls_protocols(self) -> TlsProtocols | None: ...

    @property
    def smtp_bare_newline(self) -> BareNewline: ...

    @property
    def smtp_discard_ehlo_keywords(self) -> tuple[str, ...]: ...

    @property
    def smtp_discard_ehlo_keywords_tls(self) -> tuple[str, ...] | None: ...


class HttpOptions(Protocol):
    """The options of an ``http`` session."""

    @property
    def tls_security_level(self) -> TlsSecurityLevel: ...

    @property
    def trusted_proxies(self) -> tuple[IPv4Network | IPv6Network, ...]: ...

    @property
    def http_tls_headers(self) -> bool: ...

    @property
    def http_redirect(self) -> bool: ...

    @property
    def http_redirect_host(self) -> str: ...

    @property
    def http_redirect_port(self) -> int: ...

    @property
    def http_hsts(self) -> int: ...

    @property
    def http_hsts_include_subdomains(self) -> bool: ...

    @property
    def http_hsts_preload(self) -> bool: ...

    @property
    def http_refused_methods(self) -> tuple[str, ...]: ...

    @property
    def http_upgrades(self) -> tuple[str, ...]: ...

    @property
    def http_max_header_size(self) -> int: ...

    @property
    def http_max_header_fields(self) -> int: ...

    @property
    def http_max_body_size(self) -> int: ...

    @property
    def http_max_requests(self) -> int: ...

    @property
    def http_request_timeout(self) -> float: ...

    @property
    def http_keepalive_timeout(self) -> float: ...

    @property
    def http_response_timeout(self) -> float: ...


class SessionOptions(EsmtpOptions, HttpOptions, Protocol):
    """The options of a session, whatever its kind: each front reads its own."""


@frozen(eq=False)
class FrontOptions:
    """What makes a front, together with the events of its session."""

    settings: SessionOptions
    identity: IdentityMode
    """The backend's ``identity``."""
    now: Callable[[], datetime]
    """The time with its time zone, for the ``Received:`` field."""
    read_challenge: Callable[[str], bytes | None] | None = None
    """The answer to an ACME http-01 challenge (RFC 8555 §8.3) by its token, which is 1 to 128 letters, digits, ``-`` and
    ``_``; None where there is none. Without ``acme_challenge_directory`` there is no such function."""
