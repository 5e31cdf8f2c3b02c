"""``docs/deployment-scale-out.md``: HAProxy, two tlsproxy, and behind them Postfix and an echo in the place of IMAP.

With ``etc/haproxy.cfg`` and the page's configuration. One replica is killed, one is stopped in order, while clients send.
Every client has an address of its own, which HAProxy's PROXY header carries: each log tells which sessions were whose.
"""

import contextlib
import itertools
import re
import smtplib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Self

import pytest
from attrs import define, field, frozen

from tests.support.certificates import Authority, Issued
from tests.support.mailboxes import DOMAIN
from tests.support.postfix import Postfix, Smtpd
from tests.support.processes import Program, free_ports, run
from tests.support.programs import require
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

ROOT = Path(__file__).parents[2]
HAPROXY = (ROOT / "etc/haproxy.cfg").read_text()
PAGE = (ROOT / "docs/deployment-scale-out.md").read_text()

REPLICAS = {"a": "127.20.1.11", "b": "127.20.1.12"}
"""The addresses of the page, as far as loopback has them."""

NAMES = {25: "smtp", 465: "smtps", 993: "imaps", 9466: "status"}
"""Ports of the page."""

TIMEOUT = 20.0

Kind = Literal["smtp", "smtps", "imaps"]

_numbers = itertools.count(1)


@frozen
class Site:
    """Where everything is."""

    directory: Path
    ports: dict[str, int]
    """HAProxy's, and the replicas' own, by name."""
    certificate: Issued
    postfix: Postfix
    echo: Server

    def replica(self, name: str) -> Proxy:
        """Start one, with the page's configuration."""
        toml = PAGE.split("```toml\n")[1].split("```")[0]
        for written, real in {
            "/etc/tlsproxy/mx.example.org.pem": str(self.certificate.chain_path),
            "/etc/tlsproxy/mx.example.org.key": str(self.certificate.key_path),
            '"10.20.2.5:25", "10.20.2.6:25"': f'"127.0.0.1:{self.postfix.port}"',
            "10.20.2.5:143": self.echo.address,
            "10.20.1.2": "127.0.0.1",
        }.items():
            assert written in toml
            toml = toml.replace(written, real)
        toml = re.sub(r"0\.0\.0\.0:(\d+)", lambda m: f"{REPLICAS[name]}:{self.inner(int(m[1]))}", toml)
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        proxy = Proxy.start(directory, toml)
        proxy.wait_until(lambda: len(proxy.ports()) == 3, "not every listen is open")
        return proxy

    def inner(self, port: int) -> int:
        """The replicas' port for one of the page."""
        return self.ports[f"inner {NAMES[port]}"]

    def haproxy(self, sample: str = HAPROXY) -> Program:
        text = sample.replace("/run/haproxy/admin.sock", str(self.admin)).replace(
            "maxconn 5000", "maxconn 200"
        )
        text = re.sub(r"bind :(\d+)", lambda m: f"bind 127.0.0.1:{self.ports[NAMES[int(m[1])]]}", text)
        text = re.sub(r"check port (\d+)", lambda m: f"check port {self.inner(int(m[1]))}", text)
        text = re.sub(r"10\.20(\.1\.1[12]):(\d+)", lambda m: f"127.20{m[1]}:{self.inner(int(m[2]))}", text)
        config = self.directory / "haproxy.cfg"
        config.write_text(text)
        program = Program([require("haproxy", package="haproxy"), "-db", "-f", config])
        try:
            program.wait_for_port(*(self.ports[name] for name in ("smtp", "smtps", "imaps")))
        except BaseException:
            program.stop()
            raise
        return program

    @property
    def admin(self) -> Path:
        return self.directory / "admin.sock"

    def ask_haproxy(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(self.admin))
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def checked(self, how: str) -> bool:
        """Whether HAProxy has checked every server, with this outcome."""
        rows = [row.split(",") for row in self.ask_haproxy("show stat").splitlines() if row]
        status = rows[0].index("check_status")
        found = [row[status] for row in rows[1:] if row[1] in REPLICAS]
        return len(found) == 6 and set(found) == {how}


