"""Limits from outside: a real process refuses, says so, and goes on; who is slow is cut off, but not for its backend."""

import contextlib
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Authority
from tests.support.processes import free_port
from tests.support.proxy import Proxy
from tests.support.servers import Server

pytestmark = pytest.mark.interop

CONFIG = """
    tls_certificate = "{certificate.chain_path}"
    tls_key = "{certificate.key_path}"
    close_timeout = 0.5
    metrics_listen = "127.0.0.1:{metrics}"
    [backend.mail]
    servers = ["{mail}"]
    source_address = "127.0.0.9"
    [backend.web]
    servers = ["{web}"]
    [[esmtp_listener]]
    backend = "mail"
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      max_sessions = 2
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      tls_wrappermode = true
      max_sessions = 1
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      max_sessions_per_peer = 1
      peer_prefix_ipv4 = 32
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      handshake_rate_per_peer = 1
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      smtp_command_timeout = 1
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      min_data_rate = 1000
      min_data_rate_window = 1
    [[http_listener]]
    backend = "web"
      [[http_listener.listen]]
      address = "127.0.0.1:0"
      max_sessions_per_peer = 1
      [[http_listener.listen]]
      address = "127.0.0.1:0"
      tls_security_level = "none"
      max_sessions = 1
      [[http_listener.listen]]
      address = "127.0.0.1:0"
      tls_security_level = "none"
      min_data_rate = 1000
      min_data_rate_window = 1
    [[stream_listener]]
    backend = "mail"
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
      session_rate_per_peer = 1
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
      handshake_rate_per_peer = 1
"""
LISTENS = [
    "mail",
    "mail in wrappermode",
    "mail per peer",
    "mail with few handshakes",
    "mail in haste",
    "mail at a rate",
    "web per peer",
    "web",
    "web at a rate",
    "stream",
    "stream with few handshakes",
]
RESPONSE = 64 * 1024 * 1024
"""Bytes of a response that is larger than the kernel's buffers."""


def mail(connection: socket.socket) -> None:
    """Takes everything; a message from ``slow`` is read only after two seconds."""
    connection.sendall(b"220 old.example\r\n")
    with connection.makefile("rb") as lines:
        slow = False
        for line in lines:
            slow = slow or b"slow" in line
            if line.startswith(b"DATA"):
                connection.sendall(b"354 go on\r\n")
                if slow:
                    time.sleep(2)
                while lines.readline() not in (b".\r\n", b""):
                    pass
            connection.sendall(b"250 ok\r\n")


def web(connection: socket.socket) -> None:
    """Answers a request with a lot."""
    request = b""
    while b"\r\n\r\n" not in request:
        data = connection.recv(65536)
        if not data:
            return
        request += data
    if request.startswith(b"GET /large"):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % RESPONSE)
        connection.sendall(bytes(RESPONSE))
    else:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture(scope="module")
def metrics() -> int:
    return free_port()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, authority: Authority, metrics: int) -> Iterator[Proxy]:
    with Server(mail) as mail_server, Server(web) as web_server:
        toml = CONFIG.format(
            certificate=authority.issue("mx.example.org", stem="limits"),
            mail=mail_server.address,
            web=web_server.address,
            metrics=metrics,
        )
        with Proxy.start(tmp_path_factory.mktemp("proxy"), toml) as running:
            running.wait_until(lambda: len(running.ports()) == len(LISTENS), "not every listen is open")
            yield running


class Client:
    """A client by plain sockets, with or without TLS."""

    def __init__(
        self, proxy: Proxy, listen: str, *, tls: Authority | None = None, source: str = "127.0.0.1"
    ) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", proxy.ports()[LISTENS.index(listen)]), timeout=15, source_address=(source, 0)
        )
        if tls is not None:
            self.start_tls(tls)

    def start_tls(self, authority: Authority) -> None:
        context = ssl.create_default_context(cafile=str(authority.path))
        self.socket = context.wrap_socket(self.socket, server_hostname="mx.example.org")

    def line(self) -> str:
        line = b""
        while not line.endswith(b"\n") and (byte := self.socket.recv(1)):
            line += byte
        return line.decode().rstrip()

    def rest(self) -> str:
        data = b""
        while chunk := self.socket.recv(65536):
            data += chunk
        return data.decode()

    def says(self, text: str) -> str:
        """The last line of the reply."""
        self.socket.sendall(text.encode() + b"\r\n")
        while (line := self.line())[3:4] == "-":
            pass
        return line

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def note(proxy: Proxy, listen: str, limit: str) -> dict[str, str]:
    return proxy.wait_for_note(
        "limit_hit", listen=f"127.0.0.1:{proxy.ports()[LISTENS.index(listen)]}", limit=limit
    )


