"""A backend's own keys."""

from tests.config.documents import LISTENER, parsed
from tlsproxy.policy.selection import SelectionPolicy, SelectionRules


def test_the_rules_of_selection_are_those_of_the_table() -> None:
    text = """
        [backend.injector]
        servers = ["127.0.0.1:1", "127.0.0.1:2"]
        policy = "least_connections"
        max_connections = 7
        max_failures = 2
        ejection_time = 3
        slow_start = 4
    """
    assert parsed(text + LISTENER).backends["injector"].rules == SelectionRules(
        SelectionPolicy.LEAST_CONNECTIONS, max_connections=7, max_failures=2, ejection_time=3, slow_start=4
    )


def test_defaults_are_those_of_the_rules() -> None:
    text = '[backend.injector]\nservers = "127.0.0.1:1"\n'
    assert parsed(text + LISTENER).backends["injector"].rules == SelectionRules()
