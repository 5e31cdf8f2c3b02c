"""What a handshake negotiated, asked of OpenSSL once it is done."""

from cryptography import x509
from OpenSSL import SSL

from tlsproxy.errors import HandshakeFailed
from tlsproxy.identity.client import TlsFacts
from tlsproxy.tls.client_hello import ClientHello


def gather_facts(
    connection: SSL.Connection, *, is_client: bool, resumed: bool = False, hello: ClientHello | None = None
) -> TlsFacts:
    """The facts of an established connection.

    :param hello: The client's hello, where OpenSSL would tell another name than this one's.
    :param is_client: This end is the client; the peer's certificate is then no client's.
    :raises HandshakeFailed: The client's certificate can't be read, although OpenSSL could.
    """
    # Where it isn't demanded no client shows one, and a session is only resumed where it was demanded alike.
    demanded = not is_client and bool(connection.get_verify_mode() & SSL.VERIFY_PEER)
    certificate = connection.get_peer_certificate(as_cryptography=True) if demanded else None
    try:
        subject = certificate.subject if certificate is not None else None
    except ValueError as error:
        raise HandshakeFailed(f"the subject of the client certificate can't be read: {error}") from error
    return TlsFacts(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        cipher_bits=connection.get_cipher_bits() or 0,
        group=connection.get_group_name(),
        server_name=hello.server_name if hello is not None else _server_name(connection.get_servername()),
        alpn=connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace") or None,
        resumed=resumed,
        client_subject=subject.rfc4514_string() if subject is not None else None,
        client_common_name=_common_name(subject) if subject is not None else None,
        # Where verification is on, a certificate that fails it ends the handshake, with `optional` too; a resumed session
        # was verified when it began.
        client_verified=certificate is not None,
    )


def _server_name(name: bytes | None) -> str | None:
    return name.decode("ascii").lower() if name and name.isascii() else None


def _common_name(subject: x509.Name) -> str | None:
    """The last one, which is the most specific (RFC 4514 §2.1)."""
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[-1].value) if names else None
