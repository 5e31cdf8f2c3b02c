"""A TOML document with comments, written in a fixed order: values of a table first, then the tables below it."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import define, field, frozen

from tlsproxy.config.importing.remarks import printable
from tlsproxy.config.toml_text import toml_key, toml_text

WIDTH = 110
"""Columns that comments are wrapped at."""


@frozen
class Entry:
    """A key with its value, and the comments above it."""

    key: str
    value: Any
    comments: Sequence[str] = ()


@define
class Table:
    """A table: ``header`` as it stands in the file, ``[backend.mta]`` or ``[[esmtp_listener]]``; empty for the top."""

    header: str = ""
    comments: list[str] = field(factory=list)
    """Above the header."""
    entries: list[Entry] = field(factory=list)
    remarks: list[str] = field(factory=list)
    """Comments below the entries: what isn't there."""
    tables: list["Table"] = field(factory=list)

    def say_the_rest(self, comments: Iterable[str]) -> None:
        """Add comments at the top, but for those that stand somewhere in the document already."""
        said = set(self._said())
        self.comments += [comment for comment in dict.fromkeys(comments) if comment not in said]

    def _said(self) -> Iterator[str]:
        yield from (*self.comments, *self.remarks)
        for entry in self.entries:
            yield from entry.comments
        for table in self.tables:
            yield from table._said()  # noqa: SLF001 - another of its own

    def render(self, depth: int = 0) -> str:
        """The text; tables below others are indented."""
        return "\n".join(self.lines(depth)) + "\n"

    def lines(self, depth: int) -> Iterator[str]:
        """The lines of :meth:`render`."""
        indent = "  " * depth
        yield from _commented(self.comments, indent)
        if self.header:
            yield indent + self.header
        for entry in self.entries:
            yield from _commented(entry.comments, indent)
            yield f"{indent}{toml_key(entry.key)} = {toml_text(entry.value)}"
        yield from _commented(self.remarks, indent)
        for table in self.tables:
            yield ""
            yield from table.lines(depth + bool(self.header))


def _commented(comments: Sequence[str], indent: str) -> Iterator[str]:
    for comment in comments:
        for line in comment.split("\n"):
            yield from _wrapped(line, f"{indent}# ")


def _wrapped(line: str, prefix: str) -> Iterator[str]:
    """A comment, wrapped; one that is indented is a sample, and stays as it is. TOML allows no control characters."""
    text = printable(line)
    if text.startswith(" "):
        yield prefix + text
        return
    lines = textwrap.wrap(text, WIDTH - len(prefix), break_long_words=False, break_on_hyphens=False)
    yield from ((prefix + each).rstrip() for each in lines or [""])


def header(*names: str, array: bool = False) -> str:
    """The header of a table: ``[pathway."the copiers"]``, or ``[[esmtp_listener.listen]]`` of an array of them."""
    path = ".".join(map(toml_key, names))
    return f"[[{path}]]" if array else f"[{path}]"
