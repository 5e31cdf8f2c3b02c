"""Each fault of a certificate is told."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, PrivateKey
from tlsproxy.cli.server_probe.certificates import certificate_findings
from tlsproxy.cli.server_probe.findings import Finding, Verdict
from tlsproxy.tls.reasons import VerifyError

NOW = datetime.now(UTC)
UNKNOWN_ISSUER = VerifyError(20, 0)


def judged(
    chain: list[x509.Certificate],
    name: str = "mx.example.org",
    *,
    error: VerifyError | None = None,
    opportunistic: bool = False,
) -> dict[str, Finding]:
    return {
        each.what: each for each in certificate_findings(chain, error, name, NOW, opportunistic=opportunistic)
    }


def self_signed(key: PrivateKey, hash_algorithm: hashes.HashAlgorithm) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.example.org")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=90))
    return builder.sign(key, hash_algorithm)


def test_a_good_one_is_all_in_order(authority: Authority) -> None:
    end = NOW + timedelta(days=60, hours=1)
    found = judged([authority.issue("mx.example.org", not_after=end).certificate])
    assert {each.verdict for each in found.values()} == {Verdict.OK}
    assert found["certificate names"].facts["names"] == ["mx.example.org"]
    assert found["certificate key"].facts == {"type": "ECDSA", "bits": 256}
    assert found["certificate validity"].facts["days_left"] == 60


def test_none_at_all_is_bad() -> None:
    assert judged([])["certificate"].verdict is Verdict.BAD


@pytest.mark.parametrize(("opportunistic", "verdict"), [(False, Verdict.BAD), (True, Verdict.WARN)])
def test_who_can_not_be_verified_is_bad_unless_nobody_verifies(
    authority: Authority, opportunistic: bool, verdict: Verdict
) -> None:
    chain = [authority.issue("other.example.org").certificate]
    found = judged(chain, error=UNKNOWN_ISSUER, opportunistic=opportunistic)
    assert found["certificate chain"].verdict is verdict
    assert "its issuer is unknown" in found["certificate chain"].detail
    assert found["certificate names"].verdict is verdict
    assert "not for mx.example.org" in found["certificate names"].detail


@pytest.mark.parametrize(
    ("days", "verdict", "told"),
    [(-1, Verdict.BAD, "expired on"), (10, Verdict.WARN, "days left"), (60, Verdict.OK, "days left")],
)
def test_the_days_left_are_judged(authority: Authority, days: int, verdict: Verdict, told: str) -> None:
    end = NOW + timedelta(days=days)
    chain = [
        authority.issue("mx.example.org", not_before=NOW - timedelta(days=90), not_after=end).certificate
    ]
    found = judged(chain)["certificate validity"]
    assert found.verdict is verdict
    assert told in found.detail


def test_one_of_tomorrow_is_bad(authority: Authority) -> None:
    tomorrow = NOW + timedelta(days=1)
    found = judged([authority.issue("mx.example.org", not_before=tomorrow).certificate])
    assert found["certificate validity"].verdict is Verdict.BAD


@pytest.mark.parametrize(
    ("key", "verdict"),
    [
        (rsa.generate_private_key(65537, 1024), Verdict.BAD),  # noqa: S505
        (rsa.generate_private_key(65537, 2048), Verdict.OK),
        (ec.generate_private_key(ec.SECP192R1()), Verdict.BAD),
        (ec.generate_private_key(ec.SECP384R1()), Verdict.OK),
    ],
)
def test_a_short_key_is_bad(key: PrivateKey, verdict: Verdict) -> None:
    assert judged([self_signed(key, hashes.SHA256())])["certificate key"].verdict is verdict


def test_a_certificate_signed_with_sha1_is_bad() -> None:
    """The library signs nothing with SHA-1: the name of the algorithm is changed afterwards."""
    der = self_signed(rsa.generate_private_key(65537, 2048), hashes.SHA256()).public_bytes(Encoding.DER)
    rsa_with = bytes.fromhex("2a864886f70d0101")
    found = judged([x509.load_der_x509_certificate(der.replace(rsa_with + b"\x0b", rsa_with + b"\x05"))])
    assert found["certificate signature"].verdict is Verdict.BAD
    assert found["certificate chain"].facts["self_signed"]
