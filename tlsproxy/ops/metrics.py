"""Notes as Prometheus metrics.

Labels hold nothing that a client can choose: addresses and names come from the configuration, versions, ciphers and groups
from OpenSSL's lists, reasons from our own. :data:`MAX_SERIES` holds even where that should turn out wrong. A series is
looked up by its label values once and kept, since sessions come by the thousand a second, and a counter's is added up in a
:class:`Tally` until the metrics are asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import prometheus_client
from attrs import define, field, frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tlsproxy.notes import (
    BackendFailed,
    BackendFull,
    BackendReached,
    BackendServerDown,
    BackendServerUp,
    ConfigurationWarned,
    ControlRefused,
    DescriptorsScarce,
    FrontReported,
    KeyUpdateLimitHit,
    LimitHit,
    Note,
    ProxyHeaderRefused,
    RenegotiationAttempted,
    ReportFailed,
    RequestServed,
    ServiceStarted,
    SessionEnded,
    SessionFault,
    SessionStarted,
    TlsEstablished,
    TlsRefused,
)
from tlsproxy.ops.status.model import BackendStatus

MAX_SERIES: Final = 1000
"""Series of one metric: ten listens times a hundred ciphers or reasons. What comes after is counted together, under
``other``, instead of in memory without end."""

OTHER: Final = "other"

OUT: Final = ("ejected", "down")
"""How a server stands that gets no sessions, but as a last resort."""

DURATIONS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Upper bounds in seconds: a refused handshake, an SMTP transaction, a session kept open by its client."""

LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds: a server on this machine, one far away, one that looks its clients up before it greets."""

_SERVER_NAMES: Final = {True: "known", False: "unknown", None: "none"}

# The time at which each series came to be doubles the page, and Prometheus doesn't use it.
prometheus_client.disable_created_metrics()

T = TypeVar("T", bound="MetricWrapperBase | Tally")


@define(eq=False)
class Tally:
    """A counter's series. ``inc`` is one addition: prometheus_client's own takes a lock, five calls and a microsecond."""

    _counter: Counter
    _amount: float = field(default=0, init=False)

    def inc(self, amount: float = 1) -> None:
        """Count."""
        self._amount += amount

    def hand_on(self) -> None:
        """Let the counter know."""
        amount, self._amount = self._amount, 0
        if amount:
            self._counter.inc(amount)


@define(eq=False)
class Tallies(Collector):
    """All tallies of a registry. As its first collector, it has them handed on before the counters are read."""

    _tallies: list[Tally] = field(factory=list, init=False)

    def tally(self, counter: Counter) -> Tally:
        """A tally for a counter's series."""
        tally = Tally(counter)
        self._tallies.append(tally)
        return tally

    def collect(self) -> Iterable[Metric]:
        """See ``Collector``: nothing of its own."""
        for tally in self._tallies:
            tally.hand_on()
        return ()


@define
class _Series(Generic[T]):
    """A metric's series by their label values."""

    metric: MetricWrapperBase
    labels: int
    make: Callable[[Any], T]
    """Makes a series of what the metric has for its labels."""
    _known: dict[tuple[str, ...], T] = field(factory=dict, init=False)

    def __getitem__(self, values: tuple[str, ...]) -> T:
        series = self._known.get(values)
        if series is None:
            series = self._resolve(values)
        return series

    def _resolve(self, values: tuple[str, ...]) -> T:
        if len(self._known) >= MAX_SERIES:
            values = (OTHER,) * self.labels
        series = self._known.get(values)
        if series is None:
            series = self._known[values] = self.make(self.metric.labels(*values) if values else self.metric)
        return series

    def clear(self) -> None:
        """Forget all series."""
        self._known.clear()
        self.metric.clear()


def _itself(metric: Any) -> Any:
    return metric


@frozen
class _ListenSeries:
    """What every session of one listen touches."""

    started: Tally
    live: Gauge
    duration: Histogram
    from_client: Tally
    to_client: Tally


