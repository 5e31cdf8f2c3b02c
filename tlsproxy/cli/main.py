"""The ``tlsproxy`` command. Each subcommand is a module with ``add_parser`` and ``run``."""

import argparse
import io
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tlsproxy import __version__
from tlsproxy.cli import check, demo, probe
from tlsproxy.cli import eval as eval_
from tlsproxy.tls.contexts import library_version

COMMANDS = (check, eval_, probe, demo)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; ``argv`` without the program's name, ``sys.argv`` where it is None.

    :returns: The exit status: 0 for success, 1 where what was asked for failed, 2 for a wrong command line.
    :raises SystemExit: by argparse, after ``--help``, ``--version`` and for a wrong command line.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks must not end the listing it stands in.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has what it wanted (`tlsproxy eval … | head`). Without this the interpreter's own flush fails at exit.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tlsproxy", description="TLS-terminating proxy for mail servers too old to be given modern TLS."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the versions in use, and exit")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


class _Version(argparse.Action):
    """argparse's own would fill the text like a paragraph."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(_versions())
        parser.exit()


def _versions() -> str:
    return "\n".join(
        (
            f"tlsproxy {__version__}",
            f"pyOpenSSL {version('pyOpenSSL')} with {library_version()}",
            f"Twisted {version('Twisted')}",
            f"{platform.python_implementation()} {platform.python_version()}",
        )
    )
