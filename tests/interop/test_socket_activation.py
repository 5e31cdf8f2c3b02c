"""Sockets from systemd's own hands: systemd-socket-activate opens them, and starts the proxy at the first connection."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.processes import Program, free_ports
from tests.support.programs import require
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

CONFIG = """
log_format = "json"
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
[backend.echo]
servers = ["{backend.address}"]
[[stream_listener]]
backend = "echo"
  [[stream_listener.listen]]
  address = "systemd:smtps"
"""


def says_back(port: int) -> bool:
    openssl = require("openssl", package="openssl")
    with Program([openssl, "s_client", "-quiet", "-connect", f"127.0.0.1:{port}"]) as client:
        client.send(b"hello\n")
        client.wait_for_output("^hello$")
    return True


def test_every_socket_of_the_name_is_served_and_the_first_client_is_not_lost(
    authority: Authority, tmp_path: Path
) -> None:
    activate = require("systemd-socket-activate", package="systemd")
    ports = free_ports(2)
    config = tmp_path / "tlsproxy.toml"
    twistd = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile="]
    sockets = [*(f"--listen=127.0.0.1:{port}" for port in ports), "--fdname=smtps:smtps"]
    with Server(echo) as backend:
        config.write_text(CONFIG.format(certificate=authority.issue("mx.example.org"), backend=backend))
        with Program([activate, *sockets, *twistd, "tlsproxy", "--config", config]) as proxy:
            proxy.wait_for_port(*ports)
            assert all(says_back(port) for port in ports)
            lines = [json.loads(line) for line in proxy.output.splitlines() if line.startswith("{")]
    assert {line["listen"] for line in lines if line["event"] == "session_started"} == {"systemd:smtps"}


def test_a_name_that_systemd_does_not_know_is_an_error_that_says_which_it_knows(
    authority: Authority, tmp_path: Path
) -> None:
    activate = require("systemd-socket-activate", package="systemd")
    [port] = free_ports(1)
    config = tmp_path / "tlsproxy.toml"
    twistd = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile="]
    with Server(echo) as backend:
        config.write_text(CONFIG.format(certificate=authority.issue("mx.example.org"), backend=backend))
        command = [
            activate,
            f"--listen=127.0.0.1:{port}",
            "--fdname=https",
            *twistd,
            "tlsproxy",
            "--config",
            config,
        ]
        with Program(command) as proxy:
            proxy.wait_for_port(port)
            openssl = require("openssl", package="openssl")
            with Program([openssl, "s_client", "-connect", f"127.0.0.1:{port}"]):
                proxy.wait_for_output("systemd handed over no socket of that name, but https")
                assert proxy.wait() == 1
