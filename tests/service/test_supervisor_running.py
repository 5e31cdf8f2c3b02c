"""Workers of a running proxy: what clients see when one dies, and what the operator is told."""

import contextlib
import os
import select
import signal
import socket
import ssl
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.mail_proxy import trusting
from tests.support.processes import free_port
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo
from tests.support.visitors import Visitors
from tlsproxy.service.control_client import request


def is_running(pid: int) -> bool:
    """Whether a process is there that hasn't ended: a zombie has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(") ")[2][0] != "Z"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


class World:
    """A proxy with workers, one ``stream`` listen, and an echo behind it."""

    def __init__(self, directory: Path, authority: Authority, backend: str, workers: int) -> None:
        issued = authority.issue("localhost")
        self.authority = authority
        self.context = trusting(authority.path)
        self.port, self.metrics_port = free_port(), free_port()
        self.control = directory / "control"
        self.config = directory / "tlsproxy.toml"
        self.toml = f"""
            workers = {workers}
            drain_timeout = 3
            control_socket = "{self.control}"
            metrics_listen = "127.0.0.1:{self.metrics_port}"
            tls_certificate = "{issued.chain_path}"
            tls_key = "{issued.key_path}"
            [backend.echo]
            servers = ["{backend}"]
            [[stream_listener]]
            backend = "echo"
            [[stream_listener.listen]]
            address = "127.0.0.1:{self.port}"
        """
        self.proxy = Proxy.start(directory, self.toml)

    def workers(self, generation: int = 1) -> list[int]:
        """Processes of a generation's workers that run."""
        notes = self.proxy.notes
        started = [note for note in notes if note["event"] == "worker_started"]
        return [
            note["pid"] for note in started if note["generation"] == generation and is_running(note["pid"])
        ]

    def numbers(self, generation: int = 1) -> list[int]:
        """Numbers of a generation's workers, as they know them themselves."""
        processes = request(str(self.control), "status", timeout=30)["status"]["processes"]
        return [each["worker"] for each in processes if each["generation"] == generation]

    def generation_process(self) -> int:
        return parent_of(self.workers()[0])

    @contextlib.contextmanager
    def client(self) -> Iterator[ssl.SSLSocket]:
        with socket.create_connection(("127.0.0.1", self.port), 20) as plain:
            with self.context.wrap_socket(plain, server_hostname="localhost") as client:
                yield client

    def clients(self, count: int) -> list[ssl.SSLSocket]:
        """As many connections, each of which has had an answer."""
        opened = []
        for _ in range(count):
            plain = socket.create_connection(("127.0.0.1", self.port), 20)
            opened.append(self.context.wrap_socket(plain, server_hostname="localhost"))
            assert is_alive(opened[-1])
        return opened

    def pids_by_serial(self) -> list[int]:
        """Workers in the order in which they were forked."""
        return sorted(note["pid"] for note in self.proxy.notes if note["event"] == "worker_started")

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} "))
        )

    def hang_up(self) -> None:
        os.kill(self.proxy.pid, signal.SIGHUP)


def is_alive(client: ssl.SSLSocket) -> bool:
    """Whether the connection still goes through."""
    try:
        client.sendall(b"still there?\n")
        return client.recv(100) == b"still there?\n"
    except OSError:
        return False


@pytest.fixture(params=[2, 3])
def world(tmp_path: Path, authority: Authority, request: pytest.FixtureRequest) -> Iterator[World]:
    with Server(echo) as backend:
        world = World(tmp_path, authority, backend.address, request.param)
        with world.proxy:
            yield world


@pytest.fixture
def pair(tmp_path: Path, authority: Authority) -> Iterator[World]:
    """With two workers."""
    with Server(echo) as backend:
        world = World(tmp_path, authority, backend.address, 2)
        with world.proxy:
            yield world


def test_connections_are_shared_out_and_counted_together(world: World) -> None:
    for client in world.clients(40):
        client.close()
    world.proxy.wait_until(
        lambda: world.metric("tlsproxy_session_duration_seconds_count") == 40, "not every session was counted"
    )
    sessions = [note["session"] for note in world.proxy.notes if note["event"] == "session_started"]
    workers = Counter(session.rpartition(".")[0] for session in sessions)
    assert len(set(sessions)) == 40
    assert world.numbers() == list(range(len(world.workers())))
    assert len(workers) == len(world.workers())
    assert world.metric("tlsproxy_sessions_started_total") == 40
    assert world.metric("tlsproxy_sessions") == 0


def test_a_worker_that_dies_loses_its_own_sessions_and_none_that_come_later(pair: World) -> None:
    clients = pair.clients(20)
    victim = pair.workers()[0]
    sessions = [note["session"] for note in pair.proxy.notes if note["event"] == "session_started"]
    with Visitors(pair.port, pair.context, at_once=1) as visitors:
        visitors.wait_for_more()
        os.kill(victim, signal.SIGKILL)
        died = pair.proxy.wait_for_note("worker_died")
        visitors.wait_for_more(50)
    survivors = [client for client in clients if is_alive(client)]
    of_victim = [
        session for session in sessions if pair.pids_by_serial()[int(session.split(".")[1], 16)] == victim
    ]
    assert len(survivors) == 20 - len(of_victim)
    assert 0 < len(survivors) < 20
    # The visitor of that moment may have been the victim's.
    assert len(visitors.failures) <= 1
    assert (died["pid"], died["detail"], died["restart"]) == (victim, "was killed by SIGKILL", 0)
    assert pair.metric("tlsproxy_worker_restarts_total") == 1
    for client in clients:
        client.close()


