"""The syntax of Momentum's ``ecelerity.conf`` ("Configuration Overview" in its manual).

Statements are ``name = value``, ``name "label" { … }`` and ``include "file"``. A value is a word, a string in quotes, a
list ``( a b )`` or a map ``[ key = value … ]``. ``#`` begins a comment, and ``/* … */`` is one. Names are of any case.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define, field, frozen

MAX_NESTING: Final = 32
"""Scopes, lists and maps within each other; Momentum's own configurations have five."""

Value = str | list[str]
"""A word or string; or what stands in a list. Maps are kept as lists of their words."""


class MomentumSyntaxError(Exception):
    """The text isn't what this reads; the message names the line."""


@frozen
class Assignment:
    """``name = value``."""

    name: str
    """In lower case."""
    value: Value
    where: str

    @property
    def text(self) -> str:
        value = self.value if isinstance(self.value, str) else f"( {' '.join(self.value)} )"
        return f"{self.name} = {value}"


@frozen
class Scope:
    """``name "label" { … }``."""

    name: str
    """In lower case."""
    label: str
    """Empty where there is none."""
    body: "Sequence[Statement]"
    where: str


@frozen
class Include:
    """``include "file"``, or ``readonly_include "file"``."""

    path: str
    where: str


Statement = Assignment | Scope | Include

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>\#[^\n]*|/\*.*?\*/)
      | (?P<open_comment>/\*)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<open_string>["'])
      | (?P<mark>\+=|-=|[={}()\[\],;])
      | (?P<word>(?:(?!/\*|\+=|-=)[^\s\#"'={}()\[\],;])+)""",
    re.VERBOSE | re.DOTALL,
)


@frozen
class _Token:
    kind: str
    """``word``, ``string``, ``mark`` or ``end``."""
    text: str
    line: int


def _tokens(text: str, source: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        kind = match.lastgroup if match is not None else None
        if match is None or kind in ("open_comment", "open_string"):
            what = {"open_comment": "comment", "open_string": "string"}.get(kind or "", "statement")
            raise MomentumSyntaxError(f"{source} line {line}: a {what} doesn't end")
        if kind == "string":
            yield _Token("string", re.sub(r"\\(.)", r"\1", match[0][1:-1], flags=re.DOTALL), line)
        elif kind in ("word", "mark"):
            yield _Token(kind, match[0], line)
        line += match[0].count("\n")
        position = match.end()
    yield _Token("end", "the end of the file", line)


def parse(text: str, source: str) -> list[Statement]:
    """The statements of one file.

    :raises MomentumSyntaxError: They can't be told apart.
    """
    reader = _Reader(list(_tokens(text.replace("\0", " "), source)), source)
    statements = reader.body()
    if reader.next.kind != "end":
        raise reader.error("what belongs to no scope")
    return statements


_INCLUDES: Final = ("include", "readonly_include")
_CLOSING: Final = {"(": ")", "[": "]"}


@define
class _Reader:
    tokens: list[_Token]
    source: str
    position: int = 0
    depth: int = field(default=0)

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.next
        if token.kind != "end":
            self.position += 1
        return token

    def error(self, what: str) -> MomentumSyntaxError:
        return MomentumSyntaxError(f"{self.source} line {self.next.line}: {self.next.text!r} is {what}")

    def is_mark(self, *marks: str) -> bool:
        return self.next.kind == "mark" and self.next.text in marks

    def body(self) -> list[Statement]:
        """Statements up to what can't begin one: ``}``, or the end."""
        statements: list[Statement] = []
        while True:
            while self.is_mark(";", ","):
                self.take()
            if self.next.kind not in ("word", "string"):
                return statements
            statements.append(self.statement())

    def statement(self) -> Statement:
        name = self.take()
        where = f"{self.source} line {name.line}"
        if name.text.lower() in _INCLUDES and self.next.kind in ("word", "string"):
            return Include(self.take().text, where)
        if self.is_mark("=", "+=", "-="):
            self.take()
            if not self.is_mark("{"):  # the manual has `ESMTP_Listener = {` as well
                return Assignment(name.text.lower(), self.value(), where)
        label = ""
        if self.next.kind in ("word", "string"):
            label = self.take().text
        if not self.is_mark("{"):
            raise self.error(f'not what follows {name.text}: "=", or a scope in braces')
        return Scope(name.text.lower(), label, self.nested(), where)

    def nested(self) -> list[Statement]:
        """The body of a scope, from its brace to the other."""
        self.descend()
        self.take()
        statements = self.body()
        if not self.is_mark("}"):
            raise self.error("not the } of the scope that is open")
        self.take()
        self.depth -= 1
        return statements

    def value(self) -> Value:
        if self.next.kind in ("word", "string"):
            return self.take().text
        if self.is_mark("(", "["):
            return self.elements()
        raise self.error("no value")

    def elements(self) -> list[str]:
        """What stands in a list or a map, flat."""
        self.descend()
        closing = _CLOSING[self.take().text]
        found: list[str] = []
        while not self.is_mark(closing):
            if self.is_mark("(", "["):
                found += self.elements()
            elif self.next.kind in ("word", "string") or self.is_mark("=", ",", ";"):
                token = self.take()
                found += [] if token.kind == "mark" else [token.text]
            else:
                raise self.error(f"not the {closing} of the list that is open")
        self.take()
        self.depth -= 1
        return found

    def descend(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.error(f"more than {MAX_NESTING} scopes deep")
