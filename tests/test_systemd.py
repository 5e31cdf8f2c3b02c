"""The units are valid, hardened, and start what is there."""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import require
from tlsproxy.service.ending import CUT

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "systemd"
INSTALLED = "/opt/tlsproxy/bin/"
"""Where the units expect the programs, and an operator may have them elsewhere."""

MOST_EXPOSED = 2.0
"""``systemd-analyze security`` goes from 0 to 10."""


def settings(unit: str) -> Iterator[tuple[str, str]]:
    for line in (UNITS / unit).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name, value


def values(unit: str, name: str) -> list[str]:
    return [value for each, value in settings(unit) if each == name]


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.interop
def test_the_units_are_valid(tmp_path: Path) -> None:
    analyze = require("systemd-analyze", package="systemd")
    program = shutil.which("true") or "/bin/true"
    for unit in UNITS.iterdir():
        text = (
            unit.read_text().replace(f"{INSTALLED}tlsproxy", program).replace(f"{INSTALLED}twistd", program)
        )
        (tmp_path / unit.name).write_text(text)
    result = run(analyze, "verify", *sorted(str(unit) for unit in tmp_path.iterdir()))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.interop
def test_the_service_is_hardly_exposed() -> None:
    analyze = require("systemd-analyze", package="systemd")
    threshold = f"--threshold={MOST_EXPOSED * 10:.0f}"
    result = run(
        analyze, "security", "--offline=true", "--no-pager", threshold, str(UNITS / "tlsproxy.service")
    )
    assert result.returncode == 0, result.stdout
    verdict = result.stdout.strip().splitlines()[-1]
    assert "Overall exposure level for tlsproxy.service" in verdict
    exposure = next(float(word) for word in verdict.split() if word.replace(".", "").isdigit())
    assert exposure <= MOST_EXPOSED


PROGRAMS = {
    "tlsproxy": "import sys; from tlsproxy.cli.main import main; sys.exit(main())",
    "twistd": "from twisted.scripts.twistd import run; run()",
}


@pytest.mark.parametrize("setting", ["ExecStartPre", "ExecStart", "ExecReload"])
def test_the_service_starts_programs_with_arguments_that_they_know(setting: str) -> None:
    [command] = values("tlsproxy.service", setting)
    program, *arguments = shlex.split(command)
    assert program.startswith(INSTALLED)
    started = [sys.executable, "-c", PROGRAMS[program.removeprefix(INSTALLED)], *arguments, "--help"]
    result = run(*started, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    assert "configuration" in result.stdout.lower()


def test_the_service_loads_the_credentials_that_the_sample_configuration_names() -> None:
    loaded = {value.partition(":")[0] for value in values("tlsproxy.service", "LoadCredential")}
    sample = tomllib.loads((ROOT / "etc/tlsproxy.toml").read_text())
    named = {sample["tls_certificate"], sample["tls_key"]}
    assert named == {f"credential:{name}" for name in loaded}


def test_the_service_is_commanded_where_the_sample_configuration_says() -> None:
    sample = tomllib.loads((ROOT / "etc/tlsproxy.toml").read_text())
    [command] = values("tlsproxy.service", "ExecReload")
    assert shlex.split(command)[-1] == sample["control_socket"]
    [directory] = values("tlsproxy.service", "RuntimeDirectory")
    assert sample["control_socket"].startswith(f"/run/{directory}/")


def test_a_stop_that_cut_sessions_is_no_failure() -> None:
    assert values("tlsproxy.service", "SuccessExitStatus") == [str(CUT)]


def test_the_service_may_make_the_memory_that_callbacks_need() -> None:
    """cffi's closures are writable and executable; pyOpenSSL fails without them."""
    assert values("tlsproxy.service", "MemoryDenyWriteExecute") == []


def test_the_socket_belongs_to_the_service_and_has_a_name() -> None:
    assert values("tlsproxy.socket", "Service") == ["tlsproxy.service"]
    assert values("tlsproxy.socket", "FileDescriptorName") == ["smtps"]
    assert len(values("tlsproxy.socket", "ListenStream")) == 2
