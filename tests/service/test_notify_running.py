"""What the service manager hears of a running proxy, and what an unprivileged one can still do."""

import os
import pwd
import re
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.processes import Program, free_port
from tests.support.proxy import Proxy
from tlsproxy.service.control_client import request

TIMEOUT = 20.0


class Manager:
    """Hears what systemd would."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(TIMEOUT)

    def hears(self, wanted: str) -> list[str]:
        """The next message with the line ``wanted``."""
        while True:
            lines = self.socket.recv(4096).decode().splitlines()
            if wanted in lines:
                return lines


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    with manager.socket:
        yield manager


def toml(directory: Path, authority: Authority, port: int) -> str:
    issued = authority.issue("localhost")
    for name, path in (("chain", issued.chain_path), ("key", issued.key_path)):
        (directory / name).write_bytes(path.read_bytes())
        (directory / name).chmod(0o600)
    return f"""
        control_socket = "control"
        tls_certificate = "chain"
        tls_key = "key"
        [backend.b]
        servers = ["127.0.0.1:9"]
        [[stream_listener]]
        backend = "b"
        [[stream_listener.listen]]
        address = "127.0.0.1:{port}"
    """


def test_the_service_manager_hears_of_start_reload_life_and_stop(
    manager: Manager, tmp_path: Path, authority: Authority
) -> None:
    variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000", "WATCHDOG_PID": ""}
    port = free_port()
    with Proxy.start(tmp_path, toml(tmp_path, authority, port), env=variables) as proxy:
        assert f"STATUS=listening on 127.0.0.1:{port}" in manager.hears("READY=1")
        manager.hears("WATCHDOG=1")
        os.kill(proxy.pid, signal.SIGHUP)
        [began] = [line for line in manager.hears("RELOADING=1") if line.startswith("MONOTONIC_USEC=")]
        assert re.fullmatch(r"MONOTONIC_USEC=\d+", began)
        manager.hears("READY=1")
        manager.hears("WATCHDOG=1")
        os.kill(proxy.pid, signal.SIGTERM)
        manager.hears("STOPPING=1")
        assert proxy.wait() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root's privileges")
def test_one_that_gave_up_its_privileges_reloads_and_takes_commands(authority: Authority) -> None:
    nobody = pwd.getpwnam("nobody")
    # pytest's own directories are closed to others.
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), free_port()
        config = directory / "tlsproxy.toml"
        config.write_text('log_format = "json"\ndrain_timeout = 0\n' + toml(directory, authority, port))
        for path in (directory, directory / "chain", directory / "key"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        arguments = Proxy(config)
        arguments.stop()
        command = arguments.arguments
        command[command.index("tlsproxy") : command.index("tlsproxy")] = [
            f"--uid={nobody.pw_uid}",
            f"--gid={nobody.pw_gid}",
        ]
        with Program(command) as proxy:
            proxy.wait_for_output('"event": ?"listening"')
            control = directory / "control"
            proxy.wait_for_path(control)
            status = control.stat()
            assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (nobody.pw_uid, 0o600)
            assert request(str(control), "reload")["ok"]
            proxy.process.send_signal(signal.SIGTERM)
            assert proxy.wait() == 0
            assert not control.exists()
