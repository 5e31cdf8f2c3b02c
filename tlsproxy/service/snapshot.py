"""What one process can tell of itself, put together from its parts."""

import os
from collections.abc import Iterable

from tlsproxy.config.backend import HealthCheck
from tlsproxy.config.resolve import Resolution
from tlsproxy.config.rules import offers_tls
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import Kind
from tlsproxy.fronts.options import TlsSecurityLevel
from tlsproxy.net.backend import BackendConnector
from tlsproxy.ops.merge import families_of
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.status.model import (
    BackendStatus,
    CertificateStatus,
    ListenStatus,
    PolicyStatus,
    ProcessStatus,
    ServerStatus,
)
from tlsproxy.policy.handshakes import Outcome
from tlsproxy.service.prepare import PreparedListen
from tlsproxy.service.serving import Serving
from tlsproxy.tls.certificates import Certificate


def process_status(
    serving: Serving,
    metrics: Metrics,
    *,
    worker: int = 0,
    generation: int = 1,
    draining: Iterable[Serving] = (),
) -> ProcessStatus:
    """How this process is at the moment.

    :param serving: What takes new sessions.
    :param draining: Those before it that still have sessions.
    """
    backends = tuple(map(_backend, serving.connectors.values()))
    certificates = tuple(serving.certificates)
    metrics.set_backends(backends)
    metrics.set_certificates({each.path: each.not_after for each in certificates})
    return ProcessStatus(
        pid=os.getpid(),
        worker=worker,
        generation=generation,
        sessions=sum(len(each.sessions) for each in (serving, *draining)),
        listens=_listens(serving),
        backends=backends,
        certificates=tuple(dict.fromkeys(map(_certificate, certificates))),
        families=families_of(metrics.registry),
    )


def _listens(serving: Serving) -> tuple[ListenStatus, ...]:
    """One for each socket's name: systemd may hand over several under one."""
    prepared = {each.listen.path: each for each in serving.prepared.listens}
    named = {listener.name: prepared[listener.listen.path] for listener in serving.listeners}
    return tuple(_listen(name, each) for name, each in named.items())


def _listen(name: str, prepared: PreparedListen) -> ListenStatus:
    return ListenStatus(
        name=name,
        kind=prepared.kind.name,
        backend=prepared.backend.name,
        policies=tuple(_policy(each, prepared.kind) for each in prepared.resolver.resolutions()),
    )


def _policy(resolution: Resolution, kind: Kind) -> PolicyStatus:
    settings, origins = resolution.settings, resolution.origins
    return PolicyStatus(
        network=str(resolution.network or ""),
        tls=_tls(settings, kind),
        tls_protocols=str(settings.tls_protocols) if offers_tls(settings, kind) else "",
        tls_protocols_origin=origins["tls_protocols"].scope,
        renegotiation=_REFUSALS[settings.handshake_policy.renegotiation_outcome(1)],
        renegotiation_origin=origins["tls_allow_renegotiation"].scope,
    )


_REFUSALS = {Outcome.ALLOWED: "allowed", Outcome.WARNED: "warned", Outcome.CLOSED: "refused"}


def _tls(settings: Settings, kind: Kind) -> str:
    """When TLS begins."""
    if not offers_tls(settings, kind):
        return "never"
    if kind.tls_from_start or settings.tls_wrappermode or not kind.smtp:
        return "from the start"
    demanded = settings.tls_security_level is TlsSecurityLevel.ENCRYPT
    return "STARTTLS demanded" if demanded else "STARTTLS offered"


def _backend(connector: BackendConnector) -> BackendStatus:
    backend = connector.backend
    return BackendStatus(
        name=backend.name,
        policy=backend.policy.value,
        checked=backend.health_check is not HealthCheck.NONE,
        waiting=connector.waiting,
        servers=tuple(
            ServerStatus(
                address=server.address,
                standing=server.standing.value,
                busy=server.load.busy,
                idle=server.load.idle,
                pending=server.load.pending,
            )
            for server in connector.servers
        ),
    )


def _certificate(certificate: Certificate) -> CertificateStatus:
    return CertificateStatus(
        path=certificate.path,
        names=tuple(sorted(certificate.names)),
        not_after=certificate.not_after.timestamp(),
        key_type=certificate.key_type,
        sha256=certificate.fingerprint,
    )
