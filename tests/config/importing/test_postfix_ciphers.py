"""The cipher suites of a Postfix server."""

import pytest

from tests.config.importing.postfix_world import parameters
from tlsproxy.config.importing.options import Options
from tlsproxy.config.importing.postfix_ciphers import put_ciphers


def ciphers(text: str, *, mandatory: bool = False) -> tuple[str | None, str]:
    options = Options()
    put_ciphers(parameters(text), options, mandatory=mandatory)
    option = options.values.get("tls_ciphers")
    return (option.value if option is not None else None), " ".join(map(str, options.remarks))


@pytest.mark.parametrize(
    ("text", "mandatory", "expected"),
    [
        ("", False, "HIGH:!aNULL"),
        ("smtpd_tls_ciphers = high", False, "HIGH:!aNULL"),
        ("smtpd_tls_exclude_ciphers = MD5, aNULL : RC4 MD5", False, "HIGH:!MD5:!aNULL:!RC4"),
        ("smtpd_tls_mandatory_exclude_ciphers = RC4", False, "HIGH:!aNULL"),
        ("smtpd_tls_exclude_ciphers = A\nsmtpd_tls_mandatory_exclude_ciphers = B", True, "HIGH:!A:!B:!aNULL"),
        ("tls_medium_cipherlist = ECDHE+AESGCM", False, "ECDHE+AESGCM:!aNULL"),
        ("tls_high_cipherlist = ECDHE+AESGCM", False, "HIGH:!aNULL"),
        ("tls_high_cipherlist = A\nsmtpd_tls_mandatory_ciphers = high", True, "A:!aNULL"),
    ],
)
def test_a_grade_stands_for_a_list_with_exclusions(text: str, mandatory: bool, expected: str) -> None:
    value, _ = ciphers(text, mandatory=mandatory)
    assert value == expected


def test_anonymous_suites_are_left_out_of_an_own_list_and_that_is_said() -> None:
    assert "takes no suites without a certificate" in ciphers("tls_medium_cipherlist = ECDHE+AESGCM")[1]


def test_the_null_grade_is_not_carried_over() -> None:
    value, remarks = ciphers("smtpd_tls_ciphers = null")
    assert value is None
    assert "TLS without encryption" in remarks


@pytest.mark.parametrize("text", ["smtpd_tls_ciphers = strong", "smtpd_tls_exclude_ciphers = !MD5"])
def test_what_is_no_grade_and_no_cipher_is_told(text: str) -> None:
    value, remarks = ciphers(text)
    assert value == "HIGH:!aNULL"
    assert text in remarks
