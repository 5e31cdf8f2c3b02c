"""Reloads of a running proxy, under load: what clients see, and what the operator is told."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, Issued
from tests.support.mail_proxy import trusting
from tests.support.processes import free_port, is_listening
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo
from tests.support.visitors import Visitors
from tlsproxy.service.control_client import request

RENEWAL = 5.0
"""Seconds after which a renewed certificate has to be served."""


class World:
    """A proxy with one ``stream`` listen, files that a test may replace, and an echo behind it."""

    def __init__(self, directory: Path, authority: Authority, backend: str, workers: int) -> None:
        self.authority = authority
        self.workers = workers
        self.chain, self.key = directory / "live.pem", directory / "live.key"
        self.port = free_port()
        self.control = directory / "control"
        self.config = directory / "tlsproxy.toml"
        self.backend = backend
        self.context = trusting(authority.path)
        self.install(authority.issue("localhost"))
        self.proxy = Proxy.start(directory, self.toml())

    def toml(self, extra: str = "") -> str:
        return f"""
            drain_timeout = 5
            workers = {self.workers}
            control_socket = "{self.control}"
            tls_certificate = "{self.chain}"
            tls_key = "{self.key}"
            {extra}
            [backend.echo]
            servers = ["{self.backend}"]
            [[stream_listener]]
            backend = "echo"
            [[stream_listener.listen]]
            address = "127.0.0.1:{self.port}"
        """

    def write(self, toml: str) -> None:
        """The configuration, in one step."""
        beside = self.config.with_suffix(".new")
        beside.write_text('log_format = "json"\n' + toml)
        beside.replace(self.config)

    def install(self, issued: Issued) -> bytes:
        """Renew: the key first, then the certificate, each in one step. The certificate, in DER."""
        for source, target in ((issued.key_path, self.key), (issued.chain_path, self.chain)):
            beside = target.with_suffix(".new")
            beside.write_bytes(source.read_bytes())
            beside.chmod(0o600)
            beside.replace(target)
        return issued.certificate.public_bytes(Encoding.DER)

    def reload(self) -> dict[str, object]:
        return request(str(self.control), "reload", timeout=20)

    def hang_up(self) -> None:
        os.kill(self.proxy.pid, signal.SIGHUP)

    def served_certificate(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 20) as plain:
            with self.context.wrap_socket(plain, server_hostname="localhost") as client:
                certificate = client.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def world(tmp_path: Path, authority: Authority, request: pytest.FixtureRequest) -> Iterator[World]:
    with Server(echo) as backend:
        world = World(tmp_path, authority, backend.address, request.param)
        with world.proxy:
            yield world


def test_a_renewed_certificate_is_served_in_time_and_no_client_notices(world: World) -> None:
    with Visitors(world.port, world.context) as visitors:
        visitors.wait_for_more()
        renewed = world.install(world.authority.issue("localhost"))
        began = time.monotonic()
        visitors.wait_until(lambda: renewed in visitors.certificates)
        visitors.wait_for_more()
    assert visitors.certificates[renewed] - began < RENEWAL
    assert visitors.failures == []
    note = world.proxy.wait_for_note("reloaded")
    assert (note["trigger"], note["generation"]) == ("certificate", 2)


def test_a_certificate_is_renewed_by_a_symbolic_link_as_kubernetes_and_certbot_do(
    world: World, tmp_path: Path
) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for directory in (first, second):
        directory.mkdir()
        issued = world.authority.issue("localhost")
        (directory / "live.pem").write_bytes(issued.chain_path.read_bytes())
        (directory / "live.key").write_bytes(issued.key_path.read_bytes())
        (directory / "live.key").chmod(0o600)
        last = issued.certificate.public_bytes(Encoding.DER)
    (tmp_path / "data").symlink_to(first)
    world.write(
        world.toml()
        .replace(str(world.chain.parent), str(tmp_path / "data"))
        .replace(str(tmp_path / "data/control"), str(world.control))
    )
    assert world.reload()["ok"]
    seen = len(world.proxy.notes)
    (tmp_path / "next").symlink_to(second)
    (tmp_path / "next").replace(tmp_path / "data")
    world.proxy.wait_for_note("reloaded", after=seen, trigger="certificate")
    assert world.served_certificate() == last


def test_half_a_renewal_is_waited_for_and_told_once(world: World) -> None:
    """A certificate whose key hasn't come yet: what runs goes on, and the log says why, once."""
    before = world.served_certificate()
    renewed = world.authority.issue("localhost")
    world.chain.write_bytes(renewed.chain_path.read_bytes())
    refused = world.proxy.wait_for_note("configuration_refused")
    assert "tls_key" in refused["path"]
    assert world.served_certificate() == before
    world.install(renewed)
    world.proxy.wait_for_note("reloaded", trigger="certificate")
    assert world.served_certificate() == renewed.certificate.public_bytes(Encoding.DER)
    assert len([note for note in world.proxy.notes if note["event"] == "reload_refused"]) == 1


