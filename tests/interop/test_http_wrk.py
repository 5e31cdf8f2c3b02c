"""wrk through the proxy: nothing is lost, and what a request costs is recorded."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.nginx import start_nginx
from tests.support.processes import free_port, run
from tests.support.programs import require
from tests.support.proxy import Proxy

pytestmark = pytest.mark.interop

CONNECTIONS = 20


def cpu_seconds(pid: int) -> float:
    """Of one process, user and system, proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_many_requests_have_no_errors(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    wrk = require("wrk", package="wrk")
    authority, port = Authority(tmp_path), free_port()
    certificate = authority.issue("localhost")
    http = (
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 100000; location / {{ return 200 hello; }} }}"
    )
    toml = f"""
        tls_certificate = "{certificate.chain_path}"
        tls_key = "{certificate.key_path}"
        [backend.web]
        servers = ["127.0.0.1:{port}"]
        [[http_listener]]
        backend = "web"
          [[http_listener.listen]]
          address = "127.0.0.1:0"
    """
    with start_nginx(tmp_path / "nginx", [port], http=http), Proxy.start(tmp_path, toml) as proxy:
        before = cpu_seconds(proxy.pid)
        url = f"https://localhost:{proxy.ports()[0]}/"
        status, output = run([wrk, "-t", "1", "-c", str(CONNECTIONS), "-d", "3s", url], timeout=20)
        used = cpu_seconds(proxy.pid) - before
    assert status == 0
    assert "Socket errors" not in output
    assert "Non-2xx" not in output
    done = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec: +([0-9.]+)", output)
    assert done is not None
    assert rate is not None
    requests = int(done[1])
    assert requests > CONNECTIONS
    record_property("requests_per_second", float(rate[1]))
    record_property("cpu_microseconds_per_request", round(used / requests * 1e6))
