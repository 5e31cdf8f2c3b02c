"""Longest-prefix match: of the networks that hold an address, the most specific one.

A dictionary for each prefix length in use, longest first. A look-up costs one probe for each length, however many
networks there are.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

from tlsproxy.config.networks import IpNetwork
from tlsproxy.identity.client import IpAddress

Value = TypeVar("Value")


class PrefixTable(Generic[Value]):
    """Values by network; at most one for each."""

    __slots__ = ("_ipv4", "_ipv6")

    def __init__(self, entries: Iterable[tuple[IpNetwork, Value]]) -> None:
        by_shift: dict[int, dict[int, dict[int, Value]]] = {4: {}, 6: {}}
        for network, value in entries:
            shift = _shift(network)
            by_shift[network.version].setdefault(shift, {})[int(network.network_address) >> shift] = value
        self._ipv4 = tuple(sorted(by_shift[4].items()))
        self._ipv6 = tuple(sorted(by_shift[6].items()))

    def find(self, address: IpAddress) -> Value | None:
        """The value of the most specific network that holds ``address``."""
        number = int(address)
        for shift, values in self._ipv4 if address.version == 4 else self._ipv6:
            value = values.get(number >> shift)
            if value is not None:
                return value
        return None

    def find_covering(self, network: IpNetwork) -> Value | None:
        """The value of the most specific network that holds the whole of ``network``."""
        number = int(network.network_address)
        lowest = _shift(network)
        for shift, values in self._ipv4 if network.version == 4 else self._ipv6:
            if shift >= lowest and (number >> shift) in values:
                return values[number >> shift]
        return None


def _shift(network: IpNetwork) -> int:
    """Bits beyond the prefix."""
    return network.max_prefixlen - network.prefixlen
