"""Whether a server's certificate is for a name; whatever isn't plainly good refuses."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL, crypto

from tests.support.certificates import Authority, new_key
from tlsproxy.errors import HandshakeFailed
from tlsproxy.tls import verify as module
from tlsproxy.tls.reasons import VerifyError
from tlsproxy.tls.verify import check_name, check_server, is_sent_by_sni, verify_server

NAME = "mx.example.org"


def certificate_with(extension: x509.ExtensionType | None, common_name: str = NAME) -> x509.Certificate:
    """Self-signed; nothing here looks at the chain."""
    key, now = new_key(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def raw_names(der: bytes) -> x509.UnrecognizedExtension:
    """A subjectAltName with any bytes in it."""
    return x509.UnrecognizedExtension(x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)


def refusal(certificate: x509.Certificate, name: str = NAME) -> str:
    with pytest.raises(HandshakeFailed) as caught:
        check_name(certificate, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["mx.example.org"], NAME),
        (["MX.Example.ORG"], NAME),
        (["mx.example.org"], "MX.example.org"),
        (["www.example.org", "mx.example.org"], NAME),
        (["*.example.org"], NAME),
        (["192.0.2.1"], "192.0.2.1"),
        (["2001:db8::1"], "2001:db8:0::1"),
        (["mail_host.example.org"], "mail_host.example.org"),
    ],
)
def test_a_certificate_is_good_for_its_names(authority: Authority, names: list[str], name: str) -> None:
    check_name(authority.issue(*names).certificate, name)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["other.example.org"], NAME),
        (["mx.example.org.evil.example"], NAME),
        (["example.org"], NAME),
        (["*.example.org"], "example.org"),
        (["*.example.org"], "a.mx.example.org"),
        (["m*.example.org"], NAME),
        (["mx.example.org"], "192.0.2.1"),
        (["192.0.2.2"], "192.0.2.1"),
    ],
)
def test_it_is_for_no_other(authority: Authority, names: list[str], name: str) -> None:
    assert (
        refusal(authority.issue(*names).certificate, name)
        == f"server certificate not verified: it is for '{names[0]}', not for {name}"
    )


def test_a_common_name_is_no_name(authority: Authority) -> None:
    """Twisted's client lets this one pass."""
    certificate = authority.issue(common_name=NAME).certificate
    assert refusal(certificate).endswith(
        f"whether it is for {NAME} can't be told: Certificate does not contain any `subjectAltName`s."
    )


@pytest.mark.parametrize(
    "extension",
    [
        raw_names(b""),
        raw_names(b"\x30\x00"),
        raw_names(b"\x30\x05\x82\x7fmx"),
        raw_names(b"\x04\x03abc"),
        raw_names(b"\x30\x04\x82\x02\xff\xfe"),
        raw_names(b"\x30\x05\x87\x03\x7f\x00\x00"),
        x509.SubjectAlternativeName([x509.DNSName("")]),
        x509.SubjectAlternativeName([x509.DNSName("*")]),
        x509.SubjectAlternativeName([x509.DNSName("*.org")]),
        x509.SubjectAlternativeName([x509.DNSName("*.*.org")]),
        x509.SubjectAlternativeName([x509.DNSName("mx.*.org")]),
        x509.SubjectAlternativeName([x509.DNSName("mx.example.org\0.evil.example")]),
        x509.SubjectAlternativeName([x509.DNSName("mx.example.org"), x509.DNSName("*.org")]),
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("no scheme")]),
        x509.SubjectAlternativeName([x509.RFC822Name("postmaster@mx.example.org")]),
    ],
    ids=repr,
)
def test_a_malformed_name_makes_the_whole_certificate_bad(extension: x509.ExtensionType) -> None:
    """Twisted's client lets most of these pass."""
    assert refusal(certificate_with(extension)).startswith("server certificate not verified: ")


