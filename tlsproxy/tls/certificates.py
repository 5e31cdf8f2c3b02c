"""Certificates, keys and authorities from PEM files, checked once and served from the bytes that were checked."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final
from warnings import catch_warnings, simplefilter

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.utils import CryptographyDeprecationWarning

from tlsproxy.errors import OptionsError
from tlsproxy.tls.files import FileError, read_file

EXPIRY_WARNING: Final = timedelta(days=14)
"""Automated renewal (ACME) happens 30 days before the end: whoever is this late has been forgotten."""

OWN_AUTHORITIES: Final = 10
"""A longer list is an operating system's, in which there is always one that has expired: nothing to warn of."""

_OTHERS_READ_WRITE: Final = 0o006
_OTHERS_WRITE: Final = 0o002

PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
"""The keys that a context has a place for; one of each kind side by side."""

_KEY_TYPES: Final = {
    rsa.RSAPrivateKey: "RSA",
    ec.EllipticCurvePrivateKey: "ECDSA",
    ed25519.Ed25519PrivateKey: "Ed25519",
    ed448.Ed448PrivateKey: "Ed448",
}

# EC keys may come after a block of parameters, and keys in the certificate's file before or after it.
_PRIVATE_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----\s.*?-----END \1-----", re.DOTALL)

_BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_NO_CERTIFICATE = "has no PEM certificate in it (-----BEGIN CERTIFICATE-----)"

_DNS_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


@frozen(eq=False)
class Certificate:
    """A certificate to serve, with its chain and key."""

    path: str
    """As configured."""
    chain: tuple[x509.Certificate, ...]
    """The server's own first."""
    private_key: PrivateKey = field(repr=False)
    names: frozenset[str]
    """DNS names that it is for, lower case, wildcards (``*.example.org``) among them."""
    warnings: tuple[str, ...]

    @property
    def key_type(self) -> str:
        """``RSA``, ``ECDSA``, ``Ed25519`` or ``Ed448``."""
        return next(name for kind, name in _KEY_TYPES.items() if isinstance(self.private_key, kind))

    @property
    def not_after(self) -> datetime:
        """The end of the first validity period in the chain to end."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate without its chain, in hexadecimal."""
        return self.chain[0].fingerprint(hashes.SHA256()).hex()

    @property
    def chain_pem(self) -> bytes:
        """The chain, and nothing else that its file may hold."""
        return to_pem(self.chain)


@frozen(eq=False)
class Authorities:
    """Certificate authorities to verify against."""

    path: str
    certificates: tuple[x509.Certificate, ...]
    warnings: tuple[str, ...]

    @property
    def pem(self) -> bytes:
        return to_pem(self.certificates)


def to_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def load_certificate(path: str, key_path: str | None, now: datetime | None = None) -> Certificate:
    """Read a certificate with its chain, and its key.

    :param key_path: None: the key is in the certificate's file.
    :param now: The time to judge validity by.
    :raises OptionsError: with every problem, under ``tls_certificate`` and ``tls_key``.
    """
    problems: list[tuple[str, str]] = []
    # The file with the key must be nobody else's to read, whatever else is in it.
    forbidden = _OTHERS_READ_WRITE if key_path is None else _OTHERS_WRITE
    content = b""
    chain: tuple[x509.Certificate, ...] = ()
    names: frozenset[str] = frozenset()
    key: PrivateKey | None = None
    with _noting("tls_certificate", path, problems):
        content = _read(path, forbidden)
        chain = _parse_certificates(content)
        names = _names(chain[0])
    with _noting("tls_key", key_path or path, problems):
        if key_path is not None:
            key = _parse_key(_read(key_path, _OTHERS_READ_WRITE))
        elif content:
            key = _parse_key(content)
    if key is not None and chain and key.public_key() != chain[0].public_key():
        problems.append(("tls_key", f"{key_path or path}: isn't the key of the certificate in {path}"))
    if problems or key is None:
        raise OptionsError(tuple(problems))
    warnings = (*_validity_warnings(chain, now or datetime.now(UTC)), *_order_warnings(chain))
    return Certificate(path, chain, key, names, tuple(f"{path}: {warning}" for warning in warnings))


def load_authorities(path: str, now: datetime | None = None) -> Authorities:
    """Read the authorities of ``tls_client_ca``.

    :raises OptionsError: under ``tls_client_ca``.
    """
    try:
        certificates = _parse_certificates(_read(path, _OTHERS_WRITE))
    except FileError as error:
        raise OptionsError((("tls_client_ca", f"{path}: {error}"),)) from error
    warnings = _validity_warnings(certificates, now or datetime.now(UTC))
    return Authorities(path, certificates, tuple(f"{path}: {warning}" for warning in warnings))


