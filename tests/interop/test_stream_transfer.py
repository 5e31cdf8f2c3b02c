"""A stream listener carries bytes: all, in order, both ways, ends included, in bounded memory."""

import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.support.certificates import Authority
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

GIB = 1024 * 1024 * 1024
CHUNK = memoryview(bytes(range(256)) * 4096)  # 1 MiB


def config(authority: Authority, backend: str, *, listen: str = "127.0.0.1:0", options: str = "") -> str:
    issued = authority.issue("localhost")
    return f"""
        tls_certificate = "{issued.chain_path}"
        tls_key = "{issued.key_path}"
        {options}
        [backend.test]
        servers = ["{backend}"]
        [[stream_listener]]
        backend = "test"
          [[stream_listener.listen]]
          address = "{listen}"
    """


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def connect(port: int, authority: Authority) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(authority.path))
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    return context.wrap_socket(plain, server_hostname="localhost")


def checksum_of(total: int) -> bytes:
    digest = hashlib.sha256()
    for _ in range(total // len(CHUNK)):
        digest.update(CHUNK)
    return digest.digest()


def send_all(connection: socket.socket, total: int) -> None:
    for _ in range(total // len(CHUNK)):
        connection.sendall(CHUNK)


def digest_until_end(connection: socket.socket) -> bytes:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1024 * 1024))
    while count := connection.recv_into(buffer):
        digest.update(buffer[:count])
    return digest.digest()


