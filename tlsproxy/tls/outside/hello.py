"""A ClientHello made by hand: it offers what no TLS library would any more, and asks for nothing else.

How far a server goes with one tells which versions and cipher suites it accepts, without a handshake: its answer comes in
the clear (:mod:`tlsproxy.tls.outside.answer`).
"""

import os
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import field, frozen, validators

from tlsproxy.tls.verify import is_sent_by_sni
from tlsproxy.tls.wire import ContentType, ExtensionType, HandshakeType

SSL3: Final = 0x0300
TLS1_3: Final = 0x0304

NULL_COMPRESSION: Final = 0
DEFLATE: Final = 1
"""RFC 3749."""

GROUPS: Final = {
    0x11EC: "X25519MLKEM768",
    0x11EB: "SecP256r1MLKEM768",
    0x11ED: "SecP384r1MLKEM1024",
    0x001D: "x25519",
    0x0017: "secp256r1",
    0x0018: "secp384r1",
    0x0019: "secp521r1",
    0x001E: "x448",
    0x001A: "brainpoolP256r1",
    0x001B: "brainpoolP384r1",
    0x001C: "brainpoolP512r1",
    0x0016: "secp256k1",
    0x0015: "secp224r1",
    0x0013: "secp192r1",
    0x0100: "ffdhe2048",
    0x0101: "ffdhe3072",
    0x0102: "ffdhe4096",
    0x0103: "ffdhe6144",
    0x0104: "ffdhe8192",
}
"""Names of key exchange groups (IANA registry "TLS Supported Groups")."""

_OFFERED_GROUPS: Final = (0x001D, 0x0017, 0x0018, 0x0019, 0x001E, 0x0100, 0x0101)

_SIGNATURES: Final = (
    *(0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0809, 0x080A, 0x080B, 0x0804, 0x0805, 0x0806),
    *(0x0401, 0x0501, 0x0601, 0x0203, 0x0201),
)
"""ECDSA, EdDSA, RSA-PSS and RSA PKCS #1 with SHA-2; SHA-1 last (RFC 8446 §4.2.3)."""

_X25519: Final = 0x001D

_EMPTY_RENEGOTIATION_INFO_SCSV: Final = 0x00FF
"""RFC 5746 §3.3: asks for secure renegotiation; SSLv3 has no extension to do it by."""


@frozen
class Hello:
    """What is offered."""

    version: int
    """The only version, as on the wire."""
    suites: Sequence[int] = field(validator=validators.min_len(1))
    server_name: str = ""
    """For SNI; nothing is sent for an IP address."""
    compression: bool = False
    """Offer DEFLATE besides no compression."""

    def to_bytes(self) -> bytes:
        """As it goes over the wire: one record."""
        hello = b"".join(
            (
                struct.pack(">H", min(self.version, TLS1_3 - 1)),  # legacy_version, RFC 8446 §4.1.2
                os.urandom(32),
                _vector(1, os.urandom(32) if self.version == TLS1_3 else b""),
                _vector(2, _numbers((*self.suites, _EMPTY_RENEGOTIATION_INFO_SCSV))),
                _vector(1, bytes([DEFLATE, NULL_COMPRESSION] if self.compression else [NULL_COMPRESSION])),
                _vector(2, self._extensions()) if self.version > SSL3 else b"",
            )
        )
        message = struct.pack(">B", HandshakeType.CLIENT_HELLO) + _vector(3, hello)
        record_version = min(self.version, SSL3 + 1)  # old servers refuse a record that looks too new
        return struct.pack(">BH", ContentType.HANDSHAKE, record_version) + _vector(2, message)

    def _extensions(self) -> bytes:
        return b"".join(struct.pack(">H", kind) + _vector(2, content) for kind, content in self._contents())

    def _contents(self) -> Iterable[tuple[int, bytes]]:
        if is_sent_by_sni(self.server_name):
            name = b"\0" + _vector(2, self.server_name.encode("ascii"))
            yield ExtensionType.SERVER_NAME, _vector(2, name)
        yield _SUPPORTED_GROUPS, _vector(2, _numbers(_OFFERED_GROUPS))
        yield _EC_POINT_FORMATS, _vector(1, b"\0")
        if self.version >= TLS1_3 - 1:
            yield _SIGNATURE_ALGORITHMS, _vector(2, _numbers(_SIGNATURES))
        if self.version == TLS1_3:
            yield ExtensionType.SUPPORTED_VERSIONS, _vector(1, _numbers([TLS1_3]))
            share = _numbers([_X25519]) + _vector(2, os.urandom(32))
            yield _KEY_SHARE, _vector(2, share)


_SUPPORTED_GROUPS: Final = 10
_EC_POINT_FORMATS: Final = 11
_SIGNATURE_ALGORITHMS: Final = 13
_KEY_SHARE: Final = 51


def _vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size) + content


def _numbers(numbers: Iterable[int]) -> bytes:
    return b"".join(number.to_bytes(2) for number in numbers)
