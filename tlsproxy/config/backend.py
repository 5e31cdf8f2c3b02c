"""``[backend.NAME]``: the servers that sessions go to, how one is chosen, and how it is spoken to."""

from enum import Enum

from attrs import NOTHING, frozen

from tlsproxy.config.addresses import ServerAddress
from tlsproxy.config.declaration import FileName, HostName, HttpPath, IpText, StatusRange, option
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.policy.protocols import TlsProtocols
from tlsproxy.policy.selection import SelectionPolicy, SelectionRules


class BackendTls(Enum):
    """``tls``: whether the servers are spoken to in TLS."""

    NONE = "none"
    IMPLICIT = "implicit"
    STARTTLS = "starttls"


class HealthCheck(Enum):
    """``health_check``: what a server is asked, to see whether it is fit."""

    NONE = "none"
    TCP = "tcp"
    SMTP = "smtp"
    HTTP = "http"


@frozen(kw_only=True)
class Server:
    """One of a backend's ``servers``."""

    address: ServerAddress = option(NOTHING, "Where it is: `host:port` or `unix:/path`.")
    weight: int = option(
        1,
        "Its share, against the weights of the others.",
        minimum=1,
        maximum=1000,
    )

    def __str__(self) -> str:
        return str(self.address)


@frozen(kw_only=True)
class Backend:
    """``[backend.NAME]``: where plaintext goes."""

    path: str = ""
    name: str
    servers: tuple[Server, ...] = option(
        NOTHING,
        "Addresses of the servers, as `host:port` or `unix:/path`; where they aren't equals, as "
        '`{address = "host:port", weight = 3}`. A host name may have several addresses, IPv6 and IPv4: they are tried in '
        "the manner of RFC 8305, and are one server.",
    )
    policy: SelectionPolicy = option(
        SelectionPolicy.FAILOVER,
        "Which server gets a session. `failover`: the first in the list that can take it. `round_robin`: each in turn, by "
        "weight. `least_connections`: the one with the fewest sessions for its weight.",
    )
    max_connections: int = option(
        0,
        "Connections to one server at a time, idle ones included; 0: as many as come. When every server is full, clients "
        "wait (`queue_size`).",
        minimum=0,
        maximum=1_000_000,
    )
    queue_size: int = option(
        100,
        "Clients that may wait for a server to have room. One more is refused at once.",
        minimum=0,
        maximum=100_000,
    )
    queue_timeout: float = option(
        5.0,
        "How long a client waits for room before it is refused.",
        unit="seconds",
        minimum=0.1,
        maximum=600,
    )
    connect_timeout: float = option(
        5.0,
        "Time for one connection to one server to come up, the TLS handshake included.",
        unit="seconds",
        minimum=0.1,
        maximum=600,
    )
    greeting_timeout: float = option(
        30.0,
        "SMTP: time for a server's greeting, and for its replies up to STARTTLS. A server that looks up the name of "
        "whoever connects may need long for it. One whose greeting isn't 220 is passed over for the next server, unless "
        "the greeting is meant for the client: with an `identity` of `proxy_v1`, `proxy_v2` or `transparent`.",
        unit="seconds",
        minimum=0.1,
        maximum=600,
    )
    connect_deadline: float = option(
        60.0,
        "How long one client waits in all, with every server that is tried for it. After it the client is refused.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
    )
    max_failures: int = option(
        3,
        "Attempts in a row that fail within `ejection_time` before a server is left out for that time, and each time in a "
        "row for twice as long, up to 5 minutes. Then one client tries it. 0: never.",
        minimum=0,
        maximum=1000,
    )
    ejection_time: float = option(
        10.0,
        "How long a server that failed is left out at first. Where no other is left, it is tried nevertheless.",
        unit="seconds",
        minimum=0.1,
        maximum=300,
    )
    slow_start: float = option(
        10.0,
        "Time in which a server that is back gets from a tenth of its share to the whole.",
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    resolve_interval: float = option(
        60.0,
        "How long the addresses of a host name are used before it is looked up again. While look-ups fail, the last known "
        "ones are.",
        unit="seconds",
        minimum=1,
        maximum=86_400,
    )
    keepalive_connections: int = option(
        32,
        "HTTP: idle connections kept for the next request, to all servers together. None are kept with an `identity` of "
        "`proxy_v1`, `proxy_v2` or `transparent`: such a connection is one client's.",
        minimum=0,
        maximum=10_000,
    )
    keepalive_timeout: float = option(
        4.0,
        "HTTP: how long a connection is kept idle. Apache and Node close theirs after 5 seconds, and a request that meets "
        "the close is lost, or has to be sent again.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
    )
    health_check: HealthCheck = option(
        HealthCheck.NONE,
        "What each server is asked at an interval. `tcp`: to take a connection. `smtp`: to greet with 220; then QUIT. "
        "`http`: to answer a GET. TLS, where `tls` is set, is part of it. A server that fails two checks in a row gets no "
        "sessions until it passes one.",
    )
    health_check_interval: float = option(
        10.0,
        "Time between two checks of a server.",
        unit="seconds",
        minimum=0.5,
        maximum=86_400,
    )
    health_check_timeout: float = option(
        5.0,
        "Time for a check, from connecting to the answer.",
        unit="seconds",
        minimum=0.1,
        maximum=600,
    )
    health_check_path: HttpPath = option(
        HttpPath("/"),
        "`http`: what is asked for.",
    )
    health_check_status: StatusRange = option(
        StatusRange(200, 399),
        "`http`: the status codes of a server that is fit.",
    )
    identity: IdentityMode = option(
        IdentityMode.NONE,
        "How the server learns who the client is. `none`: not at all, every client has the proxy's address, and a server "
        "that relays for that address is an open relay. `proxy_v1`, `proxy_v2`: a PROXY protocol header; version 2 tells "
        "the TLS facts as well. `xclient`: Postfix's XCLIENT; sessions fail where the server doesn't offer it. "
        "`trace_header`: a `Received:` field in each message. `transparent`: the connection comes from the client's own "
        "address (IP_TRANSPARENT; needs CAP_NET_ADMIN and routing). `xclient` and `trace_header` are for esmtp alone.",
    )
    source_address: IpText | None = option(
        None,
        "Address that connections to the server come from: one that it doesn't trust, unlike 127.0.0.1.",
    )
    tls: BackendTls = option(
        BackendTls.NONE,
        "TLS to the servers. `none`: plaintext. `implicit`: from the first byte. `starttls`: SMTP's STARTTLS (RFC 3207); a "
        "server that doesn't offer it isn't used. The server is verified in either case.",
    )
    tls_ca: FileName | None = option(
        None,
        "PEM file with the authorities that the servers' certificates are verified against: your own, or the system's "
        "(`/etc/ssl/certs/ca-certificates.crt` on Debian). A server's own certificate can be listed too, and is then "
        "trusted as it is. Required with `tls`.",
    )
    tls_server_name: HostName = option(
        HostName(""),
        "Name that the servers' certificates must have in their subjectAltName, and that is asked for by SNI. Empty: the "
        "host of the server's address; where that is an IP address, the certificate must have the address.",
    )
    tls_verify_name: bool = option(
        True,
        "`false`: a certificate of the authorities is good whatever name it has. Whoever has any such certificate can then "
        "pass for the server.",
    )
    tls_certificate: FileName | None = option(
        None,
        "PEM file with a certificate and its chain, shown to servers that ask for a client's.",
    )
    tls_key: FileName | None = option(
        None,
        "PEM file with its private key. Without it the key is looked for in the certificate's own file. It must not be "
        "readable by others.",
    )
    tls_protocols: TlsProtocols = option(
        TlsProtocols.parse(">=TLSv1.2"),
        "TLS versions spoken to the servers, in the language of the option of this name for clients.",
    )
    tls_ciphers: str = option(
        "DEFAULT",
        "Cipher suites for TLS 1.2 and older, as an OpenSSL cipher list. Those without authentication are never used.",
    )
    tls_ciphersuites: str = option(
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
        "Cipher suites for TLS 1.3, by name, separated by colons.",
    )
    tls_allow_renegotiation: bool = option(
        False,
        "Whether a server may renegotiate (HelloRequest, TLS 1.2). `false`: the first attempt ends the connection. `true`: "
        "at most three times in a connection, and only with secure renegotiation (RFC 5746).",
    )

    @property
    def rules(self) -> SelectionRules:
        """The rules of :mod:`tlsproxy.policy.selection`."""
        return SelectionRules(
            policy=self.policy,
            max_connections=self.max_connections,
            max_failures=self.max_failures,
            ejection_time=self.ejection_time,
            slow_start=self.slow_start,
        )