def load_bundle(path: str, now: datetime | None = None) -> Authorities:
    """Read the authorities of ``tls_ca``, which may be those of a whole operating system: among them are some that don't
    keep to RFC 5280. One that can't be read is left out, and so isn't trusted.

    :raises OptionsError: under ``tls_ca``.
    """
    try:
        certificates, unreadable = _parse_bundle(_read(path, _OTHERS_WRITE))
    except FileError as error:
        raise OptionsError((("tls_ca", f"{path}: {error}"),)) from error
    warnings = [f"{unreadable} of its certificates can't be read, and aren't trusted"] if unreadable else []
    if len(certificates) <= OWN_AUTHORITIES:
        warnings += _validity_warnings(certificates, now or datetime.now(UTC))
    return Authorities(path, certificates, tuple(f"{path}: {warning}" for warning in warnings))


def _parse_bundle(content: bytes) -> tuple[tuple[x509.Certificate, ...], int]:
    """The certificates that can be read, and the number of those that can't."""
    certificates: list[x509.Certificate] = []
    blocks = _CERTIFICATE.findall(content)
    with catch_warnings():
        # A serial number of 0, which Debian's bundle has once.
        simplefilter("ignore", CryptographyDeprecationWarning)
        for block in blocks:
            with suppress(FileError):
                certificates += _parse_certificates(block)
    if not certificates:
        raise FileError("none of its certificates can be read" if blocks else _NO_CERTIFICATE)
    return tuple(certificates), len(blocks) - len(certificates)


@contextmanager
def _noting(option: str, path: str, problems: list[tuple[str, str]]) -> Iterator[None]:
    """Make a file that can't be used a problem among others."""
    try:
        yield
    except FileError as error:
        problems.append((option, f"{path}: {error}"))


def _read(path: str, forbidden_mode: int) -> bytes:
    words = "writable" if forbidden_mode == _OTHERS_WRITE else "readable or writable"
    return read_file(path, forbidden_mode=forbidden_mode, forbidden=words)


def _parse_certificates(content: bytes) -> tuple[x509.Certificate, ...]:
    if _BEGIN_CERTIFICATE not in content:
        raise FileError(_NO_CERTIFICATE)
    try:
        certificates = tuple(x509.load_pem_x509_certificates(content))
        # These are parsed when first asked for, and then without anyone to catch what they raise.
        certificates[0].public_key()
        for certificate in certificates:
            _ = (
                certificate.subject,
                certificate.issuer,
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
            )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FileError(f"a certificate in it can't be read: {error}") from error
    return certificates


def _parse_key(content: bytes) -> PrivateKey:
    block = _PRIVATE_KEY.search(content)
    if block is None:
        raise FileError("has no PEM private key in it (-----BEGIN PRIVATE KEY-----)")
    try:
        key = load_pem_private_key(block[0], password=None)
    except TypeError as error:
        raise FileError(
            "its key is encrypted: store it without a passphrase (`openssl pkey -in FILE`), protected by its "
            "permissions or as a systemd credential"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FileError(f"its key can't be read: {error}") from error
    if not isinstance(key, PrivateKey):
        raise FileError("its key is of a type that TLS servers don't use: RSA, ECDSA, Ed25519 and Ed448 are")
    return key


def _names(certificate: x509.Certificate) -> frozenset[str]:
    """DNS names in subjectAltName; the common name where there is no such extension (RFC 9525 §2 calls that obsolete)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = list(extension.value.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        names = [str(attribute.value) for attribute in common[-1:]]
    except ValueError as error:
        raise FileError(f"the extensions of its certificate can't be read: {error}") from error
    lowered = (name.lower().removesuffix(".") for name in names)
    return frozenset(name for name in lowered if _DNS_NAME.fullmatch(name))


def _validity_warnings(certificates: Iterable[x509.Certificate], now: datetime) -> Iterator[str]:
    for certificate in certificates:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        subject = certificate.subject.rfc4514_string() or "a certificate without a subject"
        if end < now:
            yield f"{subject} has expired on {end:%Y-%m-%d %H:%M} UTC"
        elif begin > now:
            yield f"{subject} isn't valid before {begin:%Y-%m-%d %H:%M} UTC"
        elif end - now < EXPIRY_WARNING:
            yield f"{subject} expires on {end:%Y-%m-%d %H:%M} UTC, in {(end - now).days} days"


def _order_warnings(chain: tuple[x509.Certificate, ...]) -> Iterator[str]:
    """Clients need each certificate's issuer right after it (RFC 5246 §7.4.2); many can't find it elsewhere."""
    for position, (certificate, issuer) in enumerate(pairwise(chain), start=1):
        if certificate.issuer != issuer.subject:
            yield (
                f"certificate {position + 1} in the file ({issuer.subject.rfc4514_string()}) isn't the issuer of "
                f"certificate {position}: the server's own comes first, then its issuer, then that one's"
            )
