"""Momentum's options, in ours."""

from typing import Any

import pytest

from tlsproxy.config.importing.momentum_files import Assignment, parse
from tlsproxy.config.importing.momentum_scopes import boolean, text_of, translate
from tlsproxy.config.importing.options import Options


def options(text: str) -> Options:
    assignments = {each.name: each for each in parse(text, "f") if isinstance(each, Assignment)}
    return translate(assignments)


def values(text: str) -> dict[str, Any]:
    return {name: option.value for name, option in options(text).values.items()}


def remarks(text: str) -> list[str]:
    return [remark.comment for remark in options(text).remarks]


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("TLS_Allow_Renegotiation = false", {"tls_allow_renegotiation": False}),
        ("TLS_Allow_Renegotiation = TRUE", {"tls_allow_renegotiation": True}),
        ('TLS_Protocols = "+ALL:-SSLv3:-TLSv1.0:-TLSv1.1"', {"tls_protocols": ">=TLSv1.2"}),
        ('TLS_Ciphers = "DEFAULT:!LOW:!EXP"', {"tls_ciphers": "DEFAULT:!LOW:!EXP"}),
        ('TLSv13_Ciphersuites = "TLS_AES_128_GCM_SHA256"', {"tls_ciphersuites": "TLS_AES_128_GCM_SHA256"}),
        ("TLS_Certificate = /c\nTLS_Key = /k", {"tls_certificate": "/c", "tls_key": "/k"}),
        ("TLS_Client_CA = /ca", {"tls_client_ca": "/ca"}),
        ("TLS_Verify_Mode = require", {"tls_verify_mode": "require"}),
        ("TLS_Verify_Mode = none", {"tls_verify_mode": "none"}),
        ("Starttls_Injection_Policy = ignore", {"starttls_injection_policy": "ignore"}),
        ("Use_SSL = true", {"tls_wrappermode": True}),
        ("Idle_Time = 300", {"idle_timeout": 300}),
        ("ECStream_Idle_Time = 300", {"idle_timeout": 300}),
        ("Listener_Sessions = 1800", {"max_sessions": 1800}),
        ("hostname = mta.example.org", {"smtp_hostname": "mta.example.org"}),
        ("Relay_Hosts = ( 10.0.0.0/8 )\nmax_retries = 5", {}),
    ],
)
def test_an_option_has_its_counterpart(text: str, ours: dict[str, Any]) -> None:
    assert values(text) == ours


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TLS_Allow_Renegotiation = maybe", "is neither true nor false"),
        ("TLS_Protocols = '+TLS1.2'", "What holds is the wider scope's tls_protocols"),
        ("TLS_Ciphers = NORMAL", "a priority string of GnuTLS"),
        ("TLS_Certificate = none", "takes the wider scope's away"),
        ("TLS_Verify_Mode = optional", "is neither none nor require"),
        ("Starttls_Injection_Policy = allow", "CVE-2011-0411"),
        ("Idle_Time = 0", "0 is no limit"),
        ("Idle_Time = x", "is no number of seconds"),
        ("Listener_Sessions = x", "is no number"),
        ("Use_SSL = x", "is neither true nor false"),
        ("TLS_DHParams_File = /x", "no file with parameters for DHE"),
        ("Service_Sessions = 5", "over several listeners"),
        ("TLS_Something = 5", "has no counterpart"),
    ],
)
def test_what_has_none_is_lost(text: str, message: str) -> None:
    assert values(text) == {}
    [remark] = remarks(text)
    assert remark.startswith("not carried over: ")
    assert message in remark


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TLS_Allow_Renegotiation = true", "RFC 5746"),
        ("TLS_Protocols = '+ALL'", "RHEL's"),
        ("TLS_Verify_Mode = require", "leaves it to policy scripts"),
    ],
)
def test_where_momentum_does_otherwise_that_is_noted(text: str, message: str) -> None:
    [remark] = remarks(text)
    assert remark.startswith("note: ")
    assert message in remark


def test_outbound_options_are_not_spoken_of_here() -> None:
    assert remarks("tls = required\ntls_verify = host\ntls_ca = /x") == []


def test_a_value_is_one_text_and_a_boolean_has_many_words() -> None:
    [listed] = parse("a = ( b c )", "f")
    assert isinstance(listed, Assignment)
    assert text_of(listed) == "b c"
    assert [boolean(Assignment("a", word, ""), Options()) for word in ("on", "No", "1", "x")] == [
        True,
        False,
        True,
        None,
    ]