def wait_for_end(proxy: Proxy, client: Client) -> None:
    name = f"127.0.0.1:{client.socket.getsockname()[1]}"
    client.close()
    proxy.wait_for_note("session_ended", client=name)


class TestPlaces:
    def test_mail_beyond_max_sessions_is_told_and_a_free_place_is_taken(self, proxy: Proxy) -> None:
        first, second = Client(proxy, "mail"), Client(proxy, "mail")
        assert first.line() == second.line() == "220 old.example"
        with Client(proxy, "mail") as third:
            assert third.rest().startswith("421 4.7.0 ")
        hit = note(proxy, "mail", "max_sessions")
        assert hit["detail"] == "2, set by esmtp_listener[0].listen[0].max_sessions"
        wait_for_end(proxy, first)
        with Client(proxy, "mail") as fourth:
            assert fourth.line() == "220 old.example"
            assert second.says("NOOP") == "250 ok"
        second.close()

    def test_in_wrappermode_it_is_told_within_tls(self, proxy: Proxy, authority: Authority) -> None:
        with Client(proxy, "mail in wrappermode", tls=authority) as first:
            assert first.line() == "220 old.example"
            with Client(proxy, "mail in wrappermode", tls=authority) as second:
                assert second.rest().startswith("421 4.7.0 ")

    def test_each_peer_has_its_own(self, proxy: Proxy) -> None:
        with (
            Client(proxy, "mail per peer") as first,
            Client(proxy, "mail per peer", source="127.0.0.2") as other,
        ):
            assert first.line() == other.line() == "220 old.example"
            with Client(proxy, "mail per peer") as second:
                assert second.rest().endswith("Error: too many connections from your address\r\n")

    def test_web_gets_429_for_a_peer(self, proxy: Proxy, authority: Authority) -> None:
        with (
            Client(proxy, "web per peer", tls=authority),
            Client(proxy, "web per peer", tls=authority) as second,
        ):
            second.socket.sendall(b"GET / HTTP/1.1\r\nHost: mx.example.org\r\n\r\n")
            answer = second.rest()
        assert answer.startswith("HTTP/1.1 429 Too Many Requests\r\n")
        assert "\r\nRetry-After: 30\r\n" in answer

    def test_web_gets_503_for_all(self, proxy: Proxy) -> None:
        with Client(proxy, "web"), Client(proxy, "web") as second:
            second.socket.sendall(b"GET / HTTP/1.1\r\nHost: mx.example.org\r\n\r\n")
            answer = second.rest()
        assert answer.startswith("HTTP/1.1 503 Service Unavailable\r\n")
        assert "\r\nConnection: close\r\n" in answer


class TestRates:
    def test_a_stream_beyond_its_rate_is_closed(self, proxy: Proxy, authority: Authority) -> None:
        with Client(proxy, "stream", tls=authority, source="127.0.0.5") as first:
            assert first.line() == "220 old.example"
        with Client(proxy, "stream", source="127.0.0.5") as second:
            assert second.socket.recv(1) == b""
        assert "session" not in note(proxy, "stream", "session_rate_per_peer")

    def test_starttls_beyond_the_rate_is_454_and_the_session_goes_on(
        self, proxy: Proxy, authority: Authority
    ) -> None:
        with Client(proxy, "mail with few handshakes", source="127.0.0.6") as first:
            first.line()
            assert first.says("STARTTLS").startswith("220 2.0.0")
            first.start_tls(authority)
            assert first.says("EHLO c") == "250 ok"
        with Client(proxy, "mail with few handshakes", source="127.0.0.6") as second:
            second.line()
            assert second.says("STARTTLS").startswith("454 4.7.0 ")
            assert second.says("NOOP") == "250 ok"
        note(proxy, "mail with few handshakes", "handshake_rate_per_peer")

    def test_tls_from_the_start_is_closed_before_the_handshake(
        self, proxy: Proxy, authority: Authority
    ) -> None:
        with Client(proxy, "stream with few handshakes", tls=authority, source="127.0.0.7") as first:
            assert first.line() == "220 old.example"
        with Client(proxy, "stream with few handshakes", source="127.0.0.7") as second:
            assert second.socket.recv(1) == b""
        note(proxy, "stream with few handshakes", "handshake_rate_per_peer")


