"""Metrics of a running proxy, over HTTP, beside the log that tells of the same session."""

import os
import signal
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Authority, Issued
from tests.support.processes import Program, free_port
from tests.support.programs import require
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

CONFIG = """
metrics_listen = "127.0.0.1:{metrics}"
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
[backend.echo]
servers = ["{backend.address}"]
[[stream_listener]]
backend = "echo"
  [[stream_listener.listen]]
  address = "127.0.0.1:0"
"""


@pytest.fixture
def certificate(authority: Authority) -> Issued:
    return authority.issue("mx.example.org")


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest.fixture
def proxy(certificate: Issued, metrics_port: int, tmp_path: Path) -> Iterator[Proxy]:
    with Server(echo) as backend:
        toml = CONFIG.format(metrics=metrics_port, certificate=certificate, backend=backend)
        with Proxy.start(tmp_path, toml) as proxy:
            proxy.wait_for_port(metrics_port)
            yield proxy


@pytest.fixture
def workers(certificate: Issued, metrics_port: int, tmp_path: Path) -> Iterator[Proxy]:
    with Server(echo) as backend:
        toml = "workers = 2\n" + CONFIG.format(metrics=metrics_port, certificate=certificate, backend=backend)
        with Proxy.start(tmp_path, toml) as proxy:
            proxy.wait_for_port(metrics_port)
            yield proxy


Labels = frozenset[tuple[str, str]]


def labels(**values: str) -> Labels:
    return frozenset(values.items())


def scrape(port: int) -> dict[str, dict[Labels, float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    found: dict[str, dict[Labels, float]] = {}
    for sample in (sample for family in families for sample in family.samples):
        found.setdefault(sample.name, {})[labels(**sample.labels)] = sample.value
    return found


def test_a_session_is_counted_as_the_log_tells_it(
    proxy: Proxy, metrics_port: int, certificate: Issued
) -> None:
    openssl = require("openssl", package="openssl")
    [port] = proxy.ports()
    listen = f"127.0.0.1:{port}"
    with Program([openssl, "s_client", "-quiet", "-tls1_3", "-connect", listen]) as client:
        client.send(b"hello\n")
        client.wait_for_output("^hello$")
        assert scrape(metrics_port)["tlsproxy_sessions"] == {labels(listen=listen): 1}
        client.close_input()
    ended = proxy.wait_for_note("session_ended")
    facts = {name: ended[name] for name in ("version", "cipher", "group")}
    end = certificate.certificate.not_valid_after_utc.timestamp()
    expected = {
        "sessions": {labels(listen=listen): 0},
        "sessions_started_total": {labels(listen=listen, kind="stream"): 1},
        "sessions_ended_total": {labels(listen=listen, reason=ended["reason"]): 1},
        "handshakes_total": {labels(listen=listen, **facts): 1},
        "client_bytes_total": {
            labels(listen=listen, direction="from_client"): ended["bytes_from_client"],
            labels(listen=listen, direction="to_client"): ended["bytes_to_client"],
        },
        "certificate_expiry_timestamp_seconds": {labels(certificate=str(certificate.chain_path)): end},
    }
    metrics = scrape(metrics_port)
    assert {name: metrics[f"tlsproxy_{name}"] for name in expected} == expected


@pytest.mark.usefixtures("proxy")
def test_nothing_else_is_served(metrics_port: int) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/", timeout=10)


def test_what_workers_counted_outlives_them(
    workers: Proxy, metrics_port: int, client_context: ssl.SSLContext
) -> None:
    """Killed and replaced, they take no count along: a counter that falls would be taken for traffic."""
    [port] = workers.ports()

    def talk() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            with client_context.wrap_socket(plain, server_hostname="mx.example.org") as wrapped:
                wrapped.sendall(b"hello")
                assert wrapped.recv(5) == b"hello"

    def told(name: str) -> float:
        return sum(scrape(metrics_port).get(f"tlsproxy_{name}", {}).values())

    for _ in range(5):
        talk()
    workers.wait_until(lambda: told("sessions_ended_total") == 5, "not all sessions counted", 30)
    for pid in children(workers.pid):
        os.kill(pid, signal.SIGKILL)
    seen = []

    def replaced() -> bool:
        seen.append(told("sessions_ended_total"))
        return told("worker_restarts_total") == 2 and told("processes") == 2

    workers.wait_until(replaced, "workers not replaced", 60)
    talk()
    workers.wait_until(lambda: told("sessions_ended_total") == 6, "the session after isn't counted", 30)
    assert set(seen) == {5}


def children(supervisor: int) -> list[int]:
    """The workers: children of the generation, which is a child of the supervisor."""
    generations = _children(supervisor)
    return [pid for generation in generations for pid in _children(generation)]


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
