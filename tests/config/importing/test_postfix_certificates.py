"""Certificates of a Postfix server, and clients'."""

import pytest

from tests.config.importing.postfix_world import parameters
from tlsproxy.config.importing.options import Options
from tlsproxy.config.importing.postfix_certificates import put_certificates, put_client_certificates


def certificates(text: str) -> tuple[object, object, str]:
    options = Options()
    found = put_certificates(parameters(text), options)
    assert found is ("tls_certificate" in options.values)
    certificate, key = (options.values.get(name) for name in ("tls_certificate", "tls_key"))
    return (
        certificate.value if certificate is not None else None,
        key.value if key is not None else None,
        " ".join(map(str, options.remarks)),
    )


@pytest.mark.parametrize(
    ("text", "certificate", "key"),
    [
        ("", None, None),
        ("smtpd_tls_cert_file = none", None, None),
        ("smtpd_tls_cert_file = /c", "/c", None),
        ("smtpd_tls_cert_file = /c\nsmtpd_tls_key_file = /k", "/c", "/k"),
        ("smtpd_tls_cert_file = /c\nsmtpd_tls_eccert_file = /e", ["/c", "/e"], None),
        (
            "smtpd_tls_cert_file = /c\nsmtpd_tls_key_file = /k\nsmtpd_tls_eccert_file = /e",
            ["/c", "/e"],
            ["/k", "/e"],
        ),
        ("smtpd_tls_chain_files = /a.pem, /b.pem", ["/a.pem", "/b.pem"], None),
        (
            "smtpd_tls_chain_files = /a.key, /a.pem, /b.key, /b.pem",
            ["/a.pem", "/b.pem"],
            ["/a.key", "/b.key"],
        ),
        ("smtpd_tls_chain_files = /a.pem\nsmtpd_tls_cert_file = /c", "/a.pem", None),
    ],
)
def test_certificates_have_their_keys_beside_them(text: str, certificate: object, key: object) -> None:
    assert certificates(text)[:2] == (certificate, key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smtpd_tls_dcert_file = /d", "DSA certificates"),
        ("smtpd_tls_cert_file = tls/c.pem", "relative to Postfix's queue directory"),
        (
            "smtpd_tls_chain_files = /a.pem\nsmtpd_tls_cert_file = /c",
            "has no effect beside smtpd_tls_chain_files",
        ),
    ],
)
def test_what_is_left_out_is_told(text: str, message: str) -> None:
    assert message in certificates(text)[2]


REQUIRED = "smtpd_tls_req_ccert = yes\n"


def client(text: str, *, mandatory: bool) -> tuple[dict[str, object], str]:
    options = Options()
    put_client_certificates(parameters(text), options, mandatory=mandatory)
    return {name: option.value for name, option in options.values.items()}, " ".join(
        map(str, options.remarks)
    )


def test_a_certificate_is_demanded_where_tls_is() -> None:
    values, remarks = client(REQUIRED + "smtpd_tls_CAfile = /ca", mandatory=True)
    assert values == {"tls_verify_mode": "require", "tls_client_ca": "/ca"}
    assert remarks == ""


@pytest.mark.parametrize(
    ("text", "mandatory", "message"),
    [
        (REQUIRED + "smtpd_tls_CAfile = /ca", False, "nothing is asked for"),
        (REQUIRED, True, "NO client certificate is demanded"),
        ("smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = /ca", True, "would refuse them"),
        (REQUIRED + "smtpd_tls_CApath = /certs", True, "tls_client_ca is one file"),
    ],
)
def test_where_a_certificate_is_not_demanded_that_is_told(text: str, mandatory: bool, message: str) -> None:
    values, remarks = client(text, mandatory=mandatory)
    assert "tls_verify_mode" not in values
    assert message in remarks


def test_nothing_is_said_of_certificates_that_nobody_asks_for() -> None:
    assert client("smtpd_tls_CApath = /certs", mandatory=True) == ({}, "")
