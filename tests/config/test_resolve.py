"""Scopes to settings, with their origins."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import combinations
from typing import Any

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from tests.config.documents import parsed
from tlsproxy.config.model import Configuration, Listen, Listener, Pathway, PathwayGroup, Peer
from tlsproxy.config.networks import IpNetwork
from tlsproxy.config.resolve import DEFAULT, Origin, Resolution, Resolver
from tlsproxy.config.settings import Settings
from tlsproxy.identity.client import IpAddress

CLIENT = ip_address("10.3.7.9")

# A file in which each scope can set an option, narrowest first: the order of DESIGN §3.
SCOPES = {
    "peer of listen": "peer 10.3.0.0/16 of listen 192.0.2.1:25",
    "peer of listen, pathway": 'peer 10.3.0.0/16 of listen 192.0.2.1:25, pathway "a"',
    "peer of listen, group": 'peer 10.3.0.0/16 of listen 192.0.2.1:25, pathway "a", group "ag"',
    "peer of listener": "peer 10.3.7.0/24 of stream_listener[0]",
    "peer of listener, pathway": 'peer 10.3.7.0/24 of stream_listener[0], pathway "b"',
    "peer of listener, group": 'peer 10.3.7.0/24 of stream_listener[0], pathway "b", group "bg"',
    "listen": "listen 192.0.2.1:25",
    "listen, pathway": 'listen 192.0.2.1:25, pathway "c"',
    "listen, group": 'listen 192.0.2.1:25, pathway "c", group "cg"',
    "listener": "stream_listener[0]",
    "listener, pathway": 'stream_listener[0], pathway "d"',
    "listener, group": 'stream_listener[0], pathway "d", group "dg"',
    "global": "global",
}

TEMPLATE = """
{global}
[backend.injector]
servers = "127.0.0.1:2525"
[pathway_group.ag]
{peer of listen, group}
[pathway_group.ag.pathway.a]
{peer of listen, pathway}
[pathway_group.bg]
{peer of listener, group}
[pathway_group.bg.pathway.b]
{peer of listener, pathway}
[pathway_group.cg]
{listen, group}
[pathway_group.cg.pathway.c]
{listen, pathway}
[pathway_group.dg]
{listener, group}
[pathway_group.dg.pathway.d]
{listener, pathway}
[[stream_listener]]
backend = "injector"
pathway = "d"
{listener}
  [[stream_listener.peer]]
  network = "10.3.7.0/24"
  pathway = "b"
  {peer of listener}
  [[stream_listener.listen]]
  address = "192.0.2.1:25"
  pathway = "c"
  {listen}
    [[stream_listener.listen.peer]]
    network = "10.3.0.0/16"
    pathway = "a"
    {peer of listen}
