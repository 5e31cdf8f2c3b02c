"""What a version 2 PROXY header tells beside addresses: a list of type, length and value (§2.2 of the specification).

All other types than those below are skipped.
"""

from struct import Struct
from typing import Final

from attrs import frozen

from tlsproxy.errors import ProxyHeaderError
from tlsproxy.identity.client import TlsFacts

_TLV: Final = Struct("!BH")
_ALPN, _AUTHORITY, _CRC32C, _SSL = 0x01, 0x02, 0x03, 0x20
_SSL_VERSION, _SSL_CN, _SSL_CIPHER, _SSL_GROUP = 0x21, 0x22, 0x23, 0x26

_SSL_FIXED: Final = Struct("!BI")
"""``client``, a field of the bits below, and ``verify``, which is 0 for a verified certificate alone (§2.2.6)."""
_CLIENT_SSL, _CLIENT_CERT_CONN, _CLIENT_CERT_SESS = 0x01, 0x02, 0x04
_NOT_VERIFIED: Final = 1

_CRC32C_SIZE: Final = 4


def encode_tlvs(tls: TlsFacts | None, room: int, *, checksum: bool) -> bytes:
    """Write what is known of a client's TLS into at most ``room`` bytes.

    The most important facts come first. One that doesn't fit is left out, never cut: half a name is another's name.

    :param checksum: Put the place for a checksum last; :func:`sealed` fills it.
    """
    seal = _tlv(_CRC32C, bytes(_CRC32C_SIZE)) if checksum else b""
    if tls is None:
        return seal
    room -= len(seal) + _TLV.size + _SSL_FIXED.size
    ssl: list[bytes] = []
    others: list[bytes] = []
    for tlvs, kind, text in (
        (ssl, _SSL_VERSION, tls.version),
        (ssl, _SSL_CIPHER, tls.cipher),
        (ssl, _SSL_CN, tls.client_common_name),
        (others, _AUTHORITY, tls.server_name),
        (others, _ALPN, tls.alpn),
        (ssl, _SSL_GROUP, tls.group),
    ):
        if text:
            value = text.encode("utf-8", "replace")
            if _TLV.size + len(value) <= room:
                tlvs.append(_tlv(kind, value))
                room -= _TLV.size + len(value)
    return _tlv(_SSL, _SSL_FIXED.pack(*_certificate(tls)) + b"".join(ssl)) + b"".join(others) + seal


def _tlv(kind: int, value: bytes) -> bytes:
    return _TLV.pack(kind, len(value)) + value


def _certificate(tls: TlsFacts) -> tuple[int, int]:
    """The fields ``client`` and ``verify``. A resumed session shows the certificate of an earlier connection."""
    if tls.client_subject is None and tls.client_common_name is None and not tls.client_verified:
        return _CLIENT_SSL, _NOT_VERIFIED
    shown = _CLIENT_CERT_SESS if tls.resumed else _CLIENT_CERT_SESS | _CLIENT_CERT_CONN
    return _CLIENT_SSL | shown, 0 if tls.client_verified else _NOT_VERIFIED


def sealed(header: bytes) -> bytes:
    """Fill the checksum at the end of a header that has a place for it (§2.2.3)."""
    return header[:-_CRC32C_SIZE] + crc32c(header).to_bytes(_CRC32C_SIZE, "big")


def _crc32c_table() -> tuple[int, ...]:
    table = list(range(256))
    for _ in range(8):
        table = [remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0) for remainder in table]
    return tuple(table)


_CRC32C_TABLE: Final = _crc32c_table()


def crc32c(data: bytes) -> int:
    """CRC32C (RFC 4960 Appendix B), which the standard library doesn't have."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = remainder >> 8 ^ _CRC32C_TABLE[(remainder ^ byte) & 0xFF]
    return remainder ^ 0xFFFFFFFF


@frozen
class TlvFacts:
    """What TLVs told."""

    tls: TlsFacts | None = None
    """None where the client spoke plaintext to the sender, or the sender doesn't tell."""
    authority: str | None = None
    alpn: str | None = None