def test_a_session_goes_on_over_a_reload(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), 20) as plain:
        with world.context.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"before\n")
            assert client.recv(100) == b"before\n"
            assert world.reload() == {"ok": True, "generation": 2, "problems": []}
            client.sendall(b"after\n")
            assert client.recv(100) == b"after\n"


def test_new_sessions_get_the_new_settings(world: World) -> None:
    world.write(world.toml('tls_protocols = "<=TLSv1.2"'))
    assert world.reload()["ok"]
    with socket.create_connection(("127.0.0.1", world.port), 20) as plain:
        with world.context.wrap_socket(plain, server_hostname="localhost") as client:
            assert client.version() == "TLSv1.2"


def test_what_is_wrong_is_told_to_the_caller_and_the_log_and_nothing_changes(world: World) -> None:
    world.write(world.toml('tls_protocols = ">=TLSv1.9"\nidle_timeout = -1'))
    answer = world.reload()
    assert answer["ok"] is False
    paths = [problem["path"] for problem in answer["problems"]]  # type: ignore[attr-defined]
    assert sorted(paths) == ["idle_timeout", "tls_protocols"]
    world.proxy.wait_for_note("reload_refused", trigger="command", problems=2)
    world.proxy.wait_for_note("configuration_refused", path="idle_timeout")
    assert world.served_certificate()
    status = request(str(world.control), "status")["status"]
    assert status["last_reload"]["ok"] is False
    assert [problem["path"] for problem in status["last_reload"]["problems"]] == paths
    assert status["state"] == "running"


def test_sockets_come_and_go_and_one_that_cannot_be_had_leaves_all_as_they_were(
    world: World, tmp_path: Path
) -> None:
    more, path = free_port(), tmp_path / "stream"
    listens = "".join(
        f'[[stream_listener.listen]]\naddress = "{address}"\n'
        for address in (f"127.0.0.1:{more}", f"unix:{path}")
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        impossible = f'[[stream_listener.listen]]\naddress = "127.0.0.1:{taken.getsockname()[1]}"\n'
        world.write(world.toml() + listens + impossible)
        answer = world.reload()
    assert "in use by another process" in json.dumps(answer)
    assert not path.exists()
    world.write(world.toml() + listens)
    assert world.reload()["ok"]
    with socket.create_connection(("127.0.0.1", more), 20), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    world.write(world.toml())
    assert world.reload()["ok"]
    assert not path.exists()
    # Workers of the generation before may take a moment more to let go.
    world.proxy.wait_until(lambda: not is_listening(more), "the socket is still open")
    assert world.served_certificate()


def test_what_takes_a_restart_says_so(world: World) -> None:
    before, world.workers = world.workers, 3 - world.workers
    world.write(world.toml().replace("json", "text"))
    message = f"can't be changed from {before} to {world.workers} by a reload: restart the service"
    assert world.reload() == {
        "ok": False,
        "generation": 1,
        "problems": [{"path": "workers", "message": message}],
    }


def test_metrics_move_to_another_address(world: World) -> None:
    port = free_port()
    world.write(world.toml(f'metrics_listen = "127.0.0.1:{port}"'))
    assert world.reload()["ok"]
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 200"
    world.write(world.toml())
    assert world.reload()["ok"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 20)


def test_a_storm_of_hangups_with_good_and_broken_files_never_fails_a_client(world: World) -> None:
    good, broken = world.toml(), world.toml('tls_ciphers = "none such"')
    with Visitors(world.port, world.context) as visitors:
        for number in range(20):
            world.write(broken if number % 2 else good)
            for _ in range(5):
                world.hang_up()
            visitors.wait_for_more(5)
        world.write(broken)
        assert not world.reload()["ok"]
        world.write(good)
        assert world.reload()["ok"]
        visitors.wait_for_more()
    assert visitors.failures == []


def test_a_hangup_before_anything_else_is_no_end(world: World) -> None:
    world.hang_up()
    note = world.proxy.wait_for_note("reloaded")
    assert note["trigger"] == "SIGHUP"
    assert world.served_certificate()
