"""Prometheus's own tool has nothing to say against the metrics, the alerts and the sample configuration."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Issued
from tests.support.processes import Program, free_port
from tests.support.programs import require
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

ETC = Path(__file__).parents[2] / "etc/prometheus"

CONFIG = """
workers = {workers}
metrics_listen = {metrics}
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
[backend.echo]
servers = ["{backend.address}"]
[[stream_listener]]
backend = "echo"
  [[stream_listener.listen]]
  address = "127.0.0.1:0"
"""


@pytest.fixture(scope="module")
def promtool() -> str:
    return require("promtool", package="prometheus")


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def exposition(
    request: pytest.FixtureRequest, certificate: Issued, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The metrics page of a proxy that has served a session, by the format asked for."""
    directory, port = tmp_path_factory.mktemp("proxy"), free_port()
    with Server(echo) as backend:
        toml = CONFIG.format(metrics=port, certificate=certificate, backend=backend, workers=request.param)
        with Proxy.start(directory, toml) as proxy:
            proxy.wait_for_port(port)
            openssl = require("openssl", package="openssl")
            with Program(
                [openssl, "s_client", "-quiet", "-connect", f"127.0.0.1:{proxy.ports()[0]}"]
            ) as client:
                client.send(b"hello\n")
                client.wait_for_output("^hello$")
                client.close_input()
            proxy.wait_for_note("session_ended")
            yield {accept: fetch(port, accept) for accept in ("text/plain", "application/openmetrics-text")}


def fetch(port: int, accept: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the proxy's own address
        page: bytes = answer.read()
    return page.decode()


def test_the_metrics_are_in_good_form(promtool: str, exposition: dict[str, str]) -> None:
    result = subprocess.run(
        [promtool, "check", "metrics"],
        input=exposition["text/plain"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_openmetrics_tells_the_same(exposition: dict[str, str]) -> None:
    assert exposition["application/openmetrics-text"].endswith("# EOF\n")
    names = {
        accept: {line.split("{")[0].split(" ")[0] for line in page.splitlines() if not line.startswith("#")}
        for accept, page in exposition.items()
    }
    assert names["text/plain"] == names["application/openmetrics-text"]


def test_every_session_is_counted_whichever_worker_served_it(exposition: dict[str, str]) -> None:
    lines = exposition["text/plain"].splitlines()
    assert [
        line.rpartition(" ")[2] for line in lines if line.startswith("tlsproxy_sessions_started_total{")
    ] == ["1.0"]


def test_every_question_of_the_dashboard_can_be_asked(promtool: str, tmp_path: Path) -> None:
    dashboard = json.loads((ETC.parent / "grafana/tlsproxy.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked = [target["expr"].replace("$__rate_interval", "1m") for target in targets]
    rules = [{"record": f"question_{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "dashboard.rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert f"{len(asked)} rules found" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "tlsproxy.rules.yml"],
        ["test", "rules", "tlsproxy.rules.test.yml"],
        ["check", "config", "prometheus.yml"],
    ],
    ids=" ".join,
)
def test_alerts_and_the_sample_configuration_are_valid(promtool: str, arguments: list[str]) -> None:
    result = subprocess.run([promtool, *arguments], cwd=ETC, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "FAILED" not in result.stdout + result.stderr
