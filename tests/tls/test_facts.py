"""tlsproxy.tls.facts: what a handshake negotiated."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from tests.support.certificates import Authority, new_key
from tests.tls.conftest import Serve
from tests.tls.peers import Peer, client_context, exchange
from tlsproxy.config.settings import VerifyMode
from tlsproxy.errors import HandshakeFailed
from tlsproxy.policy.protocols import TlsVersion


def test_version_suite_and_group(serve: Serve) -> None:
    facts = serve().connect_at(TlsVersion.TLS1_3)[0].facts
    assert facts is not None
    assert (facts.version, facts.cipher, facts.cipher_bits) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256", 128)
    assert facts.group == "X25519MLKEM768"


@pytest.mark.parametrize("version", list(TlsVersion)[:3], ids=lambda version: version.label)
def test_rsa_key_transport_has_no_group(serve: Serve, version: TlsVersion) -> None:
    facts = serve().connect(client_context(version, ciphers="AES256-SHA:@SECLEVEL=0"))[0].facts
    assert facts is not None
    assert (facts.cipher, facts.cipher_bits, facts.group) == ("AES256-SHA", 256, None)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (None, None),
        (b"MX.Example.org", "mx.example.org"),
        (b"\xff\xfe", None),
        (b"mx.example.org.", "mx.example.org."),
    ],
)
@pytest.mark.parametrize("version", list(TlsVersion), ids=lambda version: version.label)
def test_the_server_name_as_it_was_sent(
    serve: Serve, version: TlsVersion, sent: bytes | None, told: str | None
) -> None:
    facts = serve().connect(Peer.client(client_context(version), server_name=sent))[0].facts
    assert facts is not None
    assert facts.server_name == told


def subject(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


@pytest.mark.parametrize(
    ("name", "rfc4514", "common_name"),
    [
        (
            subject(
                (x509.NameOID.ORGANIZATION_NAME, "Acme, Inc"),
                (x509.NameOID.COMMON_NAME, "a"),
                (x509.NameOID.COMMON_NAME, "b"),
            ),
            r"CN=b,CN=a,O=Acme\, Inc",
            "b",
        ),
        (subject((x509.NameOID.ORGANIZATION_NAME, "Acme")), "O=Acme", None),
        (subject((x509.NameOID.COMMON_NAME, "Müller\n250 ok")), "CN=Müller\n250 ok", "Müller\n250 ok"),
    ],
)
def test_the_subject_of_a_client(
    serve: Serve, authority: Authority, name: x509.Name, rfc4514: str, common_name: str | None
) -> None:
    template, key = authority.issue(client=True).certificate, new_key()
    builder = x509.CertificateBuilder(
        issuer_name=template.issuer,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=7,
        not_valid_before=template.not_valid_before_utc,
        not_valid_after=template.not_valid_after_utc,
    )
    context = client_context()
    context.use_certificate(builder.sign(authority.private_key, hashes.SHA256()))
    context.use_privatekey(key)
    server = serve(tls_verify_mode=VerifyMode.REQUIRE, tls_client_ca=str(authority.path))
    facts = server.connect(context)[0].facts
    assert facts is not None
    assert facts.client_verified
    assert facts.client_subject == rfc4514
    assert facts.client_common_name == common_name


def test_a_certificate_that_cant_be_read_refuses(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable:
        @property
        def subject(self) -> x509.Name:
            raise ValueError("not ASN.1")

    context = client_context()
    issued = authority.issue(client=True)
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.private_key)
    engine = serve(tls_verify_mode=VerifyMode.REQUIRE, tls_client_ca=str(authority.path)).engine()
    monkeypatch.setattr(SSL.Connection, "get_peer_certificate", lambda _self, **_options: Unreadable())
    with pytest.raises(HandshakeFailed, match=r"can't be read: not ASN\.1"):
        exchange(engine, Peer.client(context))
    assert not engine.established
