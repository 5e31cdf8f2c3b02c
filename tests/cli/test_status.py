"""``tlsproxy status``: asks a service, prints what it tells, and says by its exit status whether all is well."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.ops.status.samples import PROCESS, SERVICE
from tlsproxy.cli.main import main
from tlsproxy.ops.status.model import ServiceStatus, service_to_values

HEALTHY = evolve(
    SERVICE,
    started=time.time() - 60,
    last_reload=None,
    workers=1,
    processes=(
        evolve(
            PROCESS,
            backends=(),
            certificates=(evolve(PROCESS.certificates[0], not_after=time.time() + 60 * 86400),),
        ),
    ),
)


class Page(http.server.ThreadingHTTPServer):
    """Answers ``/status.json``."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Page

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/status.json" else 404)
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nobody reads it."""


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    content: Any = getattr(request, "param", HEALTHY)
    if isinstance(content, ServiceStatus):
        content = json.dumps(service_to_values(content)).encode()
    with Page(content) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def control_socket(path: Path, answer: object) -> threading.Thread:
    """Answers one request."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        with listening, listening.accept()[0] as connection, connection.makefile("rwb") as file:
            assert json.loads(file.readline()) == {"command": "status"}
            file.write(json.dumps(answer).encode() + b"\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def configured(directory: Path, line: str) -> str:
    file = directory / "tlsproxy.toml"
    file.write_text(
        f'{line}\n[backend.b]\nservers = ["127.0.0.1:2525"]\n[[esmtp_listener]]\nbackend = "b"\n'
        '[[esmtp_listener.listen]]\naddress = "127.0.0.1:25"\n'
    )
    return str(file)


Captured = pytest.CaptureFixture[str]


def test_the_page_is_asked_by_its_address(page: Page, capsys: Captured) -> None:
    assert main(["status", "--url", f"{page.url}/"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tlsproxy 0.1.0 with OpenSSL 4.0.3: running")
    assert "0.0.0.0:25" in out


def test_json_is_what_the_service_said(page: Page, capsys: Captured) -> None:
    assert main(["status", "--url", page.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == service_to_values(HEALTHY)


def test_a_proxy_of_the_environment_is_not_asked(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert main(["status", "--url", page.url]) == 0


@pytest.mark.parametrize("page", [SERVICE], indirect=True)
def test_a_problem_is_an_exit_status(page: Page, capsys: Captured) -> None:
    assert main(["status", "--url", page.url]) == 1
    assert "PROBLEM: The last reload was refused" in capsys.readouterr().out


def test_the_control_socket_is_asked_by_its_path(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "control"
    thread = control_socket(path, {"ok": True, "status": service_to_values(HEALTHY)})
    assert main(["status", str(path)]) == 0
    thread.join(5)
    assert "up 1 min" in capsys.readouterr().out


def test_the_configuration_names_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "control"
    control_socket(path, {"ok": True, "status": service_to_values(HEALTHY)})
    assert main(["status", "--config", configured(tmp_path, f'control_socket = "{path}"')]) == 0


def test_or_the_page(page: Page, tmp_path: Path) -> None:
    assert main(["status", "--config", configured(tmp_path, f"status_listen = {page.server_port}")]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "sets neither control_socket nor status_listen: there is nobody to ask"),
        ("statuslisten = 9466", "statuslisten"),
    ],
)
def test_a_configuration_that_names_neither_or_is_wrong(
    tmp_path: Path, capsys: Captured, line: str, message: str
) -> None:
    assert main(["status", "--config", configured(tmp_path, line)]) == 3
    captured = capsys.readouterr()
    assert message in captured.out + captured.err


def test_a_refusal_is_told(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "control"
    control_socket(path, {"ok": False, "problems": [{"path": "", "message": "not now"}]})
    assert main(["status", str(path)]) == 3
    assert "not now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nonexistent/control"], "can't reach the service at /nonexistent/control"),
        (["--url", "http://127.0.0.1:1"], "can't read http://127.0.0.1:1"),
        (["--url", "file:///etc/passwd"], 'must begin with "http://" or "https://"'),
    ],
)
def test_nobody_answers(arguments: list[str], message: str, capsys: Captured) -> None:
    assert main(["status", *arguments]) == 3
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("page", [b"<html>", b"[]", b'{"version": 1}', b"\xff"], indirect=True)
def test_what_is_no_status_is_told_apart(page: Page, capsys: Captured) -> None:
    assert main(["status", "--url", page.url]) == 3
    assert "no status" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a", "--url", "b"], ["a", "--config", "b"]])
def test_one_place_is_asked(arguments: list[str], capsys: Captured) -> None:
    assert main(["status", *arguments]) == 2
    assert "name the control socket" in capsys.readouterr().err
