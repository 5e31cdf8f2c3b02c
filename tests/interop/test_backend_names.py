"""Servers by name, with a hosts file of the proxy's own: several addresses, and new ones while it runs."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import free_port
from tests.support.programs import require, require_root
from tests.support.proxy import Proxy

NAME = "several.example"


class Greeter:
    """An SMTP server that says where it is, and no more."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, port), family=family)
        self._address = address
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(20)
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        with connection:
            connection.sendall(f"220 {self._address} ESMTP\r\n".encode())
            while connection.recv(1000):
                pass

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    return tmp_path / "hosts"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def proxy(tmp_path: Path, hosts: Path, port: int) -> Iterator[Proxy]:
    hosts.write_text(f"::1 {NAME}\n127.0.0.1 {NAME}\n")
    toml = f"""
        drain_timeout = 0
        log_format = "json"
        [backend.mail]
        servers = ["{NAME}:{port}"]
        identity = "trace_header"
        resolve_interval = 1
        [[esmtp_listener]]
        backend = "mail"
        tls_security_level = "none"
          [[esmtp_listener.listen]]
          address = "127.0.0.1:0"
    """
    config = tmp_path / "tlsproxy.toml"
    config.write_text(toml)
    require_root("mount namespaces")
    unshare = [require("unshare", package="util-linux"), "--mount", "sh", "-c"]
    with Proxy(config, prefix=[*unshare, f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]) as running:
        running.wait_for_output(r'"event": ?"listening"')
        yield running


def greeting(proxy: Proxy) -> tuple[str, float]:
    """The server's address by its own word, and the seconds that it took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", proxy.ports()[0]), timeout=20) as client:
        line = client.recv(1000).decode()
    return line.split()[1], time.monotonic() - began


def test_an_address_that_does_not_answer_costs_a_moment_once(proxy: Proxy, port: int) -> None:
    """RFC 8305: nothing listens on ::1, which comes first."""
    server = Greeter("127.0.0.1", port)
    first, *others = (greeting(proxy) for _ in range(4))
    server.close()
    assert first[0] == "127.0.0.1"
    assert first[1] > 0.25, "the next address is tried after 300 ms"
    assert {address for address, _ in others} == {"127.0.0.1"}
    assert min(seconds for _, seconds in others) < 0.25, "and then it is the first"
    assert [note for note in proxy.notes if note["event"] == "backend_failed"] == []


def test_the_first_address_that_answers_is_used(proxy: Proxy, port: int) -> None:
    servers = [Greeter("::1", port), Greeter("127.0.0.1", port)]
    assert greeting(proxy)[0] == "::1"
    for server in servers:
        server.close()


def test_a_name_is_looked_up_again(proxy: Proxy, hosts: Path, port: int) -> None:
    servers = [Greeter("127.0.0.1", port), Greeter("127.0.0.2", port)]
    hosts.write_text(f"127.0.0.1 {NAME}\n")
    assert greeting(proxy)[0] == "127.0.0.1"
    hosts.write_text(f"127.0.0.2 {NAME}\n")
    deadline = time.monotonic() + 10
    while greeting(proxy)[0] != "127.0.0.2":
        assert time.monotonic() < deadline
    hosts.write_text("")  # a name server that knows nothing any more
    began = time.monotonic()
    while time.monotonic() - began < 2.5:
        assert greeting(proxy)[0] == "127.0.0.2", "the last known address stays"
    for server in servers:
        server.close()


def test_a_name_without_an_address_is_a_failure(proxy: Proxy, hosts: Path) -> None:
    hosts.write_text("")
    assert greeting(proxy)[0] == "4.3.2"
    note = proxy.wait_for_note("backend_failed")
    assert note["detail"] == "host name not found"
