"""Parameters looked up."""

import pytest

from tests.config.importing.postfix_world import parameters
from tlsproxy.config.importing.postfix_defaults import DEFAULTS
from tlsproxy.config.importing.postfix_expand import expand


def test_what_is_set_stands_before_the_default() -> None:
    looked_up = parameters("smtpd_tls_loglevel = 1")
    assert looked_up.string("smtpd_tls_loglevel") == "1"
    assert looked_up.is_set("smtpd_tls_loglevel")
    assert (looked_up.string("smtpd_tls_ciphers"), looked_up.is_set("smtpd_tls_ciphers")) == ("medium", False)


def test_defaults_refer_to_what_is_set() -> None:
    assert parameters("smtpd_tls_cert_file = /a").string("smtpd_tls_key_file") == "/a"


def test_the_domain_is_what_follows_the_first_dot_of_the_host_name() -> None:
    assert parameters("myhostname = mx.example.org").string("mydomain") == "example.org"
    assert parameters("myhostname = mx.example.org\nx = /$mydomain").string("x") == "/example.org"
    assert parameters("myhostname = mx\nx = $mydomain").string("x") == "localdomain"
    assert parameters("myhostname = mx.a\nmydomain = b\nx = $mydomain").string("x") == "b"


def test_a_parameter_that_cannot_be_expanded_is_the_default_and_told() -> None:
    looked_up = parameters("smtpd_tls_ciphers = $smtpd_tls_ciphers")
    assert looked_up.string("smtpd_tls_ciphers") == "medium"
    assert "refers to itself" in str(looked_up.remarks[0])


def test_a_name_that_these_files_do_not_set_is_told() -> None:
    looked_up = parameters("smtpd_tls_cert_file = /etc/$nothing/x")
    assert looked_up.string("smtpd_tls_cert_file") == "/etc//x"
    assert "refers to $nothing" in str(looked_up.remarks[0])


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("YES", True), ("no", False), ("maybe", False)])
def test_a_boolean_is_yes_or_no(text: str, value: bool) -> None:
    looked_up = parameters(f"smtpd_tls_auth_only = {text}")
    assert looked_up.boolean("smtpd_tls_auth_only") is value
    assert len(looked_up.remarks) == (text == "maybe")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5), ("5s", 5), ("2m", 120), ("1h", 3600), ("1D", 86_400), ("x", 300)]
)
def test_a_time_has_a_unit(text: str, seconds: int) -> None:
    looked_up = parameters(f"smtpd_timeout = {text}")
    assert looked_up.seconds("smtpd_timeout") == seconds
    assert len(looked_up.remarks) == (text == "x")


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("-1", 50), ("x", 50)])
def test_a_number_is_whole(text: str, number: int) -> None:
    assert (
        parameters(f"smtpd_client_connection_count_limit = {text}").number(
            "smtpd_client_connection_count_limit"
        )
        == number
    )


def test_a_list_is_separated_by_commas_and_white_space() -> None:
    assert parameters("mynetworks = a, b\n  c").strings("mynetworks") == ["a", "b", "c"]


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_default_can_be_expanded(name: str) -> None:
    assert expand(DEFAULTS[name], DEFAULTS.get)[1] == frozenset()
