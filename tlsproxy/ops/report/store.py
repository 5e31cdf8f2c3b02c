"""The report's database: an SQLite file that one process writes, and anyone with the right to reads meanwhile.

Write-ahead logging lets a reader look while the service writes. What is written is bounded: rows, names in one network,
and days. Sessions are counted by day, apart from the clients, so that forgetting these doesn't change how many there were.

The file may lie in a directory that others write to. It must then be a regular file of our own, as must be what SQLite
keeps beside it, and the directory sticky, so that nobody can put another in its place between our look and SQLite's.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from attrs import fields

from tlsproxy.errors import ReportError
from tlsproxy.ops.report.entries import OTHER, SECONDS_IN_DAY, ClientRow, Entry, SessionCount, from_values
from tlsproxy.ops.report.summary import Summary, summaries

SCHEMA_VERSION: Final = 1
"""In ``user_version``. A file of another version isn't touched."""

MAX_ROWS: Final = 10_000
"""Clients remembered, some 3 MB of them; beyond it those not seen for the longest time are forgotten. Nobody reads more."""

MAX_NAMES: Final = 50
"""HELO and server names told apart in one network. A spammer makes up one for each session, and would have all other
clients forgotten; a NAT in front of an office has fewer."""

MAX_COUNTS: Final = 100_000
"""Days' totals: 400 days of four versions and 60 listens."""

KEEP_DAYS: Final = 400
"""For how long anything is kept: what runs once a year, and is late, is still there. Who connects isn't kept for ever."""

FILE_MODE: Final = 0o640
"""Its group may read: ``tlsproxy report`` doesn't need to be root's."""

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process that has the file locked; it has it for milliseconds."""

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")

_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE clients (
    listen TEXT NOT NULL,
    candidate TEXT NOT NULL,
    network TEXT NOT NULL,
    version TEXT NOT NULL,
    helo TEXT NOT NULL,
    server_name TEXT NOT NULL,
    offered TEXT NOT NULL,
    cipher TEXT NOT NULL,
    sessions INTEGER NOT NULL,
    first_seen REAL NOT NULL,
    last_seen REAL NOT NULL,
    PRIMARY KEY (listen, candidate, network, version, helo, server_name)
);
CREATE INDEX clients_by_age ON clients (last_seen);
CREATE TABLE counts (
    listen TEXT NOT NULL,
    candidate TEXT NOT NULL,
    version TEXT NOT NULL,
    day INTEGER NOT NULL,
    sessions INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    PRIMARY KEY (listen, candidate, version, day)
);
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

_CLIENT: Final = tuple(field.name for field in fields(ClientRow))
_COUNT: Final = tuple(field.name for field in fields(SessionCount))

_ADD_CLIENT: Final = f"""
INSERT INTO clients ({", ".join(_CLIENT)}) VALUES ({", ".join(f":{name}" for name in _CLIENT)})
ON CONFLICT (listen, candidate, network, version, helo, server_name) DO UPDATE SET
    offered = excluded.offered,
    cipher = excluded.cipher,
    sessions = sessions + excluded.sessions,
    first_seen = min(first_seen, excluded.first_seen),
    last_seen = max(last_seen, excluded.last_seen)
"""  # noqa: S608 - the names are ours

_ADD_COUNT: Final = f"""
INSERT INTO counts ({", ".join(_COUNT)}) VALUES ({", ".join(f":{name}" for name in _COUNT)})
ON CONFLICT (listen, candidate, version, day) DO UPDATE SET
    sessions = sessions + excluded.sessions,
    refused = refused + excluded.refused
"""  # noqa: S608 - the names are ours

_IS_KNOWN: Final = """
SELECT 1 FROM clients WHERE listen = :listen AND candidate = :candidate AND network = :network AND version = :version
    AND helo = :helo AND server_name = :server_name
