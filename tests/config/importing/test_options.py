"""Options collected for a scope."""

from typing import Any

import pytest

from tlsproxy.config.importing.options import Options, drop_unusable_ciphers, shared, why_invalid
from tlsproxy.config.importing.remarks import Severity, lost, note


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tls_protocols", ">=TLSv1"),
        ("address", "[::]:25"),
        ("idle_timeout", 5),
        ("tls_certificate", ["/a", "/b"]),
    ],
)
def test_a_value_that_the_configuration_takes_is_valid(name: str, value: Any) -> None:
    assert why_invalid(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("tls_protocols", ">= TLSv1", "no white space"),
        ("idle_timeout", 0, "must be a number from 1"),
        ("tls_wrappermode", "yes", "must be true or false"),
        ("smtp_hostname", "a b", "must be a host name"),
        ("tls_security_level", "verify", 'must be "none"'),
        ("no_such_option", 1, "this version of tlsproxy has no no_such_option"),
    ],
)
def test_why_another_is_not(name: str, value: Any, why: str) -> None:
    assert why in (why_invalid(name, value) or "")


def test_an_invalid_value_is_lost_and_said_so() -> None:
    options = Options()
    options.put("idle_timeout", 0, setting="smtpd_timeout = 0", where="main.cf line 1")
    assert options.values == {}
    assert [remark.severity for remark in options.remarks] == [Severity.LOST]
    assert options.loose_comments() == [str(options.remarks[0].comment)]
    assert "smtpd_timeout = 0 (main.cf line 1): idle_timeout must be" in options.loose_comments()[0]


def test_entries_are_in_the_order_of_the_reference_with_their_comments_above() -> None:
    options = Options()
    options.put("tls_wrappermode", True)
    remark = note("a = b", "", "c")
    options.put("tls_protocols", ">=TLSv1", remark)
    options.remark(lost("d", "", "e"))
    assert [(entry.key, tuple(entry.comments)) for entry in options.entries()] == [
        ("tls_protocols", (remark.comment,)),
        ("tls_wrappermode", ()),
    ]
    assert [entry.key for entry in options.entries(leave_out=["tls_protocols"])] == ["tls_wrappermode"]
    assert options.loose_comments() == ["not carried over: d: e"]


def test_what_all_scopes_have_goes_to_a_wider_one() -> None:
    scopes = [Options(), Options()]
    for number, options in enumerate(scopes):
        options.put("tls_protocols", ">=TLSv1")
        options.put("idle_timeout", 5 + number)
        options.remark(lost("a", "", "b"))
    scopes[1].put("tls_wrappermode", True)
    common = shared(scopes)
    assert [*common.values] == ["tls_protocols"]
    assert [*scopes[0].values] == ["idle_timeout"]
    assert [*scopes[1].values] == ["idle_timeout", "tls_wrappermode"]
    assert len(common.remarks) == 1
    assert scopes[0].remarks == scopes[1].remarks == []


def test_of_no_scopes_nothing_is_common() -> None:
    assert shared([]).values == {}


def test_ciphers_that_the_library_can_do_nothing_with_are_lost() -> None:
    options = Options()
    options.put("tls_ciphers", "RC4")
    options.put("tls_ciphersuites", "TLS_AES_128_GCM_SHA256")
    drop_unusable_ciphers(options, lambda text: text.startswith("TLS"))
    assert [*options.values] == ["tls_ciphersuites"]
    assert [remark.severity for remark in options.remarks] == [Severity.LOST]
