"""The shadow report, with clients of every TLS version: all are served, and who a candidate would refuse is told."""

import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Authority, Issued
from tests.support.mail_backend import MailBackend
from tests.support.processes import Program, free_port, run
from tests.support.programs import require
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

CONFIG = """
report_database = "report.db"
metrics_listen = "127.0.0.1:{metrics}"
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
tls_protocols = ">=TLSv1"
tls_ciphers = "DEFAULT"
tls_protocols_report = ">=TLSv1.2"
{more}
[backend.mail]
servers = ["{mail.address}"]
[backend.echo]
servers = ["{echo.address}"]
[[esmtp_listener]]
backend = "mail"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:{starttls}"
  tls_security_level = "encrypt"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:{smtps}"
  tls_wrappermode = true
[[stream_listener]]
backend = "echo"
  [[stream_listener.listen]]
  address = "127.0.0.1:{stream}"
    [[stream_listener.listen.peer]]
    network = "127.0.0.3"
    tls_protocols_report_prefix_ipv4 = 32
  [[stream_listener.listen]]
  address = "127.0.0.1:{only_tls12}"
  tls_protocols_report = "TLSv1.2"
"""

CANDIDATE = "TLSv1.2 TLSv1.3"
LEVEL_0 = ["-cipher", "DEFAULT@SECLEVEL=0"]


