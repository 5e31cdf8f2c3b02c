"""``tlsproxy report``: whom a stricter ``tls_protocols`` would refuse, from what the service remembers of its sessions."""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from tlsproxy.errors import ConfigurationError, ReportError
from tlsproxy.ops.report.entries import SECONDS_IN_DAY, ClientRow, harmless
from tlsproxy.ops.report.store import ReportReader, ReportStore
from tlsproxy.ops.report.summary import Summary

COLUMNS: Final[Mapping[str, int]] = {
    "network": 26,
    "helo": 32,
    "server name": 28,
    "version": 7,
    "offered": 16,
    "cipher": 28,
    "sessions": 9,
    "first seen": 10,
    "last seen": 16,
}
"""The table's columns, and the characters that each may have at most: what is longer ends in an ellipsis, but in JSON."""

UNREADABLE: Final = 3
"""Exit status where there is nothing to tell from: no database, or no session looked at yet."""

_UNITS: Final = {"m": 60, "h": 3600, "d": SECONDS_IN_DAY, "w": 7 * SECONDS_IN_DAY}
_AGE: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])")

_ORDERS: Final[Mapping[str, Callable[[ClientRow], Any]]] = {
    "sessions": lambda row: -row.sessions,
    "last": lambda row: -row.last_seen,
    "first": lambda row: row.first_seen,
    "network": lambda row: (row.network, row.helo or ""),
    "helo": lambda row: (row.helo is None, row.helo or "", row.network),
    "version": lambda row: (row.version, -row.sessions),
}


