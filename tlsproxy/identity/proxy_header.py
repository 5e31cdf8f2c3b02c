"""The PROXY protocol, versions 1 and 2: who the client is, told in a header before the first byte of a connection.

Source: "The PROXY protocol, Versions 1 & 2" by Willy Tarreau (``doc/proxy-protocol.txt`` of HAProxy); § means its sections.

HAProxy, nginx and Postfix read a header with one ``recv()`` and refuse the connection when not all of it has come. A
header of ours therefore fits into the smallest segment that TCP has, and its user sends it with one write before all else.

A header that comes in may name no client, in two ways that must not be confused:

- ``LOCAL`` (``local`` is true): the sender speaks for itself, as in a health check. The connection's own addresses count.
- ``UNKNOWN``, ``UNSPEC`` and datagrams (``source`` is None, ``local`` is false): the sender relays a client that it can't
  name. The specification lets a receiver take the connection's own addresses, which lends that client the sender's
  rights. Postfix refuses it, and so should the reader of such a header.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final

from attrs import frozen

from tlsproxy.errors import ProxyHeaderError
from tlsproxy.identity.client import ClientAddress, IpAddress, TlsFacts
from tlsproxy.identity.proxy_tlvs import encode_tlvs, read_tlvs, sealed

MAX_V1_SIZE: Final = 107
"""Bytes of the longest version 1 header, CRLF included (§2.1)."""

MAX_V2_SIZE: Final = 4096
"""Bytes of the longest version 2 header read. The length field goes up to 64 KiB; what makes a header long is a client
certificate among the TLVs, and that has room here. nginx reads as much."""

MAX_ENCODED_SIZE: Final = 536
"""Bytes of the longest header written: the smallest segment that every TCP host takes (§2), and all that Postfix reads."""

_V1_SIGNATURE: Final = b"PROXY "
_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

_V2_FIXED: Final = Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6, _UNIX_STREAM = 0x00, 0x11, 0x21, 0x31

# Every byte of family and transport that a sender may use (§2.2), with the size of its addresses. 0x.2 are datagrams.
_ADDRESSES_SIZE: Final = {_UNSPEC: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, _UNIX_STREAM: 216, 0x32: 216}
_INET: Final = {_TCP4: Struct("!4s4sHH"), _TCP6: Struct("!16s16sHH")}

LOCAL_V2: Final = _V2_FIXED.pack(_V2_SIGNATURE, _LOCAL, _UNSPEC, 0)
"""The version 2 header of a connection that relays nobody: a health check. Version 1 has no such header; there the
connection's own two ends are named."""


def encode_v1(source: ClientAddress, destination: ClientAddress) -> bytes:
    """Write the version 1 header, a line of text (§2.1).

    A client on a unix socket is ``UNKNOWN``, which Postfix refuses.

    :param source: Where the client connects from.
    :param destination: What it connected to.
    """
    pair = _in_one_family(source.ip, destination.ip)
    if pair is None:
        return b"PROXY UNKNOWN\r\n"
    line = f"PROXY TCP{pair[0].version} {pair[0]} {pair[1]} {source.port} {destination.port}\r\n"
    return line.encode("ascii")


def encode_v2(
    source: ClientAddress, destination: ClientAddress, tls: TlsFacts | None = None, *, checksum: bool = False
) -> bytes:
    """Write the version 2 header (§2.2), of at most ``MAX_ENCODED_SIZE`` bytes.

    A client on a unix socket is ``AF_UNIX`` without a name. That is true, and Postfix and HAProxy refuse it. ``LOCAL``
    they would accept, and give the client the rights that the proxy has.

    :param source: Where the client connects from.
    :param destination: What it connected to.
    :param tls: The TLS of the client's connection; None for a client in plaintext. Facts that don't fit are left out.
    :param checksum: Add a CRC32C of the header; who receives one has to verify it (§2.2.3).
    """
    family, addresses = _addresses(source, destination)
    room = MAX_ENCODED_SIZE - _V2_FIXED.size - len(addresses)
    tlvs = encode_tlvs(tls, room, checksum=checksum)
    header = _V2_FIXED.pack(_V2_SIGNATURE, _PROXY, family, len(addresses) + len(tlvs)) + addresses + tlvs
    return sealed(header) if checksum else header


def _in_one_family(
    source: IpAddress | None, destination: IpAddress | None
) -> tuple[IpAddress, IpAddress] | None:
    """Both addresses in the one family that a header has; None for a client on a unix socket.

    IPv4 beside IPv6 becomes IPv4 inside IPv6, as in HAProxy's headers. Where a client with an address (named by another
    PROXY header) came in by a unix socket, the destination is unspecified: the client's own address is what counts.
    """
    if source is None:
        return None
    if destination is None:
        destination = IPv4Address(0) if source.version == 4 else IPv6Address(0)
    if source.version == destination.version:
        return source, destination
    return _inside_ipv6(source), _inside_ipv6(destination)


def _inside_ipv6(ip: IpAddress) -> IPv6Address:
    return ip if isinstance(ip, IPv6Address) else IPv6Address(0xFFFF << 32 | int(ip))


def _addresses(source: ClientAddress, destination: ClientAddress) -> tuple[int, bytes]:
    """The byte of family and transport, and the block of addresses."""
    pair = _in_one_family(source.ip, destination.ip)
    if pair is None:
        return _UNIX_STREAM, bytes(_ADDRESSES_SIZE[_UNIX_STREAM])
    family = _TCP4 if pair[0].version == 4 else _TCP6
    return family, _INET[family].pack(pair[0].packed, pair[1].packed, source.port, destination.port)


