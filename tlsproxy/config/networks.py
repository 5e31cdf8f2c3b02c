"""Client networks, as a peer names them."""

from ipaddress import IPv4Network, IPv6Network, ip_network

IpNetwork = IPv4Network | IPv6Network

_FORMS = '"10.3.0.0/16", "2001:db8::/32" or a single address'


def parse_network(text: str) -> IpNetwork:
    """Read a network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3). A bare address is a network of one.

    IPv4 inside IPv6 (``::ffff:10.3.0.0/112``) becomes the IPv4 network: that is how clients are seen.

    :raises ValueError: ``text`` is none, or has bits set beyond its prefix; the message says what would be valid.
    """
    address, slash, length = text.partition("/")
    # ipaddress would also take a netmask, and guess whether 0.0.0.255 is one or a host mask.
    if "%" in address or (slash and not (length.isascii() and length.isdecimal())):
        raise ValueError(f'must be {_FORMS}, not "{text}"')
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f'must be {_FORMS}, not "{text}"') from error
    if slash and str(network.network_address) != str(ip_network(address).network_address):
        raise ValueError(
            f'has bits set beyond its prefix: "{network}" is the network that holds "{text}", "{address}" the address alone'
        )
    return _without_mapping(network)


def _without_mapping(network: IpNetwork) -> IpNetwork:
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network
