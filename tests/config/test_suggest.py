"""Suggestions for words that aren't valid."""

import pytest

from tlsproxy.config.suggest import alternatives, closest, did_you_mean

WORDS = ("tls_protocols", "tls_ciphers", "idle_timeout")


@pytest.mark.parametrize(
    "slip", ["tls_protocol", "tls-protocols", "TLS_Protocols", "smtpd_tls_protocols", "tls_protcols"]
)
def test_a_slip_is_recognised_whatever_its_case_and_hyphens(slip: str) -> None:
    assert closest(slip, WORDS) == "tls_protocols"
    assert did_you_mean(slip, WORDS) == ' (did you mean "tls_protocols"?)'


def test_nothing_is_suggested_for_a_word_like_no_other() -> None:
    assert closest("zebra", WORDS) is None
    assert did_you_mean("zebra", WORDS) == ""
    assert did_you_mean("zebra", ()) == ""


def test_alternatives_read_as_a_sentence_does() -> None:
    assert alternatives(["a"]) == "a"
    assert alternatives(["a", "b"]) == "a or b"
    assert alternatives(["a", "b", "c"], "and") == "a, b and c"