@frozen
class ProxyHeader:
    """What a header told. It is worth as much as the trust in its sender."""

    source: ClientAddress | None
    """Where the client connects from. None: not told; see the module's two cases."""
    destination: ClientAddress | None
    """What the client connected to."""
    tls: TlsFacts | None = None
    """The client's TLS, when it ended at the sender and the sender tells."""
    authority: str | None = None
    """The host that the client asked for; in TLS the server name."""
    alpn: str | None = None
    local: bool = False
    """The sender relays nobody."""


class ProxyHeaderParser:
    """Reads the one header, of either version, that a connection begins with, in whatever pieces it comes.

    Refuses at the first byte that can't belong to a header. Keeps fewer than ``MAX_V2_SIZE`` bytes between two pieces.

    :ivar rest: Once the header is there: the bytes fed that follow it.
    """

    __slots__ = ("_buffer", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._buffer: bytes | None = b""
        """None once the header was read or refused."""

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take the next bytes of the connection. None: more are needed.

        :raises ProxyHeaderError: The connection doesn't begin with a header, or the header is malformed.
        :raises RuntimeError: The header was already read, or refused.
        """
        if self._buffer is None:
            raise RuntimeError("a connection has one PROXY header")
        buffer, self._buffer = self._buffer + data, None
        size = _size(buffer)
        if size is None:
            self._buffer = buffer
            return None
        header, self.rest = buffer[:size], buffer[size:]
        return _read_v1(header) if header.startswith(_V1_SIGNATURE) else _read_v2(header)


def _size(buffer: bytes) -> int | None:
    """The size of the header that ``buffer`` begins with; None when it isn't there as a whole."""
    for signature, size in ((_V1_SIGNATURE, _v1_size), (_V2_SIGNATURE, _v2_size)):
        if buffer.startswith(signature):
            return size(buffer)
        if signature.startswith(buffer):
            return None
    raise ProxyHeaderError(f"no PROXY header: the connection begins with {buffer[:16]!r}")


_CR_OR_LF: Final = re.compile(rb"[\r\n]")


def _v1_size(buffer: bytes) -> int | None:
    # "The receiver must not tolerate a single CR or LF character to end the line" (§2.1).
    end = _CR_OR_LF.search(buffer, 0, MAX_V1_SIZE - 1)
    if end is None:
        if len(buffer) < MAX_V1_SIZE - 1:
            return None
        raise ProxyHeaderError(f"PROXY header: no CRLF in its first {MAX_V1_SIZE} bytes")
    ending = buffer[end.start() : end.start() + 2]
    if ending == b"\r\n":
        return end.start() + 2
    if ending == b"\r":
        return None
    raise ProxyHeaderError(f"PROXY header: {buffer[: end.start()]!r} ends in {ending!r}, not CRLF")


def _v2_size(buffer: bytes) -> int | None:
    if buffer[12:13] not in (b"", b"\x20", b"\x21"):
        raise ProxyHeaderError(f"PROXY header: unknown version or command, 0x{buffer[12]:02x}")
    if len(buffer) < _V2_FIXED.size:
        return None
    _, command, family, length = _V2_FIXED.unpack_from(buffer)
    size: int = _V2_FIXED.size + length
    if size > MAX_V2_SIZE:
        raise ProxyHeaderError(f"PROXY header of {size} bytes: longer than {MAX_V2_SIZE}")
    # Of LOCAL: "the receiver must […] discard the protocol block including the family" (§2.2).
    if command == _PROXY:
        if family not in _ADDRESSES_SIZE:
            raise ProxyHeaderError(f"PROXY header: unknown family and transport, 0x{family:02x}")
        if length < _ADDRESSES_SIZE[family]:
            raise ProxyHeaderError(
                f"PROXY header: {length} bytes can't hold the addresses of family 0x{family:02x}"
            )
    return size if len(buffer) >= size else None


_PORT: Final = rb"(0|[1-9][0-9]{0,4})"
_V1_LINE: Final = re.compile(
    rb"PROXY TCP(4|6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) " + _PORT + b" " + _PORT + rb"\r\n"
)
_V1_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: .*)?\r\n")


def _read_v1(header: bytes) -> ProxyHeader:
    if _V1_UNKNOWN.fullmatch(header):
        return ProxyHeader(None, None)  # "the receiver must ignore anything presented before the CRLF" (§2.1)
    line = _V1_LINE.fullmatch(header)
    if line is None:
        raise ProxyHeaderError(f"PROXY header: {header!r} is malformed")
    family, source, destination, source_port, destination_port = line.groups()
    address = IPv4Address if family == b"4" else IPv6Address
    try:
        return ProxyHeader(
            ClientAddress(address(source.decode("ascii")), int(source_port)),
            ClientAddress(address(destination.decode("ascii")), int(destination_port)),
        )
    except ValueError as error:
        raise ProxyHeaderError(f"PROXY header: {header!r}: {error}") from error


def _read_v2(header: bytes) -> ProxyHeader:
    _, command, family, _ = _V2_FIXED.unpack_from(header)
    if command == _LOCAL:
        return ProxyHeader(None, None, local=True)
    if family == _UNSPEC:  # what follows may be addresses of any length or TLVs, nothing tells which
        return ProxyHeader(None, None)
    facts = read_tlvs(header, _V2_FIXED.size + _ADDRESSES_SIZE[family])
    source, destination = _read_addresses(header, family)
    return ProxyHeader(source, destination, facts.tls, facts.authority, facts.alpn)


def _read_addresses(header: bytes, family: int) -> tuple[ClientAddress | None, ClientAddress | None]:
    if family == _UNIX_STREAM:
        return ClientAddress(None), ClientAddress(None)
    if family not in _INET:
        return None, None
    source, destination, *ports = _INET[family].unpack_from(header, _V2_FIXED.size)
    return ClientAddress(ip_address(source), ports[0]), ClientAddress(ip_address(destination), ports[1])
