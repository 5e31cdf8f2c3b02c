"""What one smtpd service does about TLS."""

from typing import Any

import pytest

from tests.config.importing.postfix_world import parameters
from tlsproxy.config.importing.postfix_smtpd import translated

CERTIFICATE = "smtpd_tls_cert_file = /c\n"
MAY = CERTIFICATE + "smtpd_tls_security_level = may\n"
ENCRYPT = CERTIFICATE + "smtpd_tls_security_level = encrypt\n"
WRAPPER = CERTIFICATE + "smtpd_tls_wrappermode = yes\n"


def values(text: str, **how: bool) -> dict[str, Any]:
    return {name: option.value for name, option in translated(parameters(text), **how).options.values.items()}


def remarks(text: str) -> list[str]:
    return [remark.comment for remark in translated(parameters(text)).options.remarks]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        (CERTIFICATE, "none"),
        (CERTIFICATE + "smtpd_use_tls = yes", "may"),
        (CERTIFICATE + "smtpd_enforce_tls = yes", "encrypt"),
        (CERTIFICATE + "smtpd_tls_security_level = none\nsmtpd_use_tls = yes", "none"),
        (MAY, "may"),
        (ENCRYPT, "encrypt"),
        (CERTIFICATE + "smtpd_tls_security_level = Verify", "encrypt"),
        (CERTIFICATE + "smtpd_tls_security_level = nonsense", "encrypt"),
        (MAY + "smtpd_discard_ehlo_keywords = starttls", "none"),
        (ENCRYPT + "smtpd_discard_ehlo_keywords = starttls", "encrypt"),
        ("smtpd_tls_security_level = may", "none"),
    ],
)
def test_the_level_is_postfix_s(text: str, level: str) -> None:
    assert values(text)["tls_security_level"] == level


def test_wrappermode_stands_before_the_level() -> None:
    found = values(WRAPPER + "smtpd_tls_security_level = none")
    assert found["tls_wrappermode"] is True
    assert "tls_security_level" not in found


def test_postscreen_s_own_parameters_decide_where_it_stands_before_smtpd() -> None:
    text = MAY + "postscreen_tls_security_level = none"
    assert values(text)["tls_security_level"] == "may"
    assert values(text, postscreen=True)["tls_security_level"] == "none"
    assert values(MAY, postscreen=True)["tls_security_level"] == "may"


def test_wrappermode_without_a_certificate_is_of_no_use() -> None:
    assert not translated(parameters("smtpd_tls_wrappermode = yes")).usable
    assert any("has no certificate" in remark for remark in remarks("smtpd_tls_wrappermode = yes"))


@pytest.mark.parametrize(
    ("text", "protocols"),
    [
        (MAY, ">=TLSv1"),
        (MAY + "smtpd_tls_protocols = !TLSv1", "!TLSv1"),
        (MAY + "smtpd_tls_mandatory_protocols = TLSv1.3", ">=TLSv1"),
        (ENCRYPT + "smtpd_tls_mandatory_protocols = TLSv1.3", "TLSv1.3"),
        (WRAPPER + "smtpd_tls_mandatory_protocols = TLSv1.3", "TLSv1.3"),
        (ENCRYPT + "smtpd_tls_protocols = TLSv1.3", ">=TLSv1"),
        (MAY + "smtpd_tls_protocols = >= TLSv1.2", "TLSv1.2"),
        (MAY + "smtpd_tls_protocols =", ">=TLSv1"),
    ],
)
def test_the_list_that_counts_depends_on_whether_tls_is_demanded(text: str, protocols: str) -> None:
    assert values(text)["tls_protocols"] == protocols


@pytest.mark.parametrize("text", ["TLSv1.0", ">=TLSv1.3, <=TLSv1.2"])
def test_a_list_that_allows_nothing_is_lost(text: str) -> None:
    assert "tls_protocols" not in values(MAY + f"smtpd_tls_protocols = {text}")
    [remark] = [each for each in remarks(MAY + f"smtpd_tls_protocols = {text}") if each.startswith("not")]
    assert "Here is tlsproxy's default, >=TLSv1.2" in remark


@pytest.mark.parametrize(
    ("text", "auth_only"),
    [
        (MAY, None),
        (MAY + "smtpd_sasl_auth_enable = yes", False),
        (MAY + "smtpd_sasl_auth_enable = yes\nsmtpd_tls_auth_only = yes", None),
        (ENCRYPT + "smtpd_sasl_auth_enable = yes", None),
    ],
)
def test_passwords_in_the_clear_are_allowed_where_they_are(text: str, auth_only: bool | None) -> None:
    assert values(text).get("tls_auth_only") is auth_only


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ("", "normalize"),
        ("yes", "normalize"),
        ("normalize", "normalize"),
        ("reject", "reject"),
        ("no", "normalize"),
        ("x", "normalize"),
    ],
)
def test_bare_newlines_never_pass(value: str, ours: str) -> None:
    assert values(f"smtpd_forbid_bare_newline = {value}")["smtp_bare_newline"] == ours


def test_keywords_are_discarded_without_those_that_are_no_keywords() -> None:
    text = "smtpd_discard_ehlo_keywords = silent-discard, ETRN, chunking"
    assert values(text)["smtp_discard_ehlo_keywords"] == ["ETRN", "chunking"]


def test_limits_of_a_client_are_carried_over_by_the_minute() -> None:
    found = values(
        "smtpd_client_connection_rate_limit = 30\nsmtpd_client_new_tls_session_rate_limit = 7\nanvil_rate_time_unit = 30s"
    )
    assert found["max_sessions_per_peer"] == 50
    assert found["session_rate_per_peer"] == 60
    assert found["handshake_rate_per_peer"] == 14
    assert values("smtpd_client_connection_rate_limit = 30")["session_rate_per_peer"] == 30


def test_times_are_carried_over_where_they_are_set() -> None:
    assert values(MAY + "smtpd_starttls_timeout = 1m")["handshake_timeout"] == 60
    assert "handshake_timeout" not in values(MAY)
    assert 120 in values("smtpd_timeout = 2m").values()


@pytest.mark.parametrize(
    "setting",
    [
        "smtpd_tls_eecdh_grade = ultra",
        "smtpd_tls_dh1024_param_file = /dh.pem",
        "tls_server_sni_maps = hash:/sni",
        "smtpd_tls_received_header = yes",
        "smtpd_tls_session_cache_timeout = 1h",
        "tls_preempt_cipherlist = yes",
        "smtpd_discard_ehlo_keyword_address_maps = cidr:/x",
    ],
)
def test_what_has_no_counterpart_is_lost(setting: str) -> None:
    assert any(remark.startswith(f"not carried over: {setting}") for remark in remarks(MAY + setting))


@pytest.mark.parametrize(
    "setting",
    [
        "smtpd_tls_eecdh_grade = auto",
        "smtpd_tls_received_header = no",
        "tls_server_sni_maps =",
        "smtpd_recipient_restrictions = reject",
        "smtp_tls_security_level = dane",
    ],
)
def test_nothing_is_said_of_what_changes_nothing(setting: str) -> None:
    assert remarks(MAY + setting) == remarks(MAY) == []


@pytest.mark.parametrize("setting", ["smtpd_tls_loglevel = 1", "smtpd_tls_session_cache_database = btree:/x"])
def test_what_is_needless_is_noted(setting: str) -> None:
    [remark] = remarks(MAY + setting)
    assert remark.startswith(f"note: {setting}")
