"""Twisted's addresses as policies and logs see them."""

from functools import lru_cache
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from tlsproxy.identity.client import ClientAddress, normalized_address

_UNIX: Final = ClientAddress(None)


def endpoint_address(address: IAddress) -> ClientAddress:
    """One end of a connection. On a Unix socket it has no address."""
    if isinstance(address, IPv4Address | IPv6Address):
        return ClientAddress(normalized_address(address.host), address.port)
    return _UNIX


def own_address(transport: Any) -> ClientAddress:
    """Our end of a connection that was accepted."""
    address = transport.getHost()
    if isinstance(address, IPv4Address | IPv6Address):
        return _own_address(address.host, address.port)
    return _UNIX


@lru_cache(maxsize=256)
def _own_address(host: str, port: int) -> ClientAddress:
    """A machine has few, and they come with every connection."""
    return ClientAddress(normalized_address(host), port)
