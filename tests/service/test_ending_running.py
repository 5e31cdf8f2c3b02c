"""How a running proxy ends: what sessions see of it, and what its exit status tells."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Program, free_port
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tlsproxy.service.ending import CUT

DRAIN = 30.0
"""Longer than any of these tests: what ends sooner wasn't cut for the time."""


def mail_server(connection: socket.socket) -> None:
    """Takes every message."""
    connection.sendall(b"220 old.example ESMTP\r\n")
    with connection.makefile("rb") as lines:
        for line in lines:
            if line.upper().startswith(b"DATA"):
                connection.sendall(b"354 go on\r\n")
                while next(lines) != b".\r\n":
                    pass
            connection.sendall(b"250 fine\r\n")


def web_server(connection: socket.socket) -> None:
    """Answers every request the same."""
    with connection.makefile("rb") as lines:
        for line in lines:
            if line == b"\r\n":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def config(backend: str, kind: str, port: int, timeout: float = DRAIN) -> str:
    level = 'tls_security_level = "none"' if kind != "stream" else ""
    return f"""
        drain_timeout = {timeout}
        close_timeout = 0.5
        [backend.b]
        servers = ["{backend}"]
        [[{kind}_listener]]
        backend = "b"
        {level}
        [[{kind}_listener.listen]]
        address = "127.0.0.1:{port}"
    """


@pytest.fixture
def port() -> int:
    return free_port()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 20)


def say(client: socket.socket, line: bytes, expected: bytes) -> None:
    client.sendall(line + b"\r\n")
    answer = client.recv(1000)
    assert answer.startswith(expected), answer


@pytest.fixture
def mail(tmp_path: Path, port: int) -> Iterator[Proxy]:
    with (
        Server(mail_server) as backend,
        Proxy.start(tmp_path, config(backend.address, "esmtp", port)) as proxy,
    ):
        yield proxy


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_nothing_to_cut_the_status_is_0(mail: Proxy, number: signal.Signals) -> None:
    os.kill(mail.pid, number)
    assert mail.wait() == 0
    events = [note["event"] for note in mail.notes if note["event"] != "twisted"]
    assert events[-2:] == ["draining", "stopped"]
    assert mail.wait_for_note("draining")["trigger"] == number.name


def test_a_mail_transaction_is_finished_then_the_client_is_told(mail: Proxy, port: int) -> None:
    with connected(port) as idle, connected(port) as busy:
        for client in (idle, busy):
            assert client.recv(100).startswith(b"220 ")
            say(client, b"EHLO client.example", b"250")
        say(busy, b"MAIL FROM:<a@b.example>", b"250")
        say(busy, b"RCPT TO:<c@d.example>", b"250")
        say(busy, b"DATA", b"354")
        mail.process.send_signal(signal.SIGTERM)
        assert idle.recv(100).startswith(b"421 4.3.2 ")
        assert idle.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            connected(port)
        busy.sendall(b"Subject: the rest\r\n\r\nof it\r\n.\r\n")
        answer = b"".join(iter(lambda: busy.recv(1000), b""))
        assert answer.startswith(b"250 fine\r\n421 4.3.2 ")
    assert mail.wait() == 0


def test_an_http_client_is_told_with_its_answer_that_the_connection_ends(tmp_path: Path, port: int) -> None:
    with Server(web_server) as backend:
        with Proxy.start(tmp_path, config(backend.address, "http", port)) as proxy:
            with connected(port) as client:
                request = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
                client.sendall(request + b"\r\n")
                assert b"Connection: close" not in client.recv(1000)
                client.sendall(request)  # half of it
                proxy.wait_for_note("session_started")
                deadline = threading.Event()
                deadline.wait(0.2)
                proxy.process.send_signal(signal.SIGTERM)
                proxy.wait_for_note("draining")
                client.sendall(b"\r\n")
                answer = b"".join(iter(lambda: client.recv(1000), b""))
                assert answer.lower().partition(b"\r\n\r\n")[0].count(b"connection: close") == 1
            assert proxy.wait() == 0


def test_who_waits_to_be_accepted_is_told_as_well(mail: Proxy, port: int) -> None:
    os.kill(mail.pid, signal.SIGSTOP)
    with connected(port) as client:
        os.kill(mail.pid, signal.SIGTERM)
        os.kill(mail.pid, signal.SIGCONT)
        assert client.recv(100).startswith(b"421 4.3.2 ")
    assert mail.wait() == 0


def test_the_second_signal_cuts_what_still_runs_and_the_status_says_so(mail: Proxy, port: int) -> None:
    with connected(port) as client:
        assert client.recv(100).startswith(b"220 ")
        for line in (b"EHLO client.example", b"MAIL FROM:<a@b.example>"):
            say(client, line, b"250")
        say(client, b"RCPT TO:<c@d.example>", b"250")
        say(client, b"DATA", b"354")
        began = time.monotonic()
        mail.process.send_signal(signal.SIGTERM)
        mail.wait_for_note("draining")
        mail.process.send_signal(signal.SIGTERM)
        assert mail.wait() == CUT
    assert time.monotonic() - began < DRAIN / 2
    assert mail.wait_for_note("stopped")["sessions_cut"] == 1


def test_what_outlasts_the_drain_timeout_is_cut(tmp_path: Path, port: int) -> None:
    with Server(mail_server) as backend:
        with Proxy.start(tmp_path, config(backend.address, "esmtp", port, timeout=0.5)) as proxy:
            with connected(port) as client:
                assert client.recv(100).startswith(b"220 ")
                say(client, b"EHLO client.example", b"250")
                say(client, b"MAIL FROM:<a@b.example>", b"250")
                proxy.process.send_signal(signal.SIGTERM)
                assert proxy.wait() == CUT


def test_a_daemon_s_pid_file_is_gone_when_it_ends(tmp_path: Path, port: int) -> None:
    with Server(mail_server) as backend:
        proxy = Proxy.start(tmp_path, config(backend.address, "esmtp", port))
        with proxy:
            arguments = [each for each in proxy.arguments if each != "--pidfile="]
        pidfile = tmp_path / "twistd.pid"
        arguments.insert(arguments.index("tlsproxy"), f"--pidfile={pidfile}")
        with Program(arguments) as other:
            other.wait_for_path(pidfile)
            other.wait_for_port(port)
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
            assert other.wait() == 0
            assert not pidfile.exists()
