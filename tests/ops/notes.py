"""Every kind of note, with values, for tests that hold for all of them."""

import types
from typing import Any, get_args

import attrs

from tlsproxy import notes
from tlsproxy.notes import Note, SessionNote

_VALUES: dict[Any, Any] = {str: "some text", int: 3, float: 1.5, bool: True}


NOTE_KINDS: tuple[type[Note], ...] = tuple(
    kind
    for kind in vars(notes).values()
    if isinstance(kind, type) and issubclass(kind, Note) and kind not in (Note, SessionNote)
)
"""Every class of notes that is made: not the roots."""


def sample(kind: type[Note], /, **values: Any) -> Note:
    """A note of ``kind`` with every field set."""
    filled = {field.name: _value(field.type) for field in attrs.fields(kind)}
    return kind(**filled | values)


def sparse(kind: type[Note]) -> Note:
    """A note of ``kind`` with None wherever that is valid."""
    fields = attrs.fields(kind)
    return sample(kind, **{field.name: None for field in fields if isinstance(field.type, types.UnionType)})


def _value(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType):
        return _value(next(each for each in get_args(annotation) if each is not types.NoneType))
    return _VALUES[annotation]
