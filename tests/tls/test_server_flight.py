"""tlsproxy.tls.server_flight: whether a server resumed, from what it sent."""

import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.support.certificates import Issued
from tests.tls.conftest import Serve, Server
from tests.tls.peers import Peer, client_context, exchange
from tlsproxy.policy.handshakes import HandshakePolicy
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.engine import Engine
from tlsproxy.tls.server_flight import is_resumption
from tlsproxy.tls.wire import handshake_messages

versions = pytest.mark.parametrize("version", list(TlsVersion), ids=lambda version: version.label)


def resume(server: Server, context: SSL.Context, peer: Peer) -> Engine:
    session = peer.connection.get_session()
    assert session is not None
    engine, _ = server.connect(Peer.client(context, session=session))
    return engine


@versions
def test_facts_tell_a_resumed_session_from_a_full_handshake(serve: Serve, version: TlsVersion) -> None:
    server, context = serve(), client_context(version)
    engine, peer = server.connect(context)
    assert engine.facts is not None
    assert not engine.facts.resumed
    again = resume(server, context, peer)
    assert again.facts is not None
    assert again.facts.resumed
    assert again.facts.version == version.label


def test_a_ticket_of_other_keys_makes_a_full_handshake(serve: Serve) -> None:
    context = client_context(TlsVersion.TLS1_3)
    _, peer = serve().connect(context)
    other = serve(tls_protocols=">=TLSv1.1")
    engine = resume(other, context, peer)
    assert engine.facts is not None
    assert not engine.facts.resumed


def test_a_hello_retry_request_is_not_the_server_hello(rsa: Issued) -> None:
    """A client whose key share doesn't fit is asked for another one, by a message that looks like a ServerHello."""
    server_context = SSL.Context(SSL.TLS_SERVER_METHOD)
    server_context.set_tmp_ecdh(ec.SECP384R1())
    server_context.use_certificate(rsa.certificate)
    server_context.use_privatekey(rsa.private_key)
    context, session, resumed = client_context(TlsVersion.TLS1_3), None, []
    for _ in range(2):
        connection = SSL.Connection(server_context)
        connection.set_accept_state()
        engine = Engine(connection, protocols=TlsProtocols.parse(""), policy=HandshakePolicy())
        peer = Peer.client(context, session=session)
        peer.step()
        engine.receive(peer.output(), 0.0)
        retry = engine.bytes_to_send()
        assert len(list(handshake_messages(retry))) == 1, "nothing but the request"
        peer.feed(retry)
        exchange(engine, peer)
        assert engine.facts is not None
        resumed.append(engine.facts.resumed)
        session = peer.connection.get_session()
    assert resumed == [False, True]


def test_an_empty_or_broken_flight_is_no_resumption() -> None:
    for version in TlsVersion:
        assert not is_resumption(b"", version)
        assert not is_resumption(b"\x16\x03\x03\x00\x04\x02\x00\x00\x00", version)


@given(st.binary(max_size=200))
def test_garbage_never_raises(data: bytes) -> None:
    hello = b"\x02" + len(data).to_bytes(3) + data
    for version in TlsVersion:
        is_resumption(data, version)
        is_resumption(struct.pack(">BHH", 22, 0x0303, len(hello)) + hello, version)
