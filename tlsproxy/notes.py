"""Typed happenings: the one source of log lines and metrics.

A note says what happened, in the past tense, as plain values. Whoever notices something worth telling makes a note and
hands it to the listener it was given; :mod:`tlsproxy.ops` turns notes into log lines and counts, so that the two never
disagree. Notes are made per session or per refusal, never per chunk, and changed by nobody: they aren't frozen, since that
doubles what making one costs.
"""

from collections.abc import Callable
from enum import Enum
from typing import ClassVar

from attrs import define


class Level(Enum):
    """How loud a note is; the words are syslog's."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@define
class Note:
    """Root of all notes. A field that is None isn't logged."""

    level: ClassVar[Level] = Level.INFO
    event: ClassVar[str] = "note"
    """Stable name of the event in logs: snake case."""
    text: ClassVar[str] = ""
    """The readable line, a format string over the fields."""
    logged: ClassVar[bool] = True
    """False for what is only counted."""


Notify = Callable[[Note], None]
"""Takes a note. Must not raise: a log that fails doesn't end a session."""


@define(kw_only=True)
class SessionNote(Note):
    """A happening in one session."""

    session: str
    """Identifies the session's lines in the log; unique for a process's life."""
    client: str
    """Client address, ``10.3.7.9:51234``."""
    listen: str
    """The listen's address as configured, ``0.0.0.0:25``."""


@define(kw_only=True)
class SessionStarted(SessionNote):
    event: ClassVar[str] = "session_started"
    text: ClassVar[str] = "connected"

    kind: str
    """Kind of listener: ``stream``."""


@define(kw_only=True)
class TlsEstablished(SessionNote):
    event: ClassVar[str] = "tls_established"
    text: ClassVar[str] = "{version} with cipher {cipher} ({cipher_bits} bits)"

    version: str
    cipher: str
    cipher_bits: int
    group: str | None = None
    server_name: str | None = None
    server_name_known: bool | None = None
    """Whether a certificate has that name; None where the client sent none."""
    alpn: str | None = None
    resumed: bool = False
    client_subject: str | None = None
    client_verified: bool | None = None
    """None where no client certificate was shown."""
    candidate: str | None = None
    """The versions that ``tls_protocols_report`` has, ``TLSv1.2 TLSv1.3``; None where it isn't set."""
    would_be_refused: bool | None = None
    """Whether ``candidate`` would refuse this session."""


@define(kw_only=True)
class WouldBeRefused(SessionNote):
    """What is known of a session that ``tls_protocols_report`` would refuse: an SMTP session is noted when it ends."""

    event: ClassVar[str] = "would_be_refused"
    text: ClassVar[str] = "{candidate} would refuse this session, {version} from {network}"

    candidate: str
    """The versions that ``tls_protocols_report`` has."""
    network: str
    """The client's, ``10.3.7.0/24``; ``unix`` for one on a ``unix:`` listen."""
    version: str
    """The one negotiated."""
    offered: str
    """As in :class:`TlsRefused`."""
    cipher: str
    server_name: str | None = None
    helo: str | None = None
    """The name that an SMTP client gave, lower case; None where it gave none, and in other protocols."""


@define(kw_only=True)
class TlsRefused(SessionNote):
    """TLS ended a session: a failed handshake, a broken record."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "tls_refused"
    text: ClassVar[str] = "TLS refused ({reason}): {detail}"

    reason: str
    """The ``reason`` of an :class:`~tlsproxy.errors.TlsError`."""
    detail: str
    offered_versions: str | None = None
    """TLS versions that the client's ClientHello offered, ``TLSv1 TLSv1.1``."""
    server_name: str | None = None


@define(kw_only=True)
class RenegotiationAttempted(SessionNote):
    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "renegotiation_attempted"
    text: ClassVar[str] = "renegotiation attempt {attempt}: {outcome}"

    attempt: int
    """Attempts in this connection so far, this one included."""
    outcome: str
    """``allowed``, ``warned`` (alert sent, connection kept) or ``closed``."""
    leg: str
    """Who attempted: ``client`` or ``backend``."""


@define(kw_only=True)
class KeyUpdateLimitHit(SessionNote):
    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "key_update_limit_hit"
    text: ClassVar[str] = "more than {limit} TLS 1.3 KeyUpdate messages within a second, connection closed"

    limit: int
    leg: str


@define(kw_only=True)
class BackendFailed(SessionNote):
    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "backend_failed"
    text: ClassVar[str] = "backend {backend} ({server}): {detail}"

    backend: str
    """Name of the backend."""
    server: str
    """Address of the server tried."""
    detail: str


