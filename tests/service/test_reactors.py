"""The reactor is ours, unless twistd was told another."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from tlsproxy.service.reactors import reactor_of
{before}
print(type(reactor_of({choice!r})).__name__)
"""


def chosen(choice: str | None, before: str = "") -> str:
    script = SCRIPT.format(choice=choice, before=before)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("choice", "name"), [(None, "ProxyReactor"), ("epoll", "EPollReactor"), ("tlsproxy", "ProxyReactor")]
)
def test_the_choice_is_installed(choice: str | None, name: str) -> None:
    assert chosen(choice) == name


def test_one_that_is_installed_stays() -> None:
    assert chosen(None, "import twisted.internet.selectreactor as s; s.install()") == "SelectReactor"
