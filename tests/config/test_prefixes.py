"""Longest-prefix match."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.networks import IpNetwork
from tlsproxy.config.prefixes import PrefixTable
from tlsproxy.identity.client import IpAddress

# Few bits set, so that networks meet and nest.
ipv4_numbers = st.sampled_from([0, 1, 0x0A000000, 0x0A030000, 0x0A030709, 0xFFFFFFFF]) | st.integers(
    0, 2**32 - 1
)
ipv6_numbers = st.sampled_from([0, 1, 0x0A000000, 0xFFFF0A030709, 0x20010DB8 << 96, 2**128 - 1])
network_lists = st.lists(
    st.tuples(ipv4_numbers, st.integers(0, 32)).map(lambda pair: IPv4Network(pair, strict=False))
    | st.tuples(ipv6_numbers, st.integers(0, 128)).map(lambda pair: IPv6Network(pair, strict=False)),
    min_size=1,
    max_size=20,
    unique=True,
)
clients = ipv4_numbers.map(IPv4Address) | ipv6_numbers.map(IPv6Address)


def table_of(networks: list[IpNetwork]) -> PrefixTable[str]:
    return PrefixTable((network, str(network)) for network in networks)


def most_specific(networks: list[IpNetwork]) -> str | None:
    return str(max(networks, key=lambda network: network.prefixlen)) if networks else None


@given(network_lists, clients)
def test_the_most_specific_network_that_holds_the_address_is_found(
    networks: list[IpNetwork], client: IpAddress
) -> None:
    holding = [network for network in networks if client in network]
    assert table_of(networks).find(client) == most_specific(holding)


@given(network_lists)
def test_the_most_specific_network_that_holds_the_whole_network_is_found(networks: list[IpNetwork]) -> None:
    inner, *others = networks
    holding = [each for each in others if each.version == inner.version and inner.subnet_of(each)]
    assert table_of(others).find_covering(inner) == most_specific(holding)


def test_an_address_of_the_other_family_is_in_no_network() -> None:
    table = table_of([ip_network("0.0.0.0/0")])
    assert table.find(ip_address("::1")) is None
    assert table.find(ip_address("0.0.0.1")) == "0.0.0.0/0"