@define(kw_only=True)
class BackendReached(Note):
    """A session got a connection to a server: for itself, or for one HTTP request."""

    event: ClassVar[str] = "backend_reached"
    text: ClassVar[str] = "backend {backend}: {server} reached in {duration:.3f} s"
    logged: ClassVar[bool] = False

    backend: str
    server: str
    """Its address, as configured."""
    duration: float
    """Seconds from the attempt to a server that is ready: connection, TLS, an SMTP server's greeting. 0 for a connection
    that was kept."""
    reused: bool
    """It was kept from before."""


@define(kw_only=True)
class BackendFull(SessionNote):
    """A client was refused because no server had room for it in time."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "backend_full"
    text: ClassVar[str] = "backend {backend}: {detail}"

    backend: str
    detail: str


@define(kw_only=True)
class BackendServerDown(Note):
    """A server gets no more sessions, but as a last resort."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "backend_server_down"
    text: ClassVar[str] = "backend {backend}: {server} is out: {detail}"

    backend: str
    server: str
    """Its address, as configured."""
    detail: str
    """What the last attempt, session or check failed with."""


@define(kw_only=True)
class BackendServerUp(Note):
    """A server that was out gets sessions again."""

    event: ClassVar[str] = "backend_server_up"
    text: ClassVar[str] = "backend {backend}: {server} is back"

    backend: str
    server: str


@define(kw_only=True)
class FrontReported(SessionNote):
    """The protocol machine noticed something: an attack, a refusal."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "front_reported"
    text: ClassVar[str] = "{what}: {detail}"

    what: str
    """One of :data:`tlsproxy.fronts.commands.Reported`."""
    detail: str


@define(kw_only=True)
class LimitHit(Note):
    """A client was refused, or cut off, for a limit."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "limit_hit"
    text: ClassVar[str] = "{limit}: {detail}"

    client: str
    """Client address, ``10.3.7.9:51234``."""
    listen: str
    """The listen's address as configured."""
    session: str | None
    """None where it was closed before there was one."""
    limit: str
    """The option that sets the limit."""
    detail: str
    """What was too much, and where the limit is set."""


@define(kw_only=True)
class DescriptorsScarce(Note):
    """File descriptors run out, and nothing is accepted until some are given back. Noted once for a shortage."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "descriptors_scarce"
    text: ClassVar[str] = (
        "nearly all of {limit} file descriptors are in use: accepting again when there are some"
    )

    limit: int
    """How many the process may have."""


@define(kw_only=True)
class SessionFault(SessionNote):
    """An exception that nobody expected ended this one session."""

    level: ClassVar[Level] = Level.ERROR
    event: ClassVar[str] = "session_fault"
    text: ClassVar[str] = "internal error, session ended: {detail}"

    detail: str
    traceback: str


@define(kw_only=True)
class SessionEnded(SessionNote):
    event: ClassVar[str] = "session_ended"
    text: ClassVar[str] = (
        "ended ({reason}) after {duration:.3f} s, {bytes_from_client} bytes from the client, {bytes_to_client} to it"
    )

    kind: str
    reason: str
    """Why it ended: ``client_closed``, ``backend_closed``, ``idle_timeout``, ``renegotiation_refused`` …"""
    duration: float
    """Seconds from accept to the end."""
    bytes_from_client: int
    """Plaintext bytes."""
    bytes_to_client: int
    """Plaintext bytes."""
    backend: str | None = None
    server: str | None = None
    version: str | None = None
    cipher: str | None = None
    group: str | None = None
    server_name: str | None = None
    renegotiations: int = 0
    """Renegotiations that the client attempted."""
    key_updates: int = 0
    """TLS 1.3 KeyUpdate messages that the client sent."""


@define(kw_only=True)
class ConfigurationWarned(Note):
    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "configuration_warning"
    text: ClassVar[str] = "{path}: {message}"

    path: str
    message: str


@define(kw_only=True)
class ReportFailed(Note):
    """The shadow report's database can't be used. What it would have been told is kept in a bounded memory meanwhile."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "report_failed"
    text: ClassVar[str] = "shadow report: {detail}"

    detail: str


@define(kw_only=True)
class RequestServed(SessionNote):
    """An HTTP request was answered, by the backend or by the proxy."""

    event: ClassVar[str] = "request_served"
    text: ClassVar[str] = "{status} in {duration:.3f} s"

    method: str | None
    """None, as ``path``, where the request was refused before it was known."""
    path: str | None
    """Without the query, which may hold secrets."""
    status: int
    duration: float
    """Seconds from the request's first byte to the response's last."""
    bytes_in: int
    bytes_out: int


