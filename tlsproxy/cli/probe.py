"""``tlsproxy probe``: tries things out from outside, on any server, or on the mail servers behind the proxy."""

import argparse
import json
import sys
import time
from typing import Final

from tlsproxy.cli import relay_probe
from tlsproxy.cli.server_probe.dialogue import DIALOGUES
from tlsproxy.cli.server_probe.findings import Verdict, worst
from tlsproxy.cli.server_probe.link import DEADLINE, Budget, NoAnswer, Target
from tlsproxy.cli.server_probe.probe import CONNECTIONS, Probe
from tlsproxy.cli.server_probe.report import as_json, as_table
from tlsproxy.config.addresses import TcpAddress, parse_server_address
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.outside.visitor import Visitor

FINE, BAD, WRONG_USAGE, UNREACHABLE = 0, 1, 2, 3
"""Exit statuses."""

TIMEOUT: Final = 10.0
"""Seconds. Postfix's postscreen(8) greets after 6."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "probe",
        help="look at a server from outside: versions, ciphers, certificate, renegotiation, STARTTLS",
        usage="tlsproxy probe HOST:PORT [options]\n       tlsproxy probe FILE --relay-test [options]",
        description=f"""
            Look at any TLS server from outside, and judge what is found, a line each: ok, warn, bad or unknown. The
            versions and cipher suites that it accepts are tried one by one, broken ones too; so are renegotiation,
            KeyUpdate and plaintext behind STARTTLS. It takes up to {CONNECTIONS} connections, one after the other. The exit
            status is 0 if nothing is bad, 1 if something is, 3 if the server can't be reached or speaks no TLS. With
            --relay-test, each server of each esmtp listener's backend in a configuration file is asked to relay a message
            instead: from the address that tlsproxy comes from, with the identity that it tells, for a client from outside
            (192.0.2.1). No message is sent: the dialogue ends after RCPT. Run it on the machine that tlsproxy runs on. The
            exit status is then 0 if every server refuses, 1 if one relays, 3 if that could not be found out for one.
            """,
    )
    parser.add_argument(
        "target", metavar="HOST:PORT | FILE", help="the server; with --relay-test, the configuration file"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--relay-test", action="store_true", help="try whether a mail server is an open relay"
    )
    _add_options(parser)
    relay_probe.add_options(parser)
    parser.set_defaults(run=run)


def _add_options(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("options for HOST:PORT")
    options.add_argument(
        "--starttls",
        choices=tuple(DIALOGUES),
        default="none",
        help="how TLS begins; none (the default) is with the first byte",
    )
    options.add_argument(
        "--servername", metavar="NAME", help="who the server should be, if it isn't HOST; sent by SNI"
    )
    options.add_argument(
        "--ca",
        metavar="FILE",
        help="PEM file of the authorities to verify against; the machine's if not given",
    )
    options.add_argument(
        "--expect",
        metavar="PROTOCOLS",
        type=_protocols,
        help="a list as in tls_protocols, such as '>=TLSv1.2': another version that is accepted is bad",
    )
    options.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=TIMEOUT,
        help=f"for each answer (default: %(default)g); all together may take {DEADLINE:g}",
    )
    options.add_argument(
        "--connections",
        metavar="NUMBER",
        type=_number,
        default=CONNECTIONS,
        help="how many may be made (default: %(default)s); cipher suites are left out first",
    )


def run(arguments: argparse.Namespace) -> int:
    """Probe."""
    return relay_probe.run(arguments) if arguments.relay_test else _probe_server(arguments)


def _probe_server(arguments: argparse.Namespace) -> int:
    try:
        address = parse_server_address(arguments.target)
    except ValueError as error:
        print(f"error: HOST:PORT {error}; a configuration file goes with --relay-test", file=sys.stderr)
        return WRONG_USAGE
    try:
        Visitor.create(list(TlsVersion), authorities=arguments.ca)
    except OSError as error:
        print(f"error: --ca {error}", file=sys.stderr)
        return WRONG_USAGE
    name = arguments.servername or (address.host if isinstance(address, TcpAddress) else "localhost")
    budget, began = Budget(arguments.connections), time.monotonic()
    target = Target(address, name, arguments.timeout)
    probe = Probe(target, arguments.starttls, arguments.expect, arguments.ca, budget)
    try:
        findings = list(probe.run())
    except NoAnswer as error:
        print(f"error: {address}: {error}", file=sys.stderr)
        return UNREACHABLE
    seconds = time.monotonic() - began
    if arguments.json:
        about = {
            "server": str(address),
            "name": name,
            "starttls": arguments.starttls,
            "connections": budget.made,
            "seconds": round(seconds, 3),
        }
        print(json.dumps(as_json(findings, about), indent=2))
    else:
        about_text = f"{address}, {budget.made} connections in {seconds:.1f} s"
        print("\n".join(as_table(findings, about_text)))
    return BAD if worst(findings) is Verdict.BAD else FINE


def _protocols(text: str) -> TlsProtocols:
    try:
        return TlsProtocols.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= DEADLINE:
        raise argparse.ArgumentTypeError(f'must be a number of seconds up to {DEADLINE:g}, not "{text}"')
    return seconds


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _MAX_CONNECTIONS:
        raise argparse.ArgumentTypeError(f'must be a number from 1 to {_MAX_CONNECTIONS}, not "{text}"')
    return int(text)


_MAX_CONNECTIONS: Final = 1000
"""More than there are suites to try."""