"""


def resolver_of(text: str) -> Resolver:
    configuration = parsed(text)
    listener = configuration.listeners[0]
    return Resolver(configuration, listener, listener.listens[0])


def resolver_with(**settings: str) -> Resolver:
    """The file above with the given lines in its scopes."""
    text = TEMPLATE
    for scope in SCOPES:
        text = text.replace(f"{{{scope}}}", settings.get(scope, ""))
    return resolver_of(text)


class TestPrecedence:
    """Of two scopes that set an option, the narrower decides."""

    @pytest.mark.parametrize(("narrow", "wide"), list(combinations(SCOPES, 2)))
    def test_of_every_pair(self, narrow: str, wide: str) -> None:
        settings = {narrow: 'tls_ciphers = "narrow"', wide: 'tls_ciphers = "wide"\ntls_ciphersuites = "wide"'}
        resolution = resolver_with(**settings).resolution_for(CLIENT)
        assert resolution.settings.tls_ciphers == "narrow"
        assert resolution.origins["tls_ciphers"].scope == SCOPES[narrow]
        assert resolution.settings.tls_ciphersuites == "wide"
        assert resolution.origins["tls_ciphersuites"].scope == SCOPES[wide]

    def test_without_any_scope_the_default_is_in_force(self) -> None:
        resolution = resolver_with().resolution_for(CLIENT)
        assert resolution.settings == Settings()
        assert set(resolution.origins.values()) == {DEFAULT}
        assert list(resolution.origins) == [field.name for field in fields(Settings)]

    def test_a_client_in_no_peer_has_nothing_from_peers(self) -> None:
        peers = {scope: 'tls_ciphers = "x"' for scope in SCOPES if scope.startswith("peer")}
        resolver = resolver_with(**peers)
        for client in (ip_address("10.4.0.1"), ip_address("::a03:709"), None):
            assert resolver.resolution_for(client).origins["tls_ciphers"] == DEFAULT

    def test_each_list_of_peers_has_its_say(self) -> None:
        resolver = resolver_with(
            **{"peer of listen": 'tls_ciphers = "of listen"', "peer of listener": "idle_timeout = 5"}
        )
        near, far = resolver.settings_for(CLIENT), resolver.settings_for(ip_address("10.3.8.1"))
        assert (near.tls_ciphers, near.idle_timeout) == ("of listen", 5.0)
        assert (far.tls_ciphers, far.idle_timeout) == ("of listen", 600.0)

    def test_a_false_value_is_a_value(self) -> None:
        resolver = resolver_with(**{"listen": "tls_key = []", "global": 'tls_key = "x"'})
        assert resolver.settings_for(CLIENT).tls_key == ()

    @pytest.mark.parametrize(
        ("scope", "path"),
        [
            ("peer of listen", "stream_listener[0].listen[0].peer[0].tls_ciphers"),
            ("peer of listener", "stream_listener[0].peer[0].tls_ciphers"),
            ("listen", "stream_listener[0].listen[0].tls_ciphers"),
            ("listen, pathway", "pathway_group.cg.pathway.c.tls_ciphers"),
            ("listen, group", "pathway_group.cg.tls_ciphers"),
            ("listener", "stream_listener[0].tls_ciphers"),
            ("global", "tls_ciphers"),
        ],
    )
    def test_an_origin_has_the_key_path_of_its_option(self, scope: str, path: str) -> None:
        resolution = resolver_with(**{scope: 'tls_ciphers = "x"'}).resolution_for(CLIENT)
        assert resolution.origins["tls_ciphers"] == Origin(SCOPES[scope], path)
        assert resolution.where("tls_ciphers") == path

    def test_an_option_that_no_scope_sets_is_mended_in_the_listen(self) -> None:
        resolution = resolver_with().resolution_for(CLIENT)
        assert resolution.where("tls_ciphers") == "stream_listener[0].listen[0].tls_ciphers"


class TestPeers:
    """Which peer is a client's."""

    NESTED = """
[backend.injector]
servers = "127.0.0.1:2525"
[[stream_listener]]
backend = "injector"
[[stream_listener.listen]]
address = "192.0.2.1:25"
[[stream_listener.listen.peer]]
network = "10.0.0.0/8"
tls_ciphers = "eight"
idle_timeout = 8
[[stream_listener.listen.peer]]
network = "10.3.7.9"
tls_ciphers = "host"
[[stream_listener.listen.peer]]
network = "10.3.0.0/16"
tls_ciphers = "sixteen"
[[stream_listener.listen.peer]]
network = "::/0"
tls_ciphers = "six"
"""

    @pytest.mark.parametrize(
        ("client", "ciphers", "network"),
        [
            ("10.3.7.9", "host", "10.3.7.9/32"),
            ("10.3.7.10", "sixteen", "10.3.0.0/16"),
            ("10.4.0.0", "eight", "10.0.0.0/8"),
            ("11.0.0.0", Settings().tls_ciphers, "None"),
            ("2001:db8::1", "six", "::/0"),
        ],
    )
    def test_the_most_specific_network_wins_wherever_it_stands(
        self, client: str, ciphers: str, network: str
    ) -> None:
        resolution = resolver_of(self.NESTED).resolution_for(ip_address(client))
        assert resolution.settings.tls_ciphers == ciphers
        assert str(resolution.network) == network

    def test_a_less_specific_peer_contributes_nothing(self) -> None:
        resolver = resolver_of(self.NESTED)
        assert resolver.settings_for(ip_address("10.4.0.0")).idle_timeout == 8.0
        assert resolver.settings_for(ip_address("10.3.7.9")).idle_timeout == 600.0

    def test_a_client_without_an_address_is_in_no_peer(self) -> None:
        assert resolver_of(self.NESTED).resolution_for(None).network is None

    def test_clients_with_equal_options_get_the_same_settings(self) -> None:
        resolver = resolver_of(self.NESTED.replace("sixteen", "host"))
        near, far = (resolver.settings_for(ip_address(client)) for client in ("10.3.7.9", "10.3.7.10"))
        assert near is far


class TestWhatIsToBeChecked:
    """The resolutions that a client can meet."""

    def test_there_is_one_for_each_network_and_one_for_none(self) -> None:
        resolutions = list(resolver_of(TestPeers.NESTED).resolutions())
        assert [str(resolution.network) for resolution in resolutions] == [
            "None",
            "10.0.0.0/8",
            "10.3.7.9/32",
            "10.3.0.0/16",
            "::/0",
        ]

    def test_they_name_every_scope_that_may_contribute(self) -> None:
        bare, *_, both = resolver_with().resolutions()
        listen = {"stream_listener[0].listen[0]", "pathway_group.cg.pathway.c", "pathway_group.cg"}
        listener = {"stream_listener[0]", "pathway_group.dg.pathway.d", "pathway_group.dg"}
        assert bare.scopes == {"", *listen, *listener}
        peer_of_listen = {
            "stream_listener[0].listen[0].peer[0]",
            "pathway_group.ag.pathway.a",
            "pathway_group.ag",
        }
        peer_of_listener = {"stream_listener[0].peer[0]", "pathway_group.bg.pathway.b", "pathway_group.bg"}
        assert both.scopes == bare.scopes | peer_of_listen | peer_of_listener


