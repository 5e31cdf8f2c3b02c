"""Who the client is: the facts that logs, metrics and backends are told."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import frozen

IpAddress = IPv4Address | IPv6Address


def normalized_address(text: str) -> IpAddress:
    """The address a policy sees: IPv4 inside IPv6 (``::ffff:10.3.7.9``, RFC 4291 §2.5.5.2) is IPv4; a zone is dropped.

    :raises ValueError: ``text`` is no IP address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@frozen
class ClientAddress:
    """Where a client connects from."""

    ip: IpAddress | None
    """None for a client on a ``unix:`` listen."""
    port: int = 0

    def __str__(self) -> str:
        if self.ip is None:
            return "unix"
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


@frozen
class TlsFacts:
    """What a completed handshake negotiated."""

    version: str
    """As ``SSL_get_version(3)`` writes it: ``TLSv1.3``."""
    cipher: str
    """OpenSSL's name of the cipher suite."""
    cipher_bits: int
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
