"""What takes a restart is refused by a reload, by its name."""

import pytest

from tlsproxy.config.model import Configuration
from tlsproxy.config.parse import parse
from tlsproxy.service.changes import why_not_by_reload


def configuration(options: str) -> Configuration:
    return parse(
        f'{options}\n[backend.b]\nservers = ["127.0.0.1:9"]\n[[stream_listener]]\nbackend = "b"\n'
        '[[stream_listener.listen]]\naddress = "127.0.0.1:1825"\n',
        "tlsproxy.toml",
    )


@pytest.mark.parametrize(
    ("before", "after", "options"),
    [
        ("", "", []),
        ("workers = 2", "workers = 5", []),
        ("workers = 1", "workers = 2", ["workers"]),
        ("workers = 2", "", ["workers"]),
        ("", 'log_format = "json"', ["log_format"]),
        ("workers = 2", 'log_format = "json"', ["workers", "log_format"]),
        ("", 'metrics_listen = 9465\nstatus_listen = 9466\ncontrol_socket = "x"\ndrain_timeout = 1', []),
    ],
)
def test_what_takes_a_restart(before: str, after: str, options: list[str]) -> None:
    problems = why_not_by_reload(configuration(before), configuration(after))
    assert [problem.path for problem in problems] == options
    assert all("restart" in problem.message for problem in problems)
