"""Self-made certificates for the demonstration: RSA and ECDSA for the same names."""

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

LIFETIME: Final = timedelta(days=90)
RENEW_BEFORE: Final = timedelta(days=15)
"""More than the 14 days before expiry at which the proxy warns."""


def ensure_certificates(directory: Path, now: datetime) -> Path:
    """Make ``rsa.pem`` and ``ecdsa.pem`` (key and certificate in one file) where they aren't there or soon expire.

    :param now: The time, with time zone.
    :returns: The path of ``ca.pem``: what a client that trusts them needs.
    :raises OSError: The directory can't be written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    trusted = b""
    for name, make_key in (("rsa", _rsa_key), ("ecdsa", _ecdsa_key)):
        path = directory / f"{name}.pem"
        if not _usable(path, now):
            _write(path, make_key(), now)
        trusted += x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.PEM)
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(trusted)
    return ca_file


def _rsa_key() -> PrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _ecdsa_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _usable(path: Path, now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return certificate.not_valid_after_utc - now > RENEW_BEFORE


def _write(path: Path, key: PrivateKey, now: datetime) -> None:
    certificate = _self_signed(key, now).public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(secret + certificate)


def _self_signed(key: PrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    alternatives: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("*.demo.test")]
    alternatives += [x509.IPAddress(ip_address(text)) for text in ("127.0.0.1", "::1")]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
