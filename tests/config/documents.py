"""Configurations for tests, written as an operator would."""

import pytest

from tlsproxy.config.model import Configuration
from tlsproxy.config.parse import parse
from tlsproxy.errors import ConfigurationError

BACKEND = """
[backend.injector]
servers = ["127.0.0.1:2525"]
"""

LISTENER = """
[[stream_listener]]
backend = "injector"
  [[stream_listener.listen]]
  address = "192.0.2.1:1825"
"""

PEER_OF_LISTEN = """
    [[stream_listener.listen.peer]]
    network = "10.0.0.0/8"
"""

PEER_OF_LISTENER = """
  [[stream_listener.peer]]
  network = "10.0.0.0/8"
"""

SOURCE = "/etc/tlsproxy/tlsproxy.toml"


def another_listener(attributes: str) -> str:
    """A second listener, with ``attributes`` in its own table."""
    listen = '[[stream_listener.listen]]\naddress = "192.0.2.1:26"'
    return f'[[stream_listener]]\nbackend = "injector"\n{attributes}\n{listen}\n'


def parsed(text: str) -> Configuration:
    return parse(text, SOURCE)


def valid(text: str) -> Configuration:
    """The configuration with ``text`` in the listen of a listener."""
    return parsed(BACKEND + LISTENER + text)


def problems(text: str) -> list[str]:
    """What is wrong with a whole file: a line for each problem."""
    with pytest.raises(ConfigurationError) as caught:
        parsed(text)
    assert caught.value.problems
    return str(caught.value).splitlines()


def only_problem(text: str) -> str:
    (line,) = problems(text)
    return line


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in parsed(text).warnings]
