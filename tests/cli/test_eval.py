"""``tlsproxy eval``."""

import json
from pathlib import Path
from typing import cast

import pytest
from attrs import evolve

from tlsproxy.cli.eval import MAX_VALUE_WIDTH
from tlsproxy.cli.main import main
from tlsproxy.config.declaration import Declaration
from tlsproxy.config.settings import Settings
from tlsproxy.config.tables import OPTIONS

FILE = """
tls_certificate = "mx.pem"
[backend.injector]
servers = ["127.0.0.1:2525"]
[pathway.scanners]
tls_protocols = ">=TLSv1, <=TLSv1.2"
[[stream_listener]]
backend = "injector"
idle_timeout = 60
  [[stream_listener.listen]]
  address = "127.0.0.1:1825"
    [[stream_listener.listen.peer]]
    network = "10.3.0.0/16"
    pathway = "scanners"
    tls_renegotiation_action = "warn"
  [[stream_listener.listen]]
  address = "unix:run/stream.sock"
"""

STREAM_OPTIONS = [
    name for name, option in OPTIONS.items() if option.kinds is None or "stream" in option.kinds
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tlsproxy.toml"
    path.write_text(FILE)
    return path


def evaluated(config: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["eval", str(config), *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def row(out: str, option: str) -> list[str]:
    """The columns of an option's line."""
    (line,) = (line for line in out.splitlines() if line.startswith(f"{option} "))
    return [column.strip() for column in line.split("  ") if column]


def test_every_option_is_shown_with_the_scope_that_set_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = evaluated(config, capsys, "--listen", "127.0.0.1:1825", "--peer", "10.3.7.9")
    heading, *lines = out.splitlines()
    assert heading == '127.0.0.1:1825 (stream, backend "injector"), client 10.3.7.9, in peer 10.3.0.0/16'
    assert [line.split()[0] for line in lines] == STREAM_OPTIONS
    peer = "peer 10.3.0.0/16 of listen 127.0.0.1:1825"
    assert row(out, "tls_protocols") == [
        "tls_protocols",
        '">=TLSv1, <=TLSv1.2" (TLSv1 TLSv1.1 TLSv1.2)',
        f'{peer}, pathway "scanners"',
    ]
    assert row(out, "tls_renegotiation_action") == ["tls_renegotiation_action", '"warn"', peer]
    assert row(out, "idle_timeout") == ["idle_timeout", "60.0", "stream_listener[0]"]
    assert row(out, "tls_certificate") == ["tls_certificate", f'["{config.parent}/mx.pem"]', "global"]
    assert row(out, "tls_client_ca") == ["tls_client_ca", "(not set)", "default"]


def test_columns_are_aligned_but_for_values_too_long(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = evaluated(config, capsys, "--listen", "127.0.0.1:1825")
    values = max(map(len, STREAM_OPTIONS)) + 2
    origins = values + MAX_VALUE_WIDTH + 2
    for line in out.splitlines()[1:]:
        assert line[values - 2 : values] == "  "
        assert line[values] != " "
        if line[origins - 2 : origins] == "  ":
            assert line[origins] != " "
        else:
            assert len(line.split("  ")[-2]) > MAX_VALUE_WIDTH


def test_only_options_that_the_kind_of_listener_knows_are_shown(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = evolve(OPTIONS["idle_timeout"], kinds=frozenset({"http"}))
    monkeypatch.setitem(cast("dict[str, Declaration]", OPTIONS), "idle_timeout", foreign)
    assert "idle_timeout" not in evaluated(config, capsys)
    assert "idle_timeout" not in json.loads(evaluated(config, capsys, "--json"))[0]["options"]


def test_without_a_listen_every_listen_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = evaluated(config, capsys).rstrip("\n").split("\n\n")
    assert first.startswith('127.0.0.1:1825 (stream, backend "injector"), client in no peer\n')
    assert second.startswith(f"unix:{config.parent}/run/stream.sock (stream, ")


@pytest.mark.parametrize("text", ["127.0.0.1:01825", "127.0.0.1:1825"])
def test_a_listen_is_found_by_any_writing_of_its_address(
    config: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert evaluated(config, capsys, "--listen", text).startswith("127.0.0.1:1825 ")


def test_a_socket_file_is_found_as_the_configuration_writes_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(config, capsys, "--listen", "unix:run/stream.sock").startswith(
        f"unix:{config.parent}/run/stream.sock "
    )


def test_a_mapped_address_is_the_ipv4_client_it_stands_for(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = evaluated(config, capsys, "--listen", "127.0.0.1:1825", "--peer", "::ffff:10.3.7.9")
    assert "client 10.3.7.9, in peer 10.3.0.0/16" in out


def test_json_has_values_scopes_and_key_paths(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (listen, unix) = json.loads(evaluated(config, capsys, "--json", "--peer", "10.3.7.9"))
    options = listen.pop("options")
    assert listen == {
        "listen": "127.0.0.1:1825",
        "path": "stream_listener[0].listen[0]",
        "kind": "stream",
        "backend": "injector",
        "client": "10.3.7.9",
        "peer": "10.3.0.0/16",
    }
    assert list(options) == STREAM_OPTIONS
    assert options["tls_protocols"] == {
        "value": {"text": ">=TLSv1, <=TLSv1.2", "versions": ["TLSv1", "TLSv1.1", "TLSv1.2"]},
        "scope": 'peer 10.3.0.0/16 of listen 127.0.0.1:1825, pathway "scanners"',
        "path": "pathway.scanners.tls_protocols",
    }
    assert options["tls_renegotiation_action"]["value"] == "warn"
    assert options["tls_client_ca"] == {"value": None, "scope": "default", "path": ""}
    assert options["tls_certificate"]["value"] == [f"{config.parent}/mx.pem"]
    assert options["handshake_timeout"]["value"] == Settings().handshake_timeout
    assert (unix["client"], unix["peer"]) == ("10.3.7.9", None)


def test_json_without_a_client_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = json.loads(evaluated(config, capsys, "--json"))
    assert (first["client"], first["peer"]) == (None, None)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "127.0.0.1:26",
            "127.0.0.1:26 is no listen of {config}; there is 127.0.0.1:1825, unix:{directory}/run/stream.sock",
        ),
        ("*:1825", 'must have an IP address: "0.0.0.0:1825" or "[::]:1825" instead of "*:1825"'),
    ],
)
def test_an_address_that_is_no_listen_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], address: str, message: str
) -> None:
    assert main(["eval", str(config), "--listen", address]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: --listen {message.format(config=config, directory=config.parent)}\n"


def test_a_client_that_is_no_address_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["eval", str(config), "--peer", "10.3.0.0/16"])
    assert caught.value.code == 2
    assert (
        'must be an IP address such as 10.3.7.9 or 2001:db8::1, not "10.3.0.0/16"' in capsys.readouterr().err
    )


def test_what_is_wrong_with_the_file_is_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("zebra = 1")
    assert main(["eval", str(config)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[0] for line in err.splitlines()] == ["error", "error"]
