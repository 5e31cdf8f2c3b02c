"""What the report remembers: clients that would be refused, and of how many sessions.

Two kinds of entries, which add up: the same key twice is one entry with both counts. Texts that a client chose are made
printable and short before anything else sees them.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import asdict, evolve, frozen

OTHER: Final = "(other)"
"""Stands for whatever there was no room to tell apart."""

MAX_TEXT: Final = 255
"""Characters kept of a name that a client gave: the longest domain has as many bytes (RFC 1035 §3.1)."""

SECONDS_IN_DAY: Final = 86_400


@frozen(kw_only=True)
class ClientRow:
    """Clients that would be refused, as far as they can't be told apart."""

    listen: str
    candidate: str
    """The versions that ``tls_protocols_report`` has, ``TLSv1.2 TLSv1.3``."""
    network: str
    """``10.3.7.0/24``, ``unix`` or :data:`OTHER`."""
    version: str
    """The version negotiated."""
    helo: str | None
    """The name that an SMTP client gave, if it gave one; :data:`OTHER` where a network gave too many."""
    server_name: str | None
    """SNI, likewise."""
    offered: str
    """The versions offered, the last time."""
    cipher: str
    """The cipher suite, the last time."""
    sessions: int
    first_seen: float
    """Seconds since the epoch."""
    last_seen: float

    @property
    def key(self) -> tuple[str | None, ...]:
        """What tells a row from others."""
        return (self.listen, self.candidate, self.network, self.version, self.helo, self.server_name)

    @property
    def elsewhere(self) -> "ClientRow":
        """The row in which this one is counted where there is no room for it."""
        return evolve(self, network=OTHER, helo=None, server_name=None)

    def __add__(self, later: "ClientRow") -> "ClientRow":
        return evolve(
            later,
            sessions=self.sessions + later.sessions,
            first_seen=min(self.first_seen, later.first_seen),
            last_seen=max(self.last_seen, later.last_seen),
        )


@frozen(kw_only=True)
class SessionCount:
    """Sessions of a day that were looked at."""

    listen: str
    candidate: str
    version: str
    """The version negotiated."""
    day: int
    """Days since the epoch, in UTC."""
    sessions: int
    refused: int
    """Those among them that would be refused."""

    @property
    def key(self) -> tuple[str | int, ...]:
        """What tells a count from others."""
        return (self.listen, self.candidate, self.version, self.day)

    def __add__(self, later: "SessionCount") -> "SessionCount":
        return evolve(later, sessions=self.sessions + later.sessions, refused=self.refused + later.refused)


Entry = ClientRow | SessionCount


def to_values(entry: Entry) -> dict[str, Any]:
    """``entry`` as JSON's types, for another process."""
    return asdict(entry)


def from_values(values: Mapping[str, Any]) -> Entry:
    """The reverse of :func:`to_values`.

    :raises TypeError: ``values`` aren't what that makes.
    """
    return ClientRow(**values) if "network" in values else SessionCount(**values)


def harmless(text: str) -> str:
    """``text`` without what a terminal could take for more than text, and not too long."""
    shown = text[:MAX_TEXT]
    if shown.isprintable():
        return shown
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown)[
        :MAX_TEXT
    ]
