"""A WebSocket client and server that nobody here wrote, with the proxy between them."""

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.support.certificates import Authority
from tests.support.proxy import Proxy

pytestmark = pytest.mark.interop


def converse(session: ServerConnection) -> None:
    """Say everything back, until told to close."""
    for message in session:
        if message == "close":
            session.close(4000, "as you said")
            return
        session.send(message)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ClientConnection]:
    authority = Authority(tmp_path)
    certificate = authority.issue("localhost")
    with serve(converse, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        toml = f"""
            tls_certificate = "{certificate.chain_path}"
            tls_key = "{certificate.key_path}"
            [backend.web]
            servers = ["127.0.0.1:{server.socket.getsockname()[1]}"]
            [[http_listener]]
            backend = "web"
              [[http_listener.listen]]
              address = "127.0.0.1:0"
        """
        with Proxy.start(tmp_path, toml) as proxy:
            context = ssl.create_default_context(cafile=str(authority.path))
            url = f"wss://localhost:{proxy.ports()[0]}/chat"
            with connect(url, ssl=context, open_timeout=10, close_timeout=10) as session:
                yield session


def test_text_and_large_binary_messages_come_back(client: ClientConnection) -> None:
    binary = bytes(range(256)) * 4096
    for message in ("hëllo", binary, ""):
        client.send(message)
        assert client.recv(timeout=20) == message


def test_the_client_closes(client: ClientConnection) -> None:
    client.send("x")
    assert client.recv(timeout=10) == "x"
    client.close(4001, "done")
    assert (client.close_code, client.close_reason) == (4001, "done")


def test_the_server_closes(client: ClientConnection) -> None:
    client.send("close")
    with pytest.raises(ConnectionClosedError, match="4000"):
        client.recv(timeout=10)
    assert (client.close_code, client.close_reason) == (4000, "as you said")
