"""Which certificates may take the place of those in use."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from tlsproxy.policy.certificate_guard import CertificateFacts, problems
from tlsproxy.policy.tlsa import ChainPart, Matching, Selector, TlsaRecord, Usage

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PATH = "/etc/mx.pem"


def facts(
    *names: str, key: bytes = b"key", begin: datetime = NOW - DAY, end: datetime = NOW + DAY
) -> CertificateFacts:
    issuer = (NOW - 100 * DAY, NOW + 100 * DAY)
    chain = (ChainPart(b"leaf", key), ChainPart(b"issuer", b"issuer key"))
    return CertificateFacts(PATH, frozenset(names), ((begin, end), issuer), chain)


def record(owner: str, key: bytes, usage: Usage = Usage.DANE_EE) -> TlsaRecord:
    return TlsaRecord(owner, usage, Selector.SPKI, Matching.SHA2_256, sha256(key).digest())


def test_a_good_renewal_is_taken() -> None:
    assert problems([facts("mx.example.org")], (), NOW, {PATH: {"mx.example.org"}}) == ()


@pytest.mark.parametrize(
    ("certificate", "problem"),
    [
        (facts("mx.example.org", end=NOW - DAY), f"{PATH}: expired on 2026-11-22 12:00 UTC"),
        (
            facts("mx.example.org", begin=NOW + DAY, end=NOW + 2 * DAY),
            f"{PATH}: isn't valid before 2026-11-24 12:00 UTC",
        ),
    ],
)
def test_time_is_looked_at(certificate: CertificateFacts, problem: str) -> None:
    assert problems([certificate], (), NOW, {}) == (problem,)


def test_a_name_must_not_get_lost() -> None:
    before = {PATH: {"mx.example.org", "mail.example.org", "old.example.org"}}
    assert problems([facts("mx.example.org")], (), NOW, before) == (
        f"{PATH}: is no longer for mail.example.org, old.example.org, as the one in use is",
    )


def test_a_name_may_move_to_another_certificate_and_a_file_may_go() -> None:
    other = CertificateFacts("/etc/b.pem", frozenset({"b.example.org"}), facts().validity, facts().chain)
    before = {PATH: {"a.example.org", "b.example.org"}, "/etc/gone.pem": {"gone.example.org"}}
    assert problems([facts("a.example.org"), other], (), NOW, before) == ()


def test_one_record_of_each_set_for_its_names_must_match() -> None:
    smtp, smtps = "_25._tcp.mx.example.org", "_465._tcp.mx.example.org"
    ahead = record(smtp, b"next key")
    good = [record(smtp, b"key"), ahead, record(smtps, b"issuer key", Usage.DANE_TA)]
    assert problems([facts("mx.example.org")], good, NOW, {}) == ()
    assert problems([facts("mx.example.org")], [ahead, *good[2:]], NOW, {}) == (
        f"{PATH}: matches no TLSA record of {smtp}",
    )


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("mx.example.org", True),
        ("*.example.org", True),
        ("example.org", False),
        ("*.mx.example.org", False),
        ("*.org", False),
    ],
)
def test_records_are_for_the_certificates_of_their_name(name: str, about: bool) -> None:
    found = problems([facts(name)], [record("_25._tcp.mx.example.org", b"other key")], NOW, {})
    assert bool(found) is about


def test_records_without_an_owner_are_for_all() -> None:
    assert problems([facts("x.example")], [record("", b"other key")], NOW, {}) == (
        f"{PATH}: matches no TLSA record",
    )
