"""``tlsproxy probe FILE --relay-test``."""

import json
from pathlib import Path

import pytest

from tests.support.processes import free_port
from tests.support.scripted_smtp import ScriptedSmtp
from tlsproxy.cli.main import main

FILE = """
smtp_hostname = "proxy.example"
tls_security_level = "none"
[backend.{name}]
servers = ["{server}"]
[backend.other]
servers = ["{other}"]
[backend.web]
servers = ["127.0.0.1:8080"]
[[esmtp_listener]]
backend = "{name}"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:2501"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:2502"
[[esmtp_listener]]
backend = "other"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:2503"
"""

OPEN = {"RCPT": "250 2.1.5 Ok"}
DEFERRING = {"RCPT": "450 4.7.1 later"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "tlsproxy.toml"


def probed(config: Path, one: ScriptedSmtp, other: ScriptedSmtp, *options: str) -> int:
    """Probe two backends, ``one`` and ``other``."""
    with one.serve() as first, other.serve() as second:
        config.write_text(FILE.format(name="one", server=first.address, other=second.address))
        return main(["probe", str(config), "--relay-test", *options])


def test_each_server_has_a_line_with_what_was_found(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = ScriptedSmtp(), ScriptedSmtp(OPEN)
    assert probed(config, one, other) == 1
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["BACKEND", "SERVER", "IDENTITY", "CLIENT", "SEEN", "VERDICT"]
    assert [line.split(maxsplit=4)[0::2] for line in lines] == [
        ["one", "none", "refuses: 550 5.7.1 Relaying denied"],
        ["other", "none", "RELAYS: 250 2.1.5 Ok"],
    ]
    assert "EHLO proxy.example" in one.heard


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [({}, {}, 0), ({}, OPEN, 1), (OPEN, DEFERRING, 1), ({}, DEFERRING, 3), (DEFERRING, DEFERRING, 3)],
)
def test_the_exit_status_tells_the_worst(
    config: Path, one: dict[str, str], other: dict[str, str], status: int
) -> None:
    assert probed(config, ScriptedSmtp(one), ScriptedSmtp(other)) == status


def test_a_server_that_is_down_is_no_reason_to_be_calm(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = f"127.0.0.1:{free_port()}"
    config.write_text(FILE.format(name="one", server=down, other=down))
    assert main(["probe", str(config), "--relay-test"]) == 3
    assert "could not be tested: Connection refused" in capsys.readouterr().out


def test_one_backend_can_be_tested_alone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = ScriptedSmtp(), ScriptedSmtp(OPEN)
    assert probed(config, one, other, "--backend", "one") == 0
    assert other.heard == []
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("name", ["web", "unknown"])
def test_a_backend_that_gets_no_mail_is_not_tested(
    config: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert probed(config, ScriptedSmtp(), ScriptedSmtp(), "--backend", name) == 2
    assert capsys.readouterr().err == (
        f'error: --backend "{name}" is no backend of an esmtp_listener; there is one, other\n'
    )


def test_sender_and_recipient_can_be_chosen(config: Path) -> None:
    one = ScriptedSmtp()
    chosen = ["--sender", "", "--recipient", "someone@elsewhere.example"]
    assert probed(config, one, ScriptedSmtp(), "--backend", "one", *chosen) == 0
    assert one.heard[1:3] == ["MAIL FROM:<>", "RCPT TO:<someone@elsewhere.example>"]


@pytest.mark.parametrize(
    "options", [["--recipient", ""], ["--recipient", "a b@c.example"], ["--sender", "a>\r\nRSET@c.example"]]
)
def test_what_is_no_address_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["probe", str(config), "--relay-test", *options])
    assert caught.value.code == 2
    assert "must be a mail address such as relay-test@example.com" in capsys.readouterr().err


def test_json_has_all_of_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probed(config, ScriptedSmtp(OPEN), ScriptedSmtp(), "--backend", "one", "--json") == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert result.pop("server").startswith("127.0.0.1:")
    assert result == {
        "backend": "one",
        "identity": "none",
        "client_seen": "127.0.0.1",
        "verdict": "relays",
        "detail": "250 2.1.5 Ok",
    }


def test_a_server_cannot_write_to_the_terminal(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probed(config, ScriptedSmtp({"RCPT": "550 \x1b[2J gone"}), ScriptedSmtp())
    assert r"refuses: 550 \x1b[2J gone" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_determines_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", str(config), "--relay-test"]) == 3
    assert capsys.readouterr().err.startswith("error: can't read")


def test_without_a_mail_server_there_is_nothing_to_test(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(
        '[backend.b]\nservers = ["127.0.0.1:1"]\n'
        '[[stream_listener]]\nbackend = "b"\n[[stream_listener.listen]]\naddress = "127.0.0.1:2"\n'
    )
    assert main(["probe", str(config), "--relay-test"]) == 2
    assert "has no esmtp_listener: there is no mail server to test" in capsys.readouterr().err


def test_a_file_alone_is_no_server(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(config)]) == 2
    assert "a configuration file goes with --relay-test" in capsys.readouterr().err