@define
class World:
    """A proxy with a report, which can be started again, and its clients."""

    directory: Path
    certificate: Issued
    mail: MailBackend
    echo: Server
    more: str = ""
    ports: dict[str, int] = field(init=False)
    proxy: Proxy = field(init=False)

    def __attrs_post_init__(self) -> None:
        names = ("metrics", "starttls", "smtps", "stream", "only_tls12")
        self.ports = {name: free_port() for name in names}

    def start(self) -> None:
        toml = CONFIG.format(
            certificate=self.certificate, mail=self.mail, echo=self.echo, more=self.more, **self.ports
        )
        self.proxy = Proxy.start(self.directory, toml)
        self.proxy.wait_for_port(*self.ports.values())

    def listen(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    def report(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """What the command tells; its exit status."""
        status, output = tlsproxy("report", str(self.directory / "report.db"), "--json", *arguments)
        return status, json.loads(output) if output.startswith("{") else {}

    def stopped(self) -> dict[str, Any]:
        """The report, once the proxy has stopped."""
        self.proxy.stop()
        return self.report()[1]

    def wait_for_sessions(self, sessions: int) -> dict[str, Any]:
        """The report, once it has so many sessions of clients that would be refused."""
        latest: dict[str, Any] = {}

        def are_there() -> bool:
            latest.update(self.report()[1])
            return sum(int(row["sessions"]) for row in latest.get("clients", ())) >= sessions

        self.proxy.wait_until(are_there, f"not {sessions} sessions in the report", timeout=20)
        return latest


def tlsproxy(*arguments: str) -> tuple[int, str]:
    return run([Path(sys.executable).with_name("tlsproxy"), *arguments], timeout=20)


@pytest.fixture
def certificate(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", "127.0.0.1", key_type="rsa")


@pytest.fixture
def world(certificate: Issued, tmp_path: Path) -> Iterator[World]:
    with MailBackend() as mail, Server(echo) as backend:
        world = World(tmp_path, certificate, mail, backend)
        world.start()
        yield world
        world.proxy.stop()


def s_client(port: int, *arguments: str) -> Program:
    program = require("openssl", package="openssl")
    where = ["-connect", f"127.0.0.1:{port}", "-servername", "mx.example.org"]
    return Program([program, "s_client", "-quiet", "-crlf", *where, *arguments])


def openssl_mail(port: int, version: str, name: str, *arguments: str) -> None:
    with s_client(port, version, *LEVEL_0, *arguments) as client:
        for line, reply in ((f"EHLO {name}", r"^250 CHUNKING"), ("QUIT", r"^221 ")):
            client.send(f"{line}\n".encode())
            client.wait_for_output(reply)
        client.wait()


def gnutls_mail(port: int, version: str, name: str) -> None:
    program = require("gnutls-cli", package="gnutls-bin")
    priority = f"NORMAL:-VERS-ALL:+VERS-{version}:+SHA1:+SIGN-ALL:%COMPAT"
    arguments = [
        "--insecure",
        "--starttls-proto=smtp",
        f"--priority={priority}",
        f"--port={port}",
        "127.0.0.1",
    ]
    with Program([program, *arguments]) as client:
        client.wait_for_output("Simple Client Mode")
        for line, reply in ((f"EHLO {name}", r"^250 CHUNKING"), ("QUIT", r"^221 ")):
            client.send(f"{line}\r\n".encode())
            client.wait_for_output(reply)
        client.wait()


def swaks_mail(port: int, version: str, name: str) -> None:
    program = require("swaks", package="swaks")
    tls = ["--tls", "--tls-protocol", version, "--tls-cipher", "DEFAULT@SECLEVEL=0"]
    addresses = ["--ehlo", name, "--from", "a@sender.example", "--to", "b@old.example"]
    status, dialogue = run(
        [program, "--server", "127.0.0.1", "--port", str(port), *tls, *addresses, "--body", "x"], timeout=20
    )
    assert status == 0, dialogue


def rows(report: dict[str, Any], *fields: str) -> set[tuple[Any, ...]]:
    return {tuple(row[each] for each in fields) for row in report["clients"]}


def test_every_client_is_served_and_the_old_ones_are_told_by_name(world: World) -> None:
    starttls, smtps = world.ports["starttls"], world.ports["smtps"]
    before_tls = ["-starttls", "smtp", "-name", "before-tls.example"]
    for version in ("tls1", "tls1_1", "tls1_2", "tls1_3"):
        openssl_mail(starttls, f"-{version}", f"OpenSSL-{version}.example", *before_tls)
        openssl_mail(smtps, f"-{version}", f"smtps-{version}.example")
    for version in ("TLS1.0", "TLS1.1", "TLS1.2", "TLS1.3"):
        gnutls_mail(starttls, version, f"gnutls-{version}.example")
    for version in ("tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3"):
        swaks_mail(starttls, version, f"swaks-{version}.example")
    assert len([each for each in world.mail.dialogues if each.accepted]) == 4, "all of swaks's messages"

    sni = "mx.example.org"
    network = "127.0.0.0/24"
    with urllib.request.urlopen(f"http://{world.listen('metrics')}/metrics", timeout=10) as page:
        metrics = page.read().decode()
    report = world.stopped()
    assert rows(report, "listen", "network", "helo", "server_name", "version", "offered", "sessions") == {
        (world.listen("starttls"), network, "openssl-tls1.example", sni, "TLSv1", "<=TLSv1", 1),
        (world.listen("starttls"), network, "openssl-tls1_1.example", sni, "TLSv1.1", "<=TLSv1.1", 1),
        (world.listen("smtps"), network, "smtps-tls1.example", sni, "TLSv1", "<=TLSv1", 1),
        (world.listen("smtps"), network, "smtps-tls1_1.example", sni, "TLSv1.1", "<=TLSv1.1", 1),
        (world.listen("starttls"), network, "gnutls-tls1.0.example", None, "TLSv1", "<=TLSv1", 1),
        (world.listen("starttls"), network, "gnutls-tls1.1.example", None, "TLSv1.1", "<=TLSv1.1", 1),
        (world.listen("starttls"), network, "swaks-tlsv1.example", None, "TLSv1", "<=TLSv1", 1),
        (world.listen("starttls"), network, "swaks-tlsv1_1.example", None, "TLSv1.1", "<=TLSv1.1", 1),
    }
    figures = {each["listen"]: each for each in report["candidates"]}
    for listen, sessions, refused in ((world.listen("starttls"), 12, 6), (world.listen("smtps"), 4, 2)):
        summary = figures[listen]
        assert (summary["candidate"], summary["sessions"], summary["refused"]) == (
            CANDIDATE,
            sessions,
            refused,
        )
        assert summary["refused_versions"] == {"TLSv1": refused // 2, "TLSv1.1": refused // 2}

    samples = [
        sample
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "tlsproxy_candidate_sessions_total"
        and sample.labels["listen"] == world.listen("starttls")
    ]
    assert {(each.labels["version"], each.labels["verdict"]): each.value for each in samples} == {
        ("TLSv1", "refused"): 3,
        ("TLSv1.1", "refused"): 3,
        ("TLSv1.2", "allowed"): 3,
        ("TLSv1.3", "allowed"): 3,
    }


def test_what_was_seen_is_still_there_after_a_restart_and_goes_on(world: World) -> None:
    openssl_mail(world.ports["smtps"], "-tls1", "scanner.example")
    assert rows(world.stopped(), "helo", "sessions") == {("scanner.example", 1)}
    assert world.report()[0] == 1
    world.start()
    openssl_mail(world.ports["smtps"], "-tls1", "SCANNER.example")
    assert rows(world.stopped(), "helo", "sessions") == {("scanner.example", 2)}


def test_what_several_workers_saw_is_one_report(world: World) -> None:
    world.proxy.stop()
    world.more = "workers = 2"
    world.start()
    for number in range(8):
        openssl_mail(world.ports["smtps"], "-tls1", f"scanner-{number % 2}.example")
        say(world.ports["stream"], "-tls1_2")
    report = world.stopped()
    assert rows(report, "helo", "sessions") == {("scanner-0.example", 4), ("scanner-1.example", 4)}
    figures = {each["listen"]: (each["sessions"], each["refused"]) for each in report["candidates"]}
    assert figures == {world.listen("smtps"): (8, 8), world.listen("stream"): (8, 0)}


def test_a_session_that_is_killed_with_the_proxy_is_all_that_is_lost(world: World) -> None:
    openssl_mail(world.ports["smtps"], "-tls1", "scanner.example")
    world.wait_for_sessions(1)
    world.proxy.process.kill()
    world.proxy.wait()
    world.proxy.stop()
    assert world.report()[1]["clients"][0]["helo"] == "scanner.example"
    world.start()
    openssl_mail(world.ports["smtps"], "-tls1", "scanner.example")
    assert rows(world.stopped(), "helo", "sessions") == {("scanner.example", 2)}


def say(port: int, *arguments: str) -> None:
    """A session of the stream listener."""
    with s_client(port, "-no_ign_eof", *LEVEL_0, *arguments) as client:
        client.send(b"hello\n")
        client.wait_for_output("^hello")
        client.close_input()
        client.wait()


def test_a_stream_session_is_told_while_it_lasts(world: World) -> None:
    with s_client(world.ports["stream"], "-no_ign_eof", "-tls1", *LEVEL_0) as client:
        client.send(b"hello\n")
        client.wait_for_output("^hello")
        assert rows(world.wait_for_sessions(1), "helo", "version", "sessions") == {(None, "TLSv1", 1)}
        client.close_input()
        client.wait()


def test_a_scope_may_tell_machines_apart(world: World) -> None:
    for client in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
        say(world.ports["stream"], "-tls1_1", "-bind", f"{client}:0")
    assert rows(world.stopped(), "network", "sessions") == {
        ("127.0.0.0/24", 2),
        ("127.0.0.3/32", 1),
    }


def test_a_client_that_offers_something_else_too_would_be_served(world: World) -> None:
    port = world.ports["only_tls12"]
    say(port)  # TLS 1.3, and 1.2 in its offer
    say(port, "-tls1_3")
    say(port, "-tls1_2")
    say(port, "-no_tls1_3")
    report = world.stopped()
    assert rows(report, "candidate", "version", "offered") == {("TLSv1.2", "TLSv1.3", "TLSv1.3")}
    [summary] = report["candidates"]
    assert (summary["sessions"], summary["refused"]) == (4, 1)


def test_a_resumed_session_is_looked_at_as_well(world: World, tmp_path: Path) -> None:
    ticket = str(tmp_path / "ticket")
    for option in ("-sess_out", "-sess_in"):
        say(world.ports["stream"], "-tls1_1", option, ticket)
    world.proxy.wait_for_note("tls_established", resumed=True)
    assert rows(world.stopped(), "version", "sessions") == {("TLSv1.1", 2)}


def test_a_name_that_would_move_the_cursor_is_just_a_name(world: World) -> None:
    openssl_mail(world.ports["smtps"], "-tls1", "évil\u202e.example")
    world.stopped()
    status, output = tlsproxy("report", str(world.directory / "report.db"))
    assert status == 1
    assert "\u202e" not in output
    assert re.search(r"évil\\u202e\.example", output)


def test_a_database_that_cannot_be_written_hurts_no_session(world: World) -> None:
    world.proxy.stop()
    database = world.directory / "report.db"
    database.unlink()
    database.symlink_to(world.directory / "elsewhere.db")
    world.start()
    openssl_mail(world.ports["smtps"], "-tls1", "scanner.example")
    failed = world.proxy.wait_for_note("report_failed")
    assert "symbolic link" in failed["detail"]
    assert not (world.directory / "elsewhere.db").exists()
    database.unlink()
    assert rows(world.wait_for_sessions(1), "helo") == {("scanner.example",)}, "it was kept meanwhile"
