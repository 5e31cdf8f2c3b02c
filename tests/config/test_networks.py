"""Client networks of peers."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.networks import parse_network
from tlsproxy.identity.client import normalized_address


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.3.0.0/16", "10.3.0.0/16"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.3.7.9", "10.3.7.9/32"),
        ("10.3.7.9/32", "10.3.7.9/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::/0", "::/0"),
        ("::ffff:10.3.7.9", "10.3.7.9/32"),
        ("::ffff:10.3.0.0/112", "10.3.0.0/16"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("::/96", "::/96"),
    ],
)
def test_a_network_has_one_normal_form(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.3",
        "10.3.0.0/",
        "/16",
        "10.3.0.0/33",
        "::/129",
        "10.3.0.0/-1",
        "10.3.0.0/16/16",
        "mail.example.org",
        "*",
        "10.3.0.0/255.255.0.0",
        "10.3.0.0/0.0.255.255",
        "10.3.0.0/١٦",
        "fe80::1%eth0",
        "10.3.0.0/" + "1" * 5000,
        " 10.3.0.0/16",
    ],
)
def test_what_is_no_network_is_refused_with_what_would_be_valid(text: str) -> None:
    with pytest.raises(
        ValueError, match=r'must be "10\.3\.0\.0/16", "2001:db8::/32" or a single address, not "'
    ):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "meant", "address"),
    [
        ("10.3.7.9/16", "10.3.0.0/16", "10.3.7.9"),
        ("2001:db8::1/32", "2001:db8::/32", "2001:db8::1"),
        ("::ffff:0:0/95", "::fffe:0:0/95", "::ffff:0:0"),
    ],
)
def test_host_bits_are_refused_with_the_network_that_was_meant(text: str, meant: str, address: str) -> None:
    with pytest.raises(ValueError, match="has bits set beyond its prefix") as caught:
        parse_network(text)
    assert f'"{meant}" is the network that holds "{text}", "{address}" the address alone' in str(caught.value)


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_mapped_network_holds_the_clients_that_the_plain_one_holds(client: object, length: int) -> None:
    plain = ip_network(f"{client}/{length}", strict=False)
    mapped = parse_network(f"::ffff:{plain.network_address}/{96 + length}")
    assert mapped == plain
    assert normalized_address(f"::ffff:{client}") in mapped


@given(st.ip_addresses())
def test_an_address_alone_is_a_network_of_one(address: object) -> None:
    network = parse_network(str(address))
    assert network.num_addresses == 1
    assert normalized_address(str(ip_address(str(address)))) in network
