"""``tlsproxy demo``, without any other program but a shell and Python."""

import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.demo import Demo, write_config
from tlsproxy.cli.demo.certificates import LIFETIME, ensure_certificates
from tlsproxy.cli.demo.mail import SIZE_LIMIT


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH with Python and what any machine has."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    for name in ("sh", "cat", "ls", "head"):
        (programs / name).symlink_to(Path("/bin") / name if name != "head" else Path("/usr/bin/head"))
    return str(programs)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo.start(tmp_path_factory.mktemp("demo")) as running:
        yield running


def mail_server(demo: Demo) -> int:
    """The port that the embedded mail server listens on."""
    configuration = tomllib.loads((demo.directory / "etc" / "demo.toml").read_text())
    return int(configuration["backend"]["mail"]["servers"][0].rpartition(":")[2])


def listening(demo: Demo, kind: str) -> list[int]:
    return [
        int(port) for port in re.findall(rf"^# 127\.0\.0\.1:([0-9]+) \({kind}\)", demo.output, re.MULTILINE)
    ]


def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    with Demo.start(tmp_path) as demo:
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait() == 0
        assert "stopped, 0 sessions cut" in demo.output
        assert "Traceback" not in demo.output


def test_ctrl_c_waits_for_nobody_who_stays(tmp_path: Path) -> None:
    with Demo.start(tmp_path) as demo:
        with socket.create_connection(("127.0.0.1", listening(demo, "esmtp")[0])) as client:
            assert client.recv(100).startswith(b"220 ")
            client.sendall(b"EHLO me\r\nMAIL FROM:<a@client.test>\r\n")
            while b"250 Sender" not in client.recv(1000):
                pass
            demo.process.send_signal(signal.SIGINT)
            assert demo.wait() == 0
            assert client.recv(1000).startswith(b"421 4.3.2 ")
        assert "stopped, 1 sessions cut" in demo.output
        assert "Traceback" not in demo.output


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with Demo.start(tmp_path, config={"drain_timeout = 1 ": "drain_timeout = 3600 "}) as demo:
        with socket.create_connection(("127.0.0.1", listening(demo, "esmtp")[0])) as client:
            client.sendall(b"EHLO me\r\nMAIL FROM:<a@client.test>\r\n")
            received = b""
            while b"250 Sender" not in received:
                received += client.recv(1000)
            demo.process.send_signal(signal.SIGINT)
            demo.wait_for_output("Port .* Closed")
            demo.process.send_signal(signal.SIGINT)
            assert demo.wait() == -signal.SIGINT
        assert "Traceback" not in demo.output


def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write_config(tmp_path, {})
        text = re.sub(r'(servers = \["127\.0\.0\.1:)[0-9]+', rf"\g<1>{port}", config.read_text(), count=1)
        config.write_text(text)
        with Demo(tmp_path) as demo:
            assert demo.wait() == 1
            assert f"error: Couldn't listen on 127.0.0.1:{port}" in demo.output


def test_a_wrong_file_is_told(tmp_path: Path) -> None:
    write_config(tmp_path, {"tls_renegotiation_limit": "tls_renegotiation_limmit"})
    with Demo(tmp_path) as demo:
        assert demo.wait() == 1
        assert 'did you mean "tls_renegotiation_limit"?' in demo.output


def test_without_swaks_mail_is_sent_by_python(tmp_path: Path, bare_path: str) -> None:
    with Demo.start(tmp_path, env={"PATH": bare_path}) as demo:
        sending = [command for promise, command in demo.examples() if "a message is taken" in promise]
        showing = [command for promise, command in demo.examples() if promise.startswith("the message")]
        assert len(sending) == len(showing) == 2
        for count, (send, show) in enumerate(zip(sending, showing, strict=True), start=1):
            assert send.startswith('python3 -c "')
            env = {**os.environ, "PATH": bare_path}
            subprocess.run(send, shell=True, env=env, cwd=tmp_path, check=True, timeout=20)  # noqa: S602 - pasted
            assert len(demo.inbox()) == count
            shown = subprocess.check_output(show, shell=True, env=env, cwd=tmp_path, timeout=20)  # noqa: S602
            assert shown == demo.inbox()[-1]
            assert re.match(
                rb"Received: from .* \(127\.0\.0\.1:[0-9]+, TLSv1\.3 TLS_.*\)\n by old\.demo\.test\n", shown
            )
            assert shown.endswith(b"\nSubject: test\n\nby way of tlsproxy\n")