"""

_NAMES: Final = """
SELECT count(*) FROM clients WHERE listen = :listen AND candidate = :candidate AND network = :network
"""


class ReportReader:
    """The database, to be read. Not for two threads at once; it may be used by one after another.

    :ivar path: The file; None where it is all in memory.
    """

    def __init__(self, path: str) -> None:
        """Open an existing file, while the service writes it or not.

        :raises ReportError: It can't be read, or isn't such a database.
        """
        self.path: str | None = path
        with self._explained():
            # SQLite would say of whatever is wrong with it that it is unable to open the database file.
            with Path(path).open("rb"):
                pass
            # Without a log beside it nobody writes, and a reader without write access couldn't make the index that
            # SQLite wants then (sqlite.org/wal.html, "Read-Only Databases").
            idle = not Path(f"{path}-wal").exists()
            self._connection = _connected(_uri(path, "ro") + ("&immutable=1" if idle else ""))
            try:
                _check_version(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def rows(
        self, *, since: float = 0.0, listen: str | None = None, limit: int = MAX_ROWS
    ) -> list[ClientRow]:
        """Clients that would be refused, those with most sessions first.

        :param since: Only those seen since then, in seconds since the epoch. Their sessions are counted from the first.
        :param listen: Only those of this listen.
        :raises ReportError: It can't be read.
        """
        query = (
            f"SELECT {', '.join(_CLIENT)} FROM clients WHERE last_seen >= ?1 AND (?2 IS NULL OR listen = ?2) "  # noqa: S608
            "ORDER BY sessions DESC, last_seen DESC, network, helo LIMIT ?3"
        )
        return [_client(each) for each in self._query(query, since, listen, limit)]

    def summaries(self, *, since: float = 0.0, listen: str | None = None) -> list[Summary]:
        """What each candidate would do at each listen; see :meth:`rows` for the parameters.

        Sessions are counted from the beginning of the day, in UTC, that ``since`` is in.

        :raises ReportError: It can't be read.
        """
        networks = self._query(
            "SELECT listen, candidate, count(DISTINCT network) FROM clients "
            "WHERE last_seen >= ?1 AND (?2 IS NULL OR listen = ?2) AND network <> ?3 GROUP BY listen, candidate",
            *(since, listen, OTHER),
        )
        counts = self._query(
            "SELECT listen, candidate, version, min(day), sum(sessions), sum(refused) FROM counts "
            "WHERE day >= ?1 AND (?2 IS NULL OR listen = ?2) GROUP BY listen, candidate, version",
            *(int(since // SECONDS_IN_DAY), listen),
        )
        return summaries(
            [SessionCount(**dict(zip(_COUNT, each, strict=True))) for each in counts],
            {(listen, candidate): number for listen, candidate, number in networks},
        )

    def close(self) -> None:
        """Close the file. The last writer works in the log beside it, which goes."""
        self._connection.close()

    def _query(self, query: str, *values: object) -> list[Any]:
        with self._explained():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what can go wrong into a ReportError that names the file."""
        try:
            yield
        except (sqlite3.Error, OSError, ReportError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ReportError(f"{self.path or 'in memory'}: {text}") from error


class ReportStore(ReportReader):
    """The database, to be written.

    :ivar damaged: Where a damaged file was put when this one was opened; None if there was none.
    """

    def __init__(self, path: str | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """Open the file; make it if it isn't there. A damaged one is put aside.

        :param path: The file; None to keep everything in memory.
        :raises ReportError: It can't be had.
        """
        self.path = path
        self.damaged: str | None = None
        self._clock = clock
        with self._explained():
            self._connection = _prepared(_connected(":memory:")) if path is None else self._opened(path)

    def _opened(self, path: str) -> sqlite3.Connection:
        _claim(path)
        try:
            return _prepared(_connected(_uri(path, "rw")))
        except sqlite3.OperationalError:
            raise  # the disk is full, the file is locked: that is no damage
        except sqlite3.DatabaseError:
            self.damaged = _put_aside(path)
        _claim(path)
        return _prepared(_connected(_uri(path, "rw")))

    def add(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add what :meth:`~tlsproxy.ops.report.buffer.ReportBuffer.take` gave: all of it, or nothing.

        :raises ReportError: It can't be written: the disk is full, say.
        """
        with self._explained(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for entry in map(from_values, entries):
                self._add(entry)
            self._forget_oldest()

    def _add(self, entry: Entry) -> None:
        if isinstance(entry, ClientRow):
            self._connection.execute(_ADD_CLIENT, self._with_room(entry))
        else:
            self._connection.execute(_ADD_COUNT, _values(entry))

    def _with_room(self, row: ClientRow) -> dict[str, Any]:
        """The values of a row, without its names where its network has too many."""
        values = _values(row)
        execute = self._connection.execute
        if row.network != OTHER and execute(_IS_KNOWN, values).fetchone() is None:
            [names] = execute(_NAMES, values).fetchone()
            if names >= MAX_NAMES:
                return values | {"helo": OTHER, "server_name": OTHER}
        return values

    def _forget_oldest(self) -> None:
        execute = self._connection.execute
        oldest = self._clock() - KEEP_DAYS * SECONDS_IN_DAY
        execute("DELETE FROM clients WHERE last_seen < ?", (oldest,))
        execute("DELETE FROM counts WHERE day < ?", (int(oldest // SECONDS_IN_DAY),))
        for table, age, limit in (("clients", "last_seen", MAX_ROWS), ("counts", "day", MAX_COUNTS)):
            [rows] = execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - the names are ours
            if rows > limit:
                execute(
                    f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} ORDER BY {age} LIMIT ?)",  # noqa: S608
                    (rows - limit,),
                )

    def forget(self, *, listen: str | None = None) -> int:
        """Forget everything, or all about one listen.

        :returns: The number of clients forgotten.
        :raises ReportError: It can't be written.
        """
        of_listen = "WHERE (?1 IS NULL OR listen = ?1)"
        with self._explained(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(f"DELETE FROM counts {of_listen}", (listen,))  # noqa: S608 - the text is ours
            return self._connection.execute(f"DELETE FROM clients {of_listen}", (listen,)).rowcount  # noqa: S608


def _values(entry: Entry) -> dict[str, Any]:
    """For a statement; a name that wasn't given is empty there, since NULL is no part of a key."""
    values = {name: getattr(entry, name) for name in (_CLIENT if isinstance(entry, ClientRow) else _COUNT)}
    return {name: "" if value is None else value for name, value in values.items()}


def _client(found: Sequence[Any]) -> ClientRow:
    values = dict(zip(_CLIENT, found, strict=True))
    return ClientRow(
        **values | {"helo": values["helo"] or None, "server_name": values["server_name"] or None}
    )


def _uri(path: str, mode: str) -> str:
    return f"file:{quote(path)}?mode={mode}"


def _connected(database: str) -> sqlite3.Connection:
    return sqlite3.connect(
        database,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        uri=database.startswith("file:"),
    )


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Ready to be written; closed if it can't be.

    :raises sqlite3.DatabaseError: It is damaged.
    :raises ReportError: It is of another version.
    """
    try:
        [[found]] = connection.execute("PRAGMA quick_check(1)").fetchall()
        if found != "ok":
            raise sqlite3.DatabaseError(found)  # noqa: TRY301 - as where SQLite notices by itself
        [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables:
            _check_version(connection)  # before anything is written to what may be somebody else's
        connection.execute("PRAGMA journal_mode = WAL")
        # With WAL this survives the end of the process at any time, and loses the last writes when the power fails.
        connection.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: sqlite3.Connection) -> None:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise ReportError(
            f"its version is {version}, not {SCHEMA_VERSION}: it isn't a report of this version of tlsproxy"
        )


def _claim(path: str) -> None:
    """Make the file, if it isn't there, and see that it and those beside it are nobody else's.

    :raises ReportError: One isn't a regular file of our own, or anybody could replace it.
    :raises OSError: It can't be made or opened.
    """
    directory = Path(path).parent.stat()
    if directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX:
        raise ReportError(
            f"everybody may write to {Path(path).parent}, and put a file of their own in its place"
        )
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        _check_owned(path, os.fstat(descriptor))
    finally:
        os.close(descriptor)
    for side in (path + suffix for suffix in _SIDE_FILES):
        try:
            _check_owned(side, os.lstat(side))
        except FileNotFoundError:
            continue


def _check_owned(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise ReportError(f"{path} isn't a regular file with one name")
    if status.st_uid != os.geteuid():
        raise ReportError(
            f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}, who runs the service"
        )


def _put_aside(path: str) -> str:
    """Move a damaged database out of the way; one that was there from an earlier time is lost.

    :raises OSError: It can't be moved.
    """
    aside = f"{path}.damaged"
    Path(path).replace(aside)
    for suffix in _SIDE_FILES:
        Path(path + suffix).unlink(missing_ok=True)
    return aside
