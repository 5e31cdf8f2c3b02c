"""PROXY headers both ways with HAProxy: it reads ours, and we read its."""

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from attrs import evolve
from OpenSSL import SSL

from tests.support.certificates import Authority, Issued
from tests.support.processes import Program, free_ports
from tests.support.programs import require
from tlsproxy.identity.client import ClientAddress, TlsFacts
from tlsproxy.identity.proxy_header import LOCAL_V2, ProxyHeader, ProxyHeaderParser, encode_v1, encode_v2

TIMEOUT = 10
"""Seconds for each thing that a socket waits for."""

SERVER_NAME = "mx.example.org"
COMMON_NAME = "Drucker Süd, 3. Stock"


def end(ip: str, port: int) -> ClientAddress:
    return ClientAddress(ip_address(ip), port)


def end_of(address: tuple[str, int] | tuple[str, int, int, int]) -> ClientAddress:
    """A socket's address."""
    return end(address[0], address[1])


@pytest.fixture(scope="module")
def client_certificate(authority: Authority) -> Issued:
    return authority.issue(common_name=COMMON_NAME, client=True)


@contextlib.contextmanager
def haproxy(directory: Path, *proxies: str) -> Iterator[Program]:
    config = directory / "haproxy.cfg"
    defaults = "defaults\n  timeout connect 10s\n  timeout client 10s\n  timeout server 10s\n"
    config.write_text("\n".join([defaults, *proxies]))
    with Program([require("haproxy", package="haproxy"), "-db", "-f", config]) as program:
        yield program


# HAProxy tells us.


class Receiver:
    """A listening socket, and what the header of a connection to it says."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(TIMEOUT)
        self.port: int = self.socket.getsockname()[1]

    def header(self, following: bytes) -> ProxyHeader:
        """The next connection's header, which the bytes ``following`` come after."""
        connection, _ = self.socket.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            parser = ProxyHeaderParser()
            header = None
            while header is None:
                data = connection.recv(65536)
                assert data, "ended without a header"
                header = parser.feed(data)
            rest = parser.rest
            while len(rest) < len(following):
                data = connection.recv(65536)
                assert data, "ended after the header"
                rest += data
            assert rest == following
            return header


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with receiver.socket:
        yield receiver


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"])
@pytest.mark.parametrize("loopback", ["127.0.0.1", "[::1]"])
def test_addresses_come_from_haproxy(tmp_path: Path, receiver: Receiver, option: str, loopback: str) -> None:
    (port,) = free_ports(1)
    proxy = f"listen plain\n  mode tcp\n  bind {loopback}:{port}\n  server test 127.0.0.1:{receiver.port} {option}\n"
    with haproxy(tmp_path, proxy) as program:
        program.wait_for_port(port)
        with socket.create_connection((loopback.strip("[]"), port), TIMEOUT) as client:
            client.sendall(b"EHLO helo.example\r\n")
            header = receiver.header(b"EHLO helo.example\r\n")
            assert header == ProxyHeader(end_of(client.getsockname()), end_of(client.getpeername()))


