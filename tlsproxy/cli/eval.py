"""``tlsproxy eval``: prints the options in force for a client, and the scope that set each."""

import argparse
import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from attrs import frozen

from tlsproxy.cli.check import tell
from tlsproxy.config.addresses import ListenAddress
from tlsproxy.config.catalogue import value_text
from tlsproxy.config.model import Configuration, Listen, Listener
from tlsproxy.config.parse import load
from tlsproxy.config.resolve import Resolution, Resolver
from tlsproxy.config.tables import OPTIONS
from tlsproxy.config.values import Files, values_converter
from tlsproxy.errors import ConfigurationError
from tlsproxy.identity.client import IpAddress, normalized_address
from tlsproxy.policy.protocols import TlsProtocols

MAX_VALUE_WIDTH = 40
"""Characters of the column of values; a longer value pushes its origin to the right, and no other's."""


@frozen
class _Evaluation:
    listener: Listener
    listen: Listen
    client: IpAddress | None
    resolution: Resolution

    @property
    def options(self) -> list[str]:
        """The options that this kind of listener knows."""
        kind = self.listener.kind
        return [name for name, option in OPTIONS.items() if option.kinds is None or kind in option.kinds]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "eval",
        help="show the options in force for a client, and where each comes from",
        description="Show every option in force for a client of a listen, and the scope that set it. Certificates and keys "
        "aren't read.",
    )
    parser.add_argument("file", metavar="FILE", help="the configuration file")
    parser.add_argument(
        "--listen", metavar="ADDRESS", help="address of a listen, as in the file; all of them if not given"
    )
    parser.add_argument(
        "--peer",
        metavar="IP",
        type=_client,
        help="address of a client; if not given, one that is in no peer network",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object for each listen")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the options."""
    try:
        configuration = load(arguments.file)
    except ConfigurationError as error:
        tell("error", error.problems)
        return 1
    try:
        evaluations = list(_evaluate(configuration, arguments.listen, arguments.peer))
    except ValueError as error:
        print(f"error: --listen {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([_as_json(evaluation) for evaluation in evaluations], indent=2))
    else:
        print("\n\n".join("\n".join(_as_table(evaluation)) for evaluation in evaluations))
    return 0


def _client(text: str) -> IpAddress:
    try:
        return normalized_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'must be an IP address such as 10.3.7.9 or 2001:db8::1, not "{text}"'
        ) from None


def _evaluate(
    configuration: Configuration, listen: str | None, client: IpAddress | None
) -> Iterator[_Evaluation]:
    """The options for ``client`` on one listen, or on all.

    :raises ValueError: No listen has that address.
    """
    wanted = None if listen is None else _address(configuration, listen)
    for listener in configuration.listeners:
        for each in listener.listens:
            if wanted in (None, each.address):
                resolution = Resolver(configuration, listener, each).resolution_for(client)
                yield _Evaluation(listener, each, client, resolution)


def _address(configuration: Configuration, text: str) -> ListenAddress:
    addresses = [listen.address for listener in configuration.listeners for listen in listener.listens]
    converter = values_converter(Files(Path(configuration.source).absolute().parent))
    address: ListenAddress = converter.structure(text, ListenAddress)  # type: ignore[arg-type]  # a union is no type
    if address not in addresses:
        raise ValueError(
            f"{address} is no listen of {configuration.source}; there is {', '.join(map(str, addresses))}"
        )
    return address


def _as_table(evaluation: _Evaluation) -> Iterator[str]:
    resolution = evaluation.resolution
    yield _heading(evaluation)
    values = {option: _shown(getattr(resolution.settings, option)) for option in evaluation.options}
    name_width = max(map(len, values))
    value_width = min(MAX_VALUE_WIDTH, max(map(len, values.values())))
    for option, value in values.items():
        yield f"{option:<{name_width}}  {value:<{value_width}}  {resolution.origins[option].scope}"


def _heading(evaluation: _Evaluation) -> str:
    network = evaluation.resolution.network
    of_peer = "in no peer" if network is None else f"in peer {network}"
    client = of_peer if evaluation.client is None else f"{evaluation.client}, {of_peer}"
    listener = evaluation.listener
    return f'{evaluation.listen.address} ({listener.kind}, backend "{listener.backend}"), client {client}'


def _shown(value: Any) -> str:
    text = value_text(value) or "(not set)"
    return f"{text} ({value})" if isinstance(value, TlsProtocols) else text


def _as_json(evaluation: _Evaluation) -> dict[str, Any]:
    resolution = evaluation.resolution
    return {
        "listen": str(evaluation.listen.address),
        "path": evaluation.listen.path,
        "kind": evaluation.listener.kind,
        "backend": evaluation.listener.backend,
        "client": None if evaluation.client is None else str(evaluation.client),
        "peer": None if resolution.network is None else str(resolution.network),
        "options": {
            option: {
                "value": _plain(getattr(resolution.settings, option)),
                "scope": resolution.origins[option].scope,
                "path": resolution.origins[option].path,
            }
            for option in evaluation.options
        },
    }


def _plain(value: Any) -> Any:
    match value:
        case TlsProtocols():
            return {"text": value.text, "versions": str(value).split()}
        case Enum():
            return value.value
        case _:
            return value