def test_a_gibibyte_up_arrives_whole(tmp_path: Path, authority: Authority) -> None:
    def answer_checksum(connection: socket.socket) -> None:
        connection.sendall(digest_until_end(connection))

    with (
        Server(answer_checksum) as backend,
        Proxy.start(tmp_path, config(authority, backend.address)) as proxy,
    ):
        with half_closing_client(proxy.ports()[0]) as client:
            for _ in range(GIB // len(CHUNK)):
                client.sendall(CHUNK)
            client.shutdown()
            assert read_to_end(client) == checksum_of(GIB)
            ended = proxy.wait_for_note("session_ended")
            assert ended["bytes_from_client"] == GIB


def test_a_gibibyte_down_arrives_whole(tmp_path: Path, authority: Authority) -> None:
    def send(connection: socket.socket) -> None:
        send_all(connection, GIB)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    with Server(send) as backend, Proxy.start(tmp_path, config(authority, backend.address)) as proxy:
        with connect(proxy.ports()[0], authority) as client:
            assert digest_until_end(client) == checksum_of(GIB)
        ended = proxy.wait_for_note("session_ended")
        assert ended["bytes_to_client"] == GIB


@contextmanager
def half_closing_client(port: int) -> Iterator[SSL.Connection]:
    """A client that can send close_notify and go on reading: Python's ssl can't."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        plain.setblocking(True)  # a time-out makes the socket non-blocking underneath
        client = SSL.Connection(context, plain)
        client.set_connect_state()
        client.do_handshake()
        yield client


def read_to_end(client: SSL.Connection) -> bytes:
    data = bytearray()
    while True:
        try:
            data += client.recv(65536)
        except SSL.ZeroReturnError:
            return bytes(data)


@pytest.mark.parametrize("fin", [True, False], ids=["close_notify and FIN", "close_notify alone"])
def test_a_client_that_has_finished_still_gets_the_answer(
    tmp_path: Path, authority: Authority, *, fin: bool
) -> None:
    """The backend answers only after it has seen the client's end."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"got " + b"".join(iter(lambda: connection.recv(65536), b"")))

    with Server(answer) as backend, Proxy.start(tmp_path, config(authority, backend.address)) as proxy:
        with half_closing_client(proxy.ports()[0]) as client:
            client.sendall(b"question")
            client.shutdown()
            if fin:
                client.sock_shutdown(socket.SHUT_WR)
            assert read_to_end(client) == b"got question"
            with suppress(OSError):  # the connection is over where FINs went both ways
                client.sock_shutdown(socket.SHUT_RDWR)
            assert proxy.wait_for_note("session_ended")["reason"] == "client_closed"


def test_a_backend_that_has_finished_still_gets_the_rest(tmp_path: Path, authority: Authority) -> None:
    """The client sends only after it has seen the backend's close_notify."""
    received = bytearray()
    complete = threading.Event()

    def finish_first(connection: socket.socket) -> None:
        connection.sendall(b"no more from me")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            received.extend(data)
        complete.set()

    with Server(finish_first) as backend, Proxy.start(tmp_path, config(authority, backend.address)) as proxy:
        with half_closing_client(proxy.ports()[0]) as client:
            assert read_to_end(client) == b"no more from me"
            client.sendall(b"but from me")
            client.shutdown()
            assert complete.wait(10)
            assert received == b"but from me"
            assert proxy.wait_for_note("session_ended")["reason"] == "backend_closed"


def test_a_truncated_client_is_told_apart_in_the_log(tmp_path: Path, authority: Authority) -> None:
    with Server(echo) as backend, Proxy.start(tmp_path, config(authority, backend.address)) as proxy:
        with half_closing_client(proxy.ports()[0]) as client:
            client.sendall(b"cut")
            assert client.recv(10) == b"cut"
            client.sock_shutdown(socket.SHUT_WR)
            assert proxy.wait_for_note("session_ended")["reason"] == "client_truncated"


def test_a_backend_that_resets_is_seen_as_truncation_by_the_client(
    tmp_path: Path, authority: Authority
) -> None:
    def reset(connection: socket.socket) -> None:
        connection.sendall(b"half of")
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with Server(reset) as backend, Proxy.start(tmp_path, config(authority, backend.address)) as proxy:
        with half_closing_client(proxy.ports()[0]) as client:
            assert client.recv(7) == b"half of"
            client.sendall(b"go")
            with pytest.raises(SSL.SysCallError, match="Unexpected EOF"):
                client.recv(1)
            assert proxy.wait_for_note("session_ended")["reason"] == "backend_lost"


def test_data_sent_with_the_finished_reaches_the_backend(tmp_path: Path, authority: Authority) -> None:
    """The first bytes are there before the backend is connected."""
    with Server(echo) as backend, Proxy.start(tmp_path, config(authority, backend.address)) as proxy:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        with socket.create_connection(("127.0.0.1", proxy.ports()[0]), timeout=10) as plain:
            tls = SSL.Connection(context, None)
            tls.set_connect_state()
            with pytest.raises(SSL.WantReadError):
                tls.do_handshake()
            plain.sendall(tls.bio_read(65536))
            while True:
                tls.bio_write(plain.recv(65536))
                try:
                    tls.do_handshake()
                    break
                except SSL.WantReadError:
                    continue
            tls.send(b"early")
            tls.shutdown()
            plain.sendall(tls.bio_read(65536))
            received = bytearray()
            while data := plain.recv(65536):
                tls.bio_write(data)
                try:
                    while True:
                        received += tls.recv(65536)
                except (SSL.WantReadError, SSL.ZeroReturnError):
                    pass
            assert received == b"early"


@pytest.mark.parametrize("size", [1, 16384, 16385, 100_000])
def test_every_size_comes_back(tmp_path: Path, authority: Authority, size: int) -> None:
    with Server(echo) as backend, Proxy.start(tmp_path, config(authority, backend.address)) as proxy:
        with connect(proxy.ports()[0], authority) as client:
            client.sendall(CHUNK[:size])
            received = bytearray()
            while len(received) < size:
                received += client.recv(65536)
            assert received == CHUNK[:size]


def test_unix_sockets_serve_on_both_sides(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "front.sock"
    with Server(echo, unix_path=str(tmp_path / "back.sock")) as backend:
        with Proxy.start(tmp_path, config(authority, backend.address, listen=f"unix:{path}")) as proxy:
            context = ssl.create_default_context(cafile=str(authority.path))
            with socket.socket(socket.AF_UNIX) as plain:
                plain.settimeout(10)
                plain.connect(str(path))
                with context.wrap_socket(plain, server_hostname="localhost") as client:
                    client.sendall(b"over unix")
                    assert client.recv(100) == b"over unix"
            assert proxy.wait_for_note("session_ended")["client"] == "unix"
        assert not path.exists(), "the socket file is removed at the end"


CONNECTIONS = 8


@pytest.fixture
def stall() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def wait_until_still(count: list[int]) -> None:
    """Wait until nothing was added for half a second: everything between the ends is full."""
    settled = threading.Event()
    seen = -1
    while seen != sum(count):
        seen = sum(count)
        settled.wait(0.5)


def test_a_stalled_backend_bounds_memory_while_clients_upload_a_gibibyte(
    tmp_path: Path,
    authority: Authority,
    stall: threading.Event,
    record_property: Callable[[str, object], None],
) -> None:
    share = GIB // CONNECTIONS

    def resume_later(connection: socket.socket) -> None:
        assert stall.wait(60)
        connection.sendall(digest_until_end(connection))

    with (
        Server(resume_later) as backend,
        Proxy.start(tmp_path, config(authority, backend.address)) as proxy,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(half_closing_client(proxy.ports()[0])) for _ in range(CONNECTIONS)]
        before = proxy.rss_kib()
        sent = [0] * CONNECTIONS

        def upload(number: int) -> None:
            for _ in range(share // len(CHUNK)):
                clients[number].sendall(CHUNK)
                sent[number] += len(CHUNK)
            clients[number].shutdown()

        threads = [threading.Thread(target=upload, args=(number,)) for number in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        wait_until_still(sent)
        stalled = proxy.rss_kib()
        stall.set()
        for thread in threads:
            thread.join(60)
        assert [read_to_end(client) for client in clients] == [checksum_of(share)] * CONNECTIONS
        growth = (max(stalled, proxy.rss_kib()) - before) / CONNECTIONS
        record_property("rss_growth_kib_per_connection", growth)
        assert growth < 1024


def test_a_stalled_client_bounds_memory_while_it_downloads_a_gibibyte(
    tmp_path: Path, authority: Authority, record_property: Callable[[str, object], None]
) -> None:
    share = GIB // CONNECTIONS
    sent = [0]

    def send(connection: socket.socket) -> None:
        for _ in range(share // len(CHUNK)):
            connection.sendall(CHUNK)
            sent[0] += len(CHUNK)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    with Server(send) as backend, Proxy.start(tmp_path, config(authority, backend.address)) as proxy:
        before = proxy.rss_kib()
        clients = [connect(proxy.ports()[0], authority) for _ in range(CONNECTIONS)]
        wait_until_still(sent)
        stalled = proxy.rss_kib()
        results: list[bytes] = []
        threads = [
            threading.Thread(target=lambda client=client: results.append(digest_until_end(client)))
            for client in clients
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for client in clients:
            client.close()
        assert results == [checksum_of(share)] * CONNECTIONS
        growth = (max(stalled, proxy.rss_kib()) - before) / CONNECTIONS
        record_property("rss_growth_kib_per_connection", growth)
        assert growth < 1024