class TestTime:
    def test_a_byte_now_and_then_is_no_command(self, proxy: Proxy) -> None:
        with Client(proxy, "mail in haste") as client:
            client.line()
            began = time.monotonic()
            for _ in range(40):
                try:
                    client.socket.sendall(b"N")
                except OSError:
                    break
                client.socket.settimeout(0.1)
                try:
                    told = client.line()
                except TimeoutError:
                    continue
                break
            assert told.startswith("421 4.4.2 ")
            assert 0.9 < time.monotonic() - began < 3
        note(proxy, "mail in haste", "smtp_command_timeout")

    def test_commands_in_time_go_on(self, proxy: Proxy) -> None:
        with Client(proxy, "mail in haste") as client:
            client.line()
            for _ in range(5):
                time.sleep(0.4)
                assert client.says("NOOP") == "250 ok"

    def test_an_auth_dialogue_is_bounded_as_well(self, proxy: Proxy, authority: Authority) -> None:
        with Client(proxy, "mail in haste") as client:
            client.line()
            client.says("STARTTLS")
            client.start_tls(authority)
            assert client.line().startswith("421 4.4.2 ")


class TestDataRate:
    def open(self, proxy: Proxy, sender: str) -> Client:
        client = Client(proxy, "mail at a rate")
        client.line()
        for command in ("EHLO c", f"MAIL FROM:<{sender}>", "RCPT TO:<b>", "DATA"):
            told = client.says(command)
        assert told == "354 go on"
        return client

    def test_a_message_that_trickles_is_cut_off(self, proxy: Proxy) -> None:
        with self.open(proxy, "trickle") as client:
            client.socket.settimeout(0.05)
            told = ""
            for _ in range(200):
                client.socket.sendall(b"x")
                try:
                    told = client.line()
                except TimeoutError:
                    continue
                break
            assert told.startswith("421 4.4.2 ")
        note(proxy, "mail at a rate", "min_data_rate")

    def test_one_whose_backend_is_slow_is_not(self, proxy: Proxy) -> None:
        """More than the buffers hold, to a server that reads nothing for twice the window."""
        with self.open(proxy, "slow") as client:
            line = b"x" * 998 + b"\r\n"
            client.socket.sendall(line * 16_000)
            client.socket.settimeout(15)
            assert client.says(".") == "250 ok"

    def test_who_never_reads_is_cut_off(self, proxy: Proxy) -> None:
        with Client(proxy, "web at a rate") as client:
            client.socket.sendall(b"GET /large HTTP/1.1\r\nHost: mx.example.org\r\n\r\n")
            note(proxy, "web at a rate", "min_data_rate")
            name = f"127.0.0.1:{client.socket.getsockname()[1]}"
            ended = proxy.wait_for_note("session_ended", client=name)
            assert ended["reason"] == "min_data_rate"

    def test_who_reads_goes_on(self, proxy: Proxy) -> None:
        with Client(proxy, "web at a rate") as client:
            client.socket.sendall(b"GET /large HTTP/1.1\r\nHost: mx.example.org\r\n\r\n")
            got, paused = 0, time.monotonic() + 2.5
            while got < RESPONSE:
                if time.monotonic() < paused:
                    time.sleep(0.02)
                    chunk = client.socket.recv(8192)
                else:
                    chunk = client.socket.recv(1 << 20)
                assert chunk
                got += len(chunk)


def test_each_is_counted_by_listen_and_limit(proxy: Proxy, metrics: int) -> None:
    with Client(proxy, "web"), Client(proxy, "web") as second:
        second.socket.sendall(b"GET / HTTP/1.1\r\nHost: mx.example.org\r\n\r\n")
        second.rest()
    page = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10).read().decode()
    listen = f"127.0.0.1:{proxy.ports()[LISTENS.index('web')]}"
    logged = [each for each in proxy.notes if each["event"] == "limit_hit" and each["listen"] == listen]
    counted = [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "tlsproxy_limit_hits_total"
        and sample.labels == {"listen": listen, "limit": "max_sessions"}
    ]
    assert counted == [len(logged)] != [0]


