"""Certificates for tests: an authority, and what it issues, as PEM files with the permissions a server wants."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KeyType = Literal["ecdsa", "rsa"]


def new_key(key_type: KeyType = "ecdsa") -> PrivateKey:
    """P-256, or RSA with 2048 bits: what every client of TLS 1.0 to 1.3 knows."""
    if key_type == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def write_pem(path: Path, content: bytes, mode: int = 0o644) -> Path:
    """Write ``path`` with exactly ``mode``, whatever the umask."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@frozen
class Issued:
    """A certificate and its key, in memory and as files."""

    certificate: x509.Certificate
    private_key: PrivateKey
    chain_path: Path
    """The certificate, then its issuers without the root."""
    key_path: Path
    """Readable by the owner alone."""

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.private_key)

    def write_combined(self, path: Path) -> Path:
        """Chain and key in one file, readable by the owner alone."""
        return write_pem(path, self.chain_path.read_bytes() + self.key_pem, 0o600)


class Authority:
    """Issues certificates into ``directory``; its own is ``ca.pem`` there (or ``<name>.pem`` as given)."""

    def __init__(self, directory: Path, name: str = "ca", *, parent: "Authority | None" = None) -> None:
        self.directory = directory
        self.private_key = new_key()
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Test {name}")])
        self.parent = parent
        now = datetime.now(UTC)
        builder = (
            _builder(self.subject, self.private_key, now - timedelta(hours=1), now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_CA_USAGE, critical=True)
        )
        self.certificate = self._signed(parent or self, builder)
        self.path = write_pem(directory / f"{name}.pem", self.pem)
        self._issued = 0

    @property
    def pem(self) -> bytes:
        """The authority's certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *names: str,
        key_type: KeyType = "ecdsa",
        key: PrivateKey | None = None,
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        client: bool = False,
        stem: str | None = None,
    ) -> Issued:
        """A certificate for ``names``: DNS names (wildcards too) and IP addresses, for the subjectAltName.

        Without names it has no subjectAltName. ``common_name`` defaults to the first name. It is valid from an hour ago
        for 90 days unless told otherwise. ``stem`` names the files: ``<stem>.pem`` and ``<stem>.key``.
        """
        key = key or new_key(key_type)
        now = datetime.now(UTC)
        label = common_name if common_name is not None else (names[0] if names else "nameless")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
        begin, end = not_before or now - timedelta(hours=1), not_after or now + timedelta(days=90)
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            _builder(subject, key, begin, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_LEAF_USAGE, critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(_general_names(names)), critical=False
            )
        certificate = self._signed(self, builder)
        self._issued += 1
        stem = stem or f"{'client' if client else 'server'}-{self._issued}"
        chain = certificate.public_bytes(Encoding.PEM) + self._intermediates()
        chain_path = write_pem(self.directory / f"{stem}.pem", chain)
        key_path = write_pem(self.directory / f"{stem}.key", key_pem(key), 0o600)
        return Issued(certificate, key, chain_path, key_path)

    def _intermediates(self) -> bytes:
        return b"" if self.parent is None else self.pem + self.parent._intermediates()

    @staticmethod
    def _signed(issuer: "Authority", builder: x509.CertificateBuilder) -> x509.Certificate:
        public_key = issuer.private_key.public_key()
        builder = builder.issuer_name(issuer.subject).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), critical=False
        )
        return builder.sign(issuer.private_key, hashes.SHA256())


def _builder(subject: x509.Name, key: PrivateKey, begin: datetime, end: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    return general


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not ca,  # RSA key transport, which TLS 1.0 clients may have alone
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


_CA_USAGE = _usage(ca=True)
_LEAF_USAGE = _usage(ca=False)
