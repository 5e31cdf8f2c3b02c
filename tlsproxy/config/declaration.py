"""How a key of the configuration is declared: an attrs field with what parsing and the reference need to know."""

import os
from collections.abc import Mapping
from typing import Any, NewType

import attrs
from attrs import field, frozen, validators

FileName = NewType("FileName", str)
"""The name of a file. In the configuration relative to its own directory, or ``credential:NAME``; absolute in settings."""

FileMode = NewType("FileMode", int)
"""Permission bits; octal digits in a string in the configuration, as chmod(1) takes them."""

HostName = NewType("HostName", str)
"""A host name (RFC 1123 §2.1), or an empty string where a default of the machine's may take its place."""

IpText = NewType("IpText", str)
"""An IP address in its normal form."""

HttpPath = NewType("HttpPath", str)
"""What an HTTP request asks for (RFC 9112 §3.2.1): a path, perhaps with a query."""


@frozen
class StatusRange:
    """HTTP status codes from one to another, both included: ``200`` or ``200-399``."""

    lowest: int = field(validator=(validators.ge(100), validators.le(599)))
    highest: int = field(validator=(validators.ge(100), validators.le(599)))

    def __contains__(self, status: int) -> bool:
        return self.lowest <= status <= self.highest

    def __str__(self) -> str:
        return f"{self.lowest}-{self.highest}" if self.lowest != self.highest else str(self.lowest)


MAX_WORKERS = 256
"""Processes that serve: more than machines of today have processors for."""


@frozen
class WorkerCount:
    """How many processes are to serve: a number, or as many as there are processors."""

    wanted: int | None = field(
        default=None, validator=validators.optional((validators.ge(1), validators.le(MAX_WORKERS)))
    )
    """None for ``auto``."""

    @property
    def number(self) -> int:
        """The number that it comes to on this machine, for this process."""
        return self.wanted or min(len(os.sched_getaffinity(0)), MAX_WORKERS)

    def __str__(self) -> str:
        return "auto" if self.wanted is None else str(self.wanted)


_DOC = "tlsproxy.doc"


def option(
    default: Any,
    doc: str,
    *,
    kinds: frozenset[str] | None = None,
    unit: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare a key.

    :param default: The value in force where no scope sets one; ``attrs.NOTHING`` for a key that must be there.
    :param doc: One paragraph for the reference: what it does, and why one would change it.
    :param kinds: Kinds of listener that know it; None for all. Elsewhere it is an error in a listener, listen or peer,
        and has no effect in a pathway or the global scope.
    :param unit: Unit of a number, for messages and the reference (``"seconds"``).
    :param minimum: Lowest valid number. A number has both bounds.
    :param maximum: Highest valid number.
    """
    metadata = {_DOC: doc, "kinds": kinds, "unit": unit, "minimum": minimum, "maximum": maximum}
    return attrs.field(default=default, metadata=metadata)


@frozen
class Declaration:
    """A declared key."""

    name: str
    type: Any
    """The annotation: what a value is structured to."""
    default: Any
    """``attrs.NOTHING`` for a key that must be there."""
    doc: str
    kinds: frozenset[str] | None = None
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def required(self) -> bool:
        return self.default is attrs.NOTHING

    @property
    def bounds(self) -> str:
        """The valid numbers, ``from 0.1 to 3600 seconds``; empty where there are no bounds."""
        if self.minimum is None:
            return ""
        return f"from {self.minimum} to {self.maximum}{f' {self.unit}' if self.unit else ''}"

    def within_bounds(self, value: Any) -> bool:
        """Whether a number is valid; anything is where there are no bounds."""
        return self.minimum is None or self.maximum is None or self.minimum <= value <= self.maximum


def declared(cls: type) -> Mapping[str, Declaration]:
    """The declared keys of an attrs class, by name. Fields made by plain ``attrs.field`` are none."""
    return {
        field.name: Declaration(
            field.name,
            field.type,
            field.default,
            doc=field.metadata[_DOC],
            **{name: field.metadata[name] for name in ("kinds", "unit", "minimum", "maximum")},
        )
        for field in attrs.fields(cls)
        if _DOC in field.metadata
    }
