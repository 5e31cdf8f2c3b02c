"""tlsproxy.tls.reasons: why OpenSSL ended a connection, in words."""

from typing import Any

import pytest
from attrs import evolve
from OpenSSL import SSL

from tlsproxy.policy.protocols import TlsProtocols
from tlsproxy.tls.client_hello import ClientHello
from tlsproxy.tls.reasons import Handshake, VerifyError, explain, reason_text

HANDSHAKE = Handshake(
    peer="client",
    protocols=TlsProtocols.parse(">=TLSv1.2"),
    begin=b"\x16\x03\x01",
    hello=ClientHello((0x0301, 0x0302), 0x0303, None),
    verify_error=None,
)


def error(*reasons: str) -> SSL.Error:
    return SSL.Error([("SSL routines", "", reason) for reason in reasons])


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (error("no shared cipher"), "no shared cipher"),
        (error("data length too long", "record layer failure"), "data length too long"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "Unexpected EOF"),
        (SSL.SysCallError(104, "ECONNRESET"), "ECONNRESET"),
        (SSL.Error([]), "unknown reason"),
        (SSL.Error(), "unknown reason"),
        (SSL.Error([("only", "two")]), "unknown reason"),
    ],
)
def test_the_first_entry_of_the_queue_counts(raised: SSL.Error, text: str) -> None:
    assert reason_text(raised) == text


@pytest.mark.parametrize(
    ("reason", "alert"),
    [
        ("sslv3 alert handshake failure", "handshake failure"),
        ("tls alert handshake failure", "handshake failure"),
        ("tlsv1 alert unknown ca", "unknown ca"),
        ("tlsv13 alert certificate required", "certificate required"),
        ("ssl/tls alert bad certificate", "bad certificate"),
    ],
)
def test_alerts_of_the_peer_are_named_however_openssl_words_them(reason: str, alert: str) -> None:
    assert explain(error(reason), "client") == f"the client sent the alert {alert}"
    assert HANDSHAKE.explain(error(reason)) == f"the client sent the alert {alert}"


@pytest.mark.parametrize(
    "reason",
    ["unsupported protocol", "version too low", "wrong version number", "tlsv1 alert protocol version"],
)
def test_trouble_over_versions_names_both_sides(reason: str) -> None:
    assert HANDSHAKE.explain(error(reason)) == (
        "no TLS version in common: offered are TLSv1 TLSv1.1, allowed are TLSv1.2 TLSv1.3"
    )


def test_versions_of_a_hello_that_couldnt_be_read_are_left_out() -> None:
    assert evolve(HANDSHAKE, hello=None).explain(error("unsupported protocol")) == "no TLS version in common"


@pytest.mark.parametrize(
    ("begin", "text"),
    [
        (b"EHLO x\r\n", r"not TLS: the client begins with b'EHLO x\r\n'"),
        (b"\x00" * 100, "not TLS: the client begins with b'" + r"\x00" * 16 + "'"),
        (
            b"\x80\x2e\x01\x03\x01\x00",
            "the client begins with an SSLv2 ClientHello, which the TLS library doesn't read",
        ),
    ],
)
def test_what_isnt_tls_is_shown_and_no_more_than_a_bit_of_it(begin: bytes, text: str) -> None:
    assert evolve(HANDSHAKE, begin=begin, hello=None).explain(error("wrong version number")) == text


@pytest.mark.parametrize(
    ("verify_error", "text"),
    [
        (VerifyError(10, 0), "client certificate not verified: certificate has expired"),
        (
            VerifyError(10, 1),
            "client certificate not verified: certificate has expired (certificate 1 above the peer's own)",
        ),
        (VerifyError(23, 0), "client certificate not verified: cert revoked"),
        (VerifyError(9999, 0), "client certificate not verified: X.509 verification error 9999"),
        (None, "certificate verify failed"),
    ],
)
def test_what_is_wrong_with_a_certificate(verify_error: VerifyError | None, text: str) -> None:
    assert evolve(HANDSHAKE, verify_error=verify_error).explain(error("certificate verify failed")) == text


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (SSL.ZeroReturnError(), "the server sent close_notify"),
        (
            error("decryption failed or bad record mac"),
            "a record that can't be decrypted: changed on the way, or forged",
        ),
        (error("something that nobody foresaw"), "something that nobody foresaw"),
    ],
)
def test_other_ends(raised: Any, text: str) -> None:
    assert explain(raised, "server") == text
