"""tlsproxy.tls.ciphers: lists of cipher suites, and what OpenSSL makes of them."""

import pytest
from OpenSSL import SSL

from tlsproxy.tls.ciphers import (
    TLS13_SUITES,
    cipher_list_warnings,
    effective_cipher_list,
    is_usable,
    set_ciphers,
)

DEFAULT_SUITES = "TLS_AES_128_GCM_SHA256"


def apply(cipher_list: str, ciphersuites: str = DEFAULT_SUITES) -> tuple[list[tuple[str, str]], list[str]]:
    """Problems, and the suites in force."""
    context = SSL.Context(SSL.TLS_METHOD)
    problems = list(set_ciphers(context, cipher_list, ciphersuites))
    return problems, SSL.Connection(context).get_cipher_list()


@pytest.mark.parametrize(
    ("text", "below", "effective"),
    [
        ("DEFAULT", False, "DEFAULT"),
        ("DEFAULT", True, "DEFAULT:@SECLEVEL=0"),
        ("DEFAULT:@SECLEVEL=1", True, "DEFAULT:@SECLEVEL=1"),
        ("@SECLEVEL=2:DEFAULT", False, "@SECLEVEL=2:DEFAULT"),
    ],
)
def test_security_level_0_is_for_versions_below_tls_12_and_never_overrides(
    text: str, below: bool, effective: str
) -> None:
    assert effective_cipher_list(text, reaches_below_tls12=below) == effective


def test_both_lists_come_into_force() -> None:
    problems, enabled = apply("ECDHE-RSA-AES128-GCM-SHA256", "TLS_CHACHA20_POLY1305_SHA256")
    assert problems == []
    assert enabled == ["TLS_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]


@pytest.mark.parametrize("name", TLS13_SUITES)
def test_the_library_has_every_suite_of_tls_13(name: str) -> None:
    problems, enabled = apply("ECDHE-RSA-AES128-GCM-SHA256", name)
    assert problems == []
    assert enabled[0] == name


@pytest.mark.parametrize("text", ["", "NO-SUCH-SUITE", "!ALL", "DEFAULT:!ALL", "TLS_AES_128_GCM_SHA256"])
def test_a_cipher_list_without_a_suite_is_a_problem(text: str) -> None:
    [(option, message)] = apply(text)[0]
    assert option == "tls_ciphers"
    assert repr(text) in message


@pytest.mark.parametrize("text", ["DEFAULT\0", "DEFAULT\n", "DÉFAULT"])
@pytest.mark.parametrize("option", ["tls_ciphers", "tls_ciphersuites"])
def test_what_isnt_printable_ascii_is_a_problem(text: str, option: str) -> None:
    problems, _ = apply(text, DEFAULT_SUITES) if option == "tls_ciphers" else apply("DEFAULT", text)
    assert (option, f"{text!r} isn't printable ASCII") in problems


@pytest.mark.parametrize(
    "text", ["TLS_AES_128_GCM_SHA265", "TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES128-GCM-SHA256"]
)
def test_an_unknown_suite_of_tls_13_is_a_problem_that_names_those_there_are(text: str) -> None:
    option, message = apply("DEFAULT", text)[0][-1]
    assert option == "tls_ciphersuites"
    assert f"unknown: {text.rpartition(':')[2]}" in message
    assert all(name in message for name in TLS13_SUITES)


def test_no_suite_of_tls_13_at_all_is_valid() -> None:
    assert apply("DEFAULT", "")[0] == []


@pytest.mark.parametrize(
    "text",
    [
        "DEFAULT",
        "ECDHE+AESGCM:!aNULL",
        "HIGH:!aNULL:!RC4:-3DES:+SHA1:@STRENGTH:@SECLEVEL=0",
        "ECDHE+AESGCM, AES128-SHA",
    ],
)
def test_a_good_list_has_no_warnings(text: str) -> None:
    assert list(cipher_list_warnings(text, apply(text)[1])) == []


def test_elements_that_match_nothing_are_warned_of() -> None:
    text = "ECDHE+AESGMC:AES128-SHA:RC4-MD5"
    [warning] = cipher_list_warnings(text, apply(text)[1])
    assert "'ECDHE+AESGMC', 'RC4-MD5'" in warning
    assert "'AES128-SHA'" not in warning


@pytest.mark.parametrize(
    ("text", "suite"),
    [("ALL:@SECLEVEL=0", "ADH-AES128-SHA"), ("AES128-SHA:eNULL:@SECLEVEL=0", "NULL-SHA256")],
)
def test_suites_without_authentication_or_encryption_are_warned_of(text: str, suite: str) -> None:
    [warning] = cipher_list_warnings(text, apply(text)[1])
    assert suite in warning
    assert "add !aNULL:!eNULL" in warning


@pytest.mark.parametrize("text", ["HIGH:!aNULL", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"])
def test_a_list_with_a_suite_of_the_library_is_usable(text: str) -> None:
    assert is_usable(text)


@pytest.mark.parametrize("text", ["RC4", "", "nonsense", "TLS_AES_128_GCM_SHA256:TLS_NONSENSE", "häßlich"])
def test_a_list_without_one_is_not(text: str) -> None:
    assert not is_usable(text)
