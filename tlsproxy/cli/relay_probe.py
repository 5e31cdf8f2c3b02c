"""``tlsproxy probe FILE --relay-test``: is a mail server behind the proxy an open relay?"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from socket import gethostname
from typing import Any, Final

from attrs import frozen

from tlsproxy.cli.check import tell
from tlsproxy.cli.relay_test import Envelope, Finding, Verdict, relay_test
from tlsproxy.config.backend import Backend
from tlsproxy.config.model import Configuration
from tlsproxy.config.parse import load
from tlsproxy.errors import ConfigurationError

SAFE, RELAYS, WRONG_USAGE, UNDETERMINED = 0, 1, 2, 3
"""Exit statuses."""

SENDER: Final = "relay-test@example.net"
RECIPIENT: Final = "relay-test@example.com"
"""Domains that nobody has (RFC 2606 §3), and that no server behind the proxy is responsible for."""

_ADDRESS: Final = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")
"""Printable, and nothing that could end the path that it stands in."""


@frozen
class _Result:
    backend: Backend
    server: str
    finding: Finding


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``--relay-test``."""
    options = parser.add_argument_group("options of --relay-test")
    options.add_argument("--backend", metavar="NAME", help="test this backend's servers alone")
    options.add_argument(
        "--sender",
        metavar="ADDRESS",
        type=_sender,
        default=SENDER,
        help='default: %(default)s; "" is the null sender of bounces',
    )
    options.add_argument(
        "--recipient",
        metavar="ADDRESS",
        type=_address,
        default=RECIPIENT,
        help="default: %(default)s; the servers must not be responsible for its domain",
    )


def run(arguments: argparse.Namespace) -> int:
    """Test the servers; one line for each."""
    try:
        configuration = load(arguments.target)
    except ConfigurationError as error:
        tell("error", error.problems)
        return UNDETERMINED
    try:
        backends = _backends(configuration, arguments.backend)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USAGE
    envelope = Envelope(arguments.sender, arguments.recipient)
    hostname = str(configuration.options.get("smtp_hostname") or gethostname())
    results = [
        _Result(backend, str(server.address), relay_test(backend, server.address, envelope, hostname))
        for backend in backends
        for server in backend.servers
    ]
    if arguments.json:
        print(json.dumps([_as_json(result) for result in results], indent=2))
    else:
        print("\n".join(_as_table(results)))
    return _status(result.finding.verdict for result in results)


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise argparse.ArgumentTypeError(f'must be a mail address such as {RECIPIENT}, not "{text}"')
    return text


def _sender(text: str) -> str:
    return _address(text) if text else text


def _backends(configuration: Configuration, name: str | None) -> list[Backend]:
    """The backends that mail goes to, or the one of them that was asked for.

    :raises ValueError: There is none.
    """
    used = {
        listener.backend: configuration.backends[listener.backend]
        for listener in configuration.listeners
        if listener.kind == "esmtp"
    }
    if not used:
        raise ValueError(f"{configuration.source} has no esmtp_listener: there is no mail server to test")
    if name is None:
        return list(used.values())
    if name not in used:
        raise ValueError(f'--backend "{name}" is no backend of an esmtp_listener; there is {", ".join(used)}')
    return [used[name]]


def _status(verdicts: Iterable[Verdict]) -> int:
    found = set(verdicts)
    if Verdict.RELAYS in found:
        return RELAYS
    return UNDETERMINED if Verdict.UNDETERMINED in found else SAFE


_WORDS: Final = {
    Verdict.RELAYS: "RELAYS: {}",
    Verdict.REFUSES: "refuses: {}",
    Verdict.UNDETERMINED: "could not be tested: {}",
}


def _as_table(results: Sequence[_Result]) -> Iterator[str]:
    rows = [("BACKEND", "SERVER", "IDENTITY", "CLIENT SEEN", "VERDICT")]
    for result in results:
        finding = result.finding
        verdict = _WORDS[finding.verdict].format(finding.detail)
        rows.append(
            (
                result.backend.name,
                result.server,
                result.backend.identity.value,
                finding.client or "-",
                _printable(verdict),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _printable(text: str) -> str:
    """On one line, whatever a server says."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _as_json(result: _Result) -> dict[str, Any]:
    return {
        "backend": result.backend.name,
        "server": result.server,
        "identity": result.backend.identity.value,
        "client_seen": result.finding.client,
        "verdict": result.finding.verdict.value,
        "detail": result.finding.detail,
    }
