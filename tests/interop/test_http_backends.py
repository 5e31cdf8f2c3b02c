"""HTTP servers that are killed, stalled and restarted while 50 clients ask, and answers where there is no server."""

import http.client
import json
import os
import signal
import socket
import ssl
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.processes import Program, free_port, free_ports
from tests.support.proxy import Proxy
from tests.support.servers import Server

pytestmark = pytest.mark.interop

CLIENTS = 50
ROOT = Path(__file__).parents[2]


def server(name: str, port: int) -> Program:
    """A server that listens on ``port``."""
    program = Program(
        [sys.executable, "-m", "tests.support.http_servers", name, str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    program.wait_for_port(port)
    return program


def config(
    directory: Path, authority: Authority, addresses: list[str], backend: str = "", front: str = ""
) -> str:
    certificate = authority.issue("localhost")
    return f"""
        tls_certificate = "{certificate.chain_path}"
        tls_key = "{certificate.key_path}"
        [backend.web]
        servers = {json.dumps(addresses)}
        {backend}
        [[http_listener]]
        backend = "web"
        {front}
          [[http_listener.listen]]
          address = "127.0.0.1:0"
    """


def connect(proxy: Proxy, authority: Authority) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(authority.path))
    return http.client.HTTPSConnection("localhost", proxy.ports()[0], timeout=30, context=context)


def ask_until(stop: threading.Event, proxy: Proxy, authority: Authority, seen: Counter[str]) -> list[str]:
    """Ask on one connection, again and again; what went wrong."""
    faults = []
    client = connect(proxy, authority)
    while not stop.is_set():
        try:
            client.request("GET", "/")
            response = client.getresponse()
            body = response.read()
            if response.status == 200:
                seen[json.loads(body)["server"]] += 1
            else:
                faults.append(f"{response.status} {body!r}")
        except (OSError, http.client.HTTPException) as fault:
            faults.append(repr(fault))
            client.close()
        stop.wait(0.05)
    client.close()
    return faults


@pytest.mark.timeout(60)
@pytest.mark.parametrize("policy", ["round_robin", "failover"])
@pytest.mark.parametrize(
    "signals", [(signal.SIGKILL,), (signal.SIGSTOP, signal.SIGCONT)], ids=["killed", "stalled"]
)
def test_no_get_fails_while_a_server_does(
    tmp_path: Path, policy: str, signals: tuple[signal.Signals, ...]
) -> None:
    authority, ports, stop = Authority(tmp_path), free_ports(2), threading.Event()
    first, second = (server(name, port) for name, port in zip(("first", "second"), ports, strict=True))
    addresses = [f"127.0.0.1:{port}" for port in ports]
    toml = config(tmp_path, authority, addresses, f'policy = "{policy}"\nejection_time = 1')
    seen: Counter[str] = Counter()
    with second, Proxy.start(tmp_path, toml) as proxy, ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask_until, stop, proxy, authority, seen) for _ in range(CLIENTS)]
        try:
            proxy.wait_until(lambda: seen["first"] > CLIENTS, "nobody asks the first server")
            for each in signals:
                os.kill(first.pid, each)
                stop.wait(1)
            if signal.SIGKILL in signals:
                proxy.wait_for_note("backend_server_down")
                first.stop()
                first = server("first", ports[0])
                proxy.wait_for_note("backend_server_up")
            before = seen["first"]
            proxy.wait_until(lambda: seen["first"] > before, "the first server isn't asked again")
        finally:
            stop.set()
            first.stop()
        assert [fault for each in asking for fault in each.result()] == []


def test_a_connection_that_a_server_closed_between_requests_is_not_seen(tmp_path: Path) -> None:
    def answer_once(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    authority = Authority(tmp_path)
    with Server(answer_once) as backend:
        with Proxy.start(tmp_path, config(tmp_path, authority, [backend.address])) as proxy:
            client = connect(proxy, authority)
            for _ in range(20):
                client.request("GET", "/")
                response = client.getresponse()
                assert (response.status, response.read()) == (200, b"hi")
            client.close()
        assert backend.accepted == 20


def status_and_body(proxy: Proxy, authority: Authority) -> tuple[int, bytes]:
    client = connect(proxy, authority)
    client.request("GET", "/")
    response = client.getresponse()
    try:
        return response.status, response.read()
    finally:
        client.close()


def test_without_a_server_that_is_up_the_answer_is_short(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Proxy.start(tmp_path, config(tmp_path, authority, [f"127.0.0.1:{free_port()}"])) as proxy:
        status, body = status_and_body(proxy, authority)
    assert status in (502, 503)
    assert 0 < len(body) < 500


@pytest.mark.parametrize(("said", "status"), [(b"gibberish\r\n\r\n", 502), (b"", 504)])
def test_a_server_that_talks_nonsense_or_not_at_all(tmp_path: Path, said: bytes, status: int) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)
        connection.recv(1)

    authority = Authority(tmp_path)
    with Server(answer) as backend:
        toml = config(tmp_path, authority, [backend.address], front="http_response_timeout = 0.5")
        with Proxy.start(tmp_path, toml) as proxy:
            answered, body = status_and_body(proxy, authority)
    assert answered == status
    assert 0 < len(body) < 500