def cpu_seconds(proxy: Proxy) -> float:
    fields = Path(f"/proc/{proxy.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize("limits", ["30:40", "100:120"])
def test_out_of_descriptors_clients_wait_and_none_is_lost(
    tmp_path: Path, authority: Authority, limits: str
) -> None:
    """80 clients need two each."""
    hard = limits.partition(":")[2]
    certificate = authority.issue("mx.example.org", stem="descriptors")
    with Server(mail) as backend:
        config = tmp_path / "tlsproxy.toml"
        config.write_text(f"""
log_format = "json"
drain_timeout = 0
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
[backend.mail]
servers = ["{backend.address}"]
source_address = "127.0.0.9"
[[esmtp_listener]]
backend = "mail"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:0"
""")
        with Proxy(config, prefix=["prlimit", f"--nofile={limits}", "--"]) as proxy:
            proxy.wait_for_note("listening")
            told = proxy.wait_for_note("configuration_warning")
            assert told["message"].startswith(
                f"8000 sessions need 16065 file descriptors in each of 1 process, and {hard} can"
            )
            clients = [socket.create_connection(("127.0.0.1", proxy.ports()[0])) for _ in range(80)]
            try:
                proxy.wait_for_note("descriptors_scarce")
                before = cpu_seconds(proxy)
                time.sleep(1)
                assert cpu_seconds(proxy) - before < 0.3
                for client in clients:
                    client.settimeout(20)
                    with client:
                        assert client.recv(100) == b"220 old.example\r\n"
            finally:
                for client in clients:
                    client.close()
            assert len([each for each in proxy.notes if each["event"] == "descriptors_scarce"]) == 1
            with socket.create_connection(("127.0.0.1", proxy.ports()[0]), timeout=10) as client:
                assert client.recv(100) == b"220 old.example\r\n"


def test_workers_count_together(tmp_path: Path, authority: Authority) -> None:
    """Two processes accept; neither has as many sessions as the limit allows both."""
    certificate = authority.issue("mx.example.org", stem="workers")
    with Server(mail) as backend:
        toml = f"""
workers = 2
max_sessions = 6
session_rate_per_peer = 20
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
[backend.mail]
servers = ["{backend.address}"]
source_address = "127.0.0.9"
[[esmtp_listener]]
backend = "mail"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:0"
"""
        with Proxy.start(tmp_path, toml) as proxy, contextlib.ExitStack() as stack:
            (port,) = set(proxy.ports())

            def answer(source: str) -> str:
                client = stack.enter_context(
                    socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0))
                )
                return client.recv(100).decode()

            answers = [answer(f"127.0.0.{number}") for number in range(2, 26)]
            assert [each.startswith("220") for each in answers] == [True] * 6 + [False] * 18
            assert {each[:9] for each in answers[6:]} == {"421 4.7.0"}
            stack.pop_all().close()
            for note in [each for each in proxy.notes if each["event"] == "session_started"]:
                proxy.wait_for_note("session_ended", session=note["session"])
            started = []
            for _ in range(25):
                started.append(answer("127.0.0.99").startswith("220"))
                stack.pop_all().close()
            # One that has just ended may still have its place for a moment.
            assert 12 <= sum(started) <= 21


BEHIND_A_BALANCER = """
drain_timeout = 10
max_sessions_per_peer = 1
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
[backend.mail]
servers = ["{backend}"]
source_address = "127.0.0.9"
[[esmtp_listener]]
backend = "mail"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:0"
  proxy_protocol_from = ["127.0.0.0/8"]
"""


def header(client: str) -> bytes:
    return b"PROXY TCP4 %b 198.51.100.25 51234 25\r\n" % client.encode()


def test_behind_a_balancer_peers_are_those_of_the_header(tmp_path: Path, authority: Authority) -> None:
    certificate = authority.issue("mx.example.org", stem="balancer")
    with (
        Server(mail) as backend,
        Proxy.start(
            tmp_path, BEHIND_A_BALANCER.format(certificate=certificate, backend=backend.address)
        ) as proxy,
        contextlib.ExitStack() as stack,
    ):

        def answer(client: str) -> bytes:
            balancer = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.ports()[0]), 20))
            balancer.sendall(header(client))
            return balancer.recv(100)

        assert answer("192.0.2.1") == answer("192.0.2.2") == b"220 old.example\r\n"
        assert answer("192.0.2.1").startswith(b"421 4.7.0 ")
        assert proxy.wait_for_note("limit_hit")["client"] == "192.0.2.1:51234"


def test_a_stop_waits_for_a_header_that_is_on_its_way(tmp_path: Path, authority: Authority) -> None:
    certificate = authority.issue("mx.example.org", stem="balancer")
    with (
        Server(mail) as backend,
        Proxy.start(
            tmp_path, BEHIND_A_BALANCER.format(certificate=certificate, backend=backend.address)
        ) as proxy,
        socket.create_connection(("127.0.0.1", proxy.ports()[0]), 20) as balancer,
    ):
        balancer.sendall(header("192.0.2.1")[:10])
        time.sleep(0.3)  # until it is accepted: nothing says so
        proxy.process.terminate()
        proxy.wait_for_note("draining")
        balancer.sendall(header("192.0.2.1")[10:])
        assert balancer.recv(100).startswith(b"421 4.3.2 ")
        balancer.close()
        assert proxy.wait() == 0
