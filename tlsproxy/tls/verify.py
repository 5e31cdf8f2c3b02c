"""Whether a server's certificate is for the name that it was connected to by (RFC 9525).

The names are compared by service-identity. What isn't plainly good refuses: a certificate without subjectAltName (common
names don't count), one with a malformed one, an exception that nobody expected. Twisted's own client takes the first two
for good (``optionsForClientTLS`` in 26.10 logs service-identity's ``CertificateError``, and goes on).
"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from tlsproxy.errors import HandshakeFailed
from tlsproxy.tls.reasons import VerifyError

_NAMES_SHOWN: Final = 8
"""Names of a certificate that a message quotes: enough to see whose it is."""


def check_name(certificate: x509.Certificate, name: str) -> None:
    """See that a certificate is for ``name``, a host name or an IP address.

    :raises HandshakeFailed: It isn't, or it can't be told.
    """
    try:
        if _is_ip(name):
            verify_certificate_ip_address(certificate, name)
        else:
            verify_certificate_hostname(certificate, name)
    except VerificationError as error:
        raise _not_verified(f"it is for {', '.join(_names(certificate))}, not for {name}") from error
    except Exception as error:
        raise _not_verified(f"whether it is for {name} can't be told: {error}") from error


def is_sent_by_sni(name: str) -> bool:
    """Whether a server can be asked for its certificate for ``name`` (RFC 6066 §3: no IP addresses)."""
    return bool(name) and not _is_ip(name)


def verify_server(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, preverified: int
) -> bool:
    """The verify callback of a client's context. OpenSSL's verdict on the chain stands; for the server's own certificate
    the name is checked too, so that a server with the wrong one gets an alert and no byte more. (The alert is
    internal_error: OpenSSL knows no better for a refusal that isn't its own, and pyOpenSSL can't tell it.)

    The name is the connection's application data, a string; empty: any name will do.
    """
    if not preverified:
        connection.set_app_data(VerifyError(code, depth))
        return False
    if depth == 0:
        _check_wanted(certificate.to_cryptography(), connection.get_app_data())
    return True


def check_server(connection: SSL.Connection, name: str) -> None:
    """See, once the handshake is done, that there is a certificate and that it is for ``name``: OpenSSL calls no verify
    callback for a cipher suite without one.

    :raises HandshakeFailed: There is none, it isn't for the name, or it can't be told.
    """
    try:
        certificate = connection.get_peer_certificate(as_cryptography=True)
    except Exception as error:
        raise _not_verified(f"it can't be read: {error}") from error
    if certificate is None:
        raise HandshakeFailed("the server shows no certificate")
    _check_wanted(certificate, name)


def _check_wanted(certificate: x509.Certificate, name: object) -> None:
    if not isinstance(name, str):
        raise _not_verified("the name to verify got lost")
    if name:
        check_name(certificate, name)


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _names(certificate: x509.Certificate) -> Iterator[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = [repr(str(name.value)) for name in extension]
    yield from names[:_NAMES_SHOWN]
    if len(names) > _NAMES_SHOWN:
        yield "…"


def _not_verified(why: str) -> HandshakeFailed:
    return HandshakeFailed(f"server certificate not verified: {why}")
