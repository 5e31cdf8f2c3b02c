"""Making OpenSSL contexts from a policy.

One policy may take several contexts, one for each group of certificates that SNI chooses between. They differ in the
certificates alone. That matters: ``SSL_set_SSL_CTX(3)`` brings along the certificates, the ALPN callback and the
authorities that clients are verified against, but neither versions nor options; those stay as the connection began.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, cast

from attrs import frozen
from OpenSSL import SSL, crypto

from tlsproxy.config.settings import Settings, VerifyMode
from tlsproxy.errors import HandshakeFailed, OptionsError
from tlsproxy.fronts import Kind
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.certificates import Authorities, Certificate
from tlsproxy.tls.ciphers import effective_cipher_list, set_ciphers
from tlsproxy.tls.files import in_memory
from tlsproxy.tls.reasons import VerifyError, reason_text
from tlsproxy.tls.sni import NameMap

_OP_ALLOW_CLIENT_RENEGOTIATION: Final = 1 << 8
"""``SSL_OP_ALLOW_CLIENT_RENEGOTIATION``, which pyOpenSSL doesn't name. Without it OpenSSL 3.0 and later refuse."""

_MODE_ENABLE_PARTIAL_WRITE: Final = 1
"""``SSL_MODE_ENABLE_PARTIAL_WRITE``, which pyOpenSSL sets and doesn't name. Without it one send() takes all."""

_OP_NO: Final = {
    TlsVersion.TLS1_0: SSL.OP_NO_TLSv1,
    TlsVersion.TLS1_1: SSL.OP_NO_TLSv1_1,
    TlsVersion.TLS1_2: SSL.OP_NO_TLSv1_2,
    TlsVersion.TLS1_3: SSL.OP_NO_TLSv1_3,
}

_VERIFY_MODES: Final = {
    VerifyMode.NONE: SSL.VERIFY_NONE,
    VerifyMode.OPTIONAL: SSL.VERIFY_PEER,
    VerifyMode.REQUIRE: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}

VERIFY_DEPTH: Final = 10
"""Intermediate authorities in a peer's chain. Real ones have two or three; each costs a signature check."""

_FFDHE2048: Final = b"""\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""RFC 7919 §A.1: for DHE with clients that don't negotiate a group. Old ones know no more than 2048 bits."""


@frozen
class ServerPolicy:
    """All that makes one server context different from another."""

    protocols: TlsProtocols
    ciphers: str
    ciphersuites: str
    certificates: tuple[str, ...]
    keys: tuple[str, ...]
    verify_mode: VerifyMode
    client_ca: str | None
    alpn_protocols: tuple[str, ...]
    allow_renegotiation: bool

    @classmethod
    def of(cls, settings: Settings, kind: Kind) -> "ServerPolicy":
        return cls(
            protocols=settings.tls_protocols,
            ciphers=settings.tls_ciphers,
            ciphersuites=settings.tls_ciphersuites,
            certificates=settings.tls_certificate,
            keys=settings.tls_key,
            verify_mode=settings.tls_verify_mode,
            client_ca=settings.tls_client_ca if settings.tls_verify_mode is not VerifyMode.NONE else None,
            alpn_protocols=settings.tls_alpn_protocols or kind.alpn_protocols,
            allow_renegotiation=settings.tls_allow_renegotiation,
        )


def build_context(
    policy: ServerPolicy, group: Iterable[Certificate], authorities: Authorities | None
) -> SSL.Context:
    """The server's context that serves ``group``: certificates of different key types, side by side.

    :raises OptionsError: The TLS library refuses one of them, or of the lists of cipher suites.
    """
    context = bounded_context(SSL.TLS_SERVER_METHOD, policy.protocols)
    problems = tuple(apply_ciphers(context, policy))
    if problems:
        raise OptionsError(problems)
    _set_behaviour(context, policy)
    for certificate in group:
        use_certificate(context, certificate)
    if authorities is not None:
        _verify_clients(context, policy.verify_mode, authorities)
    if policy.alpn_protocols:
        context.set_alpn_select_callback(_alpn_callback(policy.alpn_protocols))
    return context


def apply_ciphers(context: SSL.Context, policy: ServerPolicy) -> Iterator[tuple[str, str]]:
    """Put both lists of cipher suites into force; yields an option's name and what is wrong with its value."""
    cipher_list = effective_cipher_list(
        policy.ciphers, reaches_below_tls12=policy.protocols.reaches_below_tls12
    )
    return set_ciphers(context, cipher_list, policy.ciphersuites)


