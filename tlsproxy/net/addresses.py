"""Twisted's addresses as policies and logs see them."""

from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from tlsproxy.identity.client import ClientAddress, normalized_address

_UNIX: Final = ClientAddress(None)


def endpoint_address(address: IAddress) -> ClientAddress:
    """One end of a connection. On a Unix socket it has no address."""
    if isinstance(address, IPv4Address | IPv6Address):
        return ClientAddress(normalized_address(address.host), address.port)
    return _UNIX
