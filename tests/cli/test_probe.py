"""``tlsproxy probe HOST:PORT``: the command."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.injectable import Injectable
from tests.support.processes import free_port
from tests.support.servers import Server
from tlsproxy.cli.main import main

GOOD = {"EHLO": "250-old.example\n250 STARTTLS"}


@pytest.fixture
def address(authority: Authority) -> Iterator[str]:
    """Of a server with nothing bad."""
    mail = Injectable("smtp", authority.issue("localhost", key_type="rsa"), forgetful=True, replies=GOOD)
    with Server(mail.handle) as server:
        yield f"localhost:{server.address.rpartition(':')[2]}"


def probe(address: str, *options: str) -> int:
    return main(["probe", address, "--starttls", "smtp", "--connections", "16", "--timeout", "5", *options])


def test_there_is_a_line_for_each_finding(
    authority: Authority, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(address, "--ca", str(authority.path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ok       STARTTLS injection     plaintext behind STARTTLS is thrown away" in lines
    assert lines[-1].startswith(f"{address}, 16 connections in ")


def test_something_bad_is_told_by_the_exit_status(
    authority: Authority, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(address, "--ca", str(authority.path), "--expect", "TLSv1.3") == 1
    assert "bad      TLSv1.2 " in capsys.readouterr().out


def test_json_says_what_was_probed(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without ``--ca``: nobody verifies a stranger's mail server."""
    assert probe(address, "--json", "--servername", "mx.example.org") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["server"], told["name"], told["starttls"]) == (address, "mx.example.org", "smtp")
    assert told["connections"] == 16
    verdicts = {each["what"]: each["verdict"] for each in told["findings"]}
    assert verdicts["certificate names"] == verdicts["certificate chain"] == "warn"


def test_who_can_not_be_reached_is_neither_good_nor_bad(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert probe(address) == 3
    assert capsys.readouterr().err == f"error: {address}: can't connect: Connection refused\n"


def test_a_file_of_authorities_that_is_none_is_told(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(address, "--ca", "/nonexistent") == 2
    assert "error: --ca /nonexistent: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--expect", ">=TLSv4"], "the versions are SSLv2 SSLv3 TLSv1"),
        (["--timeout", "soon"], 'must be a number of seconds up to 180, not "soon"'),
        (["--timeout", "nan"], "must be a number of seconds"),
        (["--connections", "0"], 'must be a number from 1 to 1000, not "0"'),
        (["--starttls", "ftp"], "invalid choice: 'ftp'"),
    ],
)
def test_a_wrong_option_is_explained(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["probe", "localhost:25", *options])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err
