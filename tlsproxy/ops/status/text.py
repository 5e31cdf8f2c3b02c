"""A service's status for a terminal: what is wrong first, then a table for each subject."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tlsproxy.ops.merge import merged_families
from tlsproxy.ops.status.figures import Figures, process_figure
from tlsproxy.ops.status.model import ServiceStatus
from tlsproxy.ops.status.overview import backends, certificates, days_left, findings, listens, newest
from tlsproxy.ops.status.words import (
    NOTHING,
    count,
    day,
    latency,
    moment,
    phrase,
    plural,
    printable,
    share,
    size,
    span,
)

MAX_CELL: Final = 60
"""Characters of one cell: the longest name would otherwise make every line as long. JSON has all."""

MAX_LINE: Final = 400
"""Characters of what isn't in a table."""

Row = Sequence[str]


def as_text(status: ServiceStatus, now: float) -> Iterator[str]:
    """The lines.

    :param status: With its processes.
    :param now: Seconds since the epoch.
    """
    figures = Figures(merged_families(status))
    yield from _head(status, now)
    yield from _section("Listeners", _listeners(status, figures))
    yield from _section("Backends", _backends(status, figures))
    yield from _section("Certificates", _certificates(status, now))
    yield from _section("Processes", _processes(status))
    yield ""
    yield from _counts(figures)


def _head(status: ServiceStatus, now: float) -> Iterator[str]:
    facts = (
        f"tlsproxy {status.version} with {status.tls_library}: {status.state.value}",
        f"generation {status.generation}",
        f"up {span(now - status.started)}",
        plural(status.workers, "worker"),
    )
    yield _line(", ".join(facts))
    yield _line(f"configuration {status.config}")
    reload = status.last_reload
    if reload is not None:
        what = "carried out" if reload.ok else "refused"
        yield _line(f"last reload {what} at {moment(reload.when)}, by {phrase(reload.trigger)}")
        for problem in reload.problems:
            yield _line(f"  {problem.path}: {problem.message}" if problem.path else f"  {problem.message}")
    for finding in findings(status, now):
        yield _line(f"{'PROBLEM' if finding.grave else 'warning'}: {finding.message}")


def _listeners(status: ServiceStatus, figures: Figures) -> Iterator[Row]:
    yield (
        "listen",
        "kind",
        "backend",
        ">live",
        ">total",
        "clients",
        "TLS",
        "versions",
        "set by",
        "renegotiation",
    )
    for listen in listens(status):
        own: Row = (
            listen.name,
            listen.kind,
            listen.backend,
            count(figures.sum("sessions", listen=listen.name)),
            count(figures.sum("sessions_started_total", listen=listen.name)),
        )
        for policy in listen.policies:
            clients = policy.network or ("all others" if len(listen.policies) > 1 else "all")
            versions = policy.tls_protocols or NOTHING
            renegotiation = policy.renegotiation if policy.tls_protocols else NOTHING
            yield (*own, clients, policy.tls, versions, policy.tls_protocols_origin, renegotiation)
            own = ("",) * len(own)


def _backends(status: ServiceStatus, figures: Figures) -> Iterator[Row]:
    yield (
        *("backend", "server", "state", ">at work", ">kept", ">opening", ">used", ">connect p50", ">p95"),
        *(">failures", ">outages"),
    )
    for backend in backends(status):
        for server in backend.servers.values():
            labels = {"backend": backend.name, "server": server.address}
            yield (
                backend.name,
                server.address,
                server.standing,
                count(server.busy),
                count(server.idle),
                count(server.pending),
                count(figures.sum("backend_connections_used_total", **labels)),
                latency(figures.quantile("backend_connect_seconds", 0.5, **labels)),
                latency(figures.quantile("backend_connect_seconds", 0.95, **labels)),
                count(figures.sum("backend_failures_total", **labels)),
                count(figures.sum("backend_server_outages_total", **labels)),
            )


def _certificates(status: ServiceStatus, now: float) -> Iterator[Row]:
    yield ("certificate", "key", "ends", ">left", "file")
    for each in certificates(status):
        left = days_left(each, now)
        names = ", ".join(each.names) or "no name"
        yield (
            names,
            each.key_type,
            day(each.not_after),
            plural(left, "day") if left >= 0 else "ended",
            each.path,
        )


def _processes(status: ServiceStatus) -> Iterator[Row]:
    yield (">process", ">worker", ">generation", "state", ">sessions", ">memory")
    serving = {each.pid for each in newest(status)}
    for each in status.processes:
        memory = process_figure(each.families, "process_resident_memory_bytes")
        yield (
            str(each.pid),
            str(each.worker),
            str(each.generation),
            "serving" if each.pid in serving else "draining",
            count(each.sessions),
            NOTHING if memory is None else size(memory),
        )


_COUNTS: Final = (
    ("versions", "handshakes_total", "version"),
    ("ciphers", "handshakes_total", "cipher"),
    ("refused by TLS", "tls_refused_total", "reason"),
    ("limits hit", "limit_hits_total", "limit"),
    ("attacks and refusals", "front_reports_total", "what"),
    ("renegotiation attempts", "renegotiation_attempts_total", "outcome"),
    ("sessions ended", "sessions_ended_total", "reason"),
)
"""What is told in one line each, by name and label of the metric."""


def _counts(figures: Figures) -> Iterator[str]:
    for title, name, label in _COUNTS:
        found = figures.by(name, label)
        total = sum(found.values())
        told = ", ".join(f"{each} {count(value)} ({share(value, total)})" for each, value in found.items())
        yield _line(f"{title}: {told or 'none'}")


# Layout


def _line(text: str) -> str:
    return printable(text, MAX_LINE)


def _section(title: str, rows: Iterable[Row]) -> Iterator[str]:
    """A table under its title; a head that begins with ``>`` is of a column that is set right."""
    cells = [[printable(cell, MAX_CELL) for cell in row] for row in rows]
    yield ""
    yield title
    if len(cells) == 1:
        yield "  none"
        return
    right = [cell.startswith(">") for cell in cells[0]]
    cells[0] = [cell.removeprefix(">") for cell in cells[0]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        yield f"  {'  '.join(aligned)}".rstrip()
