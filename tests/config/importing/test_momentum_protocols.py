"""Momentum's lists of protocols."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.importing.momentum_protocols import MomentumProtocolsError, translated
from tlsproxy.policy.protocols import TlsProtocols


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("+ALL", ">=TLSv1"),
        ("+ALL:-SSLv3", ">=TLSv1"),
        ("+ALL:-SSLv3:-TLSv1.0:-TLSv1.1", ">=TLSv1.2"),
        ("+TLSv1.2:+TLSv1.3", ">=TLSv1.2"),
        ("+TLSv1.2", "TLSv1.2"),
        ("TLSv1.2", "TLSv1.2"),
        ("+all:-tlsv1.3", ">=TLSv1, <=TLSv1.2"),
        ("+ALL:-TLSv1.1", "TLSv1 TLSv1.2 TLSv1.3"),
        ("+SSLv3:+TLSv1.0", "TLSv1"),
        ("+TLSv1.2:-ALL:+TLSv1.3", "TLSv1.3"),
    ],
)
def test_names_are_added_and_taken_away(text: str, ours: str) -> None:
    assert translated(text) == ours


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "allows no TLS version"),
        ("+SSLv3", "allows no TLS version"),
        ("+ALL:-ALL", "allows no TLS version"),
        ("-SSLv3", "begins by taking SSLv3 away"),
        ("+ALL:-TLS1.0", "'TLS1.0' is no protocol"),
        (">=TLSv1.2", "is no protocol that Momentum knows"),
        ("+", "is no protocol"),
    ],
)
def test_what_cannot_be_carried_over_is_told(text: str, message: str) -> None:
    with pytest.raises(MomentumProtocolsError) as caught:
        translated(text)
    assert message in str(caught.value)


@given(
    st.lists(st.sampled_from(["+", "-", "ALL", "TLSv1.0", "TLSv1.3", "SSLv3", ":", " ", "x"])).map("".join)
)
def test_any_list_is_carried_over_or_refused(text: str) -> None:
    try:
        ours = translated(text)
    except MomentumProtocolsError:
        return
    assert TlsProtocols.parse(ours).warnings == ()
