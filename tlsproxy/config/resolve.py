"""Scopes to settings: which value of an option is in force for a client, and where it comes from.

The scopes of a client, narrowest first: its peer in the listen, its peer in the listener, the listen, the listener, the
global scope. Each contributes the options it sets itself, then those of the pathway attached to it, then those of the
pathway's group. The first to set an option decides.

In each of the two lists of peers, the most specific network that holds the client's address is its peer there. The
other peers of that list contribute nothing, even where they hold the address too: a peer's options are all in its own
table and pathway.

Every resolution that a client can meet is made beforehand, so that each is checked at load, and finding one's own is a
look-up. There are few: of two networks that share an address one holds the other, so the more specific of a client's
two peers determines the less specific. One resolution for each network in either list, and one for no peer, is all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from tlsproxy.config.model import Configuration, ConnectionScope, Listen, Listener, Peer, Scope
from tlsproxy.config.networks import IpNetwork
from tlsproxy.config.prefixes import PrefixTable
from tlsproxy.config.settings import Settings
from tlsproxy.config.tables import OPTIONS
from tlsproxy.config.toml_text import key_path
from tlsproxy.identity.client import IpAddress


@frozen
class Origin:
    """The scope that an option's value comes from."""

    scope: str
    """For people: ``peer 10.3.0.0/16 of listen 0.0.0.0:25, pathway "scanners"``; ``default`` where no scope sets it."""
    path: str
    """Key path of the option, ``pathway.scanners.tls_protocols``; empty for a default."""


DEFAULT = Origin("default", "")


@frozen
class Resolution:
    """The options in force for some of a listen's clients."""

    settings: Settings
    origins: Mapping[str, Origin] = field(repr=False)
    """By option; every option has one."""
    listen_path: str
    """Key path of the listen."""
    scopes: frozenset[str] = field(repr=False)
    """Key paths of every scope that may contribute, the global scope's empty one included."""
    network: IpNetwork | None = None
    """The more specific of the clients' two peers; None for clients in no peer."""

    def where(self, option: str) -> str:
        """Key path at which a problem with an option has to be mended; in the listen, if no scope sets it."""
        return self.origins[option].path or key_path(self.listen_path, option)


@frozen
class _Layer:
    """What one scope, with its pathway and the pathway's group, has to say."""

    values: Mapping[str, Any]
    origins: Mapping[str, Origin]
    scopes: frozenset[str]


_NOTHING = _Layer({}, {}, frozenset())


class Resolver:
    """The settings of one listen's clients."""

    def __init__(self, configuration: Configuration, listener: Listener, listen: Listen) -> None:
        self._configuration = configuration
        self._listen_path = listen.path
        self._interned: dict[Settings, Settings] = {}
        of_listen, of_listener = f"listen {listen.address}", listener.path
        self._base = [
            self._layer(listen, of_listen),
            self._layer(listener, of_listener),
            self._layer(configuration, "global"),
        ]
        listen_peers = self._peer_layers(listen.peers, of_listen)
        listener_peers = self._peer_layers(listener.peers, of_listener)
        networks = dict.fromkeys(peer.network for peer in (*listen.peers, *listener.peers))
        self._bare = self._resolution(None, _NOTHING, _NOTHING)
        self._with_peer = {
            network: self._resolution(
                network,
                listen_peers.find_covering(network) or _NOTHING,
                listener_peers.find_covering(network) or _NOTHING,
            )
            for network in networks
        }
        self._table = PrefixTable(self._with_peer.items())

    def settings_for(self, ip: IpAddress | None) -> Settings:
        """The settings of a client. Clients whose options are all equal get the same object.

        :param ip: As :func:`~tlsproxy.identity.client.normalized_address` gives it; None for a client without one.
        """
        return self.resolution_for(ip).settings

    def resolution_for(self, ip: IpAddress | None) -> Resolution:
        """The settings of a client, with their origins."""
        found = None if ip is None else self._table.find(ip)
        return self._bare if found is None else found

    def resolutions(self) -> Iterator[Resolution]:
        """Every resolution that a client can meet: the one without a peer first."""
        yield self._bare
        yield from self._with_peer.values()

    def _peer_layers(self, peers: Iterable[Peer], parent: str) -> PrefixTable[_Layer]:
        return PrefixTable(
            (peer.network, self._layer(peer, f"peer {peer.network} of {parent}")) for peer in peers
        )

    def _layer(self, scope: Scope, text: str) -> _Layer:
        sources: list[tuple[Scope, str]] = [(scope, text)]
        if isinstance(scope, ConnectionScope) and scope.pathway is not None:
            pathway = self._configuration.pathways[scope.pathway]
            sources.append((pathway, f'{text}, pathway "{pathway.name}"'))
            if pathway.group is not None:
                group = self._configuration.pathway_groups[pathway.group]
                sources.append((group, f'{text}, pathway "{pathway.name}", group "{group.name}"'))
        values: dict[str, Any] = {}
        origins: dict[str, Origin] = {}
        for source, name in reversed(sources):
            values.update(source.options)
            origins.update((option, Origin(name, key_path(source.path, option))) for option in source.options)
        return _Layer(values, origins, frozenset(source.path for source, _ in sources))

    def _resolution(self, network: IpNetwork | None, *peers: _Layer) -> Resolution:
        layers: Sequence[_Layer] = (*peers, *self._base)
        values: dict[str, Any] = {}
        origins = dict.fromkeys(OPTIONS, DEFAULT)
        for layer in reversed(layers):
            values.update(layer.values)
            origins.update(layer.origins)
        settings = Settings(**values)
        return Resolution(
            self._interned.setdefault(settings, settings),
            origins,
            self._listen_path,
            frozenset().union(*(layer.scopes for layer in layers)),
            network,
        )
