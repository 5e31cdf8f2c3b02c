"""``tlsproxy check``: says everything that is wrong with a configuration, before a start would."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

from tlsproxy.config.resolve import Resolution
from tlsproxy.config.rules import offers_tls
from tlsproxy.errors import ConfigurationError, Problem
from tlsproxy.fronts import Kind
from tlsproxy.service.prepare import Prepared, prepare
from tlsproxy.tls.certificates import Certificate

MAX_NAMED = 3
"""Networks or names listed on a line of the summary; the thousand that there may be aren't a summary."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "check",
        help="check a configuration file, and the certificates and keys it names",
        description="Check a configuration file, and the certificates and keys it names. Every error is reported at once, "
        "with its key path. The exit status is 0 if there is none (warnings don't count), otherwise 1.",
    )
    parser.add_argument("file", metavar="FILE", help="the configuration file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the file; problems go to standard error, a summary to standard output."""
    try:
        prepared = prepare(arguments.file)
    except ConfigurationError as error:
        tell("error", error.problems)
        return 1
    tell("warning", prepared.warnings)
    for line in _summary(prepared):
        print(line)
    return 0


def tell(severity: str, problems: Iterable[Problem]) -> None:
    """Print problems to standard error, each on one line whatever is in the values it quotes."""
    for problem in problems:
        text = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode()
            for character in str(problem)
        )
        print(f"{severity}: {text}", file=sys.stderr)


def _summary(prepared: Prepared) -> Iterator[str]:
    yield f"{prepared.configuration.source}: valid, {_counted(len(prepared.warnings), 'warning')}"
    for listen in prepared.listens:
        servers = ", ".join(map(str, listen.backend.servers))
        yield f"{listen.listen.address} ({listen.kind.name}) to {listen.backend.name} ({servers})"
        bare, *with_peer = listen.resolver.resolutions()
        if offers_tls(bare.settings, listen.kind):
            for certificate in prepared.contexts.server_context(bare.settings, listen.kind).certificates:
                yield f"  {_certificate(certificate)}"
        everybody = _policy(bare, listen.kind)
        yield f"  {everybody}"
        yield from _peers(everybody, with_peer, listen.kind)


def _peers(everybody: str, with_peer: Iterable[Resolution], kind: Kind) -> Iterator[str]:
    """A line for each policy that isn't everybody's, with the networks that have it."""
    networks: dict[str, list[str]] = {}
    for resolution in with_peer:
        networks.setdefault(_policy(resolution, kind), []).append(str(resolution.network))
    for policy, of_peers in networks.items():
        if policy != everybody:
            yield f"  {_named(of_peers)}: {policy}"


def _named(names: Sequence[str]) -> str:
    more = [f"{len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return ", ".join([*names[:MAX_NAMED], *more])


def _certificate(certificate: Certificate) -> str:
    names = _named(sorted(certificate.names)) or "no name"
    return f"certificate for {names} ({certificate.key_type}), valid until {certificate.not_after:%Y-%m-%d}"


def _policy(resolution: Resolution, kind: Kind) -> str:
    settings = resolution.settings
    if not offers_tls(settings, kind):
        return "no TLS"
    renegotiation = "allowed" if settings.tls_allow_renegotiation else "refused"
    client = {
        "none": "",
        "optional": ", client certificate optional",
        "require": ", client certificate required",
    }
    return f"{settings.tls_protocols}, renegotiation {renegotiation}{client[settings.tls_verify_mode.value]}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number or 'no'} {noun}s"
