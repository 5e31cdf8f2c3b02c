"""``tlsproxy import``."""

import io
import sys
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Issued
from tlsproxy.cli.importing import MAX_FILE
from tlsproxy.cli.main import main

MAIN = """\
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_tls_protocols = {protocols}
smtpd_tls_ciphers = {grade}
tls_high_cipherlist = {ciphers}
"""
MASTER = "smtp inet n - y - - smtpd\nsmtps inet n - y - - smtpd\n  -o smtpd_tls_wrappermode=yes\n"

ECELERITY = """\
TLS_Certificate = "{certificate}"
TLS_Key = "{key}"
include "conf.d"
readonly_include "listeners.conf"
"""


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", stem="import")


@pytest.fixture
def postfix(tmp_path: Path, issued: Issued) -> Path:
    """Postfix's directory."""
    write_main(tmp_path, issued)
    (tmp_path / "master.cf").write_text(MASTER)
    return tmp_path


def write_main(directory: Path, issued: Issued, **changes: str) -> None:
    values = {"protocols": ">=TLSv1.2", "grade": "high", "ciphers": "ECDHE+AESGCM", **changes}
    text = MAIN.format(certificate=issued.chain_path, key=issued.key_path, **values)
    (directory / "main.cf").write_text(text)


def checks(directory: Path, toml: str) -> None:
    """``tlsproxy check`` finds no fault."""
    (directory / "tlsproxy.toml").write_text(toml)
    assert main(["check", str(directory / "tlsproxy.toml")]) == 0


def test_a_directory_of_postfix_comes_to_a_configuration_that_check_passes(
    postfix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["import", "postfix", str(postfix)])
    toml, said = capsys.readouterr()
    assert status == 0
    assert said.startswith("note: tls_high_cipherlist")
    checks(postfix, toml)
    out, err = capsys.readouterr()
    assert "0.0.0.0:465 (esmtp) to submissions (127.0.0.1:2465)" in out
    assert "valid, no warnings" in out
    assert err == ""


def test_main_cf_stands_for_its_directory(postfix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["import", "postfix", str(postfix)])
    whole = capsys.readouterr().out
    main(["import", "postfix", str(postfix / "main.cf")])
    assert capsys.readouterr().out == whole


def test_postconf_s_output_can_be_given_on_standard_input(
    postfix: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (postfix / "main.cf").read_bytes()
    for arguments, ports in (([], ["25"]), (["--master", str(postfix / "master.cf")], ["25", "465"])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert main(["import", "postfix", "-", *arguments, "--backend", "10.0.0.5:25"]) == 0
        toml = capsys.readouterr().out
        assert [port for port in ("25", "465") if f'"0.0.0.0:{port}"' in toml] == ports
        assert 'servers = ["10.0.0.5:25"]' in toml


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocols": "TLSv1.0"}, "not carried over: smtpd_tls_protocols = TLSv1.0 (main.cf line 4)"),
        ({"ciphers": "RC4"}, "has no cipher suite of this TLS library"),
        ({"grade": "high\nsmtpd_tls_eecdh_grade = ultra"}, "the groups for key exchange"),
    ],
)
def test_the_exit_status_tells_that_something_was_not_carried_over(
    postfix: Path, issued: Issued, capsys: pytest.CaptureFixture[str], changes: dict[str, str], said: str
) -> None:
    write_main(postfix, issued, **changes)
    assert main(["import", "postfix", str(postfix)]) == 1
    toml, err = capsys.readouterr()
    assert said in err
    checks(postfix, toml)


@pytest.fixture
def ecelerity(tmp_path: Path, issued: Issued) -> Path:
    """Momentum's directory."""
    config = tmp_path / "ecelerity.conf"
    config.write_text(ECELERITY.format(certificate=issued.chain_path, key=issued.key_path))
    (tmp_path / "conf.d" / "sub").mkdir(parents=True)
    (tmp_path / "conf.d" / ".hidden").write_text("{")
    (tmp_path / "conf.d" / "10.conf").write_text('TLS_Protocols = "+ALL"\n')
    (tmp_path / "conf.d" / "20.conf").write_text('TLS_Protocols = "+TLSv1.3"\n')
    (tmp_path / "listeners.conf").write_text(
        'ESMTP_Listener { Listen ":25" {} }\nHTTP_Listener { Listen ":2081" {} }'
    )
    return config


def test_momentum_s_configuration_is_read_with_what_it_includes(
    ecelerity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "import",
                "momentum",
                str(ecelerity),
                "--backend",
                "10.0.0.5:25",
                "--backend",
                "http=10.0.0.6:80",
            ]
        )
        == 0
    )
    toml = capsys.readouterr().out
    assert 'tls_protocols = "TLSv1.3"' in toml
    checks(ecelerity.parent, toml)
    out = capsys.readouterr().out
    assert "0.0.0.0:25 (esmtp) to momentum-esmtp (10.0.0.5:25)" in out
    assert "0.0.0.0:2081 (http) to momentum-http (10.0.0.6:80)" in out


def test_a_file_that_is_not_there_to_include_is_told(
    ecelerity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ecelerity.parent / "listeners.conf").unlink()
    ecelerity.write_text(ecelerity.read_text() + 'ESMTP_Listener { Listen ":25" {} }')
    assert main(["import", "momentum", str(ecelerity)]) == 1
    assert "can't be read: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["postfix", "momentum"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't read"),
        (b"#" * (MAX_FILE + 1), f"is larger than {MAX_FILE} bytes"),
        (b"smtpd_tls_wrappermode = yes\n\xff\xfe{", "error: "),
    ],
)
def test_without_a_result_nothing_is_printed(
    program: str, content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "main.cf"
    if content is not None:
        file.write_bytes(content)
    assert main(["import", program, str(file)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


@pytest.mark.parametrize(
    ("program", "backend", "said"),
    [
        ("postfix", "10.0.0.5", "the port is missing"),
        ("momentum", "smtp=10.0.0.5:25", "must begin with esmtp, http, stream"),
        ("momentum", "http=10.0.0.5", "the port is missing"),
    ],
)
def test_a_backend_that_is_no_address_is_a_wrong_command_line(
    program: str, backend: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["import", program, "x", "--backend", backend])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