class Told(smtplib.SMTP):
    """A client of the embedded mail server itself, with the PROXY header that this needs."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connected = socket.create_connection((host, port), timeout)
        connected.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 40001 25\r\n")
        return connected


def test_the_mail_server_takes_mail_for_its_own_domain_alone(demo: Demo) -> None:
    with Told("127.0.0.1", mail_server(demo), timeout=10) as client:
        client.ehlo("me")
        client.mail("a@client.test")
        assert client.rcpt("b@elsewhere.test") == (550, b"5.7.1 Relaying denied")
        assert client.rcpt("b@DEMO.test")[0] == 250


def test_the_mail_server_stores_what_it_was_sent(demo: Demo) -> None:
    content = b"Subject: \xe9\r\n\r\n.dot\r\n..\r\n" + b"x" * 5000 + b"\r\n"
    with Told("127.0.0.1", mail_server(demo), "me", timeout=10) as client:
        client.sendmail("a@client.test", ["b@demo.test"], content)
    received = b"Received: from me (192.0.2.1:40001, plaintext)\n by old.demo.test\n"
    assert demo.inbox()[-1] == received + content.replace(b"\r\n", b"\n")


def test_the_mail_server_bounds_what_it_takes(demo: Demo) -> None:
    with Told("127.0.0.1", mail_server(demo), timeout=60) as client:
        client.ehlo("me")
        before = len(demo.inbox())
        assert client.esmtp_features["size"] == str(SIZE_LIMIT)
        client.mail("a@client.test")
        client.rcpt("b@demo.test")
        line = b"x" * 10_000 + b"\r\n"
        assert client.data(line * (SIZE_LIMIT // 10_000 + 1)) == (552, b"5.3.4 Message too big")
    assert len(demo.inbox()) == before
    assert "Traceback" not in demo.output


def test_the_mail_server_serves_nobody_that_it_is_not_told_of(demo: Demo) -> None:
    with socket.create_connection(("127.0.0.1", mail_server(demo)), timeout=10) as client:
        client.sendall(b"EHLO me\r\n")
        assert client.recv(100) == b""


def test_the_status_page_is_where_it_is_said_to_be(demo: Demo) -> None:
    url = demo.wait_for_output(r"^The status page: (http://127\.0\.0\.1:\d+/)$")[1]
    with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310 - the demo's own address
        assert b"<title>tlsproxy: running</title>" in page.read()


def test_the_echo_is_behind_tls(demo: Demo) -> None:
    context = ssl.create_default_context(cafile=str(demo.directory / "var" / "ca.pem"))
    port = listening(demo, "stream")[0]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            lines = client.makefile("rwb")
            assert lines.readline().startswith(b"tlsproxy demo backend")
            lines.write(b"hello\n")
            lines.flush()
            assert lines.readline() == b"hello\n"


def test_certificates_are_kept_until_they_soon_expire(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ca_file = ensure_certificates(tmp_path, now)
    trusted = ca_file.read_bytes()
    assert len(x509.load_pem_x509_certificates(trusted)) == 2
    assert ensure_certificates(tmp_path, now + timedelta(days=30)) == ca_file
    assert ca_file.read_bytes() == trusted
    ensure_certificates(tmp_path, now + LIFETIME)
    assert ca_file.read_bytes() != trusted
    assert (tmp_path / "rsa.pem").stat().st_mode & 0o777 == 0o600


def test_what_is_there_and_is_no_certificate_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "rsa.pem").write_text("nothing")
    assert (
        len(x509.load_pem_x509_certificates(ensure_certificates(tmp_path, datetime.now(UTC)).read_bytes()))
        == 2
    )