def tls_context(authority: Authority, version: int, certificate: Issued | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.load_verify_locations(str(authority.path))
    context.set_verify(SSL.VERIFY_PEER)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_alpn_protos([b"smtp"])
    if certificate is not None:
        context.use_certificate_chain_file(str(certificate.chain_path))
        context.use_privatekey_file(str(certificate.key_path))
    return context


@contextlib.contextmanager
def tls_connection(
    context: SSL.Context, port: int, session: SSL.Session | None = None
) -> Iterator[SSL.Connection]:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain:
        plain.settimeout(None)  # pyOpenSSL works on blocking sockets
        connection = SSL.Connection(context, plain)
        connection.set_tlsext_host_name(SERVER_NAME.encode("ascii"))
        connection.set_connect_state()
        if session is not None:
            connection.set_session(session)
        connection.do_handshake()
        yield connection
        connection.shutdown()


@pytest.fixture
def tls_port(tmp_path: Path, receiver: Receiver, authority: Authority) -> Iterator[int]:
    """The port of an HAProxy that ends TLS and tells the receiver all of it."""
    (port,) = free_ports(1)
    server = authority.issue(SERVER_NAME).write_combined(tmp_path / "server.pem")
    proxy = (
        f"listen tls\n  mode tcp\n"
        f"  bind 127.0.0.1:{port} ssl crt {server} ca-file {authority.path} verify optional alpn smtp\n"
        f"  server test 127.0.0.1:{receiver.port} send-proxy-v2-ssl-cn"
        f" proxy-v2-options ssl-cipher,cert-sig,cert-key,authority,crc32c\n"
    )
    with haproxy(tmp_path, proxy) as program:
        program.wait_for_port(port)
        yield port


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("certified", [True, False])
def test_tls_facts_come_from_haproxy(
    receiver: Receiver,
    authority: Authority,
    client_certificate: Issued,
    tls_port: int,
    version: int,
    certified: bool,
) -> None:
    context = tls_context(authority, version, client_certificate if certified else None)
    with tls_connection(context, tls_port) as client:
        client.sendall(b"EHLO helo.example\r\n")
        header = receiver.header(b"EHLO helo.example\r\n")
        cipher = client.get_cipher_name()
        assert cipher is not None
        assert header == ProxyHeader(
            end_of(client.getsockname()),
            end("127.0.0.1", tls_port),
            TlsFacts(
                version=client.get_protocol_version_name(),
                cipher=cipher,
                cipher_bits=0,
                server_name=SERVER_NAME,
                alpn="smtp",
                client_common_name=COMMON_NAME if certified else None,
                client_verified=certified,
            ),
            authority=SERVER_NAME,
            alpn="smtp",
        )


def test_a_resumed_session_shows_the_certificate_of_its_first_connection(
    receiver: Receiver, authority: Authority, client_certificate: Issued, tls_port: int
) -> None:
    context = tls_context(authority, SSL.TLS1_2_VERSION, client_certificate)
    session = None
    told = []
    for _ in range(2):
        with tls_connection(context, tls_port, session) as client:
            client.sendall(b"NOOP\r\n")
            told.append(receiver.header(b"NOOP\r\n").tls)
            session = client.get_session()
    first, second = told
    assert first is not None
    assert not first.resumed
    assert second == evolve(first, resumed=True)
    assert first.client_common_name == COMMON_NAME


def test_a_health_check_of_haproxy_relays_nobody(tmp_path: Path, receiver: Receiver) -> None:
    (port,) = free_ports(1)
    proxy = (
        f"listen checked\n  mode tcp\n  bind 127.0.0.1:{port}\n"
        f"  option tcp-check\n  tcp-check connect send-proxy\n  tcp-check send QUIT\\r\\n\n"
        f"  server test 127.0.0.1:{receiver.port} check send-proxy-v2\n"
    )
    with haproxy(tmp_path, proxy):
        assert receiver.header(b"QUIT\r\n") == ProxyHeader(None, None, local=True)


# We tell HAProxy.

CLIENT4, SERVER4 = end("192.0.2.1", 51234), end("198.51.100.7", 25)
CLIENT6, SERVER6 = end("2001:db8::1", 51234), end("2001:db8:ffff::7", 25)
UNIX = ClientAddress(None)
TLS = TlsFacts(
    "TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "X25519", SERVER_NAME, "smtp", False, "CN=x", "x", True
)
LONG_TLS = TlsFacts("TLSv1.2", "C" * 60, 128, "X25519", "s" * 255, "smtp", client_common_name="n" * 64)


@pytest.fixture(scope="module")
def told_haproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an HAProxy that wants a header, and answers over HTTP what it learnt of it."""
    (port,) = free_ports(1)
    proxy = (
        f"frontend told\n  mode http\n  bind 127.0.0.1:{port} accept-proxy\n"
        f'  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]'
        f' %[fc_pp_authority]"\n'
    )
    with haproxy(tmp_path_factory.mktemp("haproxy"), proxy) as program:
        program.wait_for_port(port)
        yield port


def answer(port: int, header: bytes) -> tuple[ClientAddress, list[str]]:
    """Where we connected from, and what HAProxy believes of a connection that begins with ``header``."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        own = end_of(client.getsockname())
        client.sendall(header + b"GET / HTTP/1.0\r\n\r\n")
        reply = b""
        with contextlib.suppress(ConnectionResetError):  # HAProxy closes with our request unread
            while data := client.recv(65536):
                reply += data
        return own, reply.partition(b"\r\n\r\n")[2].decode("ascii").split()


@pytest.mark.parametrize(
    ("header", "believed"),
    [
        (encode_v1(CLIENT4, SERVER4), ["192.0.2.1", "51234", "198.51.100.7", "25"]),
        (encode_v1(CLIENT6, SERVER6), ["2001:db8::1", "51234", "2001:db8:ffff::7", "25"]),
        (encode_v1(CLIENT4, SERVER6), ["::ffff:192.0.2.1", "51234", "2001:db8:ffff::7", "25"]),
        (encode_v1(CLIENT4, UNIX), ["192.0.2.1", "51234", "0.0.0.0"]),  # noqa: S104 (nothing is bound; port 0 isn't shown)
        (encode_v2(CLIENT4, SERVER4), ["192.0.2.1", "51234", "198.51.100.7", "25"]),
        (encode_v2(CLIENT6, SERVER6), ["2001:db8::1", "51234", "2001:db8:ffff::7", "25"]),
        (encode_v2(CLIENT4, SERVER6), ["::ffff:192.0.2.1", "51234", "2001:db8:ffff::7", "25"]),
        (encode_v2(CLIENT4, SERVER4, TLS), ["192.0.2.1", "51234", "198.51.100.7", "25", SERVER_NAME]),
        (
            encode_v2(CLIENT6, SERVER6, TLS, checksum=True),
            ["2001:db8::1", "51234", "2001:db8:ffff::7", "25", SERVER_NAME],
        ),
        (
            encode_v2(CLIENT6, SERVER6, LONG_TLS),
            ["2001:db8::1", "51234", "2001:db8:ffff::7", "25", "s" * 255],
        ),
    ],
)
def test_haproxy_believes_our_header(told_haproxy: int, header: bytes, believed: list[str]) -> None:
    assert answer(told_haproxy, header)[1] == believed


@pytest.mark.parametrize("header", [LOCAL_V2, encode_v1(UNIX, UNIX)])
def test_haproxy_takes_the_connections_own_addresses_where_none_are_told(
    told_haproxy: int, header: bytes
) -> None:
    own, believed = answer(told_haproxy, header)
    assert believed == ["127.0.0.1", str(own.port), "127.0.0.1", str(told_haproxy)]


def test_haproxy_verifies_our_checksum(told_haproxy: int) -> None:
    header = encode_v2(CLIENT4, SERVER4, TLS, checksum=True)
    assert answer(told_haproxy, header)[1]
    assert answer(told_haproxy, header[:-1] + bytes([header[-1] ^ 1]))[1] == []


def test_haproxy_refuses_a_client_on_a_unix_socket(told_haproxy: int) -> None:
    assert answer(told_haproxy, encode_v2(UNIX, UNIX))[1] == []
