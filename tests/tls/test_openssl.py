"""What OpenSSL and pyOpenSSL do, where tlsproxy.tls counts on it: should an upgrade change it, this says so."""

import pytest
from OpenSSL import SSL

from tests.support.certificates import Issued
from tests.tls.conftest import Serve
from tests.tls.crafted import EMPTY_CLIENT_HELLO, HANDSHAKE, TLS12_SUITE, Tls12Writer
from tests.tls.peers import Peer, client_context
from tlsproxy.policy.protocols import TlsVersion


def connected(issued: Issued, options: int = 0) -> tuple[Peer, Peer, SSL.Connection]:
    """A server without an engine, and a client, at TLS 1.2."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(TLS12_SUITE.encode())
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.private_key)
    context.set_options(options)
    connection = SSL.Connection(context)
    connection.set_accept_state()
    server, client = Peer(connection), Peer.client(client_context(TlsVersion.TLS1_2))
    for _ in range(3):
        client.step()
        server.feed(client.output())
        client.feed(server.output())
    assert server.established
    return server, client, connection


Event = tuple[int, int, bytes]


def watched(connection: SSL.Connection) -> list[Event]:
    events: list[Event] = []
    connection.set_info_callback(
        lambda connection, where, value: events.append((where, value, connection.get_state_string()))
    )
    return events


def test_a_refused_renegotiation_starts_alerts_and_is_done_again(rsa: Issued) -> None:
    server, client, connection = connected(rsa)
    events = watched(connection)
    server.feed(Tls12Writer(client.connection).record(HANDSHAKE, EMPTY_CLIENT_HELLO))
    told = [(where, value) for where, value, _ in events if not where & SSL.SSL_CB_LOOP]
    assert told == [
        (SSL.SSL_CB_HANDSHAKE_START, 1),
        (SSL.SSL_CB_WRITE_ALERT, 356),  # warning, no_renegotiation
        (SSL.SSL_CB_HANDSHAKE_DONE, 1),
        (SSL.SSL_CB_ACCEPT_EXIT, 1),
    ]
    assert server.error is None, "the connection stays open"


def test_one_read_answers_all_the_client_hellos_of_a_record(rsa: Issued) -> None:
    server, client, connection = connected(rsa)
    events = watched(connection)
    server.feed(Tls12Writer(client.connection).record(HANDSHAKE, EMPTY_CLIENT_HELLO * 4000))
    assert [where for where, _, _ in events].count(SSL.SSL_CB_WRITE_ALERT) == 4000


@pytest.mark.parametrize("option", [0, SSL.OP_NO_RENEGOTIATION, SSL.OP_NO_RENEGOTIATION | 1 << 8])
def test_client_renegotiation_is_refused_unless_allowed_and_not_forbidden(rsa: Issued, option: int) -> None:
    server, client, _ = connected(rsa, option)
    server.feed(client.renegotiation())
    client.feed(server.output())
    assert client.alerts == [100]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_in_an_info_callback_is_lost(rsa: Issued) -> None:
    calls = []

    def broken(_connection: SSL.Connection, where: int, _value: int) -> None:
        calls.append(where)
        raise KeyError("lost")

    server, client, connection = connected(rsa)
    connection.set_info_callback(broken)
    server.feed(Tls12Writer(client.connection).record(HANDSHAKE, EMPTY_CLIENT_HELLO))
    assert calls
    assert server.error is None


@pytest.mark.parametrize("bound", ["set_min_proto_version", "set_max_proto_version"])
@pytest.mark.parametrize("version", [0x0305, 0x0300])
def test_a_bound_that_the_library_doesnt_know_is_an_error(bound: str, version: int) -> None:
    with pytest.raises(SSL.Error):
        getattr(SSL.Context(SSL.TLS_METHOD), bound)(version)


def test_a_mode_or_option_that_pyopenssl_doesnt_name_has_the_number_assumed(serve: Serve) -> None:
    server = serve(tls_allow_renegotiation=True)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    assert context.set_mode(0) & 1, "SSL_MODE_ENABLE_PARTIAL_WRITE, set by pyOpenSSL"
    assert not context.clear_mode(1) & 1
    engine, peer = server.connect_at(TlsVersion.TLS1_2)
    engine.receive(peer.renegotiation(), 0.0)
    assert engine.bytes_to_send()[0] == HANDSHAKE, (
        "SSL_OP_ALLOW_CLIENT_RENEGOTIATION: a ServerHello, no alert"
    )