@define(kw_only=True)
class ProxyHeaderRefused(Note):
    """A connection from a trusted proxy ended before it became a session."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "proxy_header_refused"
    text: ClassVar[str] = "connection from the trusted proxy {sender} on {listen} refused: {detail}"

    listen: str
    sender: str
    detail: str


@define(kw_only=True)
class ListenOpened(Note):
    event: ClassVar[str] = "listening"
    text: ClassVar[str] = "listening on {listen} ({kind}), {tls_protocols}"

    listen: str
    kind: str
    tls_protocols: str
    """The effective set of versions, for a client in no peer; `plaintext` where TLS isn't offered."""


@define(kw_only=True)
class ServiceStarted(Note):
    event: ClassVar[str] = "started"
    text: ClassVar[str] = "tlsproxy {version} started with {tls_library}, configuration {config}"

    version: str
    tls_library: str
    config: str


@define(kw_only=True)
class Reloaded(Note):
    """The configuration was read again, and is in force for new sessions."""

    event: ClassVar[str] = "reloaded"
    text: ClassVar[str] = "reloaded ({trigger}) in {duration:.3f} s: generation {generation}"

    trigger: str
    """What asked for it: ``SIGHUP``, ``command`` or ``certificate``."""
    duration: float
    """Seconds from the request to the switch."""
    generation: int


@define(kw_only=True)
class ReloadRefused(Note):
    """Everything is as it was."""

    level: ClassVar[Level] = Level.ERROR
    event: ClassVar[str] = "reload_refused"
    text: ClassVar[str] = "reload ({trigger}) refused for {problems} problems, everything stays as it was"

    trigger: str
    problems: int
    """How many; each has a note of its own."""


@define(kw_only=True)
class ConfigurationRefused(Note):
    """One reason why a reload was refused."""

    level: ClassVar[Level] = Level.ERROR
    event: ClassVar[str] = "configuration_refused"
    text: ClassVar[str] = "{path}: {message}"

    path: str
    message: str


@define(kw_only=True)
class ControlRefused(Note):
    """Who connected to the control socket may not."""

    level: ClassVar[Level] = Level.WARNING
    event: ClassVar[str] = "control_refused"
    text: ClassVar[str] = "control connection of user {uid} refused"

    uid: int


@define(kw_only=True)
class SocketsHandedOver(Note):
    """Another process asked for the listening sockets, to take this one's place."""

    event: ClassVar[str] = "sockets_handed_over"
    text: ClassVar[str] = "{sockets} listening sockets handed over to process {pid}"

    sockets: int
    pid: int


@define(kw_only=True)
class DrainStarted(Note):
    """The service stops: what runs is asked to end."""

    event: ClassVar[str] = "draining"
    text: ClassVar[str] = "draining ({trigger})"

    trigger: str
    """``SIGTERM``, ``SIGINT`` or ``command``."""


@define(kw_only=True)
class ServiceStopped(Note):
    event: ClassVar[str] = "stopped"
    text: ClassVar[str] = "stopped, {sessions_cut} sessions cut"

    sessions_cut: int


@define(kw_only=True)
class WorkerStarted(Note):
    event: ClassVar[str] = "worker_started"
    text: ClassVar[str] = "worker {worker} accepts connections"

    worker: int
    """Its number, from 0."""
    pid: int
    generation: int
    """Of the configuration that it serves with: 1 for the first."""


@define(kw_only=True)
class WorkerEnded(Note):
    """A worker ended that was to end."""

    event: ClassVar[str] = "worker_ended"
    text: ClassVar[str] = "worker {worker} ended, {sessions_cut} sessions cut"

    worker: int
    pid: int
    generation: int
    sessions_cut: int


@define(kw_only=True)
class WorkerDied(Note):
    """A worker ended that wasn't to end: its sessions are lost."""

    level: ClassVar[Level] = Level.ERROR
    event: ClassVar[str] = "worker_died"
    text: ClassVar[str] = "worker {worker} died: {detail}"

    worker: int
    pid: int
    generation: int
    detail: str
    """``SIGSEGV``, or ``exit status 70``."""
    restart: float | None
    """Seconds until another is started; None where none is."""


@define(kw_only=True)
class WorkerStuck(Note):
    """A worker didn't say for a while how it is, and is killed."""

    level: ClassVar[Level] = Level.ERROR
    event: ClassVar[str] = "worker_stuck"
    text: ClassVar[str] = "worker {worker} hasn't answered for {silence:.0f} s, it is killed"

    worker: int
    pid: int
    generation: int
    silence: float


@define(kw_only=True)
class WorkersLost(Note):
    """The process that workers are forked from died. They go on; others will take their place."""

    level: ClassVar[Level] = Level.ERROR
    event: ClassVar[str] = "workers_lost"
    text: ClassVar[str] = "generation {generation} died: {detail}"

    generation: int
    detail: str
