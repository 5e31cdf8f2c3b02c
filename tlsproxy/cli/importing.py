"""``tlsproxy import``: another program's TLS settings as a configuration of ours, with what couldn't be carried over."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tlsproxy.config.addresses import parse_server_address
from tlsproxy.config.importing.momentum import import_momentum
from tlsproxy.config.importing.postfix import import_postfix
from tlsproxy.config.importing.remarks import Imported, ImportFailed, Remark
from tlsproxy.tls.ciphers import is_usable

MAX_FILE: Final = 1_048_576
"""Bytes of a file read. A ``main.cf`` with every parameter in it has some 50,000."""

MAX_DIRECTORY: Final = 200
"""Files that a directory in an ``include`` may hold."""

KINDS: Final = ("esmtp", "http", "stream")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "import",
        help="make a configuration from Postfix's or Momentum's",
        description="Translate the TLS settings of another program. The configuration goes to standard output; what could "
        "not be carried over, and what may not do what was thought, is said in it and on standard error. Nothing is "
        "executed. The exit status is 0 if everything was carried over, 1 if something wasn't, 3 if there is no result.",
    )
    programs = parser.add_subparsers(metavar="PROGRAM", required=True)
    postfix = programs.add_parser(
        "postfix",
        help="main.cf and master.cf",
        description="Translate Postfix's main.cf and master.cf: a listener and a backend for each smtpd service.",
    )
    postfix.add_argument(
        "file",
        metavar="FILE",
        help="main.cf, with master.cf beside it; or their directory; or - for the output of `postconf -n`",
    )
    postfix.add_argument("--master", metavar="FILE", help="master.cf, where it isn't beside main.cf")
    _add_backend(postfix, "ADDRESS", _server, "where Postfix will listen for tlsproxy (127.0.0.1:2525)")
    postfix.set_defaults(run=run, translate=_postfix)
    momentum = programs.add_parser(
        "momentum",
        help="ecelerity.conf",
        description="Translate Momentum's ecelerity.conf and the files that it includes: listeners, listens, peers and "
        "pathways, one to one.",
    )
    momentum.add_argument("file", metavar="FILE", help="ecelerity.conf, or - for standard input")
    what = "where Momentum will listen for tlsproxy; KIND is esmtp (if not given), http or stream"
    _add_backend(momentum, "[KIND=]ADDRESS", _server_of_kind, what)
    momentum.set_defaults(run=run, translate=_momentum)


def _add_backend(
    parser: argparse.ArgumentParser, metavar: str, convert: Callable[[str], object], what: str
) -> None:
    parser.add_argument(
        "--backend",
        metavar=metavar,
        type=convert,
        action="append",
        default=[],
        help=f"{what}; may be given several times",
    )


def _server(text: str) -> str:
    try:
        return str(parse_server_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _server_of_kind(text: str) -> tuple[str, str]:
    kind, equals, address = text.partition("=")
    if not equals:
        return "esmtp", _server(text)
    if kind not in KINDS:
        raise argparse.ArgumentTypeError(f'must begin with {", ".join(KINDS)} and "=", not "{kind}"')
    return kind, _server(address)


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration."""
    translate: Callable[[argparse.Namespace], Imported] = arguments.translate
    try:
        imported = translate(arguments)
    except ImportFailed as failure:
        _tell(failure.remarks)
        print(f"error: {failure}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"error: can't read {error.filename}: {error.strerror}", file=sys.stderr)
        return 3
    print(imported.toml, end="")
    _tell(imported.remarks)
    return 0 if imported.complete else 1


def _tell(remarks: Sequence[Remark]) -> None:
    for remark in remarks:
        print(remark.comment, file=sys.stderr)


def _postfix(arguments: argparse.Namespace) -> Imported:
    path = Path(arguments.file)
    main = path / "main.cf" if path.is_dir() else path
    master = Path(arguments.master) if arguments.master else main.with_name("master.cf")
    wanted = arguments.master is not None or (arguments.file != "-" and master.exists())
    return import_postfix(
        _text(main),
        _text(master) if wanted else None,
        servers=arguments.backend,
        ciphers_work=is_usable,
    )


def _momentum(arguments: argparse.Namespace) -> Imported:
    servers: dict[str, list[str]] = {}
    for kind, address in arguments.backend:
        servers.setdefault(kind, []).append(address)
    path = Path(arguments.file)
    return import_momentum(_text(path), str(path), _included, servers=servers, ciphers_work=is_usable)


def _included(path: str, source: str) -> Sequence[tuple[str, str]]:
    """The files that an ``include`` means: one, or all of a directory in alphabetical order, hidden ones left out.

    :raises OSError: There is none.
    """
    found = Path(source).parent / path.removeprefix("file://")
    if not found.is_dir():
        return [(str(found), _text(found))]
    files = sorted(each for each in found.iterdir() if each.is_file() and not each.name.startswith("."))
    return [(str(each), _text(each)) for each in files[:MAX_DIRECTORY]]


def _text(path: Path) -> str:
    """A file's text; bytes that aren't UTF-8 are escaped.

    :raises OSError: It can't be read.
    :raises ImportFailed: It is too large to be what was meant.
    """
    if str(path) == "-":
        content = sys.stdin.buffer.read(MAX_FILE + 1)
    else:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise ImportFailed(f"{path} is larger than {MAX_FILE} bytes")
    return content.decode("utf-8", "backslashreplace")