@pytest.fixture(scope="module")
def site(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    names = [*("smtp", "smtps", "imaps"), *(f"inner {name}" for name in NAMES.values())]
    options = {"smtpd_client_connection_count_limit": "0", "default_process_limit": "60"}
    trusting = Smtpd({"smtpd_authorized_xclient_hosts": "127.0.0.1"})
    with Postfix([trusting], options) as postfix, Server(echo) as server:
        yield Site(
            tmp_path_factory.mktemp("scale-out"),
            dict(zip(names, free_ports(len(names)), strict=True)),
            authority.issue("127.0.0.1"),
            postfix,
            server,
        )


class Refused(Exception):
    """The server said 421: try again later."""


def expect(reply: tuple[int, bytes], code: int) -> None:
    if reply[0] == 421:
        raise Refused(reply[1])
    assert reply[0] == code, reply


@define(eq=False)
class Client:
    """One session through HAProxy, from an address that no other has."""

    site: Site
    kind: Kind
    context: ssl.SSLContext
    address: str = field(init=False)
    began: float = field(init=False, factory=time.monotonic)
    failure: Exception | None = field(init=False, default=None)
    _smtp: smtplib.SMTP = field(init=False)
    _stream: ssl.SSLSocket = field(init=False)

    def __attrs_post_init__(self) -> None:
        number = next(_numbers)
        self.address = f"127.30.{number // 250}.{number % 250 + 1}"

    def open(self) -> None:
        """Up to the content of a message; or up to the first echo."""
        port, origin = self.site.ports[self.kind], (self.address, 0)
        if self.kind == "imaps":
            plain = socket.create_connection(("127.0.0.1", port), TIMEOUT, origin)
            self._stream = self.context.wrap_socket(plain, server_hostname="127.0.0.1")
            self.echo(b"first")
            return
        self._smtp = smtplib.SMTP(timeout=TIMEOUT, local_hostname="client.example")
        connection = socket.create_connection(("127.0.0.1", port), TIMEOUT, origin)
        if self.kind == "smtps":
            connection = self.context.wrap_socket(connection, server_hostname="127.0.0.1")
        self._smtp.sock = connection
        expect(self._smtp.getreply(), 220)
        expect(self._smtp.ehlo(), 250)
        if self.kind == "smtp":
            expect(self._smtp.docmd("STARTTLS"), 220)
            self._smtp.sock = self.context.wrap_socket(connection, server_hostname="127.0.0.1")
            self._smtp.file = None
            expect(self._smtp.ehlo(), 250)
        expect(self._smtp.docmd("MAIL FROM:<a@client.example>"), 250)
        expect(self._smtp.docmd(f"RCPT TO:<user@{DOMAIN}>"), 250)
        expect(self._smtp.docmd("DATA"), 354)
        self._smtp.send(f"X-Client: {self.address};\r\n\r\n".encode())

    def finish(self) -> None:
        """The rest; the server has accepted the message then."""
        if self.kind == "imaps":
            for _ in range(5):
                self.echo(bytes(4096))
            return
        self._smtp.send(b"body\r\n" * 200 + b".\r\n")
        expect(self._smtp.getreply(), 250)

    def echo(self, data: bytes) -> None:
        self._stream.sendall(data)
        received = b""
        while len(received) < len(data):
            received += (more := self._stream.recv(65536))
            assert more, "ended early"

    def close(self) -> None:
        for name in ("_smtp", "_stream"):
            with contextlib.suppress(AttributeError):
                getattr(self, name).close()

    def run(self) -> None:
        try:
            self.open()
            self.finish()
        except (Refused, OSError, AssertionError, smtplib.SMTPException) as failure:
            self.failure = failure
        finally:
            self.close()


class Load:
    """Clients, one after the other in each of several threads."""

    def __init__(self, site: Site, context: ssl.SSLContext) -> None:
        self.done: list[Client] = []
        self._stop = threading.Event()
        kinds: list[Kind] = ["smtp", "smtps", "imaps", "smtp", "smtps"] * 2
        self._threads = [
            threading.Thread(target=self._send, args=(site, kind, context), daemon=True) for kind in kinds
        ]

    def _send(self, site: Site, kind: Kind, context: ssl.SSLContext) -> None:
        while not self._stop.is_set():
            client = Client(site, kind, context)
            client.run()
            self.done.append(client)

    @property
    def failed(self) -> list[Client]:
        return [client for client in list(self.done) if client.failure is not None]

    def succeeded(self, since: float = 0) -> int:
        return sum(client.failure is None and client.began > since for client in list(self.done))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT)


def clients_of(replica: Proxy) -> set[str]:
    """The addresses of those who had a session on it."""
    return {note["client"].partition(":")[0] for note in replica.notes if note["event"] == "session_started"}


@frozen
class Running:
    haproxy: Program
    a: Proxy
    b: Proxy


@pytest.fixture
def running(site: Site) -> Iterator[Running]:
    with site.replica("a") as a, site.replica("b") as b, site.haproxy() as haproxy:
        haproxy.wait_until(lambda: site.checked("L7OK"), "the replicas aren't checked")
        yield Running(haproxy, a, b)


@pytest.fixture
def held(site: Site, running: Running, client_context: ssl.SSLContext) -> Iterator[dict[str, list[Client]]]:
    """Sessions in the middle, one of each kind on each replica."""
    on: dict[str, list[Client]] = {"a": [], "b": []}
    with contextlib.ExitStack() as stack:
        for kind in ("smtp", "smtps", "imaps"):
            for _ in REPLICAS:
                client = Client(site, kind, client_context)
                stack.callback(client.close)
                client.open()
                on["a" if client.address in clients_of(running.a) else "b"].append(client)
        assert len(on["a"]) == len(on["b"]) == 3
        yield on


def check_deliveries(site: Site, clients: list[Client]) -> None:
    """Every message that was accepted is there once; beyond those, at most such whose reply was lost."""
    senders = {client.address: client for client in clients if client.kind != "imaps"}
    accepted = {address for address, client in senders.items() if client.failure is None}

    def delivered() -> list[str]:
        found = (
            re.search(rb"^X-Client: (\S+);$", message, re.MULTILINE) for message in site.postfix.messages()
        )
        return [match[1].decode() for match in found if match and match[1].decode() in senders]

    site.postfix.wait_until(lambda: accepted <= set(delivered()), "messages are lost", 30)
    assert len(delivered()) == len(set(delivered()))


