"""A service with two workers, one of them about to go, for tests of what is made of a status."""

from attrs import evolve
from twisted.internet.defer import Deferred, succeed

from tlsproxy.ops.status.model import (
    BackendStatus,
    CertificateStatus,
    Family,
    ListenStatus,
    PolicyStatus,
    ProcessStatus,
    ReloadProblem,
    ReloadStatus,
    Sample,
    ServerStatus,
    ServiceStatus,
)

NOW = 1_795_420_800.0
"""2026-11-23 08:00 UTC."""

DAY = 86400.0

LISTEN = "0.0.0.0:25"


def sessions(value: float, listen: str = LISTEN) -> Family:
    return Family(
        "tlsproxy_sessions",
        "gauge",
        "Sessions in progress.",
        (Sample("tlsproxy_sessions", (("listen", listen),), value),),
    )


def started(value: float, listen: str = LISTEN) -> Family:
    labels = (("listen", listen), ("kind", "esmtp"))
    return Family(
        "tlsproxy_sessions_started",
        "counter",
        "Sessions accepted.",
        (Sample("tlsproxy_sessions_started_total", labels, value),),
    )


POLICY = PolicyStatus(
    network="",
    tls="STARTTLS offered",
    tls_protocols="TLSv1.2 TLSv1.3",
    tls_protocols_origin="global",
    renegotiation="refused",
    renegotiation_origin="default",
)

PROCESS = ProcessStatus(
    pid=4711,
    sessions=3,
    listens=(ListenStatus(name=LISTEN, kind="esmtp", backend="old-mta", policies=(POLICY,)),),
    backends=(
        BackendStatus(
            name="old-mta",
            policy="failover",
            checked=True,
            waiting=1,
            servers=(
                ServerStatus(address="127.0.0.1:2525", standing="up", busy=3, idle=1),
                ServerStatus(address="127.0.0.1:2526", standing="down"),
            ),
        ),
    ),
    certificates=(
        CertificateStatus(
            path="/etc/tlsproxy/mx.pem",
            names=("mx.example.org",),
            not_after=NOW + 60 * DAY,
            key_type="ECDSA",
            sha256="ab" * 32,
        ),
    ),
    families=(sessions(3), started(10)),
)

SERVICE = ServiceStatus(
    version="0.1.0",
    tls_library="OpenSSL 4.0.3",
    config="/etc/tlsproxy/tlsproxy.toml",
    started=NOW - DAY,
    generation=2,
    last_reload=ReloadStatus(
        when=NOW - 600,
        trigger="signal",
        ok=False,
        duration=0.25,
        problems=(ReloadProblem("tls_protocols", "unknown"),),
    ),
    reloads=1,
    reloads_failed=1,
    workers=2,
    processes=(PROCESS, evolve(PROCESS, pid=4712, worker=1)),
)


class Source:
    """Tells one status."""

    def __init__(self, status: ServiceStatus = SERVICE) -> None:
        self.status = status
        self.asked: list[Deferred[list[ProcessStatus]]] = []

    def service(self) -> ServiceStatus:
        return evolve(self.status, processes=())

    def processes(self) -> Deferred[list[ProcessStatus]]:
        return succeed(list(self.status.processes))
