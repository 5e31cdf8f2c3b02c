"""tlsproxy.tls.certificates: certificates, keys and authorities from files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtensionOID

from tests.support.certificates import Authority, Issued, key_pem, new_key, write_pem
from tlsproxy.errors import OptionsError
from tlsproxy.tls.certificates import (
    OWN_AUTHORITIES,
    Certificate,
    load_authorities,
    load_bundle,
    load_certificate,
)

NOW = datetime.now(UTC)


def load(issued: Issued) -> Certificate:
    return load_certificate(str(issued.chain_path), str(issued.key_path))


def problems(path: Path, key_path: Path | None) -> list[tuple[str, str]]:
    with pytest.raises(OptionsError) as raised:
        load_certificate(str(path), str(key_path) if key_path else None)
    return list(raised.value.problems)


@pytest.mark.parametrize("key_type", ["rsa", "ecdsa"])
def test_a_certificate_and_its_key(authority: Authority, key_type: str) -> None:
    issued = authority.issue(
        "MX.example.org", "*.Example.org", "127.0.0.1", key_type="rsa" if key_type == "rsa" else "ecdsa"
    )
    certificate = load(issued)
    assert certificate.names == {"mx.example.org", "*.example.org"}
    assert certificate.key_type == {"rsa": "RSA", "ecdsa": "ECDSA"}[key_type]
    assert certificate.chain == (issued.certificate,)
    assert certificate.not_after == issued.certificate.not_valid_after_utc
    assert certificate.path == str(issued.chain_path)
    assert certificate.warnings == ()
    assert len(certificate.fingerprint) == 64


def test_the_key_isnt_shown(authority: Authority) -> None:
    assert "private_key" not in repr(load(authority.issue("a.example")))


def test_the_chain_is_all_the_certificates_and_nothing_else(authority: Authority, tmp_path: Path) -> None:
    middle = Authority(tmp_path, "middle", parent=authority)
    issued = middle.issue("a.example")
    combined = issued.write_combined(tmp_path / "combined.pem")
    certificate = load_certificate(str(combined), None)
    assert certificate.chain == (issued.certificate, middle.certificate)
    assert certificate.chain_pem == issued.pem + middle.pem
    assert b"PRIVATE" not in certificate.chain_pem


@pytest.mark.parametrize("first", ["key", "certificate"])
@pytest.mark.parametrize("key_format", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_the_key_may_be_in_the_same_file_in_any_order_and_form(
    authority: Authority, tmp_path: Path, first: str, key_format: PrivateFormat
) -> None:
    issued = authority.issue("a.example")
    key = issued.private_key.private_bytes(Encoding.PEM, key_format, NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    parts = [b"bag attributes\n", parameters + key, issued.pem]
    content = b"".join(parts if first == "key" else reversed(parts))
    path = write_pem(tmp_path / "both.pem", content, 0o600)
    assert load_certificate(str(path), None).names == {"a.example"}


def test_the_common_name_counts_only_without_subject_alternative_names(authority: Authority) -> None:
    assert load(authority.issue(common_name="Old.example")).names == {"old.example"}
    assert load(authority.issue("new.example", common_name="old.example")).names == {"new.example"}
    assert load(authority.issue("127.0.0.1", common_name="old.example")).names == frozenset()
    assert load(authority.issue(common_name="A Mail Server")).names == frozenset()


class TestProblems:
    def test_everything_is_told_at_once(self, tmp_path: Path) -> None:
        found = problems(tmp_path / "absent.pem", tmp_path / "absent.key")
        assert found == [
            ("tls_certificate", f"{tmp_path}/absent.pem: no such file or directory"),
            ("tls_key", f"{tmp_path}/absent.key: no such file or directory"),
        ]

    def test_a_key_of_another_certificate(self, authority: Authority) -> None:
        one, other = authority.issue("a.example"), authority.issue("a.example")
        [(option, message)] = problems(one.chain_path, other.key_path)
        assert option == "tls_key"
        assert message == f"{other.key_path}: isn't the key of the certificate in {one.chain_path}"

    def test_a_key_that_others_may_read(self, authority: Authority) -> None:
        issued = authority.issue("a.example")
        issued.key_path.chmod(0o644)
        [(option, message)] = problems(issued.chain_path, issued.key_path)
        assert option == "tls_key"
        assert "must not be readable or writable by others" in message

    def test_a_file_with_the_key_in_it_that_others_may_read(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        path = authority.issue("a.example").write_combined(tmp_path / "combined.pem")
        path.chmod(0o604)
        [(_, message)] = problems(path, None)
        assert "must not be readable or writable by others" in message

    def test_a_certificate_that_others_may_write(self, authority: Authority) -> None:
        issued = authority.issue("a.example")
        issued.chain_path.chmod(0o646)
        [(option, message)] = problems(issued.chain_path, issued.key_path)
        assert option == "tls_certificate"
        assert "must not be writable by others" in message

    def test_a_key_without_a_certificate(self, authority: Authority) -> None:
        issued = authority.issue("a.example")
        [(option, message)] = problems(issued.key_path, issued.key_path)
        assert option == "tls_certificate"
        assert "has no PEM certificate in it" in message

    def test_a_certificate_without_its_key(self, authority: Authority) -> None:
        issued = authority.issue("a.example")
        issued.chain_path.chmod(0o600)
        [(option, message)] = problems(issued.chain_path, None)
        assert option == "tls_key"
        assert "has no PEM private key in it" in message

    def test_an_encrypted_key(self, authority: Authority, tmp_path: Path) -> None:
        issued = authority.issue("a.example")
        encryption = BestAvailableEncryption(b"secret")
        content = issued.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        [(_, message)] = problems(issued.chain_path, write_pem(tmp_path / "key", content, 0o600))
        assert "its key is encrypted: store it without a passphrase" in message

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "can't be read"),
            (b"-----BEGIN CERTIFICATE-----\n", "can't be read"),
            (b"", "has no PEM certificate"),
        ],
    )
    def test_a_broken_certificate(
        self, authority: Authority, tmp_path: Path, content: bytes, message: str
    ) -> None:
        key_path = authority.issue("a.example").key_path
        [(option, found)] = problems(write_pem(tmp_path / "broken.pem", content), key_path)
        assert option == "tls_certificate"
        assert message in found

    def test_names_that_cant_be_read(self, authority: Authority, tmp_path: Path) -> None:
        template, key = authority.issue("a.example").certificate, new_key()
        garbage = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x05\x82")
        builder = x509.CertificateBuilder(
            issuer_name=template.issuer,
            subject_name=template.subject,
            public_key=key.public_key(),
            serial_number=7,
            not_valid_before=template.not_valid_before_utc,
            not_valid_after=template.not_valid_after_utc,
        ).add_extension(garbage, critical=False)
        certificate = builder.sign(authority.private_key, hashes.SHA256())
        path = write_pem(tmp_path / "odd.pem", certificate.public_bytes(Encoding.PEM) + key_pem(key), 0o600)
        [(option, message)] = problems(path, None)
        assert option == "tls_certificate"
        assert "the extensions of its certificate can't be read" in message

    def test_a_broken_key(self, authority: Authority, tmp_path: Path) -> None:
        content = b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"
        path = write_pem(tmp_path / "key", content, 0o600)
        [(option, message)] = problems(authority.issue("a.example").chain_path, path)
        assert option == "tls_key"
        assert "its key can't be read" in message

    def test_a_key_of_a_type_that_isnt_used(self, authority: Authority, tmp_path: Path) -> None:
        key = dsa.generate_private_key(key_size=2048)
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        [(_, message)] = problems(
            authority.issue("a.example").chain_path, write_pem(tmp_path / "key", content, 0o600)
        )
        assert "RSA, ECDSA, Ed25519 and Ed448 are" in message


class TestWarnings:
    @pytest.mark.parametrize(
        ("begin", "end", "warning"),
        [
            (-30, -1, "has expired on "),
            (1, 30, "isn't valid before "),
            (-30, 13, "expires on "),
            (-30, 15, None),
        ],
    )
    def test_validity(self, authority: Authority, begin: int, end: int, warning: str | None) -> None:
        issued = authority.issue(
            "a.example", not_before=NOW + timedelta(days=begin), not_after=NOW + timedelta(days=end)
        )
        warnings = load(issued).warnings
        assert len(warnings) == (warning is not None)
        if warning is not None:
            assert warnings[0].startswith(f"{issued.chain_path}: CN=a.example {warning}")

    def test_validity_by_a_given_time(self, authority: Authority) -> None:
        issued = authority.issue("a.example")
        certificate = load_certificate(
            str(issued.chain_path), str(issued.key_path), NOW + timedelta(days=200)
        )
        assert "has expired on" in certificate.warnings[0]

    def test_an_issuer_that_expires_counts_too(self, authority: Authority, tmp_path: Path) -> None:
        middle = Authority(tmp_path, "middle", parent=authority)
        issued = middle.issue("a.example")
        later = NOW + timedelta(days=364)
        certificate = load_certificate(str(issued.chain_path), str(issued.key_path), later)
        assert [("expired" in each, "Test middle" in each) for each in certificate.warnings] == [
            (True, False),
            (False, True),
        ]

    def test_a_chain_in_the_wrong_order(self, authority: Authority, tmp_path: Path) -> None:
        middle = Authority(tmp_path, "middle", parent=authority)
        issued = middle.issue("a.example")
        write_pem(issued.chain_path, issued.pem + authority.pem + middle.pem)
        first, second = load(issued).warnings
        assert "certificate 2 in the file (CN=Test ca) isn't the issuer of certificate 1" in first
        assert "certificate 3 in the file (CN=Test middle) isn't the issuer of certificate 2" in second


class TestAuthorities:
    def test_all_in_the_file(self, authority: Authority, tmp_path: Path) -> None:
        other = Authority(tmp_path, "other")
        path = write_pem(tmp_path / "both.pem", authority.pem + b"# a comment\n" + other.pem)
        loaded = load_authorities(str(path))
        assert loaded.certificates == (authority.certificate, other.certificate)
        assert loaded.pem == authority.pem + other.pem
        assert loaded.warnings == ()

    def test_an_expired_one_is_told(self, authority: Authority) -> None:
        loaded = load_authorities(str(authority.path), NOW + timedelta(days=1000))
        assert "CN=Test ca has expired on" in loaded.warnings[0]

    @pytest.mark.parametrize(
        "content", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"]
    )
    def test_a_file_with_none_is_refused(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(OptionsError) as raised:
            load_authorities(str(write_pem(tmp_path / "ca.pem", content)))
        assert raised.value.problems[0][0] == "tls_client_ca"

    def test_a_file_that_others_may_write_is_refused(self, tmp_path: Path, authority: Authority) -> None:
        path = write_pem(tmp_path / "ca.pem", authority.pem, 0o666)
        with pytest.raises(OptionsError, match="must not be writable by others"):
            load_authorities(str(path))


@pytest.mark.parametrize(
    ("key", "key_type"),
    [
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (ed448.Ed448PrivateKey.generate(), "Ed448"),
        (ec.generate_private_key(ec.SECP384R1()), "ECDSA"),
        (new_key("rsa"), "RSA"),
    ],
)
def test_every_key_type_is_named(authority: Authority, key: object, key_type: str) -> None:
    assert load(authority.issue("a.example", key=key)).key_type == key_type  # type: ignore[arg-type]


class TestBundle:
    """Authorities as an operating system has them: some of them odd."""

    UNREADABLE = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"

    def test_one_that_can_not_be_read_is_left_out(self, tmp_path: Path, authority: Authority) -> None:
        path = write_pem(
            tmp_path / "ca.pem", self.UNREADABLE + authority.pem + b"# comment\n" + authority.pem
        )
        loaded = load_bundle(str(path))
        assert loaded.certificates == (authority.certificate,) * 2
        assert loaded.warnings == (f"{path}: 1 of its certificates can't be read, and aren't trusted",)

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"", "has no PEM certificate in it"), (UNREADABLE, "none of its certificates can be read")],
    )
    def test_one_at_least_must_be_readable(self, tmp_path: Path, content: bytes, message: str) -> None:
        with pytest.raises(OptionsError, match=message) as raised:
            load_bundle(str(write_pem(tmp_path / "ca.pem", content)))
        assert [option for option, _ in raised.value.problems] == ["tls_ca"]

    def test_the_end_of_validity_is_warned_of_in_a_list_of_one_s_own(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        later = NOW + timedelta(days=1000)
        own = write_pem(tmp_path / "own.pem", authority.pem * OWN_AUTHORITIES)
        system = write_pem(tmp_path / "system.pem", authority.pem * (OWN_AUTHORITIES + 1))
        assert "has expired" in load_bundle(str(own), later).warnings[0]
        assert load_bundle(str(system), later).warnings == ()

    def test_others_must_not_write_it(self, tmp_path: Path, authority: Authority) -> None:
        with pytest.raises(OptionsError, match="must not be writable by others"):
            load_bundle(str(write_pem(tmp_path / "ca.pem", authority.pem, 0o666)))
