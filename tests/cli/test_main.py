"""The ``tlsproxy`` command."""

import io
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tlsproxy import __version__
from tlsproxy.cli.main import COMMANDS, main

FILE = """
[backend.injector]
servers = ["127.0.0.1:2525"]
[[stream_listener]]
backend = "injector"
[[stream_listener.listen]]
address = "127.0.0.1:1825"
tls_ciphers = "DEFAULT-\u00e9"
"""


def test_versions_are_those_of_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    ours, tls, twisted, python = capsys.readouterr().out.splitlines()
    assert ours == f"tlsproxy {__version__}"
    assert tls.startswith(f"pyOpenSSL {version('pyOpenSSL')} with OpenSSL ")
    assert twisted == f"Twisted {version('Twisted')}"
    assert python.endswith(platform.python_version())


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^    {command}\b", out, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_asked_for_by_name_is_that_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: tlsproxy {command} ")


def test_what_a_command_does_not_need_is_not_imported() -> None:
    """The manual page and ``--version`` come at once; a monitoring script calls ``tlsproxy`` every minute."""
    program = (
        "import sys\nfrom tlsproxy.cli.main import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "print(*(name for name in ('twisted', 'attrs', 'tlsproxy.config', 'h11') if name in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
    assert result.stdout.splitlines()[4:] == [""]


@pytest.mark.parametrize("arguments", [[], ["zebra"]])
def test_without_a_command_the_command_line_is_wrong(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: tlsproxy" in capsys.readouterr().err


def test_arguments_are_the_process_own_where_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tlsproxy", "check", "/nonexistent"])
    assert main() == 1


def test_a_name_that_the_terminal_cannot_show_does_not_end_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tlsproxy.toml"
    path.write_text(FILE, encoding="utf-8")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["eval", str(path)]) == 0
    assert rb'"DEFAULT-\xe9"' in written.getvalue()


def test_any_stream_will_do_for_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tlsproxy.toml"
    path.write_text(FILE, encoding="utf-8")
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    assert main(["eval", str(path)]) == 0
    assert "DEFAULT-\u00e9" in written.getvalue()


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tlsproxy.toml"
    path.write_text(FILE, encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["eval", str(path)]) == 1
        stdout.flush()  # as the interpreter does at exit
