"""Reading one table at a time. What is said about keys and shapes is in test_parse and test_tables."""

from pathlib import Path

from tlsproxy.config.reader import Findings, Reader
from tlsproxy.config.tables import BACKEND, PEER
from tlsproxy.config.values import Files, values_converter
from tlsproxy.errors import Problem


def reader() -> Reader:
    return Reader(values_converter(Files(Path("/etc"))), Findings())


def test_own_keys_and_options_are_kept_apart() -> None:
    reading = reader()
    values = reading.values(PEER, {"pathway": "x", "network": "10.0.0.0/8", "tls_ciphers": "y"}, "peer[0]")
    assert values.own.keys() == {"pathway", "network"}
    assert values.options == {"tls_ciphers": "y"}
    assert reading.findings == Findings()


def test_a_key_that_is_not_valid_is_noted_and_left_out() -> None:
    reading = reader()
    values = reading.values(BACKEND, {"servers": "x:1", "connect_timeout": 0}, "backend.x")
    assert values.own.keys() == {"servers"}
    assert reading.findings.problems == [
        Problem("backend.x.connect_timeout", "must be a number from 0.1 to 600 seconds, not 0")
    ]


def test_tables_come_with_their_paths() -> None:
    raw = {"peer": [{"a": 1}, {"b": 2}], "backend": {"x.y": {"c": 3}}}
    assert list(reader().array(raw, "peer", "listen[1]")) == [
        ("listen[1].peer[0]", {"a": 1}),
        ("listen[1].peer[1]", {"b": 2}),
    ]
    assert list(reader().named(raw, "backend", "")) == [("x.y", 'backend."x.y"', {"c": 3})]


def test_a_table_that_is_not_there_is_no_problem() -> None:
    reading = reader()
    assert list(reading.array({}, "peer", "")) == []
    assert list(reading.named({}, "backend", "")) == []
    assert reading.findings.problems == []
