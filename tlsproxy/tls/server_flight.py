"""Whether a server resumed a session, read from what it sent: pyOpenSSL has no ``SSL_session_reused(3)``."""

from typing import Final

from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.wire import (
    ContentType,
    ExtensionType,
    HandshakeType,
    TruncatedError,
    extensions,
    handshake_messages,
    records,
)

_TLS1_3: Final = int(TlsVersion.TLS1_3)
_CHANGE_CIPHER_SPEC: Final = int(ContentType.CHANGE_CIPHER_SPEC)
_SERVER_HELLO: Final = int(HandshakeType.SERVER_HELLO)
_PRE_SHARED_KEY: Final = int(ExtensionType.PRE_SHARED_KEY)

_SESSION_ID: Final = 2 + 32
"""Where the length of legacy_session_id_echo stands in a ServerHello: behind legacy_version and random."""


def is_resumption(flight: bytes, version: int) -> bool:
    """Whether a handshake is an abbreviated one.

    :param flight: All that the server sent before it had the client's Finished.
    :param version: The version negotiated, as on the wire.

    Up to TLS 1.2 the server's ChangeCipherSpec comes before the client's when it resumes, and after it when it doesn't
    (RFC 5246 §7.3); whether a session ticket or a session ID was used makes no difference. In TLS 1.3 the ServerHello names
    the pre-shared key it took (RFC 8446 §4.2.11); the last one counts, since HelloRetryRequest looks like one.
    """
    if version < _TLS1_3:
        return any(kind == _CHANGE_CIPHER_SPEC for kind, _ in records(flight))
    hello = b""
    for kind, body in handshake_messages(flight):
        if kind == _SERVER_HELLO:
            hello = body
    try:
        return _PRE_SHARED_KEY in _server_hello_extensions(hello)
    except TruncatedError:
        return False


def _server_hello_extensions(body: bytes) -> dict[int, bytes]:
    if len(body) <= _SESSION_ID:
        return {}
    position = _SESSION_ID + 1 + body[_SESSION_ID] + 2 + 1  # cipher_suite, legacy_compression_method
    begin = position + 2
    end = begin + int.from_bytes(body[position:begin])
    if end > len(body):
        raise TruncatedError
    return extensions(body[begin:end])
