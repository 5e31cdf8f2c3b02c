"""Writes the manual pages: ``man/tlsproxy.1`` from the parsers of the command line, ``man/tlsproxy.toml.5`` from the
catalogue of options. ``docs/generate.py`` runs it, and takes the command line in words from it for ``docs/cli.md``.

The pages are written with the macros of man(7).
"""

import argparse
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from tlsproxy import __version__
from tlsproxy.cli.main import EXIT_STATUSES, command_line
from tlsproxy.config.catalogue import Entry, entries
from tlsproxy.config.settings import Settings

MAN = Path(__file__).parents[1] / "man"

HOMEPAGE_NOTE = "docs/ in the source distribution explains more, page by page."


@frozen
class Argument:
    """An argument or option of a command."""

    invocation: str
    """``--listen ADDRESS``."""
    help: str


@frozen
class Command:
    """A command of the command line."""

    name: str
    """``tlsproxy check``."""
    usage: str
    """Without ``usage:``."""
    summary: str
    description: str
    arguments: tuple[Argument, ...]
    epilog: str
    is_group: bool
    """It has commands of its own, and does nothing without one."""


def commands() -> Iterator[Command]:
    """``tlsproxy`` itself, then each of its commands, and theirs."""
    return _walk(command_line(), "")


def _walk(parser: argparse.ArgumentParser, summary: str) -> Iterator[Command]:
    actions = list(parser._actions)  # noqa: SLF001 - argparse lists them nowhere else
    below = [action for action in actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    yield Command(
        parser.prog,
        _usage(parser),
        summary,
        _line(parser.description),
        tuple(
            _argument(action, parser.prog)
            for action in actions
            if action not in below and (below or action.dest != "help")
        ),
        _line(parser.epilog),
        bool(below),
    )
    for action in below:
        summaries = {choice.dest: _line(choice.help) for choice in action._choices_actions}  # noqa: SLF001
        for name, command in action.choices.items():
            yield from _walk(command, summaries.get(name, ""))


def _usage(parser: argparse.ArgumentParser) -> str:
    """Filled by hand: argparse's own depends on the width of the terminal."""
    if parser.usage is not None:
        return "\n".join(line.strip() for line in parser.usage.splitlines())
    parts = [parser.prog]
    for action in parser._actions:  # noqa: SLF001
        invocation = _argument(action, parser.prog).invocation.split(", ")[-1]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            parts += [str(action.metavar or "COMMAND"), "..."]
        elif action.dest != "help":
            parts.append(invocation if action.required or not action.option_strings else f"[{invocation}]")
    return " ".join(parts)


def _argument(action: argparse.Action, prog: str) -> Argument:
    if action.choices is not None:
        value = f"{{{','.join(map(str, action.choices))}}}"
    else:
        value = str(action.metavar or action.dest.upper())
    if action.option_strings:
        value = "" if action.nargs == 0 else f" {value}"
        invocation = ", ".join(f"{option}{value}" for option in action.option_strings)
    else:
        invocation = {"?": f"[{value}]", "*": f"[{value} ...]", "+": f"{value} [...]"}.get(
            str(action.nargs), value
        )
    return Argument(invocation, _line(action.help) % {**vars(action), "prog": prog} if action.help else "")


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def exit_statuses() -> Iterator[str]:
    """In Markdown."""
    for status, meaning in EXIT_STATUSES.items():
        yield f"- **{status}**: {meaning}."


# Pages


def command_page() -> str:
    """tlsproxy(1)."""
    first, *others = commands()
    return "\n".join(
        [
            _heading("TLSPROXY", 1, "User Commands"),
            ".SH NAME",
            r"tlsproxy \- check, look at and steer the TLS proxy for old mail servers",
            ".SH SYNOPSIS",
            *_synopses([*others]),
            ".SH DESCRIPTION",
            *_paragraphs(first.description, first.epilog),
            ".SH OPTIONS",
            *_arguments(first),
            ".SH COMMANDS",
            *(line for command in others for line in _section(command)),
            ".SH EXIT STATUS",
            *(
                line
                for status, meaning in EXIT_STATUSES.items()
                for line in _item(str(status), f"{meaning}.")
            ),
            ".SH SEE ALSO",
            ".BR tlsproxy.toml (5),",
            ".BR twistd (1)",
            ".PP",
            _roff(HOMEPAGE_NOTE),
            "",
        ]
    )


def configuration_page(tables: Mapping[str, type]) -> str:
    """tlsproxy.toml(5)."""
    lines = [
        _heading("TLSPROXY.TOML", 5, "File Formats"),
        ".SH NAME",
        r"tlsproxy.toml \- configuration of the TLS proxy for old mail servers",
        ".SH DESCRIPTION",
        *_paragraphs(
            "One TOML file, named by `twistd tlsproxy --config`. `tlsproxy check` reports everything that is wrong with "
            "it, `tlsproxy eval` prints every option in force for a client and where it comes from.",
            "The options of a session may be set in several places. The narrowest one that sets an option decides: the "
            "peer of a listen, the peer of its listener, the listen, the listener, the top of the file. In each of them "
            "but the last its own keys come first, then those of the pathway that is attached there, then those of the "
            "pathway's group.",
        ),
        ".SH EXAMPLE",
        ".EX",
        *map(_verbatim, _EXAMPLE.splitlines()),
        ".EE",
        ".SH SESSION OPTIONS",
    ]
    for entry in entries(Settings):
        lines += _entry(entry)
    lines.append(".SH TABLES")
    for where, cls in tables.items():
        lines.append(f".SS {_roff(where)}")
        for entry in entries(cls):
            lines += _entry(entry)
    lines += [".SH SEE ALSO", ".BR tlsproxy (1)", ".PP", _roff(HOMEPAGE_NOTE), ""]
    return "\n".join(lines)


_EXAMPLE = """\
tls_certificate = "/etc/tlsproxy/mx.example.org.pem"
tls_protocols = ">=TLSv1.2"

[backend.old-mta]
servers = ["127.0.0.1:2525"]

[[esmtp_listener]]
backend = "old-mta"
  [[esmtp_listener.listen]]
  address = "0.0.0.0:25\""""


def _heading(title: str, section: int, manual: str) -> str:
    """Without a date: a page that follows from the code is as old as the code."""
    return f'.\\" Written by docs/generate.py.\n.TH {title} {section} "" "tlsproxy {__version__}" "{manual}"\n.nh\n.ad l'


def _synopses(of: list[Command]) -> Iterator[str]:
    usages = [(each.name, usage) for each in of if not each.is_group for usage in each.usage.splitlines()]
    for number, (name, usage) in enumerate(usages):
        if number:
            yield ".br"
        yield rf"\fB{_roff(name)}\fR{_roff(usage.removeprefix(name))}"


def _section(command: Command) -> Iterator[str]:
    yield f".SS {_roff(command.name)}"
    yield from _paragraphs(command.description or command.summary)
    yield from _arguments(command)


def _arguments(command: Command) -> Iterator[str]:
    for argument in command.arguments:
        yield from _item(argument.invocation, argument.help)


def _entry(entry: Entry) -> Iterator[str]:
    default = (
        f"default {entry.default}"
        if entry.default not in ("", "required")
        else entry.default or "not set by default"
    )
    kinds = f" Only for {' and '.join(sorted(entry.kinds))} listeners." if entry.kinds else ""
    yield from _item(entry.name, f"{entry.type[0].upper()}{entry.type[1:]}; {default}.{kinds}")
    yield ".IP"
    yield from _filled(entry.doc)


def _item(tag: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield rf"\fB{_roff(tag)}\fR"
    yield from _filled(text) or [r"\&"]


def _paragraphs(*texts: str) -> Iterator[str]:
    for number, text in enumerate(filter(None, texts)):
        if number:
            yield ".PP"
        yield from _filled(text)


def _filled(text: str) -> list[str]:
    """Lines of the page's source; that they are short is for whoever reads it. None may begin like a request."""
    lines = textwrap.wrap(_roff(text), _SOURCE_WIDTH, break_long_words=False, break_on_hyphens=False)
    return [rf"\&{line}" if line.startswith(".") else line for line in lines]


_SOURCE_WIDTH = 79

_MARKDOWN = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*|\[(?P<link>[^]]*)\]\([^)]*\)")