# Against a restatement of the rules that walks the scopes for one option at a time.

ipv4_numbers = st.sampled_from([0x0A030709, 0x0A030700, 0x0A000000, 0])
ipv6_numbers = st.sampled_from([0x0A030709, 1 << 127, 0])
ip_networks = st.one_of(
    st.tuples(ipv4_numbers, st.sampled_from([0, 8, 24, 31, 32])).map(
        lambda pair: IPv4Network(pair, strict=False)
    ),
    st.tuples(ipv6_numbers, st.sampled_from([0, 1, 96, 104, 128])).map(
        lambda pair: IPv6Network(pair, strict=False)
    ),
)
some_options = st.fixed_dictionaries(
    {}, optional={"tls_ciphers": st.sampled_from("abc"), "idle_timeout": st.sampled_from([1.0, 2.0])}
)
attachable = st.sampled_from(["alone", "member"]) | st.none()
peer_lists = st.lists(
    st.builds(Peer, path=st.uuids().map(str), network=ip_networks, pathway=attachable, options=some_options),
    max_size=5,
    unique_by=lambda peer: peer.network,
).map(tuple)
listens = st.builds(
    Listen,
    path=st.just("listen"),
    address=st.just("address"),
    pathway=attachable,
    options=some_options,
    peers=peer_lists,
)
listeners = st.builds(
    Listener,
    path=st.just("listener"),
    kind=st.just("stream"),
    backend=st.just("backend"),
    pathway=attachable,
    options=some_options,
    peers=peer_lists,
    listens=listens.map(lambda listen: (listen,)),
)
configurations = st.builds(
    Configuration,
    source=st.just("x"),
    options=some_options,
    pathways=st.fixed_dictionaries(
        {
            "alone": st.builds(Pathway, path=st.just("alone"), name=st.just("alone"), options=some_options),
            "member": st.builds(
                Pathway,
                path=st.just("member"),
                name=st.just("member"),
                group=st.just("group"),
                options=some_options,
            ),
        }
    ),
    pathway_groups=st.fixed_dictionaries(
        {"group": st.builds(PathwayGroup, path=st.just("group"), name=st.just("group"), options=some_options)}
    ),
    listeners=listeners.map(lambda listener: (listener,)),
)
ip_clients = st.one_of(
    ipv4_numbers.map(IPv4Address), ipv6_numbers.map(IPv6Address), st.ip_addresses(), st.none()
)


def naive(configuration: Configuration, client: IpAddress | None, option: str) -> tuple[Any, str]:
    """The value in force, and the key path of the scope it is from."""

    def own_peer(peers: tuple[Peer, ...]) -> list[Peer]:
        holding = [peer for peer in peers if client is not None and client in peer.network]
        return sorted(holding, key=lambda peer: peer.network.prefixlen)[-1:]

    listener = configuration.listeners[0]
    listen = listener.listens[0]
    for scope in [*own_peer(listen.peers), *own_peer(listener.peers), listen, listener]:
        if option in scope.options:
            return scope.options[option], scope.path
        if scope.pathway == "alone" and option in configuration.pathways["alone"].options:
            return configuration.pathways["alone"].options[option], "alone"
        if scope.pathway == "member":
            if option in configuration.pathways["member"].options:
                return configuration.pathways["member"].options[option], "member"
            if option in configuration.pathway_groups["group"].options:
                return configuration.pathway_groups["group"].options[option], "group"
    if option in configuration.options:
        return configuration.options[option], ""
    return getattr(Settings(), option), "default"


@given(configurations, ip_clients)
def test_the_resolver_agrees_with_a_walk_through_the_scopes(
    configuration: Configuration, client: IpAddress | None
) -> None:
    listener = configuration.listeners[0]
    resolver = Resolver(configuration, listener, listener.listens[0])
    resolution = resolver.resolution_for(client)
    for option in ("tls_ciphers", "idle_timeout", "tls_protocols"):
        value, path = naive(configuration, client, option)
        assert getattr(resolution.settings, option) == value
        if path == "default":
            assert resolution.origins[option] == DEFAULT
        else:
            assert resolution.origins[option].path == (f"{path}.{option}" if path else option)
    assert resolution.settings is resolver.settings_for(client)


@given(configurations, ip_clients)
def test_no_client_meets_a_resolution_that_was_not_there_to_be_checked(
    configuration: Configuration, client: IpAddress | None
) -> None:
    listener = configuration.listeners[0]
    resolver = Resolver(configuration, listener, listener.listens[0])
    known: list[Resolution] = list(resolver.resolutions())
    assert any(resolver.resolution_for(client) is resolution for resolution in known)
    networks: set[IpNetwork] = {peer.network for peer in (*listener.peers, *listener.listens[0].peers)}
    assert len(known) == len(networks) + 1
