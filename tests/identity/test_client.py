"""Tests for :mod:`tlsproxy.identity.client`."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from tlsproxy.identity.client import ClientAddress, IpAddress, normalized_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.3.7.9", IPv4Address("10.3.7.9")),
        ("2001:db8::1", IPv6Address("2001:db8::1")),
        ("::ffff:10.3.7.9", IPv4Address("10.3.7.9")),
        ("fe80::1%eth0", IPv6Address("fe80::1")),
        ("::ffff:10.3.7.9%eth0", IPv4Address("10.3.7.9")),
    ],
)
def test_an_address_has_one_form(text: str, address: IpAddress) -> None:
    assert normalized_address(text) == address
    assert ClientAddress(ip_address(text)).ip == address


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mx\.example\.org"):
        normalized_address("mx.example.org")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_has_sixteen_bits(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        ClientAddress(IPv4Address("10.3.7.9"), port)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (ClientAddress(IPv4Address("10.3.7.9"), 51234), "10.3.7.9:51234"),
        (ClientAddress(IPv6Address("2001:db8::1"), 51234), "[2001:db8::1]:51234"),
        (ClientAddress(IPv6Address("::ffff:10.3.7.9"), 51234), "10.3.7.9:51234"),
        (ClientAddress(None), "unix"),
    ],
)
def test_an_address_reads_as_in_a_url(address: ClientAddress, text: str) -> None:
    assert str(address) == text


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.3.7.9", "10.3.7.0/24"),
        ("::ffff:10.3.7.9", "10.3.7.0/24"),
        ("2001:db8:7:1::9", "2001:db8:7::/48"),
        (None, "unix"),
    ],
)
def test_an_address_is_in_a_network_of_its_family(address: str | None, network: str) -> None:
    client = ClientAddress(None if address is None else ip_address(address))
    assert client.network(ipv4=24, ipv6=48) == network


def test_a_network_may_be_one_machine_or_all() -> None:
    client = ClientAddress(IPv4Address("10.3.7.9"))
    assert client.network(ipv4=32, ipv6=128) == "10.3.7.9/32"
    assert client.network(ipv4=0, ipv6=0) == "0.0.0.0/0"
