"""TOML values to the types of the catalogue."""

import math
import stat
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tlsproxy.config.addresses import ListenAddress, ServerAddress, SystemdAddress, TcpAddress, UnixAddress
from tlsproxy.config.backend import Server
from tlsproxy.config.declaration import (
    FileMode,
    FileName,
    HostName,
    HttpPath,
    IpText,
    StatusRange,
    WorkerCount,
)
from tlsproxy.config.model import LogFormat
from tlsproxy.config.networks import IpNetwork, parse_network
from tlsproxy.config.values import Files, problems_in, values_converter
from tlsproxy.errors import Problem
from tlsproxy.policy.protocols import TlsProtocols

DIRECTORY = Path("/etc/tlsproxy")


class Colour(Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


def structured(value: object, target: Any, credentials: str | None = None) -> object:
    return values_converter(Files(DIRECTORY, credentials)).structure(value, target)


def refusals(value: object, target: Any, credentials: str | None = None) -> list[str]:
    """What is wrong with ``value``, as the value of ``key``."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - groups and plain ones; what counts is what problems_in says
        structured(value, target, credentials)
    return [str(problem) for problem in problems_in(caught.value, "key")]


def refusal(value: object, target: Any, credentials: str | None = None) -> str:
    (line,) = refusals(value, target, credentials)
    return line


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        (True, bool, True),
        (3, int, 3),
        (3, float, 3.0),
        (0.5, float, 0.5),
        ("x", str, "x"),
        ("", str, ""),
        ("x", str | None, "x"),
        ("green", Colour, Colour.GREEN),
        ("json", LogFormat, LogFormat.JSON),
        (1, WorkerCount, WorkerCount(1)),
        (256, WorkerCount, WorkerCount(256)),
        ("auto", WorkerCount, WorkerCount(None)),
        ("0640", FileMode, 0o640),
        ("777", FileMode, 0o777),
        ("10.3.0.0/16", IpNetwork, parse_network("10.3.0.0/16")),
        ("192.0.2.1:25", ListenAddress, TcpAddress("192.0.2.1", 25)),
        ("systemd:x", ListenAddress, SystemdAddress("x")),
        ("127.0.0.1:9105", TcpAddress | None, TcpAddress("127.0.0.1", 9105)),
        ("x", tuple[str, ...], ("x",)),
        (["x", "y"], tuple[str, ...], ("x", "y")),
        ([], tuple[str, ...], ()),
        ("mail:25", tuple[ServerAddress, ...], (TcpAddress("mail", 25),)),
        ("mail:25", tuple[Server, ...], (Server(address=TcpAddress("mail", 25)),)),
        ([{"address": "mail:25"}], tuple[Server, ...], (Server(address=TcpAddress("mail", 25), weight=1),)),
        ({"weight": 3, "address": "mail:25"}, Server, Server(address=TcpAddress("mail", 25), weight=3)),
        ("/health?deep=1", HttpPath, "/health?deep=1"),
        ("204", StatusRange, StatusRange(204, 204)),
        ("200-399", StatusRange, StatusRange(200, 399)),
    ],
)
def test_a_valid_value_becomes_what_the_type_says(value: object, target: Any, expected: object) -> None:
    result = structured(value, target)
    assert result == expected
    assert type(result) is type(expected)


def test_protocols_are_read_by_their_own_language() -> None:
    result = structured(">=TLSv1.1", TlsProtocols)
    assert isinstance(result, TlsProtocols)
    assert str(result) == "TLSv1.1 TLSv1.2 TLSv1.3"


@pytest.mark.parametrize(
    ("value", "target", "message"),
    [
        (1, bool, "must be true or false, not 1"),
        ("yes", bool, 'must be true or false, not "yes"'),
        (True, int, "must be a whole number, not true"),
        (3.0, int, "must be a whole number, not 3.0"),
        ("3", int, 'must be a whole number, not "3"'),
        (True, float, "must be a number, not true"),
        ("3", float, 'must be a number, not "3"'),
        (math.inf, float, "must be a number, not inf"),
        (math.nan, float, "must be a number, not nan"),
        (5, str, "must be a string, not 5"),
        (["x"], str, 'must be a string, not ["x"]'),
        ({"a": 1}, str, "must be a string, not {a = 1}"),
        (date(2026, 11, 23), str | None, "must be a string, not 2026-11-23"),
        (">= TLSv1", TlsProtocols, "there must be no white space"),
        (["TLSv1.2"], TlsProtocols, 'must be a string, not ["TLSv1.2"]'),
        ("gren", Colour, 'must be "red", "green" or "blue", not "gren" (did you mean "green"?)'),
        ("zzz", Colour, 'must be "red", "green" or "blue", not "zzz"'),
        (["red"], Colour, 'must be "red", "green" or "blue", not ["red"]'),
        (0, WorkerCount, 'must be "auto" or a whole number from 1 to 256, not 0'),
        (257, WorkerCount, "must be"),
        (True, WorkerCount, "must be"),
        ("2", WorkerCount, 'must be "auto" or a whole number from 1 to 256, not "2"'),
        (2.0, WorkerCount, "must be"),
        (False, LogFormat, 'must be "text" or "json", not false'),
        (660, FileMode, 'must be permissions in octal, in quotes: "0660", not 660'),
        ("0o660", FileMode, 'must be permissions in octal, in quotes: "0660", not "0o660"'),
        ("0689", FileMode, "must be permissions in octal"),
        ("1777", FileMode, "must be permissions in octal"),
        ("66", FileMode, "must be permissions in octal"),
        ("", FileMode, "must be permissions in octal"),
        ("10.3.7.9/16", IpNetwork, '"10.3.0.0/16" is the network'),
        (25, ListenAddress, "must be a string, not 25"),
        ("*:25", ListenAddress, "must have an IP address"),
        ("unix:/x", TcpAddress | None, "must be a TCP address"),
        (5, tuple[str, ...], "must be a string or a list of strings, not 5"),
        ({}, tuple[FileName, ...], "must be a string or a list of strings, not {}"),
        ("mail", tuple[ServerAddress, ...], "must be"),
        ("a b", HostName, 'must be a host name such as "mx.example.org", not "a b"'),
        ("mx.example", IpText, 'must be an IP address such as "192.0.2.1", not "mx.example"'),
        (5, Server, 'must be an address, or {address = "host:port", weight = 1}, not 5'),
        ("health", HttpPath, 'must be a path such as "/health", in printable ASCII, not "health"'),
        ("/a b", HttpPath, "must be a path"),
        ("/a\r\nX: y", HttpPath, "must be a path"),
        (
            200,
            StatusRange,
            'must be a status code, or a range of them, in quotes: "200" or "200-399", not 200',
        ),
        ("399-200", StatusRange, "must be a status code"),
        ("600", StatusRange, "must be a status code"),
        ("200-", StatusRange, "must be a status code"),
    ],
)
def test_nothing_is_converted_on_the_quiet(value: object, target: Any, message: str) -> None:
    line = refusal(value, target)
    assert line.startswith("key: ")
    assert message in line


def test_each_bad_element_of_a_list_is_told_with_its_place() -> None:
    assert refusals(["x", 1, "y", True], tuple[str, ...]) == [
        "key[1]: must be a string, not 1",
        "key[3]: must be a string, not true",
    ]


def test_each_bad_key_of_a_table_is_told_with_its_place() -> None:
    servers = ["mail:25", {"wieght": 3, "weight": 0}, {"address": "x", "weight": True}]
    lines = refusals(servers, tuple[Server, ...])
    assert [line.split(": ")[0] for line in lines] == [
        "key[1].address",
        "key[1].wieght",
        "key[1].weight",
        "key[2].address",
        "key[2].weight",
    ]
    assert lines[1].endswith('isn\'t valid here (did you mean "weight"?): there is address and weight')
    assert lines[2].endswith("must be a number from 1 to 1000, not 0")


def test_an_exception_without_a_place_in_the_list_is_told_of_the_list() -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a group, of a class that is cattrs' own
        structured([1], tuple[str, ...])
    group = caught.value.derive([ValueError("odd")])  # type: ignore[attr-defined]
    assert list(problems_in(group, "key")) == [Problem("key", "odd")]


def test_permission_bits_are_those_of_chmod() -> None:
    assert structured("0640", FileMode) == stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mx.pem", "/etc/tlsproxy/mx.pem"),
        ("tls/mx.pem", "/etc/tlsproxy/tls/mx.pem"),
        ("/var/mx.pem", "/var/mx.pem"),
        ("credential:mx.key", "/run/credentials/tlsproxy.service/mx.key"),
    ],
)
def test_a_file_is_found_beside_the_configuration_or_among_the_credentials(name: str, path: str) -> None:
    assert structured(name, FileName, "/run/credentials/tlsproxy.service") == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", 'must be the name of a file, not ""'),
        ("a\0b", "must be the name of a file"),
        ("credential:", 'must be "credential:NAME"'),
        ("credential:..", 'must be "credential:NAME"'),
        ("credential:../x", 'must be "credential:NAME"'),
        (5, "must be a string, not 5"),
    ],
)
def test_what_names_no_file_is_refused(name: object, message: str) -> None:
    assert message in refusal(name, FileName, "/run/credentials/tlsproxy.service")


def test_a_credential_needs_the_directory_that_systemd_names() -> None:
    line = refusal("credential:mx.key", FileName)
    assert "$CREDENTIALS_DIRECTORY isn't set" in line
    assert "LoadCredential=mx.key:/path" in line


@pytest.mark.parametrize("target", [ListenAddress, ServerAddress])
def test_a_socket_file_is_relative_to_the_configuration_too(target: Any) -> None:
    assert structured("unix:run/smtp.sock", target) == UnixAddress("/etc/tlsproxy/run/smtp.sock")
    assert structured("unix:/run/smtp.sock", target) == UnixAddress("/run/smtp.sock")


@pytest.mark.parametrize("text", ["unix:", "unix:@x", "unix:run/", "unix:a\0b", "unix:" + "x" * 100])
def test_what_is_no_socket_file_is_not_made_one_by_a_directory_in_front(text: str) -> None:
    assert refusal(text, ListenAddress)
