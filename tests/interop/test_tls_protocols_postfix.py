"""``tls_protocols`` held against Postfix: one smtpd for each string, probed with a client of each TLS version."""

import contextlib
import re
import socket
import struct
from collections.abc import Iterator

import pytest
from attrs import evolve
from OpenSSL import SSL

from tests.support.certificates import Authority, Issued
from tests.support.postfix import Postfix, Smtpd
from tlsproxy.config.declaration import FileName
from tlsproxy.config.settings import Settings
from tlsproxy.errors import TlsProtocolsError
from tlsproxy.fronts import KINDS
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.contexts import ContextStore, ServerContext

# Strings that aren't refused here: Postfix accepts the same versions.
SAME = [
    "",
    "TLSv1",
    "TLSv1.1",
    "TLSv1.2",
    "TLSv1.3",
    "tlsv1.2",
    "TLSV1.3",
    "TLSv1 TLSv1.1",
    "TLSv1.2 TLSv1.3",
    "TLSv1.3, TLSv1.2",
    "TLSv1, TLSv1.3",
    "TLSv1.1 TLSv1.3",
    "TLSv1:TLSv1.1:TLSv1.2:TLSv1.3",
    ",,TLSv1.2 : , TLSv1.3,:",
    "TLSv1.2\tTLSv1.3",
    "SSLv3, TLSv1",
    "SSLv2, TLSv1.2",
    "SSLv2 SSLv3 TLSv1.1",
    "!SSLv2",
    "!SSLv2, !SSLv3",
    "!SSLv2 !SSLv3 !TLSv1 !TLSv1.1",
    "!TLSv1",
    "!TLSv1.1",
    "!TLSv1.2",
    "!TLSv1.3",
    "!tlsv1.3",
    "!TLSv1.1 !TLSv1.2",
    "!TLSv1 !TLSv1.1 !TLSv1.2",
    "TLSv1.2 TLSv1.3 !TLSv1.3",
    "!TLSv1 TLSv1 TLSv1.2",
    ">=TLSv1",
    ">=TLSv1.1",
    ">=TLSv1.2",
    ">=TLSv1.3",
    ">=tlsv1.2",
    "<=TLSv1",
    "<=TLSv1.1",
    "<=TLSv1.2",
    "<=TLSv1.3",
    ">=TLSv1, <=TLSv1.2",
    ">=TLSv1.1:<=TLSv1.2",
    ">=TLSv1.2 <=TLSv1.2",
    ">=301",
    ">=0302",
    ">=0x303",
    ">=0X0304",
    ">=+303",
    "<=0303",
    ">=0000000302 <=0x303",
    ">=None",
    ">=0 <=TLSv1.1",
    "<=none",
    "<=0305",
    ">=TLSv1, <=0305",
    ">=TLSv1.3 <=3ff",
    ">=TLSv1.3 >=TLSv1.2",
    ">=TLSv1 >=TLSv1.2",
    "<=TLSv1 <=TLSv1.2",
    ">=TLSv1.1 !TLSv1.2",
    ">=TLSv1 <=TLSv1.2 !TLSv1.1",
    ">=TLSv1.2 TLSv1 TLSv1.3",
    "TLSv1.1 TLSv1.2 <=TLSv1.1",
]

NO_TLS = "454"
"""Postfix answers STARTTLS with this reply."""

# Strings that are refused here, the reason, and what Postfix does with them: the versions that it accepts (as digits,
# "0" is TLSv1), or how it fails.
REFUSED = [
    (">= TLSv1.2", "no white space", "2"),
    ("<= TLSv1.2", "no white space", "2"),
    (">=", "has no version", "0123"),
    (">=0305", "would set no lower bound at all", "0123"),
    (">=TLSv1.2 >=0305", "would set no lower bound at all", "0123"),
    (">=771", "numbers are hexadecimal, TLSv1.2 is 0303", "0123"),
    ("<=771", "numbers are hexadecimal, TLSv1.2 is 0303", "0123"),
    (">=SSLv3", "the library doesn't have SSLv3", "0123"),
    ("SSLv2", "allows no TLS version", "0123"),
    ("SSLv3", "allows no TLS version", ""),
    ("<=SSLv3", "allows no TLS version", ""),
    (">=TLSv1.3, <=TLSv1.2", "the lower bound TLSv1.3 is above the upper bound TLSv1.2", ""),
    (">=TLSv1.2, TLSv1.1", "allows no TLS version", ""),
    ("TLSv1.2 !TLSv1.2", "allows no TLS version", ""),
    ("!TLSv1 !TLSv1.1 !TLSv1.2 !TLSv1.3", "allows no TLS version", ""),
    (">=SSLv2", "SSLv2 can't be a bound", NO_TLS),
    ("TLSv1.0", "did you mean 'TLSv1'?", NO_TLS),
    ("TLS1.2", "did you mean 'TLSv1.2'?", NO_TLS),
    (">=TLSv1.0", "did you mean '>=TLSv1'?", NO_TLS),
    ("all", "an empty list allows every version", NO_TLS),
    ("+ALL:-SSLv3", "excluded by '!SSLv3'", NO_TLS),
    ("0303", "hexadecimal numbers are for bounds alone", NO_TLS),
    ("!0x301", "hexadecimal numbers are for bounds alone", NO_TLS),
    (">=TLSv1.2 0303", "hexadecimal numbers are for bounds alone", NO_TLS),
    (">TLSv1.1", "a bound is written", NO_TLS),
    ("=TLSv1.2", "a bound is written", NO_TLS),
    ("!>=TLSv1.2", "a bound is written", NO_TLS),
    ("!", "isn't valid", NO_TLS),
    ("!!TLSv1", "did you mean '!TLSv1'?", NO_TLS),
    (">=303z", "isn't valid", NO_TLS),
    (">=80000000", "no TLS version has this number", NO_TLS),
    ("TLSv1.2 TLSv1.4", "did you mean 'TLSv1.3'?", NO_TLS),
]


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Issued:
    return authority.issue("mx.mail.example", key_type="rsa")