class Metrics:
    """Counts what notes tell, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tallies = Tallies()
        self.registry.register(self._tallies)
        ProcessCollector(registry=self.registry)
        self._started = self._counter("sessions_started", "Sessions accepted.", "listen", "kind")
        self._ended = self._counter("sessions_ended", "Sessions ended, by why.", "listen", "reason")
        self._live = self._gauge("sessions", "Sessions in progress.", "listen")
        self._duration = self._histogram(
            "session_duration_seconds", "From accept to the end.", DURATIONS, "listen"
        )
        self._bytes = self._counter(
            "client_bytes",
            "Plaintext from and to clients, counted when a session ends.",
            "listen",
            "direction",
        )
        self._handshakes = self._counter(
            "handshakes", "TLS handshakes completed with clients.", "listen", "version", "cipher", "group"
        )
        self._resumed = self._counter(
            "handshakes_resumed", "Those that resumed an earlier TLS session.", "listen"
        )
        self._server_names = self._counter(
            "handshakes_by_server_name",
            "TLS handshakes completed, by the name that the client asked for (SNI): of a certificate (known), of none "
            "(unknown), or not sent (none).",
            "listen",
            "server_name",
        )
        self._refused = self._counter("tls_refused", "Sessions that TLS ended, by why.", "listen", "reason")
        self._renegotiations = self._counter(
            "renegotiation_attempts",
            "Attempts to renegotiate TLS, by whom and what came of it.",
            "listen",
            "leg",
            "outcome",
        )
        self._key_updates = self._counter(
            "key_update_limit_hits", "Connections closed for too many KeyUpdate messages.", "listen", "leg"
        )
        self._backend_failures = self._counter(
            "backend_failures", "Connections to a backend's server that failed.", "backend", "server"
        )
        self._backend_reached = self._counter(
            "backend_connections_used",
            "Connections to a backend's server given to a session, or to one HTTP request: opened for it, or kept from "
            "before.",
            "backend",
            "server",
            "connection",
        )
        self._backend_latency = self._histogram(
            "backend_connect_seconds",
            "From an attempt to a server that is ready: connection, TLS, an SMTP server's greeting.",
            LATENCIES,
            "backend",
            "server",
        )
        self._backend_full = self._counter(
            "backend_full", "Clients refused because no server had room in time.", "backend"
        )
        self._backend_outages = self._counter(
            "backend_server_outages", "Times that a backend's server was taken out.", "backend", "server"
        )
        self._backend_down = self._gauge(
            "backend_server_down",
            "1 while a backend's server is out, 0 while it isn't.",
            "backend",
            "server",
        )
        self._backend_connections = self._gauge(
            "backend_connections",
            "Connections to a backend's server: at work (busy), kept for later use (idle), being opened (pending).",
            "backend",
            "server",
            "state",
        )
        self._backend_waiting = self._gauge(
            "backend_waiting_clients", "Clients that wait for a server to have room.", "backend"
        )
        self._reports = self._counter(
            "front_reports",
            "Attacks and refusals that the listener's protocol machine noticed.",
            "listen",
            "what",
        )
        self._limit_hits = self._counter(
            "limit_hits",
            "Clients refused or cut off for a limit, by the option that sets it.",
            "listen",
            "limit",
        )
        self._descriptor_shortages = self._counter(
            "descriptor_shortages", "Times that file descriptors were nearly all in use."
        )[()]
        self._requests = self._counter(
            "http_requests", "HTTP requests answered, by the class of the status: 2xx.", "listen", "status"
        )
        self._headers_refused = self._counter(
            "proxy_headers_refused",
            "Connections from trusted proxies closed for want of a valid PROXY header.",
            "listen",
        )
        self._faults = self._counter(
            "session_faults", "Sessions ended by an error inside the proxy.", "listen"
        )
        self._candidates = self._counter(
            "candidate_sessions",
            "TLS sessions that the versions of tls_protocols_report would allow or refuse, where it is set.",
            "listen",
            "version",
            "verdict",
        )
        self._report_failures = self._counter(
            "report_failures", "Times that the shadow report's database began to fail."
        )[()]
        self._warnings = self._counter("configuration_warnings", "Warnings about the configuration.")[()]
        self._lost_lines = self._counter("log_lines_lost", "Log lines that could not be written.")[()]
        self._expiry = self._gauge(
            "certificate_expiry_timestamp_seconds",
            "When a certificate ends, in seconds since the epoch.",
            "certificate",
        )
        self._build = self._gauge(
            "build_info",
            "1, with the versions of the proxy and of its TLS library.",
            "version",
            "tls_library",
        )
        self._control_refused = self._counter(
            "control_refused", "Connections to the control socket by users who may not."
        )[()]
        self._listens: dict[tuple[str, str], _ListenSeries] = {}

    def _counter(self, name: str, documentation: str, *labels: str) -> _Series[Tally]:
        metric = Counter(f"tlsproxy_{name}", documentation, labels, registry=self.registry)
        return _Series(metric, len(labels), self._tallies.tally)

    def _gauge(self, name: str, documentation: str, *labels: str) -> _Series[Gauge]:
        metric = Gauge(f"tlsproxy_{name}", documentation, labels, registry=self.registry)
        return _Series(metric, len(labels), _itself)

    def _histogram(
        self, name: str, documentation: str, buckets: Sequence[float], *labels: str
    ) -> _Series[Histogram]:
        metric = Histogram(f"tlsproxy_{name}", documentation, labels, buckets=buckets, registry=self.registry)
        return _Series(metric, len(labels), _itself)

    def take(self, note: Note) -> None:
        """Count a note; one that counts nothing is ignored."""
        count = self._counts.get(type(note))
        if count is not None:
            count(self, note)

    def log_line_lost(self) -> None:
        """Count a log line that could not be written."""
        self._lost_lines.inc()

    def set_certificates(self, ends: Mapping[str, datetime]) -> None:
        """Tell when each certificate in use ends; those not named are forgotten.

        :param ends: By file, as configured; the time with its time zone.
        """
        self._expiry.clear()
        for certificate, end in ends.items():
            self._expiry[(certificate,)].set(end.timestamp())

    def set_backends(self, backends: Iterable[BackendStatus]) -> None:
        """Tell how each backend is; those not named are forgotten."""
        for gauges in (self._backend_down, self._backend_connections, self._backend_waiting):
            gauges.clear()
        for backend in backends:
            self._backend_waiting[(backend.name,)].set(backend.waiting)
            for server in backend.servers:
                key = (backend.name, server.address)
                self._backend_down[key].set(server.standing in OUT)
                self._backend_connections[*key, "busy"].set(server.busy)
                self._backend_connections[*key, "idle"].set(server.idle)
                self._backend_connections[*key, "pending"].set(server.pending)

    def _session_started(self, note: SessionStarted) -> None:
        listen = self._listen(note.listen, note.kind)
        listen.started.inc()
        listen.live.inc()

    def _session_ended(self, note: SessionEnded) -> None:
        listen = self._listen(note.listen, note.kind)
        listen.live.dec()
        listen.duration.observe(note.duration)
        listen.from_client.inc(note.bytes_from_client)
        listen.to_client.inc(note.bytes_to_client)
        self._ended[note.listen, note.reason].inc()

    def _tls_established(self, note: TlsEstablished) -> None:
        self._handshakes[note.listen, note.version, note.cipher, note.group or "none"].inc()
        known = _SERVER_NAMES[note.server_name_known]
        self._server_names[note.listen, known].inc()
        if note.resumed:
            self._resumed[(note.listen,)].inc()
        if note.candidate is not None:
            verdict = "refused" if note.would_be_refused else "allowed"
            self._candidates[note.listen, note.version, verdict].inc()

    def _tls_refused(self, note: TlsRefused) -> None:
        self._refused[note.listen, note.reason].inc()

    def _renegotiation_attempted(self, note: RenegotiationAttempted) -> None:
        self._renegotiations[note.listen, note.leg, note.outcome].inc()

    def _key_update_limit_hit(self, note: KeyUpdateLimitHit) -> None:
        self._key_updates[note.listen, note.leg].inc()

    def _backend_failed(self, note: BackendFailed) -> None:
        self._backend_failures[note.backend, note.server].inc()

    def _backend_was_reached(self, note: BackendReached) -> None:
        self._backend_reached[note.backend, note.server, "kept" if note.reused else "opened"].inc()
        if not note.reused:
            self._backend_latency[note.backend, note.server].observe(note.duration)

    def _backend_was_full(self, note: BackendFull) -> None:
        self._backend_full[(note.backend,)].inc()

    def _backend_server_down(self, note: BackendServerDown) -> None:
        self._backend_outages[note.backend, note.server].inc()
        self._backend_down[note.backend, note.server].set(1)

    def _backend_server_up(self, note: BackendServerUp) -> None:
        self._backend_down[note.backend, note.server].set(0)

    def _front_reported(self, note: FrontReported) -> None:
        self._reports[note.listen, note.what].inc()

    def _limit_hit(self, note: LimitHit) -> None:
        self._limit_hits[note.listen, note.limit].inc()

    def _descriptors_scarce(self, _note: DescriptorsScarce) -> None:
        self._descriptor_shortages.inc()

    def _request_served(self, note: RequestServed) -> None:
        self._requests[note.listen, f"{note.status // 100}xx"].inc()

    def _proxy_header_refused(self, note: ProxyHeaderRefused) -> None:
        self._headers_refused[(note.listen,)].inc()

    def _session_fault(self, note: SessionFault) -> None:
        self._faults[(note.listen,)].inc()

    def _report_failed(self, _note: ReportFailed) -> None:
        self._report_failures.inc()

    def _configuration_warned(self, _note: ConfigurationWarned) -> None:
        self._warnings.inc()

    def _service_started(self, note: ServiceStarted) -> None:
        self._build[note.version, note.tls_library].set(1)

    def _control_was_refused(self, _note: ControlRefused) -> None:
        self._control_refused.inc()

    _counts: Final[Mapping[type[Note], Callable[..., None]]] = {
        SessionStarted: _session_started,
        SessionEnded: _session_ended,
        TlsEstablished: _tls_established,
        TlsRefused: _tls_refused,
        RenegotiationAttempted: _renegotiation_attempted,
        KeyUpdateLimitHit: _key_update_limit_hit,
        BackendFailed: _backend_failed,
        BackendReached: _backend_was_reached,
        BackendFull: _backend_was_full,
        BackendServerDown: _backend_server_down,
        BackendServerUp: _backend_server_up,
        FrontReported: _front_reported,
        LimitHit: _limit_hit,
        DescriptorsScarce: _descriptors_scarce,
        RequestServed: _request_served,
        ProxyHeaderRefused: _proxy_header_refused,
        SessionFault: _session_fault,
        ReportFailed: _report_failed,
        ConfigurationWarned: _configuration_warned,
        ServiceStarted: _service_started,
        ControlRefused: _control_was_refused,
    }

    def _listen(self, listen: str, kind: str) -> _ListenSeries:
        series = self._listens.get((listen, kind))
        if series is None:
            series = self._listens[listen, kind] = _ListenSeries(
                started=self._started[listen, kind],
                live=self._live[(listen,)],
                duration=self._duration[(listen,)],
                from_client=self._bytes[listen, "from_client"],
                to_client=self._bytes[listen, "to_client"],
            )
        return series
