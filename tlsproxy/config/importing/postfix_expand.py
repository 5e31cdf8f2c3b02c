"""Postfix's ``$name`` in the values of parameters: the rules of postconf(5), as ``mac_expand(3)`` carries them out.

===============================  ======================================================
``$name ${name} $(name)``        the value, itself expanded; nothing where it isn't set
``${name?text} ${name?{text}}``  ``text`` if the value isn't empty
``${name:text} ${name:{text}}``  ``text`` if it is
``${name?{text}:{text}}``        one or the other
``${{text} == {text} ? …}``      a comparison in the place of a name: ``== != < <= >= >``; with ``level`` behind the
                                 operator it is one of compatibility levels
``$$``                           ``$``
===============================  ======================================================

Braces may have white space around them. A value that can't be expanded stops Postfix.
"""

import operator
import re
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

from attrs import define, field

MAX_DEPTH = 100
"""Of names within names: Postfix's own limit (``mac_expand.c``)."""

MAX_STEPS = 10_000
"""Expansions in one value: names that double at each level would go on for ever within any depth."""

MAX_LENGTH = 65_536
"""Characters of a value expanded. Nothing about TLS comes near."""

Lookup = Callable[[str], str | None]
"""The value of a parameter, not expanded; None where it has none."""


class ExpansionError(Exception):
    """Postfix couldn't expand the value either; the message says why."""


def expand(text: str, lookup: Lookup) -> tuple[str, frozenset[str]]:
    """The expanded value, and the names in it that ``lookup`` doesn't know.

    :raises ExpansionError: The value isn't valid, or its expansion doesn't end.
    """
    expansion = _Expansion(lookup)
    return expansion.text(text), frozenset(expansion.unknown)


_NAME = re.compile(r"[A-Za-z0-9_]+")
_OPERATOR = re.compile(r"([<>!=?+\-*/~&|%]+)([A-Za-z]*)")
_SPACES = " \t\r\n"
_SPACE = re.compile(f"[{_SPACES}]*")
_CLOSING = {"(": ")", "{": "}"}

_RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">=": operator.ge,
    ">": operator.gt,
}


@define
class _Expansion:
    lookup: Lookup
    unknown: set[str] = field(factory=set)
    depth: int = 0
    steps: int = 0

    def text(self, text: str) -> str:
        """Literal text with expressions in it."""
        parts: list[str] = []
        position = length = 0
        while position < len(text):
            part, position = self._part(text, position)
            length += len(part)
            if length > MAX_LENGTH:
                raise ExpansionError(f"is longer than {MAX_LENGTH} characters when it is expanded")
            parts.append(part)
        return "".join(parts)

    def _part(self, text: str, position: int) -> tuple[str, int]:
        """The next piece of literal text, or the value of the next expression; and where it ends."""
        if text[position] != "$":
            end = text.find("$", position)
            end = len(text) if end < 0 else end
            return text[position:end], end
        if text.startswith("$$", position):
            return "$", position + 2
        body, end = _expression(text, position + 1)
        return self._value(body), end

    def _value(self, body: str) -> str:
        self.steps += 1
        if self.depth >= MAX_DEPTH or self.steps > MAX_STEPS:
            raise ExpansionError(f"refers to itself, or to too many others, at {body!r}")
        self.depth += 1
        try:
            return self._evaluated(body)
        finally:
            self.depth -= 1

    def _evaluated(self, body: str) -> str:
        if _brace(body) is not None:
            condition, rest = self._relation(body)
            if not rest:
                return condition
        else:
            match = _NAME.match(body)
            name, rest = (match[0], body[match.end() :].lstrip(_SPACES)) if match is not None else ("", body)
            if not name or (rest and rest[0] not in "?:"):
                raise ExpansionError(f"has {body!r} where the name of a parameter belongs")
            found = self.lookup(name)
            if found is None:
                self.unknown.add(name)
            if not rest:
                return self.text(found or "")
            condition = found or ""
        if rest[0] not in "?:":
            raise ExpansionError(f"has {rest!r} where ? or : belongs")
        return self._chosen(bool(condition), rest)

    def _chosen(self, condition: bool, rest: str) -> str:
        """What follows from a condition, given ``?text``, ``:text`` or ``?{text}:text``."""
        result = ""
        if rest[0] == "?":
            chosen, rest = _operand(rest[1:])
            result = self.text(chosen) if condition else ""
            if rest and rest[0] != ":":
                raise ExpansionError(f"has {rest!r} where : belongs")
        if rest:
            chosen, rest = _operand(rest[1:])
            if rest:
                raise ExpansionError(f"has {rest!r} behind its end")
            result = result if condition else self.text(chosen)
        return result

    def _relation(self, body: str) -> tuple[str, str]:
        """The result of ``{left} == {right}``, as text, and what follows it."""
        left, rest = _operand(body)
        match = _OPERATOR.match(rest)
        if match is None or match[1] not in _RELATIONS or match[2] not in ("", "level"):
            raise ExpansionError(f"has {rest!r} where a comparison such as == belongs")
        rest = rest[match.end() :]
        if _brace(rest) is None:
            raise ExpansionError(f"has {rest!r} where {{text}} belongs")
        right, rest = _operand(rest)
        keys = _comparable(self.text(left), self.text(right), level=bool(match[2]))
        return ("true" if _RELATIONS[match[1]](*keys) else ""), rest


def _comparable(left: str, right: str, *, level: bool) -> tuple[object, object]:
    """Both sides as they are compared: numbers where both are, otherwise strings."""
    if level:
        parts = [*zip_longest(_level(left), _level(right), fillvalue=0)]
        return [each for each, _ in parts], [each for _, each in parts]
    if all(side.isascii() and side.isdecimal() and len(side) < 20 for side in (left, right)):
        return int(left), int(right)
    return left, right


def _level(text: str) -> list[int]:
    """A compatibility level, ``3.6`` or ``3.6.1``."""
    parts = text.split(".")
    if len(parts) > 3 or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise ExpansionError(f"has {text!r} where a compatibility level belongs")
    return [int(part) for part in parts]


def _expression(text: str, start: int) -> tuple[str, int]:
    """What stands behind a ``$``, without its braces, and where it ends."""
    opening = text[start : start + 1]
    closing = _CLOSING.get(opening)
    if closing is None:
        match = _NAME.match(text, start)
        if match is None:
            raise ExpansionError("has a $ without a name")
        return match[0], match.end()
    level = 1
    for position in range(start + 1, len(text)):
        level += (text[position] == opening) - (text[position] == closing)
        if level == 0:
            if position == start + 1:
                raise ExpansionError("has a $ without a name")
            return text[start + 1 : position], position + 1
    raise ExpansionError(f"has ${opening} without {closing}")


def _brace(text: str) -> int | None:
    """Where a ``{`` stands, behind white space at most."""
    match = _SPACE.match(text)
    start = match.end() if match is not None else 0
    return start if text.startswith("{", start) else None


def _operand(text: str) -> tuple[str, str]:
    """A text in braces, and what follows it; or else all of the text."""
    start = _brace(text)
    if start is None:
        return text, ""
    level = 0
    for position in range(start, len(text)):
        level += (text[position] == "{") - (text[position] == "}")
        if level == 0:
            return text[start + 1 : position], text[position + 1 :].lstrip(_SPACES)
    raise ExpansionError("has braces that don't match")
