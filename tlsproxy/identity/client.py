"""Who the client is: the facts that logs, metrics and backends are told."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from attrs import define, field, frozen, validators

IpAddress = IPv4Address | IPv6Address

UNIX: Final = "unix"
"""Stands for the address of a client on a ``unix:`` listen."""


@lru_cache(maxsize=1024)  # parsing costs some 5 us, and clients come again and again
def normalized_address(text: str) -> IpAddress:
    """The address a policy sees: IPv4 inside IPv6 (``::ffff:10.3.7.9``, RFC 4291 §2.5.5.2) is IPv4; a zone is dropped.

    :raises ValueError: ``text`` is no IP address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _normalized(ip: IpAddress | None) -> IpAddress | None:
    """Hold every :class:`ClientAddress` to the form of :func:`normalized_address`, wherever its address came from."""
    if isinstance(ip, IPv6Address) and (ip.ipv4_mapped is not None or ip.scope_id is not None):
        return normalized_address(str(ip))
    return ip


@frozen
class ClientAddress:
    """One end of a client's connection: where it comes from, or what it connected to."""

    ip: IpAddress | None = field(converter=_normalized)
    """Never IPv4 inside IPv6 and never with a zone. None for a client on a ``unix:`` listen."""
    port: int = field(default=0, validator=(validators.ge(0), validators.le(65535)))

    def __str__(self) -> str:
        if self.ip is None:
            return UNIX
        text = str(self.ip)
        return f"[{text}]:{self.port}" if ":" in text else f"{text}:{self.port}"

    def network(self, *, ipv4: int, ipv6: int) -> str:
        """The network of so many bits that this address is in, ``10.3.7.0/24``; :data:`UNIX` where there is none."""
        if self.ip is None:
            return UNIX
        return str(ip_network((self.ip, ipv4 if self.ip.version == 4 else ipv6), strict=False))


@define
class TlsFacts:
    """What a completed handshake negotiated. Nobody changes it."""

    version: str
    """As ``SSL_get_version(3)`` writes it: ``TLSv1.3``."""
    cipher: str
    """OpenSSL's name of the cipher suite. Empty when a PROXY header told us of TLS and left it out."""
    cipher_bits: int
    """0 when the facts came in a PROXY header, which has no place for it."""
    group: str | None = None
    """Key exchange group (``X25519``); None where there is none (RSA key transport) or the library doesn't tell."""
    server_name: str | None = None
    """SNI as the client sent it, lower case; None when it sent none or not ASCII."""
    alpn: str | None = None
    resumed: bool = False
    client_subject: str | None = None
    """RFC 4514 subject of a client certificate; None without one."""
    client_common_name: str | None = None
    client_verified: bool = False
    """The client certificate's chain was verified against ``tls_client_ca``."""
