"""The configuration as a tree of scopes, one class for each kind of table in the file.

A scope's ``options`` are those of :class:`~tlsproxy.config.settings.Settings` that it sets itself, and no others. Fields
with a documentation are the table's own keys; the rest is made while parsing.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import NOTHING, field, frozen

from tlsproxy.config.addresses import ListenAddress, TcpAddress
from tlsproxy.config.backend import Backend
from tlsproxy.config.declaration import FileMode, FileName, WorkerCount, option
from tlsproxy.config.networks import IpNetwork
from tlsproxy.errors import Problem


class LogFormat(StrEnum):
    """``log_format``: how an event is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """``log_level``: how loud an event must be to be logged."""

    INFO = "info"
    WARNING = "warning"


@frozen(kw_only=True)
class Scope:
    """A table that may set options."""

    path: str = ""
    """Key path in the file, ``stream_listener[0].listen[1].peer[0]``; empty for the global scope."""
    options: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class ConnectionScope(Scope):
    """A table about certain connections: a pathway can be attached to it."""

    pathway: str | None = option(
        None,
        "Name of a pathway whose options are in force here, wherever this scope doesn't set them itself.",
    )


@frozen(kw_only=True)
class Peer(ConnectionScope):
    """``[[….peer]]``: clients from one network."""

    network: IpNetwork = option(
        NOTHING,
        "Client network in CIDR notation, or a single address. Among the peers of one list, the most specific network "
        "that holds the client's address is the client's peer; the others have no effect on it.",
    )


@frozen(kw_only=True)
class Listen(ConnectionScope):
    """``[[KIND_listener.listen]]``: one listening socket."""

    address: ListenAddress = option(
        NOTHING,
        "Where to listen: an IP address and port (`0.0.0.0:25`, `[::]:25`), `unix:/path` for a socket in the file system, "
        "or `systemd:NAME` for a socket that systemd hands over (`FileDescriptorName=NAME` in the socket unit).",
    )
    unix_mode: FileMode = option(
        FileMode(0o660),
        "Permissions of a `unix:` socket, in octal.",
    )
    proxy_protocol_from: tuple[IpNetwork, ...] = option(
        (),
        "Networks of balancers and proxies in front. A connection from there must begin with a PROXY protocol header, "
        "version 1 or 2, and the client is who the header says. From elsewhere a header is never believed.",
    )
    proxy_protocol_timeout: float = option(
        5.0,
        "Time for the PROXY protocol header to arrive.",
        unit="seconds",
        minimum=0.1,
        maximum=60,
    )
    peers: tuple[Peer, ...] = ()


@frozen(kw_only=True)
class Listener(ConnectionScope):
    """``[[KIND_listener]]``: a service of one kind."""

    kind: str
    """Name of a :class:`~tlsproxy.fronts.Kind`."""
    backend: str = option(NOTHING, "Name of the backend that serves the sessions.")
    peers: tuple[Peer, ...] = ()
    listens: tuple[Listen, ...] = ()


@frozen(kw_only=True)
class Pathway(Scope):
    """``[pathway.NAME]``: options under a name, to be attached to listeners, listens and peers."""

    name: str
    group: str | None = None
    """Name of the pathway group that it belongs to."""


@frozen(kw_only=True)
class PathwayGroup(Scope):
    """``[pathway_group.NAME]``: options that several pathways share."""

    name: str


@frozen(kw_only=True)
class Configuration(Scope):
    """A whole file. Its ``options`` are those of the global scope."""

    source: str
    """The file, as it was named."""
    log_format: LogFormat = option(
        LogFormat.TEXT,
        "How events are logged: `text`, a readable line, or `json`, one object in a line.",
    )
    log_level: LogLevel = option(
        LogLevel.INFO,
        "What is logged: `info`, everything, or `warning`, only warnings and errors. A session has three lines or "
        "more of level `info`; metrics and the report count them all the same.",
    )
    workers: WorkerCount = option(
        WorkerCount(1),
        "Processes that serve sessions: `auto` for as many as there are processors that this one may use (a container's "
        "share of processor time isn't seen: give a number there). With 1, the process that is started serves by itself; "
        "with more it starts, watches and replaces workers. One that dies loses its own sessions alone. What a client "
        "gets to resume its TLS session with is valid at every worker, until the next reload. Can't be changed from 1 to "
        "more, or back, by a reload.",
    )
    metrics_listen: TcpAddress | None = option(
        None,
        "Address at which metrics are served over HTTP, for Prometheus. They tell who connects: listen on loopback, or "
        "where only the monitoring gets through.",
    )
    report_database: FileName | None = option(
        None,
        "File in which the sessions that `tls_protocols_report` would refuse are remembered, for `tlsproxy report`. It is "
        "made if it isn't there, in a directory that the service may write to (SQLite keeps files beside it). Not set: "
        "they are remembered as long as the service runs, and shown on its status page alone.",
    )
    status_listen: TcpAddress | None = option(
        None,
        "Address at which the status page is served over HTTP, with `/status.json`, and `/healthz` and `/readyz` for "
        "probes. It tells who connects, and asks nobody for a password: listen on loopback, or where only administrators "
        "get through.",
    )
    control_socket: FileName | None = option(
        None,
        "Unix socket at which the service takes commands: `tlsproxy reload`, `tlsproxy status`, and a process that takes "
        "this one's place (`twistd tlsproxy --take-over`). Only root and the service's own user may connect.",
    )
    tls_certificate_guard: bool = option(
        False,
        "Whether a reload refuses certificates that are worse than those in use: expired or not valid yet, without a name "
        "that the file had before, or without a match for `tls_certificate_tlsa`. Everything then stays as it was. At the "
        "start the same is only warned of, since there is nothing better to go on with.",
    )
    tls_certificate_tlsa: FileName | None = option(
        None,
        "File with the TLSA records (RFC 6698, as a zone file or `dig` has them) that are published for this service. With "
        "`tls_certificate_guard`, each certificate must match one record of each set of records for its names; records "
        "without a name are for every certificate.",
    )
    drain_timeout: float = option(
        30.0,
        "How long running sessions may go on when the service stops. A mail session ends as soon as no message is under "
        "way, with `421 4.3.2`; one whose protocol isn't known (`stream`) ends by itself or not at all. What is left then "
        "is cut.",
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    pathway_groups: Mapping[str, PathwayGroup] = field(factory=dict)
    pathways: Mapping[str, Pathway] = field(factory=dict)
    """Every pathway by its name, those in groups too."""
    backends: Mapping[str, Backend] = field(factory=dict)
    listeners: tuple[Listener, ...] = ()
    warnings: tuple[Problem, ...] = ()
    """What is valid, but may not do what its author thinks."""
