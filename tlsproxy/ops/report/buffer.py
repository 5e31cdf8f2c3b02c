"""What one process noticed since it was last asked."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define, field

from tlsproxy.notes import Note, TlsEstablished, WouldBeRefused
from tlsproxy.ops.report.entries import (
    SECONDS_IN_DAY,
    ClientRow,
    Entry,
    SessionCount,
    from_values,
    harmless,
    to_values,
)

MAX_ROWS: Final = 1000
"""Clients told apart between two looks, half a megabyte of them. Seconds lie between two looks: more than so many new ones
are an attack, or there is no disk to write to."""

MAX_COUNTS: Final = 1000
"""Counts kept: a listen has four versions and a candidate, a configuration has listens by the dozen."""


@define(eq=False)
class ReportBuffer:
    """Adds up, in a bounded memory, what notes tell. It is a :data:`~tlsproxy.notes.Notify`."""

    _clock: Callable[[], float] = time.time
    _rows: dict[tuple[str | None, ...], ClientRow] = field(factory=dict, init=False)
    _counts: dict[tuple[str | int, ...], SessionCount] = field(factory=dict, init=False)

    def __call__(self, note: Note) -> None:
        """Take a note; one that tells nothing for the report is ignored."""
        if isinstance(note, TlsEstablished):
            if note.candidate is not None:
                self._add_count(self._count(note, note.candidate))
        elif isinstance(note, WouldBeRefused):
            self._add_row(self._row(note))

    def take(self) -> list[dict[str, Any]]:
        """Everything since the last time, as JSON's types. It is forgotten here."""
        entries: list[Entry] = [*self._rows.values(), *self._counts.values()]
        self._rows, self._counts = {}, {}
        return [to_values(entry) for entry in entries]

    def merge(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add what :meth:`take` gave, here or in another process.

        :raises TypeError: It is something else.
        """
        for entry in map(from_values, entries):
            if isinstance(entry, ClientRow):
                self._add_row(entry)
            else:
                self._add_count(entry)

    def _count(self, note: TlsEstablished, candidate: str) -> SessionCount:
        return SessionCount(
            listen=note.listen,
            candidate=candidate,
            version=note.version,
            day=int(self._clock() // SECONDS_IN_DAY),
            sessions=1,
            refused=int(bool(note.would_be_refused)),
        )

    def _row(self, note: WouldBeRefused) -> ClientRow:
        now = self._clock()
        return ClientRow(
            listen=note.listen,
            candidate=note.candidate,
            network=note.network,
            version=note.version,
            helo=None if note.helo is None else harmless(note.helo),
            server_name=None if note.server_name is None else harmless(note.server_name),
            offered=harmless(note.offered),
            cipher=note.cipher,
            sessions=1,
            first_seen=now,
            last_seen=now,
        )

    def _add_row(self, row: ClientRow) -> None:
        if row.key not in self._rows and len(self._rows) >= MAX_ROWS:
            row = row.elsewhere
        known = self._rows.get(row.key)
        self._rows[row.key] = row if known is None else known + row

    def _add_count(self, count: SessionCount) -> None:
        known = self._counts.get(count.key)
        if known is not None:
            self._counts[count.key] = known + count
        elif len(self._counts) < MAX_COUNTS:
            self._counts[count.key] = count
