"""Happenings as lines of a log, JSON or readable.

One happening is one line. Much of what a line says was chosen by a client, so nothing but printable ASCII leaves here, and
a quote or a backslash inside a value is escaped: no value can end its line, colour a terminal or pose as another field.
Tracebacks in the readable form are the one exception: they follow on lines that begin with ``    | ``, which no first
line does.
"""

import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from math import isfinite
from operator import attrgetter
from typing import Any, Final, Protocol

import attrs
from attrs import frozen

from tlsproxy.notes import Level, Note, SessionNote

CONTEXT = ("client", "listen", "session")
"""The fields of a session's note that a readable line begins with."""

_CONTINUATION = "\n    | "


@frozen
class ForeignEvent:
    """What somebody else logged: Twisted, or a library that logs through it."""

    level: Level
    namespace: str
    message: str
    traceback: str | None = None


class LineFormat(Protocol):
    """How happenings are written. ``when`` is in seconds since the epoch; a line comes without its newline."""

    def note(self, note: Note, when: float) -> str:
        """Write a note."""

    def foreign(self, event: ForeignEvent, when: float) -> str:
        """Write an event that isn't ours; its ``event`` is ``twisted``."""


@frozen
class _Shape:
    """What rendering needs of a class of notes, read once."""

    json_head: str
    """Level and event of a JSON line."""
    json_keys: tuple[str, ...]
    """Each field as a JSON line has it, up to its value."""
    fields: "_Values"
    context: tuple[str, ...]
    """Fields that say which session."""
    context_values: "_Values"
    spoken: tuple[str, ...]
    """Fields that the readable text names."""
    rest: tuple[str, ...]
    """Fields that a readable line ends with."""
    rest_values: "_Values"


_Values = Callable[[Note], tuple[Any, ...]]
"""Takes the values of some fields, in their order."""

_shapes: dict[type[Note], _Shape] = {}


def _shape(note: Note) -> _Shape:
    kind = type(note)
    shape = _shapes.get(kind)
    if shape is None:
        shape = _shapes[kind] = _read_shape(kind)
    return shape


def _read_shape(kind: type[Note]) -> _Shape:
    fields = tuple(attribute.name for attribute in attrs.fields(kind))
    context = CONTEXT if issubclass(kind, SessionNote) else ()
    spoken = tuple(name for _, name, _, _ in string.Formatter().parse(kind.text) if name)
    said = {*context, *spoken, "traceback"}
    rest = tuple(name for name in fields if name not in said)
    return _Shape(
        json_head=f'","level":"{kind.level.value}","event":"{kind.event}"',
        json_keys=tuple(f',"{name}":' for name in fields),
        fields=_values_of(fields),
        context=context,
        context_values=_values_of(context),
        spoken=spoken,
        rest=rest,
        rest_values=_values_of(rest),
    )


def _values_of(names: Sequence[str]) -> _Values:
    if len(names) > 1:
        return attrgetter(*names)
    # For one name attrgetter() gives its value alone.
    return lambda note: tuple(getattr(note, name) for name in names)


def _timestamp(when: float) -> str:
    """RFC 3339, UTC, microseconds."""
    second, microseconds = divmod(round(when * 1e6), 1_000_000)
    return f"{_until_second(second)}.{microseconds:06d}Z"


@lru_cache(maxsize=2)
def _until_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode

_JSON: Final[Mapping[type, Callable[[Any], str]]] = {
    str: encode_basestring_ascii,
    int: str,
    bool: lambda value: "true" if value else "false",
    float: lambda value: str(value) if isfinite(value) else "null",
}
"""The values that nearly all fields have, without the detour through an encoder's state."""


class JsonLines:
    """One JSON object a line: ``time``, ``level``, ``event``, and every field that isn't None."""

    def note(self, note: Note, when: float) -> str:
        """Write a note."""
        shape = _shape(note)
        pieces = ['{"time":"', _timestamp(when), shape.json_head]
        for key, value in zip(shape.json_keys, shape.fields(note), strict=True):
            if value is not None:
                pieces.append(key)
                pieces.append(_JSON.get(type(value), _to_json)(value))
        pieces.append("}")
        return "".join(pieces)

    def foreign(self, event: ForeignEvent, when: float) -> str:
        """Write an event that isn't ours."""
        line: dict[str, object] = {"time": _timestamp(when), "level": event.level.value, "event": "twisted"}
        line |= {"namespace": event.namespace, "message": event.message}
        if event.traceback is not None:
            line["traceback"] = event.traceback
        return _to_json(line)


@frozen
class TextLines:
    """One readable line: time, level, event, which session; the note's text; its other fields as ``name=value``."""

    with_time: bool = True
    """False where each line gets a time anyway: in the journal, in syslog."""

    def note(self, note: Note, when: float) -> str:
        """Write a note."""
        shape = _shape(note)
        context = map(_pair, shape.context, shape.context_values(note))
        spoken = {name: _speakable(getattr(note, name)) for name in shape.spoken}
        words = [self._head(note.level, when, note.event, *context), note.text.format_map(spoken)]
        words += [
            _pair(name, value)
            for name, value in zip(shape.rest, shape.rest_values(note), strict=True)
            if value is not None
        ]
        return " ".join(words) + _indented(getattr(note, "traceback", None))

    def foreign(self, event: ForeignEvent, when: float) -> str:
        """Write an event that isn't ours."""
        head = self._head(event.level, when, "twisted", _pair("namespace", event.namespace))
        return f"{head} {_escaped(event.message)}{_indented(event.traceback)}"

    def _head(self, level: Level, when: float, *words: str) -> str:
        head = " ".join((level.value, *words)) + ":"
        return f"{_timestamp(when)} {head}" if self.with_time else head


def _escaped(value: object) -> str:
    """``value`` in printable ASCII, with quotes, backslashes and everything unprintable escaped as JSON does."""
    return encode_basestring_ascii(str(value))[1:-1]


def _speakable(value: object) -> object:
    """``value`` as a text template prints it: a number stays one, for its format."""
    return value if isinstance(value, int | float) else _escaped(value)


# Printable ASCII but for space, quote, equals sign and backslash.
_is_plain = re.compile(r"[!#-<>-\[\]-~]+").fullmatch


def _pair(name: str, value: object) -> str:
    """``name=value``; the value in quotes where it would otherwise run into what follows."""
    if isinstance(value, bool):
        return f"{name}={'true' if value else 'false'}"
    return f"{name}={_quoted(str(value))}"


@lru_cache(maxsize=256)  # a session's address comes in each of its lines, a listen's in all
def _quoted(text: str) -> str:
    return text if _is_plain(text) else encode_basestring_ascii(text)


def _indented(traceback: str | None) -> str:
    if not traceback:
        return ""
    return "".join(_CONTINUATION + _escaped(line) for line in traceback.rstrip().splitlines())


def line_format(log_format: str, *, with_time: bool = True) -> LineFormat:
    """The format that the option ``log_format`` names.

    :raises ValueError: It names none.
    """
    match log_format:
        case "json":
            return JsonLines()
        case "text":
            return TextLines(with_time)
        case _:
            raise ValueError(f'log_format "{log_format}" isn\'t known; valid are "json" and "text"')
