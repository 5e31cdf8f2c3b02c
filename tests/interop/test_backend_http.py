"""Two nginx servers behind an ``http`` listener, one of which is killed, stalled or restarted while clients ask."""

import http.client
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import define, field

from tests.support.nginx import start_nginx
from tests.support.processes import Program, free_ports
from tests.support.proxy import Proxy

CLIENTS = 50
REQUESTS = 40
"""Of each client, over one connection as long as it lasts."""


def config(servers: list[int], **options: object) -> str:
    addresses = ", ".join(f'"127.0.0.1:{port}"' for port in servers)
    return "\n".join(
        [
            f"[backend.web]\nservers = [{addresses}]",
            *(f"{key} = {value}" for key, value in options.items()),
            '[[http_listener]]\nbackend = "web"\ntls_security_level = "none"',
            '[[http_listener.listen]]\naddress = "127.0.0.1:0"',
        ]
    )


@define
class Nginx:
    """One that can be killed and comes back."""

    directory: Path
    port: int
    program: Program = field(init=False)

    def start(self) -> None:
        # It closes idle connections soon, and each after some requests: connections that are kept turn out dead.
        http = (
            "keepalive_timeout 1; keepalive_requests 20;"
            f"server {{ listen 127.0.0.1:{self.port}; location / {{ return 200 $request_uri; }}"
            "  location /unfit { return 503; } }"
        )
        self.program = start_nginx(self.directory, [self.port], http=http)

    def kill(self) -> None:
        os.kill(self.program.pid, signal.SIGKILL)
        self.program.process.wait(5)

    def stop(self) -> None:
        self.program.stop()

    def stall(self) -> None:
        os.kill(self.program.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.program.pid, signal.SIGCONT)

    def start_again(self) -> None:
        self.program.stop()
        self.start()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Nginx]]:
    started: list[Nginx] = []
    try:
        for number, port in enumerate(free_ports(2)):
            started.append(Nginx(tmp_path / f"nginx{number}", port))
            started[-1].start()
        yield started
    finally:
        for server in started:
            server.program.stop()


@define
class Client:
    """Asks one thing after the other."""

    port: int
    number: int
    answers: "Counter[int | str]"
    asked: threading.Semaphore

    def ask_all(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for number in range(REQUESTS):
            path = f"/{self.number}/{number}"
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read().decode()
                self.answers[answer.status if answer.status != 200 or body == path else "another's"] += 1
            except (http.client.HTTPException, OSError) as error:
                self.answers[type(error).__name__] += 1
                connection.close()
            self.asked.release()
        connection.close()


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [(Nginx.kill, Nginx.start_again), (Nginx.stop, Nginx.start_again)],
    ids=["killed", "restarted"],
)
def test_no_request_that_could_be_retried_safely_fails(
    servers: list[Nginx],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    break_it: Callable[[Nginx], None],
    mend_it: Callable[[Nginx], None],
) -> None:
    toml = config(
        [server.port for server in servers],
        policy='"round_robin"',
        connect_timeout=2,
        max_failures=2,
        ejection_time=1,
        slow_start=1,
    )
    with Proxy.start(tmp_path, toml) as proxy, ThreadPoolExecutor(CLIENTS) as pool:
        answers: Counter[int | str] = Counter()
        asked = threading.Semaphore(0)
        clients = [Client(proxy.ports()[0], number, answers, asked) for number in range(CLIENTS)]
        asking = [pool.submit(client.ask_all) for client in clients]
        for _ in range(CLIENTS * REQUESTS // 4):
            assert asked.acquire(timeout=30)
        break_it(servers[0])
        proxy.wait_for_note("backend_server_down", server=f"127.0.0.1:{servers[0].port}", timeout=30)
        mend_it(servers[0])
        for each in asking:
            each.result(60)
        record_property("answers", dict(answers))
        assert answers == {200: CLIENTS * REQUESTS}


def test_a_server_that_hangs_is_found_by_a_check_and_gets_nothing_new(
    servers: list[Nginx], tmp_path: Path
) -> None:
    options = {"health_check": '"http"', "health_check_interval": 0.5, "health_check_timeout": 0.5}
    with Proxy.start(tmp_path, config([server.port for server in servers], **options)) as proxy:
        servers[0].stall()
        down = proxy.wait_for_note("backend_server_down", server=f"127.0.0.1:{servers[0].port}")
        assert down["detail"] == "health check: no answer within 0.5 s"
        answers: Counter[int | str] = Counter()
        Client(proxy.ports()[0], 0, answers, threading.Semaphore(0)).ask_all()
        assert answers == {200: REQUESTS}
        servers[0].go_on()
        proxy.wait_for_note("backend_server_up", server=f"127.0.0.1:{servers[0].port}")


def test_a_check_goes_by_the_status(servers: list[Nginx], tmp_path: Path) -> None:
    options = {"health_check": '"http"', "health_check_interval": 0.5, "health_check_timeout": 0.5}
    toml = config([servers[0].port], **options, health_check_path='"/unfit"')
    with Proxy.start(tmp_path, toml) as proxy:
        assert proxy.wait_for_note("backend_server_down")["detail"] == "health check: status 503"


def test_connections_are_kept_and_counted(servers: list[Nginx], tmp_path: Path) -> None:
    with Proxy.start(tmp_path, config([servers[0].port], max_connections=2)) as proxy:
        answers: Counter[int | str] = Counter()
        with ThreadPoolExecutor(20) as pool:
            clients = [
                Client(proxy.ports()[0], number, answers, threading.Semaphore(0)) for number in range(20)
            ]
            for each in [pool.submit(client.ask_all) for client in clients]:
                each.result(60)
        assert answers == {200: 20 * REQUESTS}
