"""The manual pages and the reference of the command line follow from the code, and man(1) can show them."""

import os
import runpy
import subprocess
from pathlib import Path

import attrs
import pytest

from tests.support.programs import require
from tlsproxy.cli.main import COMMANDS, EXIT_STATUSES
from tlsproxy.config.settings import Settings

ROOT = Path(__file__).parents[1]
GENERATE = runpy.run_path(str(ROOT / "docs/generate.py"))
MANUAL = GENERATE["MANUAL"]
PAGES: dict[str, str] = MANUAL["pages"](GENERATE["TABLES"])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_the_code_has_it(name: str) -> None:
    """``make docs`` writes it."""
    assert (ROOT / "man" / name).read_text() == PAGES[name]


def test_there_are_no_others() -> None:
    assert {path.name for path in (ROOT / "man").iterdir()} == PAGES.keys()


def shown(name: str, width: int = 80) -> str:
    """As a reader sees it, in plain text; with nothing that the formatter complains about."""
    man = require("man", package="man-db")
    environ = {**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8", "GROFF_NO_SGR": "1"}
    command = [man, "--warnings", "--local-file", "--encoding=UTF-8", "--pager=cat", str(ROOT / "man" / name)]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    backspace = subprocess.run(["col", "-b"], input=result.stdout, capture_output=True, text=True, timeout=60)
    return backspace.stdout or result.stdout


@pytest.mark.interop
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", PAGES)
def test_man_shows_a_page_without_a_complaint(name: str, width: int) -> None:
    text = shown(name, width)
    assert text.startswith(name.rpartition(".")[0].upper())
    assert not [line for line in text.splitlines() if len(line) > width]


@pytest.mark.interop
def test_every_command_has_its_part() -> None:
    text = shown("tlsproxy.1", 200)
    for command in COMMANDS:
        assert f"\n   tlsproxy {command}\n" in text
    for status, meaning in EXIT_STATUSES.items():
        assert f"       {status}      {meaning}." in text


@pytest.mark.interop
def test_every_option_has_its_part() -> None:
    text = shown("tlsproxy.toml.5", 200)
    for option in attrs.fields(Settings):
        assert f"\n       {option.name}\n" in text


def test_markdown_becomes_roff() -> None:
    roff = MANUAL["_roff"]
    assert roff("`a-b` is **it**, see [that](x.md#y) \\ 'so'") == (
        r"\fBa\-b\fR is \fBit\fR, see that \e \(aqso\(aq"
    )
    assert MANUAL["_filled"](".hidden") == [r"\&.hidden"]