def test_what_a_killed_worker_counted_is_not_taken_back(pair: World) -> None:
    for client in pair.clients(20):
        client.close()
    pair.proxy.wait_until(
        lambda: pair.metric("tlsproxy_session_duration_seconds_count") == 20, "not all counted"
    )
    for pid in pair.workers():
        os.kill(pid, signal.SIGKILL)
        pair.proxy.wait_for_note("worker_died", pid=pid)
    pair.proxy.wait_until(lambda: len(pair.workers()) == 2, "no other workers")
    assert pair.metric("tlsproxy_sessions_started_total") == 20
    assert pair.metric("tlsproxy_processes") == 2


def test_clients_wait_for_the_worker_that_takes_a_dead_one_s_place(pair: World) -> None:
    """Both die; who connects meanwhile is in a queue that the supervisor keeps open."""
    for pid in pair.workers():
        os.kill(pid, signal.SIGKILL)
    for client in pair.clients(10):
        client.close()


def test_a_worker_told_to_end_finishes_its_sessions_while_another_takes_its_place(pair: World) -> None:
    clients = pair.clients(20)
    victim = pair.workers()[0]
    seen = len(pair.proxy.notes)
    with Visitors(pair.port, pair.context) as visitors:
        os.kill(victim, signal.SIGTERM)
        pair.proxy.wait_for_note("worker_started", after=seen)
        visitors.wait_for_more(50)
        assert is_running(victim)
        assert all(map(is_alive, clients))
        for client in clients:
            client.close()
        ended = pair.proxy.wait_for_note("worker_ended", pid=victim)
    assert visitors.failures == []
    assert ended["sessions_cut"] == 0


def test_a_reload_under_load_loses_nobody(world: World) -> None:
    before = world.workers()
    with world.client() as old_client, Visitors(world.port, world.context, at_once=4) as visitors:
        for generation in (2, 3):
            visitors.wait_for_more()
            answer = request(str(world.control), "reload", timeout=30)
            assert answer["ok"], answer
            world.proxy.wait_for_note("reloaded", generation=generation)
        visitors.wait_for_more()
        assert is_alive(old_client), "a session goes on as it began"
        assert len(world.workers(3)) == len(before)
    assert visitors.failures == []
    for pid in before:
        world.proxy.wait_for_note("worker_ended", pid=pid)


def test_a_reload_to_another_number_of_workers_strands_no_queue(pair: World) -> None:
    generation = 1
    with Visitors(pair.port, pair.context) as visitors:
        for workers in (5, 2, 4):
            generation += 1
            visitors.wait_for_more()
            pair.config.write_text(
                'log_format = "json"\n' + pair.toml.replace("workers = ", f"workers = {workers} #")
            )
            answer = request(str(pair.control), "reload", timeout=30)
            assert answer["ok"], answer
            pair.proxy.wait_until(
                lambda generation=generation, workers=workers: len(pair.workers(generation)) == workers,
                "not as many workers",
            )
            assert pair.numbers(generation) == list(range(workers))
            visitors.wait_for_more(50)
    assert visitors.failures == []


def test_a_reload_that_fails_leaves_everything_as_it_was(pair: World) -> None:
    before = pair.workers()
    pair.config.write_text(
        'log_format = "json"\n' + pair.toml.replace("drain_timeout = 3", "drain_timeout = -1\nbacklog = 7")
    )
    answer = request(str(pair.control), "reload", timeout=30)
    assert sorted(problem["path"] for problem in answer["problems"]) == ["backlog", "drain_timeout"]
    assert pair.workers() == before
    with pair.client() as client:
        assert is_alive(client)


def test_one_worker_instead_of_several_takes_a_restart(pair: World) -> None:
    pair.config.write_text('log_format = "json"\n' + pair.toml.replace("workers = 2", "workers = 1"))
    answer = request(str(pair.control), "reload", timeout=30)
    assert answer["problems"] == [
        {"path": "workers", "message": "can't be changed from 2 to 1 by a reload: restart the service"}
    ]


def test_workers_end_with_their_supervisor(pair: World) -> None:
    processes = [pair.generation_process(), *pair.workers()]
    with pair.client() as client:
        assert is_alive(client)
        os.kill(pair.proxy.pid, signal.SIGKILL)
        client.settimeout(20)
        with contextlib.suppress(OSError):
            assert client.recv(100) == b"", "the session is cut after drain_timeout"
    pair.proxy.wait()
    wait_for_end(processes)


def test_workers_that_lost_the_process_they_came_from_go_on_and_others_take_their_place(pair: World) -> None:
    before = pair.workers()
    with pair.client() as client, Visitors(pair.port, pair.context) as visitors:
        visitors.wait_for_more()
        os.kill(pair.generation_process(), signal.SIGKILL)
        pair.proxy.wait_for_note("workers_lost", generation=1)
        pair.proxy.wait_for_note("reloaded", trigger="recovery")
        visitors.wait_for_more()
        assert is_alive(client)
    assert visitors.failures == []
    wait_for_end(before)
    assert len(pair.workers(2)) == 2


def test_a_stop_ends_all_processes_and_tells_of_sessions_cut(pair: World) -> None:
    processes = [pair.generation_process(), *pair.workers()]
    with pair.client() as client:
        assert is_alive(client)
        pair.proxy.process.terminate()
        status = pair.proxy.wait(20)
    notes = {note["event"]: note for note in pair.proxy.notes}
    assert notes["stopped"]["sessions_cut"] == 1
    assert status != 0
    wait_for_end(processes)


def wait_for_end(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            readable, _, _ = select.select([descriptor], [], [], 20)
            os.close(descriptor)
            assert readable, f"{pid} still runs"