@pytest.mark.parametrize("name", ["mx..example.org", "a b", "mx.example.org\0", "é.example", "1234"])
def test_what_is_no_name_matches_nothing(authority: Authority, name: str) -> None:
    refusal(authority.issue(NAME).certificate, name)


def test_an_exception_that_nobody_expected_refuses(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("unexpected")

    monkeypatch.setattr(module, "verify_certificate_hostname", fail)
    assert refusal(authority.issue(NAME).certificate).endswith("can't be told: unexpected")


def test_a_message_does_not_quote_a_thousand_names(authority: Authority) -> None:
    certificate = authority.issue(*(f"{number}.example.org" for number in range(1000))).certificate
    assert refusal(certificate) == (
        "server certificate not verified: it is for "
        + ", ".join(f"'{number}.example.org'" for number in range(8))
        + f", …, not for {NAME}"
    )


@pytest.mark.parametrize(
    ("name", "sent"), [("mx.example.org", True), ("192.0.2.1", False), ("::1", False), ("", False)]
)
def test_sni_has_host_names_alone(name: str, sent: bool) -> None:
    assert is_sent_by_sni(name) is sent


class TestCallback:
    """What OpenSSL is told while it verifies a chain."""

    @pytest.fixture
    def connection(self) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))

    @pytest.fixture
    def certificate(self, authority: Authority) -> crypto.X509:
        return crypto.X509.from_cryptography(authority.issue(NAME).certificate)

    def test_openssl_s_refusal_stands_whatever_the_name(
        self, connection: SSL.Connection, certificate: crypto.X509
    ) -> None:
        """True would make pyOpenSSL clear the error."""
        connection.set_app_data(NAME)
        assert verify_server(connection, certificate, 10, 0, 0) is False
        assert connection.get_app_data() == VerifyError(10, 0)

    def test_the_name_is_that_of_the_last_certificate(
        self, connection: SSL.Connection, certificate: crypto.X509
    ) -> None:
        connection.set_app_data("other.example.org")
        assert verify_server(connection, certificate, 0, 1, 1) is True
        with pytest.raises(HandshakeFailed, match=r"not for other\.example\.org"):
            verify_server(connection, certificate, 0, 0, 1)
        connection.set_app_data(NAME)
        assert verify_server(connection, certificate, 0, 0, 1) is True

    def test_any_name_will_do_where_none_is_wanted(
        self, connection: SSL.Connection, certificate: crypto.X509
    ) -> None:
        connection.set_app_data("")
        assert verify_server(connection, certificate, 0, 0, 1) is True

    def test_a_name_that_got_lost_refuses(self, connection: SSL.Connection, certificate: crypto.X509) -> None:
        with pytest.raises(HandshakeFailed, match="got lost"):
            verify_server(connection, certificate, 0, 0, 1)


class TestAfterTheHandshake:
    class Connection:
        """Has a peer's certificate, or fails to."""

        def __init__(self, certificate: object) -> None:
            self.certificate = certificate

        def get_peer_certificate(self, *, as_cryptography: bool) -> object:
            assert as_cryptography
            if isinstance(self.certificate, Exception):
                raise self.certificate
            return self.certificate

    def check(self, certificate: object, name: str = NAME) -> None:
        check_server(self.Connection(certificate), name)  # type: ignore[arg-type]

    def test_the_certificate_is_checked(self, authority: Authority) -> None:
        certificate = authority.issue(NAME).certificate
        self.check(certificate)
        self.check(certificate, "")
        with pytest.raises(HandshakeFailed, match=r"not for x\.example"):
            self.check(certificate, "x.example")

    @pytest.mark.parametrize("name", [NAME, ""])
    def test_there_must_be_one(self, name: str) -> None:
        with pytest.raises(HandshakeFailed, match="shows no certificate"):
            self.check(None, name)

    def test_one_that_can_not_be_read_refuses(self) -> None:
        with pytest.raises(HandshakeFailed, match="can't be read: odd"):
            self.check(ValueError("odd"))
