"""Postfix's lists of protocols, carried over as Postfix carries them out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.interop.test_tls_protocols_postfix import NO_TLS, REFUSED, SAME
from tlsproxy.config.importing.postfix_protocols import carried, postfix_versions, written
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion

# What a running Postfix accepts is held against both tables where they come from.


@pytest.mark.parametrize("text", SAME)
def test_lists_that_mean_the_same_here_are_carried_over(text: str) -> None:
    versions = postfix_versions(text)
    assert versions == TlsProtocols.parse(text).versions
    result = carried(text)
    assert result.trap is None
    assert result.text is not None
    assert TlsProtocols.parse(result.text).versions == versions
    assert TlsProtocols.parse(result.text).warnings == ()


def test_a_list_stays_as_it_was_written() -> None:
    assert carried("!SSLv2, !SSLv3, !TLSv1").text == "!SSLv2, !SSLv3, !TLSv1"


@pytest.mark.parametrize(("text", "reason", "accepted"), REFUSED)
def test_traps_are_carried_out_as_postfix_does_and_told(text: str, reason: str, accepted: str) -> None:
    versions = postfix_versions(text)
    result = carried(text)
    assert result.trap
    if accepted == NO_TLS:
        assert versions is None
    else:
        assert versions == frozenset([*TlsVersion][int(digit)] for digit in accepted)
    if not versions:
        assert result.text is None
        return
    assert result.text is not None
    assert TlsProtocols.parse(result.text).versions == versions
    assert reason in result.trap


@pytest.mark.parametrize(
    ("versions", "text"),
    [
        ("0123", ">=TLSv1"),
        ("23", ">=TLSv1.2"),
        ("2", "TLSv1.2"),
        ("012", ">=TLSv1, <=TLSv1.2"),
        ("02", "TLSv1 TLSv1.2"),
    ],
)
def test_versions_are_written_in_the_fewest_words(versions: str, text: str) -> None:
    assert written([[*TlsVersion][int(digit)] for digit in versions]) == text


@given(st.sets(st.sampled_from(TlsVersion), min_size=1))
def test_what_is_written_reads_as_the_same_versions(versions: set[TlsVersion]) -> None:
    assert TlsProtocols.parse(written(versions)).versions == versions


@given(
    st.lists(st.sampled_from(["!", ">=", "<=", "TLSv1", ".2", "SSLv3", "0303", ",", " ", "x", "None", "+"]))
)
def test_any_list_is_carried_over_or_refused(parts: list[str]) -> None:
    text = "".join(parts)
    result = carried(text)
    if result.text is not None:
        assert TlsProtocols.parse(result.text).versions == postfix_versions(text)
