"""tlsproxy.tls.probe: asking a context what it speaks."""

import pytest
from OpenSSL import SSL

from tests.support.certificates import Issued
from tlsproxy.errors import OptionsError
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.probe import check_versions, refusal


def context(
    issued: Issued, low: int, high: int, ciphers: str = "DEFAULT:@SECLEVEL=0", options: int = 0
) -> SSL.Context:
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.set_min_proto_version(low)
    made.set_max_proto_version(high)
    made.set_cipher_list(ciphers.encode())
    made.use_certificate(issued.certificate)
    made.use_privatekey(issued.private_key)
    made.set_options(options)
    return made


@pytest.mark.parametrize("version", list(TlsVersion), ids=lambda version: version.label)
def test_a_version_is_accepted_or_refused_with_openssls_reason(rsa: Issued, version: TlsVersion) -> None:
    assert refusal(context(rsa, version, version), version) is None
    for other in set(TlsVersion) - {version}:
        assert refusal(context(rsa, version, version), other) == "unsupported protocol"


def test_contradictory_bounds_are_found_out(rsa: Issued) -> None:
    """OpenSSL takes them, and every handshake fails."""
    made = context(rsa, TlsVersion.TLS1_3, TlsVersion.TLS1_2)
    assert all(refusal(made, version) for version in TlsVersion)


def test_without_security_level_0_tls_10_isnt_spoken(rsa: Issued) -> None:
    made = context(rsa, TlsVersion.TLS1_0, TlsVersion.TLS1_3, ciphers="DEFAULT")
    assert refusal(made, TlsVersion.TLS1_0) is not None
    assert refusal(made, TlsVersion.TLS1_2) is None


def test_all_is_well(rsa: Issued) -> None:
    made = context(rsa, TlsVersion.TLS1_2, TlsVersion.TLS1_3)
    assert list(check_versions(made, TlsProtocols.parse(">=TLSv1.2"), ["RSA"])) == []


def test_a_version_without_a_suite_is_warned_of_at_the_option_to_change(rsa: Issued) -> None:
    made = context(rsa, TlsVersion.TLS1_0, TlsVersion.TLS1_3, ciphers="ECDHE+AESGCM:@SECLEVEL=0")
    [(option, message)] = check_versions(made, TlsProtocols.parse(">=TLSv1"), ["RSA"])
    assert option == "tls_ciphers"
    assert "has no suite for the certificate (RSA) with TLSv1, TLSv1.1, which tls_protocols allows" in message


def test_a_suite_for_another_type_of_key_doesnt_help(rsa: Issued) -> None:
    made = context(rsa, TlsVersion.TLS1_2, TlsVersion.TLS1_3, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    [(option, _)] = check_versions(made, TlsProtocols.parse(">=TLSv1.2"), ["RSA"])
    assert option == "tls_ciphers"


def test_a_version_too_many_is_an_error(rsa: Issued) -> None:
    made = context(rsa, TlsVersion.TLS1_1, TlsVersion.TLS1_3)
    with pytest.raises(OptionsError, match=r"tls_protocols: the TLS library accepts TLSv1\.1 nevertheless"):
        list(check_versions(made, TlsProtocols.parse(">=TLSv1.2"), ["RSA"]))


def test_no_version_at_all_is_an_error(rsa: Issued) -> None:
    made = context(rsa, TlsVersion.TLS1_0, TlsVersion.TLS1_0, ciphers="ECDHE+AESGCM:@SECLEVEL=0")
    with pytest.raises(OptionsError, match="tls_ciphers: has no suite"):
        list(check_versions(made, TlsProtocols.parse("TLSv1"), ["RSA"]))


def test_other_reasons_are_told_as_they_are(rsa: Issued) -> None:
    made = context(rsa, TlsVersion.TLS1_2, TlsVersion.TLS1_3, options=SSL.OP_NO_TLSv1_2)
    [(option, message)] = check_versions(made, TlsProtocols.parse(">=TLSv1.2"), ["RSA"])
    assert option == "tls_certificate"
    assert message.startswith("can't be used (unsupported protocol) with TLSv1.2")
