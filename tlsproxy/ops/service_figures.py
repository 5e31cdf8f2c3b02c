"""Figures of the service as a whole, which no single process counts."""

from typing import Final

from attrs import evolve

from tlsproxy.ops.status.model import Family, Sample, ServiceState, ServiceStatus
from tlsproxy.ops.status.overview import newest

WORKERS: Final = Family("tlsproxy_workers", "gauge", "Processes that are to serve sessions.")
PROCESSES: Final = Family("tlsproxy_processes", "gauge", "Processes that take new sessions.")
PROCESSES_DRAINING: Final = Family(
    "tlsproxy_processes_draining", "gauge", "Processes of before a reload, whose sessions go on."
)
RESTARTS: Final = Family("tlsproxy_worker_restarts", "counter", "Workers that died and were replaced.")
GENERATION: Final = Family(
    "tlsproxy_generation", "gauge", "1 since the start, one more with each reload that was carried out."
)
RELOADS: Final = Family("tlsproxy_reloads", "counter", "Reloads that were carried out.")
RELOADS_REFUSED: Final = Family(
    "tlsproxy_reloads_refused", "counter", "Reloads that left everything as it was."
)
DRAINING: Final = Family("tlsproxy_draining", "gauge", "1 once the service was asked to stop.")
LAST_RELOAD: Final = Family(
    "tlsproxy_last_reload_timestamp_seconds",
    "gauge",
    "When the last reload was asked for, in seconds since the epoch.",
)

RELOAD_SUCCESSFUL: Final = Family(
    "tlsproxy_last_reload_successful",
    "gauge",
    "1 where the last reload was carried out, 0 where it was refused.",
)
RELOAD_DURATION: Final = Family("tlsproxy_last_reload_duration_seconds", "gauge", "How long it took.")

DECLARED: Final = (
    WORKERS,
    PROCESSES,
    PROCESSES_DRAINING,
    RESTARTS,
    DRAINING,
    GENERATION,
    RELOADS,
    RELOADS_REFUSED,
    LAST_RELOAD,
    RELOAD_SUCCESSFUL,
    RELOAD_DURATION,
)


def service_families(status: ServiceStatus) -> tuple[Family, ...]:
    """The figures of ``status`` itself, without those of its processes."""
    serving = newest(status)
    figures = [
        _figure(WORKERS, status.workers),
        _figure(PROCESSES, len(serving)),
        _figure(PROCESSES_DRAINING, len(status.processes) - len(serving)),
        _figure(RESTARTS, status.worker_restarts),
        _figure(DRAINING, status.state is ServiceState.DRAINING),
        _figure(GENERATION, status.generation),
        _figure(RELOADS, status.reloads),
        _figure(RELOADS_REFUSED, status.reloads_failed),
    ]
    reload = status.last_reload
    if reload is not None:
        figures += [
            _figure(LAST_RELOAD, reload.when),
            _figure(RELOAD_SUCCESSFUL, reload.ok),
            _figure(RELOAD_DURATION, reload.duration),
        ]
    return tuple(figures)


def _figure(family: Family, value: float) -> Family:
    return evolve(family, samples=(Sample(str(family), (), float(value)),))
