"""The table of ambiguous requests through a running proxy: what is answered over TLS, and what a plain server records."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from tests.fronts.test_http_smuggling import BODIES, CHUNKED, HEADS, SMUGGLED, named, request
from tests.support.certificates import Authority
from tests.support.http_play import RecordingBackend, Told, ok
from tests.support.proxy import Proxy
from tests.support.servers import Server

pytestmark = pytest.mark.interop

CONFIG = """
    tls_certificate = "{certificate.chain_path}"
    tls_key = "{certificate.key_path}"
    [backend.recording]
    servers = ["{backend}"]
    [[http_listener]]
    backend = "recording"
      [[http_listener.listen]]
      address = "127.0.0.1:0"
"""
ENOUGH = 1_000_000
"""Bytes: more than any answer here has."""


@define
class Recorder:
    """What arrives at a server, by connection."""

    backends: list[RecordingBackend] = field(init=False, factory=list)
    open: int = field(init=False, default=0)
    changed: threading.Condition = field(init=False, factory=threading.Condition)

    def serve(self, connection: socket.socket) -> None:
        """Record one connection, and answer the requests that are whole."""
        backend = RecordingBackend(ok)
        with self.changed:
            self.backends.append(backend)
            self.open += 1
        try:
            while data := connection.recv(65536):
                if said := backend.receive(data):
                    connection.sendall(said)
        finally:
            with self.changed:
                self.open -= 1
                self.changed.notify_all()

    def wait_until_all_ended(self) -> None:
        """Until no connection is open any more."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self.open, timeout=10), "a connection is still open"

    @property
    def received(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(backend.received for backend in self.backends)

    @property
    def told(self) -> list[Told]:
        """All whole requests of all connections."""
        return [told for backend in self.backends for told in backend.told]


@define
class Place:
    """A proxy with a recording server behind it."""

    proxy: Proxy
    recorder: Recorder
    context: ssl.SSLContext

    def ask(self, data: bytes) -> bytes:
        """Say ``data`` on a connection of its own, and read until the proxy closes it."""
        seen = len(self.proxy.notes)
        with socket.create_connection(("127.0.0.1", self.proxy.ports()[0]), timeout=10) as plain:
            client = "{}:{}".format(*plain.getsockname())
            with self.context.wrap_socket(plain, server_hostname="localhost") as session:
                with contextlib.suppress(ConnectionError, ssl.SSLError):  # refused before it is all said
                    session.sendall(data)
                answer = b""
                with contextlib.suppress(ConnectionError):
                    while len(answer) < ENOUGH and (more := session.recv(65536)):
                        answer += more
        self.proxy.wait_for_note("session_ended", after=seen, client=client)
        return answer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("smuggling")
    authority = Authority(directory)
    recorder = Recorder()
    with Server(recorder.serve) as backend:
        toml = CONFIG.format(certificate=authority.issue("localhost"), backend=backend.address)
        with Proxy.start(directory, toml) as proxy:
            yield Place(proxy, recorder, ssl.create_default_context(cafile=str(authority.path)))


@pytest.fixture
def place(running: Place) -> Place:
    running.recorder.backends.clear()
    return running


def refused(answer: bytes, status: int) -> None:
    """It is one answer, the last."""
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(("status", "data"), named(HEADS))
def test_an_ambiguous_head_is_answered_and_reaches_no_server(place: Place, status: int, data: bytes) -> None:
    refused(place.ask(data + SMUGGLED), status)
    place.recorder.wait_until_all_ended()
    assert place.recorder.backends == []


@pytest.mark.parametrize(("status", "data"), named(BODIES))
def test_a_broken_body_is_answered_and_its_end_reaches_no_server(
    place: Place, status: int, data: bytes
) -> None:
    refused(place.ask(CHUNKED + data + SMUGGLED), status)
    place.recorder.wait_until_all_ended()
    assert place.recorder.told == []
    assert b"smuggled" not in place.recorder.received


def test_what_is_plain_reaches_the_server_in_order(place: Place) -> None:
    """So the others are refused for what they are."""
    bodied = request(b"Content-Length: 5", first=b"POST /1 HTTP/1.1") + b"hello"
    chunked = request(b"Transfer-Encoding: chunked", first=b"POST /2 HTTP/1.1") + b"5\r\nworld\r\n0\r\n\r\n"
    last = request(b"Connection: close", first=b"GET /3 HTTP/1.1")
    answer = place.ask(bodied + chunked + last)
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert [(told.target, told.body) for told in place.recorder.told] == [
        (b"/1", b"hello"),
        (b"/2", b"world"),
        (b"/3", b""),
    ]
