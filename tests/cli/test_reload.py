"""``tlsproxy reload``."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import Server
from tlsproxy.cli.main import main


class Service:
    """Answers every command the same, and remembers them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: dict[str, Any] = {"ok": True, "generation": 2, "problems": []}
        self.asked: list[dict[str, Any]] = []

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rwb") as lines:
            for line in lines:
                self.asked.append(json.loads(line))
                lines.write(json.dumps(self.answer).encode() + b"\n")
                lines.flush()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "control")
    with Server(service.serve, unix_path=str(service.path)):
        yield service


def test_the_service_is_asked_and_the_result_told(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reload", "--socket", str(service.path)]) == 0
    assert service.asked == [{"command": "reload"}]
    assert capsys.readouterr().out == "reloaded: generation 2\n"


def test_every_problem_is_told_with_its_path(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    problems = [{"path": "idle_timeout", "message": "must be a number"}, {"path": "", "message": "no\nluck"}]
    service.answer = {"ok": False, "generation": 1, "problems": problems}
    assert main(["reload", "--socket", str(service.path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: idle_timeout: must be a number",
        "error: no\\nluck",
        "tlsproxy: the reload was refused, everything stays as it was",
    ]


def config(directory: Path, extra: str) -> str:
    path = directory / "tlsproxy.toml"
    path.write_text(
        f'{extra}\n[backend.b]\nservers = ["127.0.0.1:9"]\n[[stream_listener]]\nbackend = "b"\n'
        '[[stream_listener.listen]]\naddress = "127.0.0.1:0"\n'
    )
    return str(path)


def test_the_configuration_names_the_socket(service: Service, tmp_path: Path) -> None:
    assert main(["reload", "--config", config(tmp_path, f'control_socket = "{service.path}"')]) == 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("", "names no control_socket: send SIGHUP to the service instead"),
        ("idle_timeout = true", "error: idle_timeout: must be a number"),
        ('control_socket = "gone"', "gone: no such file or directory"),
    ],
)
def test_why_the_service_cannot_be_asked_is_told(
    extra: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reload", "--config", config(tmp_path, extra)]) == 1
    assert message in capsys.readouterr().err


def test_a_service_that_hangs_up_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "control"
    with Server(lambda connection: connection.close(), unix_path=str(path)):
        assert main(["reload", "--socket", str(path)]) == 1
    message = capsys.readouterr().err
    assert "without an answer" in message or "is gone" in message
