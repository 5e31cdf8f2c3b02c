"""What a process tells of itself is what its configuration says and its sessions do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.test_service import CLIENT, Connected, Reactor
from tests.support.certificates import Authority, Issued
from tlsproxy.notes import SessionStarted
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.status.figures import Figures
from tlsproxy.ops.status.model import PolicyStatus, ProcessStatus
from tlsproxy.service.prepare import prepare
from tlsproxy.service.service import ProxyService
from tlsproxy.service.snapshot import process_status

CONFIG = """
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
[pathway.scanners]
tls_protocols = "TLSv1.2"
tls_renegotiation_action = "warn"
[backend.mta]
servers = ["127.0.0.1:2525", "127.0.0.1:2526"]
health_check = "tcp"
[backend.web]
servers = ["127.0.0.1:8080"]
policy = "round_robin"
[[esmtp_listener]]
backend = "mta"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:0"
    [[esmtp_listener.listen.peer]]
    network = "10.3.0.0/16"
    pathway = "scanners"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:0"
  tls_security_level = "encrypt"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:0"
  tls_wrappermode = true
[[http_listener]]
backend = "web"
  [[http_listener.listen]]
  address = "127.0.0.1:0"
  tls_security_level = "none"
[[stream_listener]]
backend = "web"
tls_allow_renegotiation = true
  [[stream_listener.listen]]
  address = "127.0.0.1:0"
"""


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", "*.example.org")


@pytest.fixture
def service(certificate: Issued, tmp_path: Path) -> Iterator[ProxyService]:
    config = tmp_path / "tlsproxy.toml"
    config.write_text(CONFIG.format(certificate=certificate))
    service = ProxyService(prepare(config), reactor=Reactor())  # type: ignore[no-untyped-call]
    service.startService()
    yield service
    service.stopService()


@pytest.fixture
def status(service: ProxyService) -> ProcessStatus:
    serving = service._serving
    assert serving is not None
    return process_status(serving, Metrics(), worker=3, generation=7)


def policies(status: ProcessStatus, kind: str) -> list[PolicyStatus]:
    return [policy for listen in status.listens if listen.kind == kind for policy in listen.policies]


def test_the_process_is_named(status: ProcessStatus) -> None:
    assert (status.pid, status.worker, status.generation, status.sessions) == (os.getpid(), 3, 7, 0)


def test_each_listen_tells_its_backend_and_when_tls_begins(status: ProcessStatus) -> None:
    assert [(each.kind, each.backend) for each in status.listens] == [
        ("esmtp", "mta"),
        ("esmtp", "mta"),
        ("esmtp", "mta"),
        ("http", "web"),
        ("stream", "web"),
    ]
    assert [each.tls for each in policies(status, "esmtp")] == [
        "STARTTLS offered",
        "STARTTLS offered",
        "STARTTLS demanded",
        "from the start",
    ]
    assert [each.tls for each in policies(status, "stream")] == ["from the start"]


def test_the_scope_that_sets_a_policy_is_named(status: ProcessStatus) -> None:
    everybody, scanners = policies(status, "esmtp")[:2]
    assert (everybody.network, everybody.tls_protocols, everybody.tls_protocols_origin) == (
        "",
        "TLSv1.2 TLSv1.3",
        "default",
    )
    assert (scanners.network, scanners.tls_protocols) == ("10.3.0.0/16", "TLSv1.2")
    assert scanners.tls_protocols_origin.endswith('pathway "scanners"')


def test_what_becomes_of_renegotiation(status: ProcessStatus) -> None:
    assert [each.renegotiation for each in policies(status, "esmtp")[:2]] == ["refused", "warned"]
    [stream] = policies(status, "stream")
    assert (stream.renegotiation, stream.renegotiation_origin) == ("allowed", "stream_listener[0]")


def test_without_tls_there_are_no_versions(status: ProcessStatus) -> None:
    [plain] = policies(status, "http")
    assert (plain.tls, plain.tls_protocols) == ("never", "")


def test_backends_and_their_servers(status: ProcessStatus) -> None:
    mta, web = status.backends
    assert (mta.name, mta.policy, mta.checked) == ("mta", "failover", True)
    assert [(each.address, each.standing) for each in mta.servers] == [
        ("127.0.0.1:2525", "up"),
        ("127.0.0.1:2526", "up"),
    ]
    assert (web.name, web.policy, web.checked) == ("web", "round_robin", False)


def test_a_certificate_is_told_once(status: ProcessStatus, certificate: Issued) -> None:
    [told] = status.certificates
    assert told.path == str(certificate.chain_path)
    assert told.names == ("*.example.org", "mx.example.org")
    assert told.not_after == certificate.certificate.not_valid_after_utc.timestamp()
    assert (told.key_type, len(told.sha256)) == ("ECDSA", 64)


def test_the_figures_are_those_counted_and_those_of_the_moment(service: ProxyService) -> None:
    serving = service._serving
    assert serving is not None
    metrics = Metrics()
    metrics.take(SessionStarted(session="1", client="c", listen="l", kind="esmtp"))
    figures = Figures(process_status(serving, metrics).families)
    assert figures.sum("sessions_started_total", listen="l") == 1
    assert figures.by("certificate_expiry_timestamp_seconds", "certificate").keys() == {
        each.path for each in serving.certificates
    }
    assert figures.sum("backend_server_down", backend="mta") == 0


def test_sessions_from_before_a_reload_are_told_as_well(service: ProxyService) -> None:
    serving = service._serving
    assert serving is not None
    session = Connected(service._reactor.adoptedPorts[0][2].buildProtocol(CLIENT))
    told = process_status(serving, Metrics(), draining=[serving])
    assert told.sessions == 2
    assert [server.pending for server in told.backends[0].servers] == [1, 0]
    session.ends()
    assert process_status(serving, Metrics(), draining=[serving]).sessions == 0
