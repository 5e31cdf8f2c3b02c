"""A process takes the place of another, under load."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.mail_proxy import trusting
from tests.support.processes import free_port
from tests.support.programs import require
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo
from tests.support.visitors import Visitors
from tlsproxy.service.control_client import request


def toml(directory: Path, authority: Authority, backend: str, address: str, extra: str = "") -> str:
    issued = authority.issue("localhost")
    return f"""
        drain_timeout = 10
        control_socket = "{directory / "control"}"
        tls_certificate = "{issued.chain_path}"
        tls_key = "{issued.key_path}"
        {extra}
        [backend.echo]
        servers = ["{backend}"]
        [[stream_listener]]
        backend = "echo"
        [[stream_listener.listen]]
        address = "{address}"
        [[stream_listener.listen]]
        address = "unix:{directory / "stream"}"
    """


def successor(directory: Path) -> Proxy:
    """Another process with the same configuration, in the place of the one that runs."""
    proxy = Proxy(directory / "tlsproxy.toml", options=["--take-over"])
    try:
        proxy.wait_for_output(r'"event": ?"listening"', timeout=30)
    except BaseException:
        proxy.stop()
        raise
    return proxy


@pytest.mark.parametrize(("workers", "times"), [(1, 3), (2, 1)])
def test_no_client_notices_that_another_process_takes_over(
    tmp_path: Path, authority: Authority, workers: int, times: int
) -> None:
    port, metrics = free_port(), free_port()
    with Server(echo) as backend:
        config = toml(
            tmp_path,
            authority,
            backend.address,
            f"127.0.0.1:{port}",
            f'metrics_listen = "127.0.0.1:{metrics}"\nworkers = {workers}',
        )
        with ExitStack() as stack:
            running = stack.enter_context(Proxy.start(tmp_path, config))
            visitors = stack.enter_context(Visitors(port, trusting(authority.path)))
            visitors.wait_for_more()
            for _ in range(times):
                following = stack.enter_context(successor(tmp_path))
                assert running.wait(20) == 0
                assert (
                    running.wait_for_note("sockets_handed_over", pid=following.pid)["sockets"] == 2 + workers
                )
                assert running.wait_for_note("draining")["trigger"] == "command"
                visitors.wait_for_more()
                running = following
            assert (tmp_path / "stream").exists()
            status = request(str(tmp_path / "control"), "status")["status"]
            assert len(status["processes"]) == workers
            visitors.stop()
        assert visitors.failures == []
        assert not (tmp_path / "control").exists()
        assert not (tmp_path / "stream").exists()


def test_a_successor_that_cannot_start_changes_nothing(tmp_path: Path, authority: Authority) -> None:
    port = free_port()
    with Server(echo) as backend:
        config = toml(tmp_path, authority, backend.address, f"127.0.0.1:{port}")
        with (
            Proxy.start(tmp_path, config),
            Visitors(port, trusting(authority.path), at_once=1) as visitors,
            socket.create_server(("127.0.0.1", 0)) as taken_socket,
        ):
            file = tmp_path / "tlsproxy.toml"
            text = file.read_text()
            taken = taken_socket.getsockname()[1]
            file.write_text(f'{text}\n[[stream_listener.listen]]\naddress = "127.0.0.1:{taken}"')
            with Proxy(file, options=["--take-over"]) as failing:
                assert failing.wait() == 1
                assert "in use by another process" in failing.output
            visitors.wait_for_more()
            assert request(str(tmp_path / "control"), "status")["ok"]
            assert (tmp_path / "stream").exists()
        assert visitors.failures == []


def test_without_anybody_to_take_over_from_the_start_fails_with_a_reason(
    tmp_path: Path, authority: Authority
) -> None:
    config = tmp_path / "tlsproxy.toml"
    config.write_text(toml(tmp_path, authority, "127.0.0.1:9", "127.0.0.1:0"))
    with Proxy(config, options=["--take-over"]) as proxy:
        assert proxy.wait() == 1
        assert f"tlsproxy: can't reach the service at {tmp_path / 'control'}: no such file" in proxy.output


@pytest.mark.interop
def test_sockets_of_systemd_are_taken_over_as_well(tmp_path: Path, authority: Authority) -> None:
    activate = require("systemd-socket-activate", package="systemd")
    port = free_port()
    with Server(echo) as backend:
        config = tmp_path / "tlsproxy.toml"
        config.write_text(
            'log_format = "json"\n' + toml(tmp_path, authority, backend.address, "systemd:smtps")
        )
        prefix = [activate, f"--listen=127.0.0.1:{port}", "--fdname=smtps"]
        with Proxy(config, prefix=prefix) as first:
            first.wait_for_port(port)
            with Visitors(port, trusting(authority.path)) as visitors:
                visitors.wait_for_more()
                with successor(tmp_path):
                    assert first.wait(20) == 0
                    visitors.wait_for_more()
                    visitors.stop()
        assert visitors.failures == []