@frozen
class _Report:
    """What was read."""

    database: str
    since: float | None
    summaries: Sequence[Summary]
    rows: Sequence[ClientRow]

    @property
    def status(self) -> int:
        """0: the candidates would refuse nobody. 1: somebody. 3: that isn't known."""
        if not self.summaries and not self.rows:
            return UNREADABLE
        return int(bool(self.rows) or any(summary.refused for summary in self.summaries))


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "report",
        help="show which clients a stricter tls_protocols would refuse",
        description="Show the clients whose sessions tls_protocols_report would refuse, had it been in force instead of "
        "tls_protocols. The service may run meanwhile. The exit status is 0 if nobody would be refused, 1 if somebody "
        "would, 3 if that isn't known: the database can't be read, or no session was looked at.",
    )
    parser.add_argument("database", metavar="DATABASE", nargs="?", help="the file that report_database names")
    parser.add_argument("--config", metavar="FILE", help="the configuration file that names the database")
    parser.add_argument(
        "--listen", metavar="ADDRESS", help="only what was seen there; the address as in the log"
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=_moment,
        help="only clients seen since then: an age such as 90m, 12h, 7d, 4w, or a date such as 2026-11-01 (UTC). Their "
        "sessions are counted from the first; those of the summary from the beginning of that day",
    )
    parser.add_argument(
        "--sort", metavar="BY", choices=_ORDERS, default="sessions", help=f"order of the rows: {_orders()}"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, with everything that is known of each client"
    )
    parser.add_argument(
        "--forget",
        action="store_true",
        help="forget what was seen, at all listens or at --listen, and begin anew: after clients or settings changed",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report; or forget it."""
    if (arguments.database is None) == (arguments.config is None):
        return _wrong("name the database, or the configuration file by --config, and not both")
    if arguments.forget and arguments.since is not None:
        return _wrong("--forget takes no --since: what was seen before is forgotten as well")
    try:
        database = arguments.database or _configured(arguments.config)
        if arguments.forget:
            return _forget(database, arguments.listen)
        report = _read(database, arguments)
    except ConfigurationError as error:
        from tlsproxy.cli.check import tell

        tell("error", error.problems)
        return UNREADABLE
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREADABLE
    if arguments.json:
        print(json.dumps(_as_json(report), indent=2))
    else:
        for line in _as_text(report):
            print(line)
    return report.status


def _orders() -> str:
    return ", ".join(_ORDERS)


def _wrong(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _moment(text: str) -> float:
    """Seconds since the epoch."""
    age = _AGE.fullmatch(text)
    if age is not None:
        return time.time() - int(age[1]) * _UNITS[age[2]]
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f'must be an age such as 12h or 7d, or a date such as 2026-11-01, not "{harmless(text)}"'
        ) from None


def _configured(config: str) -> str:
    """The database that a configuration names.

    :raises ConfigurationError: It isn't valid.
    :raises ReportError: It names none.
    """
    from tlsproxy.config.parse import load

    database = load(config).report_database
    if database is None:
        raise ReportError(
            f"{config} sets no report_database: what is seen is remembered as long as the service runs, and shown on its "
            "status page alone"
        )
    return database


def _read(database: str, arguments: argparse.Namespace) -> _Report:
    """
    :raises ReportError: The database can't be read.
    """
    reader = ReportReader(database)
    try:
        since = arguments.since or 0.0
        rows = sorted(reader.rows(since=since, listen=arguments.listen), key=_ORDERS[arguments.sort])
        return _Report(
            database, arguments.since, reader.summaries(since=since, listen=arguments.listen), rows
        )
    finally:
        reader.close()


def _forget(database: str, listen: str | None) -> int:
    """
    :raises ReportError: The database isn't there, or can't be written.
    """
    ReportReader(database).close()  # to forget must not make one
    owner = Path(database).stat()
    if os.geteuid() == 0 and owner.st_uid:
        # What SQLite makes beside the database must be the service's, who can't write to what is root's.
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
    store = ReportStore(database)
    try:
        forgotten = store.forget(listen=listen)
    finally:
        store.close()
    print(f"{database}: {forgotten} {'row' if forgotten == 1 else 'rows'} forgotten")
    return 0


# Output


def _as_json(report: _Report) -> dict[str, Any]:
    return {
        "database": report.database,
        "since": None if report.since is None else _time(report.since),
        "candidates": [
            asdict(summary)
            | {"share": round(summary.share, 6), "first_day": _day(summary.first_day * SECONDS_IN_DAY)}
            for summary in report.summaries
        ],
        "clients": [
            asdict(row) | {"first_seen": _time(row.first_seen), "last_seen": _time(row.last_seen)}
            for row in report.rows
        ],
    }


def _as_text(report: _Report) -> Iterator[str]:
    summaries = {(summary.listen, summary.candidate): summary for summary in report.summaries}
    # A session that began before the day of --since may have ended after it: there is no summary then.
    policies = dict.fromkeys([*summaries, *((row.listen, row.candidate) for row in report.rows)])
    for number, policy in enumerate(policies):
        if number:
            yield ""
        listen, candidate = policy
        yield f"{harmless(listen)}, if only {candidate} were allowed:"
        if policy in summaries:
            yield from _summary(summaries[policy])
        rows = [row for row in report.rows if (row.listen, row.candidate) == policy]
        if rows:
            yield ""
            yield from _table([list(COLUMNS), *map(_cells, rows)])
    if not policies:
        seen = "" if report.since is None else f" since {_minute(report.since)}"
        yield f"no session was looked at{seen}: is tls_protocols_report set, and has anybody connected?"


def _summary(summary: Summary) -> Iterator[str]:
    since = _day(summary.first_day * SECONDS_IN_DAY)
    looked_at = f"{_counted(summary.sessions, 'TLS session')} since {since}"
    if not summary.refused:
        yield f"  nobody would be refused, of {looked_at}"
        return
    versions = ", ".join(f"{number} with {version}" for version, number in summary.refused_versions.items())
    yield f"  {summary.refused} of {looked_at} would be refused ({_percent(summary.share)}): {versions}"
    if summary.networks:
        yield f"  they came from {_counted(summary.networks, 'network')}"


def _cells(row: ClientRow) -> list[str]:
    return [
        row.network,
        row.helo or "-",
        row.server_name or "-",
        row.version,
        row.offered,
        row.cipher,
        str(row.sessions),
        _day(row.first_seen),
        _minute(row.last_seen),
    ]


def _table(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as what stands in them, within their bounds; the number of sessions to the right."""
    shown = [
        [_bounded(cell, limit) for cell, limit in zip(line, COLUMNS.values(), strict=True)] for line in lines
    ]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    right = list(COLUMNS).index("sessions")
    for line in shown:
        yield "  ".join(
            cell.rjust(width) if number == right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()


def _bounded(text: str, limit: int) -> str:
    safe = harmless(text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _percent(share: float) -> str:
    """Never 0 % of what isn't nobody, nor 100 % of what isn't everybody."""
    percent = share * 100
    if percent < 0.1:
        return "less than 0.1 %"
    return "100 %" if share == 1 else f"{min(percent, 99.9):.1f} %"


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _time(seconds: float) -> str:
    return f"{_utc(seconds):%Y-%m-%dT%H:%M:%SZ}"


def _minute(seconds: float) -> str:
    return f"{_utc(seconds):%Y-%m-%d %H:%M}"


def _day(seconds: float) -> str:
    return f"{_utc(seconds):%Y-%m-%d}"
