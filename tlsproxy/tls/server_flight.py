"""Whether a server resumed a session, read from what it sent: pyOpenSSL has no ``SSL_session_reused(3)``."""

from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.wire import (
    ContentType,
    ExtensionType,
    HandshakeType,
    Reader,
    TruncatedError,
    extensions,
    handshake_messages,
    records,
)


def is_resumption(flight: bytes, version: int) -> bool:
    """Whether a handshake is an abbreviated one.

    :param flight: All that the server sent before it had the client's Finished.
    :param version: The version negotiated, as on the wire.

    Up to TLS 1.2 the server's ChangeCipherSpec comes before the client's when it resumes, and after it when it doesn't
    (RFC 5246 §7.3); whether a session ticket or a session ID was used makes no difference. In TLS 1.3 the ServerHello names
    the pre-shared key it took (RFC 8446 §4.2.11); the last one counts, since HelloRetryRequest looks like one.
    """
    if version < TlsVersion.TLS1_3:
        return any(kind == ContentType.CHANGE_CIPHER_SPEC for kind, _ in records(flight))
    try:
        hellos = [body for kind, body in handshake_messages(flight) if kind == HandshakeType.SERVER_HELLO]
        return bool(hellos) and ExtensionType.PRE_SHARED_KEY in _server_hello_extensions(hellos[-1])
    except TruncatedError:
        return False


def _server_hello_extensions(body: bytes) -> dict[int, bytes]:
    reader = Reader(body)
    reader.take(2 + 32)  # legacy_version, random
    reader.vector(1)  # legacy_session_id_echo
    reader.take(2 + 1)  # cipher_suite, legacy_compression_method
    return extensions(reader.vector(2)) if reader else {}