def test_a_replica_that_is_killed_costs_its_own_sessions_and_no_other(
    site: Site,
    running: Running,
    held: dict[str, list[Client]],
    client_context: ssl.SSLContext,
    record_property: Callable[[str, object], None],
) -> None:
    with contextlib.ExitStack() as stack, Load(site, client_context) as load:
        running.haproxy.wait_until(lambda: load.succeeded() > 50, "no load", 30)
        running.a.process.kill()
        running.a.wait()
        dead = time.monotonic()
        running.haproxy.wait_until(lambda: load.succeeded(since=dead) > 50, "no sessions", 30)
        again = stack.enter_context(site.replica("a"))
        running.haproxy.wait_until(lambda: len(clients_of(again)) > 20, "it doesn't come back", 30)
    for client in load.failed:
        assert client.began < dead, client
        assert client.address not in clients_of(running.b), client
    for client in held["a"]:
        with pytest.raises((OSError, AssertionError, smtplib.SMTPServerDisconnected)):
            client.finish()
    for client in held["b"]:
        client.finish()
    check_deliveries(site, load.done)
    record_property("sessions", len(load.done))
    record_property("failed", len(load.failed))


def test_a_replica_that_stops_in_order_ends_no_message_and_no_stream(
    site: Site,
    running: Running,
    held: dict[str, list[Client]],
    client_context: ssl.SSLContext,
    record_property: Callable[[str, object], None],
) -> None:
    """Its clients that have no message under way are told 421, and nobody else notices."""
    with Load(site, client_context) as load:
        running.haproxy.wait_until(lambda: load.succeeded() > 50, "no load", 30)
        stop_in_order(site, running, load, held)
    for client in load.failed:
        assert isinstance(client.failure, Refused), client
        assert client.address in clients_of(running.a), client
    check_deliveries(site, load.done)
    record_property("sessions", len(load.done))
    record_property("told to try later", len(load.failed))


def test_nobody_notices_when_a_replica_is_taken_out_first(
    site: Site, running: Running, held: dict[str, list[Client]], client_context: ssl.SSLContext
) -> None:
    [said] = re.findall(r'^ *echo "(set server )\$listener/a( state drain)" \|', PAGE, re.MULTILINE)
    with Load(site, client_context) as load:
        running.haproxy.wait_until(lambda: load.succeeded() > 50, "no load", 30)
        for listener in ("smtp", "smtps", "imaps"):
            assert site.ask_haproxy(f"{said[0]}{listener}/a{said[1]}").strip() == ""
        running.haproxy.wait_until(lambda: sessions(running.a) == len(held["a"]), "it isn't idle", 30)
        stop_in_order(site, running, load, held)
    assert not load.failed
    check_deliveries(site, load.done)


def sessions(replica: Proxy) -> int:
    """How many it has."""
    events = Counter(note["event"] for note in replica.notes)
    return events["session_started"] - events["session_ended"]


def stop_in_order(site: Site, running: Running, load: Load, held: dict[str, list[Client]]) -> None:
    """SIGTERM to one; the sessions held then go on to their end."""
    running.a.process.terminate()
    asked = time.monotonic()
    running.haproxy.wait_until(lambda: load.succeeded(since=asked) > 50, "no sessions", 30)
    for client in [*held["a"], *held["b"]]:
        client.finish()
        client.close()
    assert running.a.wait() == 0
    assert running.a.wait_for_note("stopped")["sessions_cut"] == 0


def test_health_checks_are_no_sessions(site: Site) -> None:
    """Nothing of them comes to the proxy's log, or to the mail server behind."""
    logged, accepted = len(site.postfix.log), site.echo.accepted
    with site.replica("a") as a, site.replica("b") as b, site.haproxy() as haproxy:
        haproxy.wait_until(lambda: site.checked("L7OK"), "the replicas aren't checked")
        assert not clients_of(a) | clients_of(b)
    assert "connect from" not in site.postfix.log[logged:]
    assert site.echo.accepted == accepted


def test_a_check_of_the_mail_port_would_be_one(site: Site) -> None:
    logged = len(site.postfix.log)
    without_readyz = re.sub(r" port 9466|^ *option httpchk .*\n", "", HAPROXY, flags=re.MULTILINE)
    with site.replica("a"), site.replica("b"), site.haproxy(without_readyz) as haproxy:
        haproxy.wait_until(lambda: "connect from" in site.postfix.log[logged:], "no session of a check")


def test_haproxy_finds_nothing_to_warn_of(site: Site) -> None:
    config = site.directory / "sample.cfg"
    config.write_text(HAPROXY.replace("maxconn 5000", "maxconn 200"))
    status, output = run([require("haproxy", package="haproxy"), "-c", "-f", config])
    assert (status, output.replace("Configuration file is valid\n", "")) == (0, "")
