"""What a client's first ClientHello offered (RFC 8446 §4.1.2), for the log line of a handshake that failed.

OpenSSL doesn't tell, through pyOpenSSL, what a client offered that was refused; who an upgrade of the policy would shut out
is just what an operator wants to know.
"""

from attrs import frozen

from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.wire import (
    ExtensionType,
    HandshakeType,
    Reader,
    TruncatedError,
    extensions,
    handshake_messages,
)

MAX_BYTES = 16 * 1024
"""How much of a connection's beginning is looked at. Hellos with a post-quantum key share take 2 KiB; OpenSSL's own limit
is 128 KiB, which nothing but an attack fills."""

_SSL3 = 0x0300


@frozen
class ClientHello:
    """The offer of a client."""

    versions: tuple[int, ...]
    """Versions named in ``supported_versions``, ascending, without GREASE (RFC 8701). Empty when it sent none."""
    legacy_version: int
    """The highest version of a client that has no ``supported_versions`` (RFC 5246 §E.1)."""
    server_name: str | None
    """SNI (RFC 6066 §3), lower case; None when there is none, or it isn't ASCII."""

    @property
    def offered(self) -> str:
        """For a person: ``TLSv1.2 TLSv1.3``; ``<=TLSv1.1`` where the client only says how far up it goes."""
        if not self.versions:
            return f"<={_label(self.legacy_version)}"
        return " ".join(map(_label, self.versions))


def parse_client_hello(data: bytes) -> ClientHello | None:
    """Read the ClientHello at the beginning of what a client sent; None when it isn't one, or isn't complete."""
    try:
        message_type, body = next(handshake_messages(data[:MAX_BYTES]), (None, b""))
        return _parse(body) if message_type == HandshakeType.CLIENT_HELLO else None
    except TruncatedError:
        return None


def is_sslv2_client_hello(data: bytes) -> bool:
    """Whether a client begins with the SSLv2 form of the hello (RFC 5246 §E.2), as OpenSSL 0.9.8's default client does."""
    return (
        len(data) >= 5
        and data[0] & 0x80 != 0
        and data[2] == HandshakeType.CLIENT_HELLO
        and data[3] in (0, 2, 3)
    )


def _parse(body: bytes) -> ClientHello:
    reader = Reader(body)
    legacy_version = reader.number(2)
    reader.take(32)  # random
    reader.vector(1)  # legacy_session_id
    reader.vector(2)  # cipher_suites
    reader.vector(1)  # legacy_compression_methods
    offered = extensions(reader.vector(2)) if reader else {}
    return ClientHello(
        versions=_supported_versions(offered.get(ExtensionType.SUPPORTED_VERSIONS)),
        legacy_version=legacy_version,
        server_name=_server_name(offered.get(ExtensionType.SERVER_NAME)),
    )


def _supported_versions(extension: bytes | None) -> tuple[int, ...]:
    if extension is None:
        return ()
    versions = Reader(Reader(extension).vector(1))
    found = set()
    while versions:
        found.add(versions.number(2))
    return tuple(sorted(version for version in found if not _is_grease(version)))


def _is_grease(version: int) -> bool:
    return version & 0x0F0F == 0x0A0A and version >> 8 == version & 0xFF


def _server_name(extension: bytes | None) -> str | None:
    if extension is None:
        return None
    names = Reader(Reader(extension).vector(2))
    while names:
        name_type, name = names.number(1), names.vector(2)
        if name_type == 0:
            return name.decode().lower() if name.isascii() and name else None
    return None


def _label(version: int) -> str:
    if version in TlsVersion.__members__.values():
        return TlsVersion(version).label
    return "SSLv3" if version == _SSL3 else f"0x{version:04x}"