def _roff(text: str) -> str:
    """One paragraph of Markdown as roff(7)."""
    parts, position = [], 0
    for match in _MARKDOWN.finditer(text):
        parts.append(_escaped(text[position : match.start()]))
        marked = match["code"] or match["strong"]
        parts.append(rf"\fB{_escaped(marked)}\fR" if marked else _roff(match["link"]))
        position = match.end()
    parts.append(_escaped(text[position:]))
    return "".join(parts)


def _escaped(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    escaped = escaped.replace("^", r"\(ha").replace("~", r"\(ti").replace("\n", " ")
    return _BREAKABLE.sub(r"\g<0>\\:", escaped)


_BREAKABLE = re.compile(r"(?<=\S)[:,/](?=[^\s:,/])")
"""A long list without white space may be broken here."""


def _verbatim(line: str) -> str:
    escaped = _escaped(line)
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def pages(tables: Mapping[str, type]) -> dict[str, str]:
    """Every page, by the name of its file."""
    return {"tlsproxy.1": command_page(), "tlsproxy.toml.5": configuration_page(tables)}


def write(tables: Mapping[str, type]) -> None:
    """Bring the files up to date."""
    MAN.mkdir(exist_ok=True)
    for name, text in pages(tables).items():
        (MAN / name).write_text(text)
