"""The options of a session: the one place where each is declared, with its default, its meaning and its bounds.

An option may be set in any scope (global, pathway group, pathway, listener, listen, peer). Everything else about it is
derived from here: parsing, resolution, ``tlsproxy eval``, the reference in ``docs/`` and the man page.
"""

from enum import Enum

from attrs import frozen

from tlsproxy.config.declaration import FileName, HostName, option
from tlsproxy.config.networks import IpNetwork
from tlsproxy.fronts.options import BareNewline, InjectionPolicy, TlsSecurityLevel
from tlsproxy.policy.handshakes import HandshakePolicy, RenegotiationAction
from tlsproxy.policy.protocols import TlsProtocols

_ESMTP = frozenset({"esmtp"})
_HTTP = frozenset({"http"})


class VerifyMode(Enum):
    """``tls_verify_mode``: what is asked of a client's certificate."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRE = "require"


@frozen(kw_only=True, cache_hash=True)
class Settings:
    """The options in force for one session."""

    tls_protocols: TlsProtocols = option(
        TlsProtocols.parse(">=TLSv1.2"),
        "TLS versions accepted, in the language of Postfix's `smtpd_tls_protocols`: names to include, `!name` to exclude, "
        "`>=version` and `<=version` as bounds. A range that reaches below TLSv1.2 lowers OpenSSL's security level to 0 "
        "for the sessions in this scope alone.",
    )
    tls_protocols_report: TlsProtocols | None = option(
        None,
        "TLS versions that you think of allowing, in the language of `tls_protocols`. Sessions that they would refuse are "
        "served as ever, but counted and remembered, for `tlsproxy report` to tell who they are. Not set: nothing is. An "
        "empty string takes back what a wider scope sets.",
    )
    tls_protocols_report_prefix_ipv4: int = option(
        24,
        "Bits of a client's IPv4 address that the report remembers. 24 is the smallest network that is routed on the "
        "Internet; 32 tells the machines of your own networks apart.",
        minimum=0,
        maximum=32,
    )
    tls_protocols_report_prefix_ipv6: int = option(
        48,
        "Bits of a client's IPv6 address that the report remembers. 48 is the smallest network that is routed on the "
        "Internet; 64 is a link, 128 a machine.",
        minimum=0,
        maximum=128,
    )
    tls_ciphers: str = option(
        "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL",
        "Cipher suites for TLS 1.2 and older, as an OpenSSL cipher list (ciphers(1)). TLS 1.0 and 1.1 have no suite in the "
        "default list: a scope that allows them needs one that has, `DEFAULT` for instance.",
    )
    tls_ciphersuites: str = option(
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
        "Cipher suites for TLS 1.3, by name, separated by colons.",
    )
    tls_certificate: tuple[FileName, ...] = option(
        (),
        "PEM file with the certificate and its chain, the server's own first; or a list of them. The names in a "
        "certificate's subjectAltName are what SNI is matched with (exact, then wildcard); the first certificate is "
        "served to clients that send no name, or one that none has. Certificates of different key types (RSA, ECDSA) for "
        "the same names are served side by side. `credential:NAME` is a systemd credential.",
    )
    tls_key: tuple[FileName, ...] = option(
        (),
        "PEM file with the private key, or a list in the order of `tls_certificate`. Without it the key is looked for in "
        "the certificate's own file. It must not be readable by others.",
    )
    tls_allow_renegotiation: bool = option(
        False,
        "Whether a client may renegotiate (TLS 1.0 to 1.2). `false`: the first attempt is answered with the "
        "`no_renegotiation` alert and, unless `tls_renegotiation_action` says otherwise, the connection is closed at once. "
        "`true`: allowed when secure renegotiation (RFC 5746) was negotiated, at most `tls_renegotiation_limit` times.",
    )
    tls_renegotiation_action: RenegotiationAction = option(
        RenegotiationAction.CLOSE,
        "What a refused attempt leads to. `close`: the connection is closed at once. `warn`: it is kept until more than "
        "`tls_renegotiation_limit` attempts were made, for clients that merely try.",
    )
    tls_renegotiation_limit: int = option(
        3,
        "Renegotiation attempts in one connection, allowed or tolerated, before it is closed.",
        minimum=0,
        maximum=1000,
    )
    tls_key_update_limit: int = option(
        32,
        "TLS 1.3 KeyUpdate messages from a client within one second of a connection; beyond it the connection is closed.",
        minimum=0,
        maximum=100_000,
    )
    tls_verify_mode: VerifyMode = option(
        VerifyMode.NONE,
        "Client certificates. `none`: not asked for. `optional`: asked for; one that is shown must verify against "
        "`tls_client_ca`. `require`: no session without one.",
    )
    tls_client_ca: FileName | None = option(
        None,
        "PEM file with the certificate authorities that client certificates are verified against.",
    )
    tls_alpn_protocols: tuple[str, ...] = option(
        (),
        "Application protocols offered by ALPN (RFC 7301), in order of preference. Empty: the listener kind's own "
        "(`http`: `http/1.1`; others: none). A client that offers only others is refused with the "
        "`no_application_protocol` alert; one that sends no ALPN is served.",
    )
    handshake_timeout: float = option(
        10.0,
        "Time for a client to complete the TLS handshake.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
    )
    idle_timeout: float = option(
        600.0,
        "A session in which no byte moved either way for this long is closed. Looked at from time to time, so it may take "
        "a quarter longer.",
        unit="seconds",
        minimum=1,
        maximum=604_800,
    )
    close_timeout: float = option(
        2.0,
        "How long a closed connection is still read from, so that the client gets the last bytes written (a reply, an "
        "alert) instead of a reset.",
        unit="seconds",
        minimum=0,
        maximum=60,
    )
    max_sessions: int = option(
        8_000,
        "Sessions that may run at a time, counted over all processes. Like every limit here it counts the sessions for "
        "which this scope's value is in force: at the top of the file it counts all that no narrower scope gives a value "
        "of its own. Beyond it a client is told, with `421 4.7.0` by `esmtp` and 503 by `http`; `stream` closes the "
        "connection. 0: no limit. The default bounds memory: idle sessions with TLS take some 40 KiB each, busy ones up to "
        "200. Set it to what the backend bears.",
        minimum=0,
        maximum=1_000_000,
    )
    max_sessions_per_peer: int = option(
        0,
        "Sessions that one client may have at a time; beyond it `421 4.7.0`, or 429. 0: no limit, the default, because "
        "behind a balancer that sends no PROXY protocol header all clients are one.",
        minimum=0,
        maximum=1_000_000,
    )
    session_rate_per_peer: int = option(
        0,
        "Sessions that one client may begin in a minute; beyond it `421 4.7.0`, or 429. 0: no limit.",
        minimum=0,
        maximum=1_000_000,
    )
    handshake_rate_per_peer: int = option(
        0,
        "TLS handshakes that one client may begin in a minute. Beyond it STARTTLS is answered `454 4.7.0`; where TLS comes "
        "first, the connection is closed before the handshake costs anything. 0: no limit.",
        minimum=0,
        maximum=1_000_000,
    )
    peer_prefix_ipv4: int = option(
        32,
        "Bits of an IPv4 address that make one client, for the limits per peer.",
        minimum=0,
        maximum=32,
    )
    peer_prefix_ipv6: int = option(
        64,
        "Bits of an IPv6 address that make one client, for the limits per peer. A customer has all of a /64.",
        minimum=0,
        maximum=128,
    )
    min_data_rate: int = option(
        0,
        "Bytes a second that a client must send of a message (DATA, BDAT) or of a request's body, and take of what is "
        "sent to it; averaged over `min_data_rate_window`. Time in which the backend keeps it waiting doesn't count, and "
        "neither does what it has nothing to send for: a spliced stream may be idle. Slower, it gets `421 4.4.2` or 408. "
        "0: no limit.",
        unit="bytes/s",
        minimum=0,
        maximum=1_000_000_000,
    )
    min_data_rate_window: float = option(
        60.0,
        "Time that `min_data_rate` is averaged over: a pause as long is forgiven.",
        unit="seconds",
        minimum=1,
        maximum=3600,
    )

    tls_security_level: TlsSecurityLevel = option(
        TlsSecurityLevel.MAY,
        "For `esmtp`: STARTTLS, in the words of Postfix's `smtpd_tls_security_level`. `none`: not offered. `may`: offered; "
        "mail is taken in plaintext too. `encrypt`: demanded; before it the backend isn't touched and every command but "
        "EHLO, HELO, STARTTLS, NOOP, RSET, HELP and QUIT is answered `530 5.7.0 Must issue a STARTTLS command first`. For "
        "`http`: `none` is plaintext, the others are TLS from the first byte.",
        kinds=_ESMTP | _HTTP,
    )
    tls_wrappermode: bool = option(
        False,
        "TLS from the first byte (port 465, RFC 8314), instead of STARTTLS.",
        kinds=_ESMTP,
    )
    starttls_injection_policy: InjectionPolicy = option(
        InjectionPolicy.REJECT,
        "What follows from plaintext that came behind STARTTLS in the clear (CVE-2011-0411). `reject`: the session is "
        "refused. `ignore`: it is thrown away, as Postfix does. It never reaches the backend.",
        kinds=_ESMTP,
    )
    tls_auth_only: bool = option(
        True,
        "AUTH is offered and accepted under TLS alone.",
        kinds=_ESMTP,
    )
    smtp_auth_tls_protocols: TlsProtocols | None = option(
        None,
        "TLS versions under which AUTH is offered and accepted, in the language of `tls_protocols`, where they are fewer "
        "than those: mail may arrive over TLS 1.0 while passwords need `>=TLSv1.2`. Not set: under every version.",
        kinds=_ESMTP,
    )
    smtp_bare_newline: BareNewline = option(
        BareNewline.REJECT,
        "What is done with a message in which LF or CR stands alone: old servers take `LF.LF` for the end of a message, "
        "and what follows for commands (SMTP smuggling, CVE-2023-51764). `reject`: the message is refused. `normalize`: "
        "each becomes CRLF, and none ends the message. `pass`: left as it is, for backends known to be safe.",
        kinds=_ESMTP,
    )
    smtp_discard_ehlo_keywords: tuple[str, ...] = option(
        (),
        "Keywords taken out of the backend's EHLO reply (Postfix's `smtpd_discard_ehlo_keywords`), any case.",
        kinds=_ESMTP,
    )
    smtp_discard_ehlo_keywords_tls: tuple[str, ...] | None = option(
        None,
        "The same under TLS, where it isn't to be the same list.",
        kinds=_ESMTP,
    )
    smtp_command_timeout: float = option(
        300.0,
        "Time for a client's next command, or its next answer in an AUTH dialogue, to arrive whole, counted from the reply "
        "before it: a byte now and then doesn't prolong it. Then `421 4.4.2`. The default is what RFC 5321 §4.5.3.2.7 asks "
        "for. Looked at from time to time, so it may take a quarter longer.",
        unit="seconds",
        minimum=1,
        maximum=86_400,
        kinds=_ESMTP,
    )
    smtp_hostname: HostName = option(
        HostName(""),
        "The proxy's name in its own replies, in its EHLO to a backend and in `Received:`. Empty: the machine's host name.",
        kinds=_ESMTP,
    )

    trusted_proxies: tuple[IpNetwork, ...] = option(
        (),
        "Networks of HTTP proxies in front whose `X-Forwarded-*` and `Forwarded` fields are believed and added to. Those "
        "of any other client are replaced. A client on a `unix:` listen is never trusted.",
        kinds=_HTTP,
    )
    http_tls_headers: bool = option(
        False,
        "Tell the backend `X-TLS-Version`, `X-TLS-Cipher` and, of a verified client certificate, `X-TLS-Client-Subject`. "
        "A client's own fields of these names never get through, whatever this says.",
        kinds=_HTTP,
    )
    http_redirect: bool = option(
        False,
        "Answer requests that didn't come by TLS with a redirect to https: for a listen with "
        '`tls_security_level = "none"` on port 80.',
        kinds=_HTTP,
    )
    http_redirect_host: HostName = option(
        HostName(""),
        "Host to redirect to. Empty: the one that was asked for.",
        kinds=_HTTP,
    )
    http_redirect_port: int = option(443, "Port to redirect to.", minimum=1, maximum=65535, kinds=_HTTP)
    acme_challenge_directory: FileName | None = option(
        None,
        "Directory with the answers to ACME http-01 challenges (RFC 8555 §8.3), one file for each token: certbot's "
        "`--webroot-path` and `/.well-known/acme-challenge` below it. They are served before any redirect.",
        kinds=_HTTP,
    )
    http_hsts: int = option(
        0,
        "`Strict-Transport-Security` (RFC 6797) on responses that go by TLS: for how long a browser shall come by TLS "
        "only. Replaces the backend's own field. 0: not sent.",
        unit="seconds",
        minimum=0,
        maximum=315_360_000,
        kinds=_HTTP,
    )
    http_hsts_include_subdomains: bool = option(
        False, "Let `http_hsts` speak for subdomains too.", kinds=_HTTP
    )
    http_hsts_preload: bool = option(
        False, "Let `http_hsts` ask for the browsers' preload lists.", kinds=_HTTP
    )
    http_refused_methods: tuple[str, ...] = option(
        ("CONNECT", "TRACE"),
        "Methods answered 405.",
        kinds=_HTTP,
    )
    http_upgrades: tuple[str, ...] = option(
        ("websocket",),
        "Protocols that a connection may be upgraded to (RFC 9110 §7.8). After the backend's 101, bytes run both ways "
        "unread.",
        kinds=_HTTP,
    )
    http_max_header_size: int = option(
        32_768,
        "Bytes of a request's head, beyond which it is answered 431.",
        unit="bytes",
        minimum=1024,
        maximum=1_048_576,
        kinds=_HTTP,
    )
    http_max_header_fields: int = option(
        100,
        "Fields in a request's head, beyond which it is answered 431.",
        minimum=1,
        maximum=10_000,
        kinds=_HTTP,
    )
    http_max_body_size: int = option(
        104_857_600,
        "Bytes of a request's body, beyond which it is answered 413. 0: any size.",
        unit="bytes",
        minimum=0,
        maximum=2**53,
        kinds=_HTTP,
    )
    http_max_requests: int = option(
        1000,
        "Requests on one connection; the response to the last says `Connection: close`.",
        minimum=1,
        maximum=1_000_000,
        kinds=_HTTP,
    )
    http_request_timeout: float = option(
        30.0,
        "Time for a request's head to arrive, from its first byte (or from the handshake, for the first). Then 408.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
        kinds=_HTTP,
    )
    http_keepalive_timeout: float = option(
        75.0,
        "How long a connection is kept for the next request.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
        kinds=_HTTP,
    )
    http_response_timeout: float = option(
        60.0,
        "Time for the backend's response to begin, once the request was sent. Then 504. Raise it for long polls, such as "
        "ActiveSync's.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
        kinds=_HTTP,
    )

    @property
    def handshake_policy(self) -> HandshakePolicy:
        """The rules of :mod:`tlsproxy.policy.handshakes` for a client."""
        return HandshakePolicy(
            allow_renegotiation=self.tls_allow_renegotiation,
            renegotiation_action=self.tls_renegotiation_action,
            renegotiation_limit=self.tls_renegotiation_limit,
            key_update_limit=self.tls_key_update_limit,
        )
