"""What a running service tells of itself: plain values, made in each process and carried between them as JSON.

Times are seconds since the epoch. Texts may hold anything, a certificate's names for one: whoever draws them escapes them.
"""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

from attrs import evolve, field, frozen
from cattrs.preconf.json import make_converter
from twisted.internet.defer import Deferred


@frozen
class Family:
    """All series of one metric, as values."""

    name: str
    """Without a counter's ``_total``."""
    kind: str
    """Prometheus's word: ``counter``, ``gauge``, ``histogram``."""
    documentation: str
    samples: "tuple[Sample, ...]" = ()

    def __str__(self) -> str:
        """The name under which it is read."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


@frozen
class Sample:
    """One series of a metric; of a histogram, one of its buckets, its sum or its count."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


@frozen(kw_only=True)
class PolicyStatus:
    """The policy in force for some of a listen's clients."""

    network: str
    """Their network; empty for clients in no peer."""
    tls: str
    """When TLS begins: ``from the start``, ``STARTTLS demanded``, ``STARTTLS offered`` or ``never``."""
    tls_protocols: str
    """The effective set of versions; empty without TLS."""
    tls_protocols_origin: str
    """The scope that sets them."""
    renegotiation: str
    """``refused``, ``warned`` or ``allowed``."""
    renegotiation_origin: str


@frozen(kw_only=True)
class ListenStatus:
    """One listen."""

    name: str
    """As in the metrics' label ``listen``."""
    kind: str
    backend: str
    policies: tuple[PolicyStatus, ...] = ()
    """First that of clients in no peer."""


@frozen(kw_only=True)
class ServerStatus:
    """One server of a backend, as one process sees it."""

    address: str
    standing: str
    """``up``, ``returning``, ``ejected`` or ``down``."""
    busy: int = 0
    """Connections at work."""
    idle: int = 0
    """Connections kept for later use."""
    pending: int = 0
    """Connections being opened."""


@frozen(kw_only=True)
class BackendStatus:
    """One backend, as one process sees it."""

    name: str
    policy: str
    checked: bool
    """Whether its servers are checked actively."""
    waiting: int = 0
    """Clients in the queue."""
    servers: tuple[ServerStatus, ...] = ()


@frozen(kw_only=True)
class CertificateStatus:
    """A certificate in use."""

    path: str
    """As configured."""
    names: tuple[str, ...]
    not_after: float
    """The end of the first validity period in the chain to end."""
    key_type: str
    sha256: str
    """Of the certificate without its chain, in hexadecimal."""


@frozen(kw_only=True)
class ProcessStatus:
    """A process that serves: the whole service, or one of its workers."""

    pid: int
    worker: int = 0
    generation: int = 1
    """Counts reloads. Processes of an older generation than the newest drain."""
    sessions: int = 0
    listens: tuple[ListenStatus, ...] = ()
    backends: tuple[BackendStatus, ...] = ()
    certificates: tuple[CertificateStatus, ...] = ()
    families: tuple[Family, ...] = field(default=(), repr=False)


class ServiceState(StrEnum):
    """What the service is doing."""

    RUNNING = "running"
    RELOADING = "reloading"
    DRAINING = "draining"


@frozen
class ReloadProblem:
    """Why a reload left everything as it was."""

    path: str
    """Key path in the configuration; empty where it isn't about one key."""
    message: str


@frozen(kw_only=True)
class ReloadStatus:
    """How a reload went."""

    when: float
    trigger: str
    """What asked for it: ``SIGHUP``, ``command``, ``certificate`` …"""
    ok: bool
    duration: float = 0.0
    """Seconds that it took."""
    problems: tuple[ReloadProblem, ...] = ()


@frozen(kw_only=True)
class ServiceStatus:
    """The service as a whole."""

    version: str
    tls_library: str
    config: str
    """The configuration file."""
    started: float
    state: ServiceState = ServiceState.RUNNING
    generation: int = 1
    last_reload: ReloadStatus | None = None
    reloads: int = 0
    """Reloads that were carried out."""
    reloads_failed: int = 0
    """Those that left everything as it was."""
    workers: int = 1
    """Processes that are to serve."""
    worker_restarts: int = 0
    """Workers that died and were replaced."""
    families: tuple[Family, ...] = field(default=(), repr=False)
    """The figures of the supervisor itself, and those kept of processes that ended
    (:class:`~tlsproxy.ops.merge.Ledger`). Empty where one process is all there is."""
    processes: tuple[ProcessStatus, ...] = ()


@frozen(kw_only=True)
class ShadowReport:
    """Whom a stricter ``tls_protocols`` would refuse: rows of :mod:`tlsproxy.ops.report`, as JSON's types."""

    clients: Sequence[Mapping[str, Any]] = ()
    """Those with most sessions first."""
    summary: Sequence[Mapping[str, Any]] = ()
    """For each listen and candidate."""


class StatusSource(Protocol):
    """Who knows how the service is."""

    def service(self) -> ServiceStatus:
        """The facts that are at hand: ``processes`` is empty."""

    def processes(self) -> Deferred[list[ProcessStatus]]:
        """Ask every process. Fires within two seconds, with the last that is known of one that doesn't answer."""


async def whole_status(source: StatusSource) -> ServiceStatus:
    """The status of a service with its processes."""
    processes = await source.processes()
    return evolve(source.service(), processes=tuple(processes))


_CONVERTER: Final = make_converter(omit_if_default=False)


def _families_to_values(families: tuple[Family, ...]) -> list[Any]:
    """Arrays rather than objects: there are thousands of samples, and they cross a pipe for every scrape."""
    return [
        [each.name, each.kind, each.documentation, [[s.name, dict(s.labels), s.value] for s in each.samples]]
        for each in families
    ]


def _families_from_values(values: list[Any], _: Any = None) -> tuple[Family, ...]:
    return tuple(
        Family(
            name,
            kind,
            documentation,
            tuple(
                Sample(series, tuple((str(k), str(v)) for k, v in labels.items()), float(value))
                for series, labels, value in samples
            ),
        )
        for name, kind, documentation, samples in values
    )


_CONVERTER.register_unstructure_hook_func(lambda kind: kind == tuple[Family, ...], _families_to_values)
_CONVERTER.register_structure_hook_func(lambda kind: kind == tuple[Family, ...], _families_from_values)


def process_to_values(status: ProcessStatus) -> dict[str, Any]:
    """``status`` as JSON's types."""
    values: dict[str, Any] = _CONVERTER.unstructure(status)
    return values


def process_from_values(values: Mapping[str, Any]) -> ProcessStatus:
    """The reverse of :func:`process_to_values`.

    :raises Exception: cattrs', where ``values`` aren't what that makes.
    """
    return _CONVERTER.structure(values, ProcessStatus)


def service_to_values(status: ServiceStatus) -> dict[str, Any]:
    """``status`` with its processes as JSON's types."""
    values: dict[str, Any] = _CONVERTER.unstructure(status)
    return values


def service_from_values(values: Mapping[str, Any]) -> ServiceStatus:
    """The reverse of :func:`service_to_values`.

    :raises Exception: cattrs', where ``values`` aren't what that makes.
    """
    return _CONVERTER.structure(values, ServiceStatus)


def to_json(status: ServiceStatus) -> str:
    """``status`` with its processes, on one line."""
    return json.dumps(service_to_values(status), separators=(",", ":"))


def from_json(text: str) -> ServiceStatus:
    """The reverse of :func:`to_json`."""
    return service_from_values(json.loads(text))
