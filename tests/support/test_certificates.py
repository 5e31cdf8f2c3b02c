"""Tests for :mod:`tests.support.certificates`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tests.support.certificates import Authority, Issued, KeyType


def verify(authority: Authority, issued: Issued, name: str) -> None:
    chain = x509.load_pem_x509_certificates(issued.chain_path.read_bytes())
    verifier = PolicyBuilder().store(Store([authority.certificate])).build_server_verifier(x509.DNSName(name))
    verifier.verify(chain[0], chain[1:])


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_a_certificate_verifies_for_its_names(authority: Authority, key_type: KeyType) -> None:
    issued = authority.issue("mx.example.org", "*.web.example.org", "127.0.0.1", key_type=key_type)
    verify(authority, issued, "mx.example.org")
    verify(authority, issued, "a.web.example.org")
    with pytest.raises(VerificationError):
        verify(authority, issued, "other.example.org")


def test_the_chain_has_the_intermediates(tmp_path: Path, authority: Authority) -> None:
    intermediate = Authority(tmp_path, "intermediate", parent=authority)
    verify(authority, intermediate.issue("mx.example.org"), "mx.example.org")


def test_an_expired_certificate_does_not_verify(authority: Authority) -> None:
    now = datetime.now(UTC)
    expired = authority.issue(
        "mx.example.org", not_before=now - timedelta(days=2), not_after=now - timedelta(days=1)
    )
    with pytest.raises(VerificationError):
        verify(authority, expired, "mx.example.org")


def test_a_key_is_for_its_owner_alone(tmp_path: Path, authority: Authority) -> None:
    issued = authority.issue("mx.example.org")
    combined = issued.write_combined(tmp_path / "combined.pem")
    assert [path.stat().st_mode & 0o777 for path in (issued.chain_path, issued.key_path, combined)] == [
        0o644,
        0o600,
        0o600,
    ]
