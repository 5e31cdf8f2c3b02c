"""What a server answers to a hello, read from its bytes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.support.certificates import Authority
from tlsproxy.tls.outside.answer import MAX_BYTES, Answer, read_answer
from tlsproxy.tls.outside.hello import SSL3, TLS1_3, Hello
from tlsproxy.tls.outside.suites import OLD_SUITES, TLS13_SUITES

ECDHE_RSA_AES128_GCM, DHE_RSA_AES128_GCM, AES128_SHA = 0xC02F, 0x009E, 0x002F


@pytest.fixture(scope="module")
def server(authority: Authority) -> SSL.Context:
    issued = authority.issue("localhost", key_type="rsa")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(0x0301)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.use_certificate_chain_file(str(issued.chain_path))
    context.use_privatekey_file(str(issued.key_path))
    return context


def said_to(server: SSL.Context, hello: Hello) -> bytes:
    connection = SSL.Connection(server)
    connection.set_accept_state()
    connection.bio_write(hello.to_bytes())
    with suppress(SSL.Error):
        connection.do_handshake()
    with suppress(SSL.WantReadError):
        return connection.bio_read(65536)
    return b""


@pytest.mark.parametrize("version", [0x0301, 0x0302, 0x0303, TLS1_3])
def test_a_version_is_accepted(server: SSL.Context, version: int) -> None:
    suites = TLS13_SUITES if version == TLS1_3 else OLD_SUITES
    answer = read_answer(said_to(server, Hello(version, list(suites))))
    assert answer is not None
    assert answer.accepted
    assert (answer.version, answer.group, answer.compression) == (version, 0x001D, 0)
    assert answer.suite in suites
    assert answer.secure_renegotiation is (version < TLS1_3)


@pytest.mark.parametrize("suite", [ECDHE_RSA_AES128_GCM, AES128_SHA])
def test_the_suite_is_told(server: SSL.Context, suite: int) -> None:
    answer = read_answer(said_to(server, Hello(0x0303, [suite])))
    assert answer is not None
    assert answer.suite == suite
    assert (answer.group is not None) is (suite == ECDHE_RSA_AES128_GCM)


def test_the_size_of_a_prime_is_told() -> None:
    prime = b"\xff" * 128
    body = len(prime).to_bytes(2) + prime + b"\0\1\2" + b"\0\1\7"
    flight = message(2, server_hello(0x0303)) + message(12, body) + message(14, b"")
    assert read_answer(record(22, flight)) == Answer(version=0x0303, suite=DHE_RSA_AES128_GCM, dh_bits=1024)


@pytest.mark.parametrize(("version", "suite"), [(SSL3, AES128_SHA), (0x0303, 0x0003)])
def test_a_refusal_is_an_alert(server: SSL.Context, version: int, suite: int) -> None:
    answer = read_answer(said_to(server, Hello(version, [suite])))
    assert answer is not None
    assert not answer.accepted
    assert answer.alert in (40, 70)


def test_compression_is_seen() -> None:
    flight = message(2, server_hello(0x0301, compression=1)) + message(14, b"")
    answer = read_answer(record(22, flight))
    assert answer is not None
    assert answer.compression == 1


def test_a_server_hello_that_an_alert_follows_accepts_nothing() -> None:
    """OpenSSL sends one when it finds that it has no signature that the client would take."""
    data = record(22, message(2, server_hello(0x0301))) + record(21, b"\x02\x28")
    answer = read_answer(data)
    assert answer is not None
    assert (answer.accepted, answer.alert) == (False, 40)


def test_a_warning_is_no_refusal() -> None:
    flight = message(2, server_hello(0x0303)) + message(14, b"")
    answer = read_answer(record(21, b"\x01\x70") + record(22, flight))
    assert answer is not None
    assert answer.accepted


def test_in_pieces_it_is_the_same(server: SSL.Context) -> None:
    data = said_to(server, Hello(0x0303, list(OLD_SUITES)))
    whole = read_answer(data)
    assert whole is not None
    parts = [read_answer(data[:end]) for end in range(len(data))]
    assert parts == [None] * len(data)
    assert read_answer(data + b"\x16\x03\x03") == whole


@pytest.mark.parametrize("data", [b"", b"\x16\x03", b"\x16\x03\x03\x40\x00"])
def test_who_ends_without_an_answer_refuses(data: bytes) -> None:
    assert read_answer(data) is None
    assert read_answer(data, ended=True) == Answer()


def test_who_never_ends_is_given_up() -> None:
    assert read_answer(record(22, b"\xff" * 16000) * (MAX_BYTES // 16000 + 1)) == Answer()


@pytest.mark.parametrize("data", [b"220 mx.example.org ESMTP\r\n", b"HTTP/1.1 400 Bad", b"\x80\x2e\x01"])
def test_what_is_no_tls_is_told(data: bytes) -> None:
    answer = read_answer(data)
    assert answer is not None
    assert (answer.accepted, answer.not_tls) == (False, data)


@given(st.binary(max_size=300))
def test_nothing_that_a_server_says_is_an_error(data: bytes) -> None:
    for ended in (False, True):
        read_answer(data, ended=ended)
        read_answer(record(22, data), ended=ended)
        read_answer(record(22, message(2, data)), ended=ended)
        read_answer(record(22, message(2, server_hello(0x0303)) + message(12, data)), ended=ended)


def record(kind: int, fragment: bytes) -> bytes:
    return bytes([kind, 3, 3]) + len(fragment).to_bytes(2) + fragment


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3) + body


def server_hello(version: int, compression: int = 0) -> bytes:
    return version.to_bytes(2) + b"r" * 32 + b"\0" + DHE_RSA_AES128_GCM.to_bytes(2) + bytes([compression])
