"""``tlsproxy check``."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Issued
from tlsproxy.cli.main import main

FILE = """
tls_certificate = "{certificate}"
tls_key = "{key}"
[backend.injector]
servers = ["127.0.0.1:2525"]
[pathway.scanners]
tls_protocols = ">=TLSv1, <=TLSv1.2"
tls_ciphers = "DEFAULT"
[[stream_listener]]
backend = "injector"
  [[stream_listener.listen]]
  address = "127.0.0.1:1825"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "tlsproxy.toml"


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", stem="check", not_after=datetime.now(UTC) + timedelta(days=90))


@pytest.fixture(scope="module")
def valid(issued: Issued) -> str:
    return FILE.format(certificate=issued.chain_path, key=issued.key_path)


def peer(network: str, options: str) -> str:
    return f'[[stream_listener.listen.peer]]\nnetwork = "{network}"\n{options}\n'


def checked(config: Path, text: str) -> int:
    config.write_text(text)
    return main(["check", str(config)])


def test_a_valid_file_is_summed_up(
    config: Path, valid: str, issued: Issued, capsys: pytest.CaptureFixture[str]
) -> None:
    text = valid + peer("10.3.0.0/16", 'pathway = "scanners"') + peer("10.4.0.0/16", "idle_timeout = 5")
    assert checked(config, text) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        f"{config}: valid, no warnings",
        "127.0.0.1:1825 (stream) to injector (127.0.0.1:2525)",
        f"  certificate for mx.example.org (ECDSA), valid until {issued.certificate.not_valid_after_utc:%Y-%m-%d}",
        "  TLSv1.2 TLSv1.3, renegotiation refused",
        "  10.3.0.0/16: TLSv1 TLSv1.1 TLSv1.2, renegotiation refused",
    ]


def test_a_listen_without_tls_is_summed_up_as_such(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
    tls_security_level = "none"
    [backend.old]
    servers = ["127.0.0.1:2525"]
    identity = "xclient"
    [[esmtp_listener]]
    backend = "old"
      [[esmtp_listener.listen]]
      address = "127.0.0.1:25"
    """
    assert checked(config, text) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines()[1:] == ["127.0.0.1:25 (esmtp) to old (127.0.0.1:2525)", "  no TLS"]


def test_peers_with_one_policy_are_summed_up_in_one_line(
    config: Path, valid: str, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = [peer(f"10.{number}.0.0/16", "tls_allow_renegotiation = true") for number in range(5)]
    certificates = f'tls_verify_mode = "require"\ntls_client_ca = "{authority.path}"'
    peers += [peer(f"10.{number}.0.0/16", certificates) for number in (7, 8, 9)]
    assert checked(config, valid + 'pathway = "scanners"\n' + "".join(peers)) == 0
    everybody = "TLSv1 TLSv1.1 TLSv1.2, renegotiation refused"
    assert capsys.readouterr().out.splitlines()[3:] == [
        f"  {everybody}",
        "  10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 2 more: TLSv1 TLSv1.1 TLSv1.2, renegotiation allowed",
        f"  10.7.0.0/16, 10.8.0.0/16, 10.9.0.0/16: {everybody}, client certificate required",
    ]


def test_certificates_are_named_by_a_few_of_their_names(
    config: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    many = authority.issue(*(f"{letter}.example.org" for letter in "ebdac"))
    none = authority.issue(common_name="An old appliance")
    text = FILE.replace('"{certificate}"', f'["{many.chain_path}", "{none.chain_path}"]')
    assert checked(config, text.replace('"{key}"', f'["{many.key_path}", "{none.key_path}"]')) == 0
    of_many, of_none = capsys.readouterr().out.splitlines()[2:4]
    assert of_many.startswith(
        "  certificate for a.example.org, b.example.org, c.example.org, 2 more (ECDSA), valid until "
    )
    assert of_none.startswith("  certificate for no name (ECDSA), valid until ")


def test_warnings_are_told_and_are_no_failure(
    config: Path, valid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(config, valid) == 0
    out, err = capsys.readouterr()
    assert err == "warning: pathway.scanners: is never used: no listener, listen or peer names this pathway\n"
    assert out.startswith(f"{config}: valid, 1 warning\n")


def test_every_error_is_told_on_a_line_of_its_own(
    config: Path, valid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(config, valid + 'idle_timeout = 0\nzebra = 1\ntls_key = "missing.key"') == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0] == (
        "error: stream_listener[0].listen[0].idle_timeout: must be a number from 1 to 604800 seconds, not 0"
    )
    assert lines[1].startswith("error: stream_listener[0].listen[0].zebra: ")


def test_a_missing_key_file_is_an_error(config: Path, valid: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(config, valid + 'tls_key = "missing.key"') == 1
    assert capsys.readouterr().err.startswith("error: stream_listener[0].listen[0].tls_key: ")


def test_a_quoted_value_does_not_break_the_line(
    config: Path, valid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(config, valid.replace("127.0.0.1:1825", r"systemd:x\nerror: y\u001b[2J\u202e")) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert r"x\nerror: y\x1b[2J\u202e" in err


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.toml"
    assert main(["check", str(missing)]) == 1
    assert capsys.readouterr().err == f"error: can't read {missing}: No such file or directory\n"


def test_without_a_file_the_command_line_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check"])
    assert caught.value.code == 2
    assert "FILE" in capsys.readouterr().err
