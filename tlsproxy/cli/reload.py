"""``tlsproxy reload``: has the running service read its configuration again."""

import argparse
import sys

from tlsproxy.cli.check import tell
from tlsproxy.config.parse import load
from tlsproxy.errors import ConfigurationError, Problem
from tlsproxy.service.control_client import TIMEOUT, ControlError, problems_of, request

DEFAULT = "/etc/tlsproxy/tlsproxy.toml"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "reload",
        help="have the running service read its configuration again",
        description="Have the running service read its configuration, certificates and keys again. New sessions get what "
        "is new, running ones go on. Where anything is wrong, all of it is told, and everything stays as it was. The exit "
        "status is 0 where the configuration is in force, otherwise 1.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--config",
        metavar="FILE",
        default=DEFAULT,
        help=f"the service's configuration, which names its control_socket (default: {DEFAULT})",
    )
    where.add_argument("--socket", metavar="PATH", help="the control socket")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask for the reload, and wait for what comes of it."""
    try:
        answer = request(control_socket(arguments), "reload", TIMEOUT)
    except ConfigurationError as error:
        tell("error", error.problems)
        return 1
    except ControlError as error:
        print(f"tlsproxy: {error}", file=sys.stderr)
        return 1
    if answer.get("ok"):
        print(f"reloaded: generation {answer.get('generation')}")
        return 0
    tell("error", [Problem("", problem) for problem in problems_of(answer)])
    print("tlsproxy: the reload was refused, everything stays as it was", file=sys.stderr)
    return 1


def control_socket(arguments: argparse.Namespace) -> str:
    """The path that ``--socket`` names, or the configuration of ``--config``.

    :raises ConfigurationError: The configuration can't be read; it is told as the service would tell it.
    :raises ControlError: It names none.
    """
    if arguments.socket is not None:
        path: str = arguments.socket
        return path
    named = load(arguments.config).control_socket
    if named is None:
        raise ControlError(f"{arguments.config} names no control_socket: send SIGHUP to the service instead")
    return named