def bounded_context(method: int, protocols: TlsProtocols) -> SSL.Context:
    """A context that speaks ``protocols`` and nothing else, in either role."""
    context = SSL.Context(method)
    context.set_min_proto_version(protocols.minimum)
    context.set_max_proto_version(protocols.maximum)
    for version in protocols.excluded:
        context.set_options(_OP_NO[version])
    context.set_options(SSL.OP_NO_COMPRESSION)  # CRIME, CVE-2012-4929
    # An idle connection then holds no record buffers: 34 KiB less each.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    return context


def _set_behaviour(context: SSL.Context, policy: ServerPolicy) -> None:
    renegotiation = _OP_ALLOW_CLIENT_RENEGOTIATION if policy.allow_renegotiation else SSL.OP_NO_RENEGOTIATION
    context.set_options(renegotiation)
    if policy.protocols.reaches_below_tls12:
        # Old clients put RSA key transport and 3DES first. Where all suites are good, the client knows best which one its
        # hardware is fast at (Mozilla's intermediate profile).
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    # Sessions are resumed by tickets, which the client keeps: the cache would hold memory for them here.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # OpenSSL resumes a session with a client certificate only under the same identifier. One for the whole policy: SNI
    # changes the context, not what is demanded of a client. Ticket keys are each context's own, drawn at random.
    context.set_session_id(sha256(repr(policy).encode()).digest())
    with in_memory(_FFDHE2048) as path:
        context.load_tmp_dh(path)


def use_certificate(context: SSL.Context, certificate: Certificate) -> None:
    """Let ``context`` show a certificate with its chain.

    :raises OptionsError: The TLS library refuses it.
    """
    try:
        # The one function of OpenSSL by which each certificate in a context keeps a chain of its own.
        with in_memory(certificate.chain_pem) as path:
            context.use_certificate_chain_file(path)
        context.use_privatekey(certificate.private_key)
        context.check_privatekey()
    except SSL.Error as error:
        problem = f"{certificate.path}: the TLS library refuses it: {reason_text(error)}"
        raise OptionsError((("tls_certificate", problem),)) from error


def _verify_clients(context: SSL.Context, mode: VerifyMode, authorities: Authorities) -> None:
    with in_memory(authorities.pem) as path:
        context.load_verify_locations(path)
        context.load_client_ca(path.encode("ascii"))
    # What the operator listed is trusted, also an authority below a root that isn't listed.
    store = cast("crypto.X509Store", context.get_cert_store())
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.set_verify_depth(VERIFY_DEPTH)
    context.set_verify(_VERIFY_MODES[mode], _note_verify_error)


def _note_verify_error(
    connection: SSL.Connection, _certificate: crypto.X509, code: int, depth: int, preverified: int
) -> bool:
    """Keep what is wrong for the engine's message, as the connection's application data. The verdict is OpenSSL's."""
    if not preverified:
        connection.set_app_data(VerifyError(code, depth))
    return preverified == 1


def answer_server_names(contexts: NameMap[SSL.Context]) -> None:
    """Let connections that begin in the default context get the one for the name that the client sends."""

    def choose(connection: SSL.Connection) -> None:
        context = contexts.find(connection.get_servername())
        if context is not connection.get_context():
            connection.set_context(context)

    contexts.default.set_tlsext_servername_callback(choose)


def _alpn_callback(protocols: Sequence[str]) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    ours = [name.encode("ascii") for name in protocols]

    def select(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for name in ours:
            if name in offered:
                return name
        # By an exception OpenSSL sends the alert no_application_protocol (RFC 7301 §3.2), and pyOpenSSL raises it from
        # the call that read the ClientHello. NO_OVERLAPPING_PROTOCOLS would go on without ALPN.
        raise HandshakeFailed(
            f"no application protocol in common (ALPN): offered are {_shown(offered)}, spoken here {', '.join(protocols)}"
        )

    return select


_ALPN_SHOWN: Final = 8
"""Protocols of a client that a message names: a browser offers two or three."""


def _shown(offered: Sequence[bytes]) -> str:
    names = [name.decode("ascii", "backslashreplace") for name in offered[:_ALPN_SHOWN]]
    return ", ".join(names) + (" …" if len(offered) > _ALPN_SHOWN else "")
