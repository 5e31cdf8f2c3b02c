"""Whom a candidate for ``tls_protocols`` would refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.policy.candidate import is_stricter, refuses_nobody, would_refuse
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion

VERSIONS = st.sets(st.sampled_from(TlsVersion), min_size=1)


def protocols(versions: set[TlsVersion]) -> TlsProtocols:
    return TlsProtocols(" ".join(version.label for version in versions), frozenset(versions))


@pytest.mark.parametrize(
    ("candidate", "negotiated", "named", "refused"),
    [
        (">=TLSv1.2", 0x0301, (), True),
        (">=TLSv1.2", 0x0302, (), True),
        (">=TLSv1.2", 0x0303, (), False),
        (">=TLSv1.2", 0x0304, (0x0303, 0x0304), False),
        (">=TLSv1.3", 0x0303, (), True),
        ("<=TLSv1.2", 0x0304, (0x0303, 0x0304), False),
        ("<=TLSv1.2", 0x0304, (0x0304,), True),
        ("!TLSv1.2", 0x0303, (0x0302, 0x0303), False),
    ],
)
def test_a_client_is_refused_when_nothing_that_it_offered_is_left(
    candidate: str, negotiated: int, named: tuple[int, ...], refused: bool
) -> None:
    assert would_refuse(TlsProtocols.parse(candidate), negotiated, named) is refused


def test_a_client_that_only_says_how_far_up_it_goes_may_not_go_lower() -> None:
    assert would_refuse(TlsProtocols.parse("<=TLSv1.1"), TlsVersion.TLS1_2, ())


def test_versions_that_nobody_knows_save_no_client() -> None:
    assert would_refuse(TlsProtocols.parse(">=TLSv1.3"), TlsVersion.TLS1_2, (0x0303, 0x7F1C))


@given(candidate=VERSIONS, today=VERSIONS, named=VERSIONS)
def test_the_verdict_is_that_of_a_server_which_picks_the_highest_common_version(
    candidate: set[TlsVersion], today: set[TlsVersion], named: set[TlsVersion]
) -> None:
    if today & named:
        verdict = would_refuse(protocols(candidate), max(today & named), named)
        assert verdict is not bool(candidate & named)


@given(candidate=VERSIONS, today=VERSIONS, named=VERSIONS)
def test_a_candidate_that_is_not_stricter_refuses_nobody_who_is_served(
    candidate: set[TlsVersion], today: set[TlsVersion], named: set[TlsVersion]
) -> None:
    if today & named and not is_stricter(protocols(candidate), protocols(today)):
        assert not would_refuse(protocols(candidate), max(today & named), named)


def test_stricter_is_what_lacks_a_version() -> None:
    today = TlsProtocols.parse(">=TLSv1.1")
    assert is_stricter(TlsProtocols.parse(">=TLSv1.2"), today)
    assert is_stricter(TlsProtocols.parse("TLSv1 TLSv1.2"), today)
    assert not is_stricter(TlsProtocols.parse(">=TLSv1"), today)
    assert not is_stricter(TlsProtocols.parse(">=TLSv1.1"), today)


def test_a_candidate_with_every_version_refuses_nobody() -> None:
    assert refuses_nobody(TlsProtocols.parse(""))
    assert refuses_nobody(TlsProtocols.parse(">=TLSv1"))
    assert not refuses_nobody(TlsProtocols.parse("<=TLSv1.2"))
