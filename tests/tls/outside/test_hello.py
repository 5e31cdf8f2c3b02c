"""A hello made by hand is one that our own reader, and OpenSSL, understand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.tls.client_hello import parse_client_hello
from tlsproxy.tls.outside.hello import DEFLATE, SSL3, TLS1_3, Hello
from tlsproxy.tls.wire import Reader, handshake_messages, records

VERSIONS = [SSL3, 0x0301, 0x0302, 0x0303, TLS1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_one_record_with_one_message(version: int) -> None:
    data = Hello(version, [0x002F], server_name="mx.example.org").to_bytes()
    [(kind, fragment)] = records(data)
    assert (kind, len(fragment)) == (22, len(data) - 5)
    [(message, body)] = handshake_messages(data)
    assert (message, len(body)) == (1, len(fragment) - 4)


@pytest.mark.parametrize(
    ("version", "offered"),
    [(0x0301, "<=TLSv1"), (0x0302, "<=TLSv1.1"), (0x0303, "<=TLSv1.2"), (TLS1_3, "TLSv1.3")],
)
def test_it_offers_one_version_at_most(version: int, offered: str) -> None:
    hello = parse_client_hello(Hello(version, [0x1301], server_name="mx.example.org").to_bytes())
    assert hello is not None
    assert (hello.offered, hello.server_name) == (offered, "mx.example.org")


def test_no_address_is_sent_as_a_name() -> None:
    hello = parse_client_hello(Hello(0x0303, [0x002F], server_name="192.0.2.1").to_bytes())
    assert hello is not None
    assert hello.server_name is None


@given(st.sampled_from(VERSIONS), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=300), st.booleans())
def test_suites_and_compression_are_offered_as_told(
    version: int, suites: list[int], compression: bool
) -> None:
    [(_, body)] = handshake_messages(Hello(version, suites, compression=compression).to_bytes())
    reader = Reader(body)
    assert reader.number(2) == min(version, 0x0303)
    reader.take(32)
    reader.vector(1)
    offered = reader.vector(2)
    assert offered == b"".join(suite.to_bytes(2) for suite in suites) + b"\x00\xff"
    assert (DEFLATE in reader.vector(1)) is compression
