"""Tests for :mod:`tlsproxy.net.addresses`."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import StringTransport

from tlsproxy.identity.client import ClientAddress, normalized_address
from tlsproxy.net.addresses import endpoint_address, own_address


@pytest.mark.parametrize(
    ("address", "ip"),
    [
        (IPv4Address("TCP", "192.0.2.1", 25), "192.0.2.1"),
        (IPv6Address("TCP", "2001:db8::1", 25), "2001:db8::1"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 25), "192.0.2.1"),
        (IPv6Address("TCP", "fe80::1%eth0", 25), "fe80::1"),
    ],
)
def test_an_end_has_the_address_that_policies_know_it_by(address: IAddress, ip: str) -> None:
    assert endpoint_address(address) == ClientAddress(normalized_address(ip), 25)


def test_an_end_on_a_unix_socket_has_none() -> None:
    assert (
        endpoint_address(UNIXAddress(b"/run/s")) == endpoint_address(UNIXAddress(None)) == ClientAddress(None)
    )


@pytest.mark.parametrize(
    "address", [IPv4Address("TCP", "192.0.2.1", 25), IPv6Address("TCP", "::1", 25), UNIXAddress(b"/run/s")]
)
def test_our_own_end_is_known_like_any_other(address: IAddress) -> None:
    transport = StringTransport(hostAddress=address)
    assert own_address(transport) == own_address(transport) == endpoint_address(address)
