"""What users of twistd are used to, with workers: foreground and daemon, files, other users, syslog, systemd's sockets."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.test_supervisor_running import is_running, wait_for_end
from tests.support.certificates import Authority, Issued
from tests.support.mail_proxy import trusting
from tests.support.processes import Program, free_port, free_ports, run
from tests.support.programs import require
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

TWISTD = str(Path(sys.executable).with_name("twistd"))

NOBODY = 65534


class World:
    """A configuration with two workers, and an echo behind it."""

    def __init__(self, directory: Path, authority: Authority, backend: str) -> None:
        self.directory = directory
        self.issued: Issued = authority.issue("localhost", stem=str(directory / "live"))
        self.context = trusting(authority.path)
        self.port = free_port()
        self.config = directory / "tlsproxy.toml"
        self.backend = backend
        self.configure(f"127.0.0.1:{self.port}")

    def configure(self, address: str) -> None:
        self.config.write_text(
            f"""
            workers = 2
            drain_timeout = 1
            log_format = "json"
            tls_certificate = "{self.issued.chain_path}"
            tls_key = "{self.issued.key_path}"
            [backend.echo]
            servers = ["{self.backend}"]
            [[stream_listener]]
            backend = "echo"
            [[stream_listener.listen]]
            address = "{address}"
            """
        )

    def says_back(self, port: int | None = None) -> bool:
        with socket.create_connection(("127.0.0.1", port or self.port), 20) as plain:
            with self.context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"hello\n")
                return client.recv(100) == b"hello\n"


@pytest.fixture
def world(tmp_path: Path, authority: Authority) -> Iterator[World]:
    with Server(echo) as backend:
        yield World(tmp_path, authority, backend.address)


def notes(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def workers(text: str) -> list[int]:
    """Processes of workers, from a log."""
    return [int(str(note["pid"])) for note in notes(text) if note["event"] == "worker_started"]


def each_alone(pids: list[int]) -> Iterator[int]:
    """Each of the processes, while the others are stopped: who is waked first would have everything otherwise."""
    for pid in pids:
        others = [other for other in pids if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            yield pid
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)


def user_of(pid: int) -> tuple[set[str], set[str], set[str]]:
    """User, group and further groups that a process has, each of the kinds that the kernel knows (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {name: set(value.split()) for name, _, value in (line.partition(":") for line in status)}
    return fields["Uid"], fields["Gid"], fields["Groups"]


def test_a_daemon_has_a_pid_file_and_logs_to_its_file(world: World) -> None:
    pid_file, log = world.directory / "pid", world.directory / "log"
    status, output = run(
        [TWISTD, "--pidfile", pid_file, "--logfile", log, "tlsproxy", "-c", world.config], timeout=60
    )
    assert status == 0, output
    pid = int(pid_file.read_text())
    try:
        assert world.says_back()
        started = workers(log.read_text())
        assert len(started) == 2
        assert all(map(is_running, started))
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for_end([pid])
    wait_for_end(started)
    assert not pid_file.exists()
    events = [note["event"] for note in notes(log.read_text())]
    assert {"session_started", "session_ended"} <= set(events), "workers' lines are there, too"
    assert events.count("worker_ended") == 2


@pytest.mark.parametrize("number", [1, 2])
def test_a_daemon_that_cannot_start_says_why(world: World, number: int) -> None:
    world.config.write_text(world.config.read_text().replace("workers = 2", f"workers = {number}"))
    files = ["--pidfile", world.directory / "pid", "--logfile", world.directory / "log"]
    with socket.create_server(("127.0.0.1", world.port)):
        status, output = run([TWISTD, *files, "tlsproxy", "-c", world.config], timeout=60)
    assert status == 1
    assert f"can't listen on 127.0.0.1:{world.port}: the address is in use" in output


@pytest.mark.skipif(os.getuid() != 0, reason="gives up root's privileges")
def test_keys_are_read_and_ports_opened_by_root_and_clients_served_by_nobody(world: World) -> None:
    world.issued.key_path.chmod(0o600)
    command = [TWISTD, "-n", "--pidfile=", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    with Program([*command, "tlsproxy", "-c", world.config]) as proxy:
        proxy.wait_for_output('"event": ?"listening"', timeout=60)
        assert world.says_back()
        serving = workers(proxy.output)
        parent = int(Path(f"/proc/{serving[0]}/stat").read_text().rpartition(") ")[2].split()[1])
        for pid in (proxy.pid, parent, *serving):
            users, groups, further = user_of(pid)
            assert (users, groups) == ({str(NOBODY)}, {str(NOBODY)})
            assert further <= {str(NOBODY)}
        # Who serves can't read the key any more: a reload needs one that the user may read, and says so.
        os.kill(proxy.pid, signal.SIGHUP)
        proxy.wait_for_output('"event": ?"configuration_refused"', timeout=60)
        assert world.says_back()


def test_syslog_gets_the_lines_of_workers(world: World) -> None:
    """syslog(3) writes to /dev/log; without a daemon there, strace sees what it would have got."""
    strace = require("strace", package="strace")
    trace = world.directory / "trace"
    command = [strace, "-f", "-qq", "-s", "4096", "-e", "trace=sendto,connect", "-o", trace]
    with Program([*command, TWISTD, "-n", "--pidfile=", "--syslog", "tlsproxy", "-c", world.config]) as proxy:
        proxy.wait_for_port(world.port, timeout=60)
        assert world.says_back()
        proxy.wait_until(lambda: "/dev/log" in trace.read_text(), "nothing was logged")


def test_systemd_s_sockets_are_every_worker_s(world: World) -> None:
    activate = require("systemd-socket-activate", package="systemd")
    ports = free_ports(2)
    world.configure("systemd:smtps")
    sockets = [*(f"--listen=127.0.0.1:{port}" for port in ports), "--fdname=smtps:smtps"]
    with Program([activate, *sockets, TWISTD, "-n", "--pidfile=", "tlsproxy", "-c", world.config]) as proxy:
        proxy.wait_for_port(*ports)
        world.says_back(ports[0])  # starts it
        proxy.wait_for_output('"event": ?"listening"', timeout=60)
        for _ in each_alone(workers(proxy.output)):
            assert all(map(world.says_back, ports))
        proxy.stop()
        sessions = [note for note in notes(proxy.output) if note["event"] == "session_started"]
    assert {note["listen"] for note in sessions} == {"systemd:smtps"}
    assert len({str(note["session"]).rpartition(".")[0] for note in sessions}) == 2


def test_a_unix_socket_is_every_worker_s(world: World) -> None:
    path = world.directory / "socket"
    world.configure(f"unix:{path}")
    with Program([TWISTD, "-n", "--pidfile=", "tlsproxy", "-c", world.config]) as proxy:
        proxy.wait_for_output('"event": ?"listening"', timeout=60)
        for _ in each_alone(workers(proxy.output)):
            with socket.socket(socket.AF_UNIX) as plain:
                plain.settimeout(20)
                plain.connect(str(path))
                with world.context.wrap_socket(plain, server_hostname="localhost") as client:
                    client.sendall(b"hello\n")
                    assert client.recv(100) == b"hello\n"
        proxy.stop()
        sessions = [note for note in notes(proxy.output) if note["event"] == "session_started"]
    assert len({str(note["session"]).rpartition(".")[0] for note in sessions}) == 2
    assert not path.exists()


def test_an_operator_s_own_log_gets_the_lines_of_workers(world: World) -> None:
    lines = world.directory / "lines"
    lines.touch()
    (world.directory / "operators_log.py").write_text(
        "from twisted.logger import formatEvent\n"
        "def observer():\n"
        f"    file = open({str(lines)!r}, 'a', buffering=1)\n"
        "    return lambda event: file.write(formatEvent(event) + '\\n')\n"
    )
    path = os.pathsep.join(filter(None, (str(world.directory), os.environ.get("PYTHONPATH"))))
    command = [TWISTD, "-n", "--pidfile=", "--logger", "operators_log.observer"]
    with Program([*command, "tlsproxy", "-c", world.config], env={"PYTHONPATH": path}) as proxy:
        proxy.wait_until(lambda: "listening on" in lines.read_text(), "nothing is listened on", timeout=60)
        assert world.says_back()
        proxy.wait_until(lambda: '"session_ended"' in lines.read_text(), "no line of a worker")


def test_the_terminal_s_interrupt_stops_the_service_in_order(world: World) -> None:
    with Program([TWISTD, "-n", "--pidfile=", "tlsproxy", "-c", world.config]) as proxy:
        proxy.wait_for_output('"event": ?"listening"', timeout=60)
        serving = workers(proxy.output)
        os.killpg(proxy.pid, signal.SIGINT)
        assert proxy.wait(20) == 0
        assert proxy.output.count('"worker_ended"') == 2
        wait_for_end(serving)