@pytest.fixture(scope="module")
def smtpd_ports(certificate: Issued) -> Iterator[dict[str, int]]:
    """The port of an smtpd for each string."""
    options = {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(certificate.chain_path),
        "smtpd_tls_key_file": str(certificate.key_path),
        "max_idle": "1s",  # each smtpd is asked four times, and then gone
    }
    texts = [*SAME, *(text for text, _, _ in REFUSED)]
    with Postfix([Smtpd({"smtpd_tls_protocols": text}) for text in texts], options) as postfix:
        yield dict(zip(texts, postfix.ports, strict=True))


def client_context(version: TlsVersion) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_cipher_list(b"DEFAULT@SECLEVEL=0")  # SHA-1 signatures, which TLS 1.0 and 1.1 can't do without
    return context


REFUSALS = {"tlsv1 alert protocol version", "unsupported protocol"}
"""OpenSSL's words for what a client gets when its version isn't accepted. Any other failure fails the test."""


def postfix_accepts(port: int, version: TlsVersion) -> str:
    """What comes of STARTTLS with one version: the version negotiated, ``refused``, or the code of an SMTP reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        replies = connection.makefile("rb")
        assert replies.readline().startswith(b"220 ")
        connection.sendall(b"EHLO client.example\r\n")
        while replies.readline()[3:4] == b"-":
            pass
        connection.sendall(b"STARTTLS\r\n")
        code = replies.readline()[:3].decode()
        if code != "220":
            return code
        _bound_blocking_reads(connection)
        tls = SSL.Connection(client_context(version), connection)
        tls.set_connect_state()
        return handshake_result(tls)


def _bound_blocking_reads(connection: socket.socket) -> None:
    """OpenSSL needs a blocking socket, and Python's time-out makes it a non-blocking one: the kernel keeps the time."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))


def handshake_result(tls: SSL.Connection) -> str:
    try:
        tls.do_handshake()
    except SSL.WantReadError:
        raise
    except SSL.SysCallError:
        return "closed"
    except SSL.Error as error:
        reasons = {reason for _, _, reason in error.args[0]}
        assert reasons <= REFUSALS, reasons
        return "refused"
    return tls.get_protocol_version_name()


def we_accept(server: ServerContext, version: TlsVersion) -> str:
    """What comes of a handshake with one version and our server, over memory BIOs."""
    ours = server.new_connection()
    client = SSL.Connection(client_context(version))
    client.set_connect_state()
    for _ in range(_FLIGHTS):
        result = _step(client)
        if result != _WANTS_MORE:
            return result
        _carry(client, ours)
        _step(ours)
        _carry(ours, client)
    raise AssertionError("the handshake doesn't end")


_FLIGHTS = 5
"""More than any TLS version needs for a full handshake."""

_WANTS_MORE = "wants more"


def _step(side: SSL.Connection) -> str:
    try:
        return handshake_result(side)
    except SSL.WantReadError:
        return _WANTS_MORE


def _carry(sender: SSL.Connection, receiver: SSL.Connection) -> None:
    with contextlib.suppress(SSL.WantReadError):  # nothing to carry
        receiver.bio_write(sender.bio_read(65536))


def by_postfix(port: int) -> list[str]:
    return [postfix_accepts(port, version) for version in TlsVersion]


def by_us(certificate: Issued, protocols: TlsProtocols) -> list[str]:
    settings = evolve(
        Settings(),
        tls_protocols=protocols,
        tls_ciphers="DEFAULT",  # our own default has no cipher suite for TLS 1.0 and 1.1
        tls_certificate=(FileName(str(certificate.chain_path)),),
        tls_key=(FileName(str(certificate.key_path)),),
    )
    server = ContextStore().server_context(settings, KINDS["stream"])
    return [we_accept(server, version) for version in TlsVersion]


@pytest.mark.parametrize("text", SAME)
def test_postfix_and_our_server_accept_the_versions_that_the_list_allows(
    smtpd_ports: dict[str, int], certificate: Issued, text: str
) -> None:
    protocols = TlsProtocols.parse(text)
    expected = [version.label if protocols.allows(version) else "refused" for version in TlsVersion]
    assert by_postfix(smtpd_ports[text]) == expected
    assert by_us(certificate, protocols) == expected


@pytest.mark.parametrize(("text", "reason", "in_postfix"), REFUSED)
def test_what_we_refuse_does_something_else_in_postfix_than_it_says(
    smtpd_ports: dict[str, int], text: str, reason: str, in_postfix: str
) -> None:
    with pytest.raises(TlsProtocolsError, match=re.escape(reason)):
        TlsProtocols.parse(text)
    results = by_postfix(smtpd_ports[text])
    if in_postfix == NO_TLS:
        assert results == [NO_TLS] * 4
    else:
        accepted = [version.label for place, version in enumerate(TlsVersion) if str(place) in in_postfix]
        assert [result for result in results if result not in ("refused", "closed")] == accepted
