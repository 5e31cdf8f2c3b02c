"""A translation held against what ``tlsproxy check`` finds without looking into files."""

from collections.abc import Mapping

from tlsproxy.config.importing.remarks import Imported
from tlsproxy.config.model import Configuration
from tlsproxy.config.parse import parse
from tlsproxy.config.resolve import Resolver
from tlsproxy.config.rules import check_settings
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import KINDS


def checked(imported: Imported) -> tuple[Configuration, Mapping[str, Settings]]:
    """The configuration, and for each address the settings of a client in no peer.

    :raises ConfigurationError: It isn't valid.
    """
    configuration = parse(imported.toml, "/etc/tlsproxy/tlsproxy.toml")
    settings = {}
    for listener in configuration.listeners:
        for listen in listener.listens:
            resolver = Resolver(configuration, listener, listen)
            for resolution in resolver.resolutions():
                assert list(check_settings(resolution, KINDS[listener.kind])) == [], imported.toml
            settings[str(listen.address)] = resolver.resolution_for(None).settings
    return configuration, settings
