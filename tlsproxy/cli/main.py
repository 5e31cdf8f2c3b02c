"""The ``tlsproxy`` command. Each subcommand is a module with ``add_parser`` and ``run``, imported when it is asked for.

Most of the time that a command takes is that of importing what it needs: TLS, Twisted, the configuration. So nothing is
imported here that not every command needs, and of the commands only the one that runs.
"""

import argparse
import io
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tlsproxy import __version__

COMMANDS: Final[Mapping[str, str]] = {
    "check": "tlsproxy.cli.check",
    "eval": "tlsproxy.cli.eval",
    "probe": "tlsproxy.cli.probe",
    "reload": "tlsproxy.cli.reload",
    "status": "tlsproxy.cli.status",
    "report": "tlsproxy.cli.report",
    "import": "tlsproxy.cli.importing",
    "demo": "tlsproxy.cli.demo",
    "completion": "tlsproxy.cli.completion",
}
"""Each command's module, in the order of ``--help``."""

EXIT_STATUSES: Final[Mapping[int, str]] = {
    0: "what was asked for is done, and what was looked at is in order",
    1: "it isn't: the configuration has errors, a server is badly off, something could not be done",
    2: "the command line is wrong",
    3: "it could not be found out: a server can't be reached, or doesn't answer",
}
"""What the exit status of every command means."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; ``argv`` without the program's name, ``sys.argv`` where it is None.

    :returns: The exit status, one of :data:`EXIT_STATUSES`.
    :raises SystemExit: by argparse, after ``--help``, ``--version`` and for a wrong command line.
    """
    given = sys.argv[1:] if argv is None else argv
    arguments = command_line(_needed(given)).parse_args(given)
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


def command_line(commands: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser, with these commands."""
    parser = argparse.ArgumentParser(
        prog="tlsproxy",
        description="TLS-terminating proxy for mail servers too old to be given modern TLS.",
        epilog="The proxy itself is run by twistd: twistd -n tlsproxy --config FILE. `tlsproxy COMMAND --help` explains a "
        "command; so does the manual page, tlsproxy(1).",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the versions in use, and exit")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
        import_module(COMMANDS[command]).add_parser(subparsers)
    return parser


def _needed(argv: Sequence[str]) -> Iterable[str]:
    """The commands that have to be known for this command line: help, and a wrong one, need all."""
    if argv and argv[0] in COMMANDS:
        return (argv[0],)
    return () if argv and argv[0] == "--version" else COMMANDS


class _Version(argparse.Action):
    """argparse's own would fill the text like a paragraph."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(_versions())
        parser.exit()


def _versions() -> str:
    from importlib.metadata import version

    from tlsproxy.tls.library import library_version

    return "\n".join(
        (
            f"tlsproxy {__version__}",
            f"pyOpenSSL {version('pyOpenSSL')} with {library_version()}",
            f"Twisted {version('Twisted')}",
            f"{platform.python_implementation()} {platform.python_version()}",
        )
    )
