"""``tlsproxy completion``: what a shell needs to complete the command line."""

import argparse
from typing import Final

import shtab

SHELLS: Final = ("bash", "zsh", "fish")
"""shtab knows more; these are tested."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "completion",
        help="print what a shell needs to complete this command line",
        description="Print a script for a shell that completes commands, options and file names. bash looks for it in "
        "/usr/share/bash-completion/completions/tlsproxy, fish in /etc/fish/completions/tlsproxy.fish, zsh in one "
        "of the directories of its fpath, as _tlsproxy.",
    )
    parser.add_argument("shell", choices=SHELLS, help="which one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    # The parser of all commands: that of this one knows only itself.
    from tlsproxy.cli.main import command_line

    parser = command_line()
    _complete_files(parser)
    print(shtab.complete(parser, arguments.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Tell shtab which arguments are names of files: the name of their value does."""
    for action in parser._actions:  # noqa: SLF001 - argparse lists them nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                _complete_files(command)
        elif str(action.metavar).endswith("FILE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's way to be told