def read_tlvs(header: bytes, start: int) -> TlvFacts:
    """Read the TLVs that fill ``header`` from ``start`` to its end.

    :raises ProxyHeaderError: They don't fill it, contradict each other, or the checksum is wrong.
    """
    places = _places(header, start, len(header))
    if _CRC32C in places:
        _verify_checksum(header, places[_CRC32C])
    authority = _from_client(header, places.get(_AUTHORITY), "utf-8")
    alpn = _from_client(header, places.get(_ALPN), "ascii")
    tls = _read_ssl(header, places[_SSL], authority, alpn) if _SSL in places else None
    return TlvFacts(tls, authority, alpn)


_READ: Final = frozenset({_ALPN, _AUTHORITY, _CRC32C, _SSL, _SSL_VERSION, _SSL_CN, _SSL_CIPHER, _SSL_GROUP})


def _places(header: bytes, start: int, end: int) -> dict[int, slice]:
    """Where in ``header[start:end]`` the value of each type is."""
    places: dict[int, slice] = {}
    while start < end:
        if start + _TLV.size > end:
            raise ProxyHeaderError(f"PROXY header: a TLV is cut short, at byte {start} of {len(header)}")
        kind, length = _TLV.unpack_from(header, start)
        value = slice(start + _TLV.size, start + _TLV.size + length)
        if value.stop > end:
            raise ProxyHeaderError(
                f"PROXY header: the TLV of type 0x{kind:02x} at byte {start} is longer than what holds it"
            )
        if kind in places and kind in _READ:  # two readers might believe two different ones
            raise ProxyHeaderError(f"PROXY header: two TLVs of type 0x{kind:02x}")
        places[kind] = value
        start = value.stop
    return places


def _verify_checksum(header: bytes, place: slice) -> None:
    unsealed = header[: place.start] + bytes(_CRC32C_SIZE) + header[place.stop :]
    if header[place] != crc32c(unsealed).to_bytes(_CRC32C_SIZE, "big"):
        raise ProxyHeaderError("PROXY header: the checksum is wrong")


def _read_ssl(header: bytes, place: slice, authority: str | None, alpn: str | None) -> TlsFacts | None:
    if place.stop - place.start < _SSL_FIXED.size:
        raise ProxyHeaderError("PROXY header: the TLV of TLS facts is too short")
    client, verify = _SSL_FIXED.unpack_from(header, place.start)
    places = _places(header, place.start + _SSL_FIXED.size, place.stop)
    if not client & _CLIENT_SSL:
        return None
    shown = bool(client & (_CLIENT_CERT_CONN | _CLIENT_CERT_SESS))
    return TlsFacts(
        version=_from_sender(header, places.get(_SSL_VERSION)) or "",
        cipher=_from_sender(header, places.get(_SSL_CIPHER)) or "",
        cipher_bits=0,
        group=_from_sender(header, places.get(_SSL_GROUP)),
        server_name=authority,
        alpn=alpn,
        resumed=shown and not client & _CLIENT_CERT_CONN,
        client_common_name=_from_client(header, places.get(_SSL_CN), "utf-8") if shown else None,
        client_verified=shown and verify == 0,
    )


def _from_sender(header: bytes, place: slice | None) -> str | None:
    """Text that the sender chose, which is ASCII."""
    if place is None:
        return None
    text = header[place].decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise ProxyHeaderError(f"PROXY header: {text!r} names no version, cipher or group of TLS")
    return text


def _from_client(header: bytes, place: slice | None, encoding: str) -> str | None:
    """Text that the client chose and the sender passed on unread. What isn't text counts as not told: a strange
    certificate doesn't cost the connection, and a control character doesn't reach a log."""
    if place is None:
        return None
    try:
        text = header[place].decode(encoding)
    except UnicodeDecodeError:
        return None
    return text if text and text.isprintable() else None
