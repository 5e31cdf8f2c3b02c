"""HTTP servers for tests on Python's own http.server, which is what its requests look like to an ordinary server."""

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from attrs import frozen

BLOCK = bytes(range(256)) * 256
"""What downloads are made of."""

MAXIMUM = 256 * 1024 * 1024
"""Bytes of one download or upload: more is a mistake in a test."""


@frozen
class Heard:
    """A request as a server heard it. Names are in lower case, and each has all of its values."""

    method: str
    path: str
    fields: dict[str, list[str]]
    length: int
    digest: str
    connection: int
    """The port that it came from: the same for all requests of one connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: "HttpServer"

    def _body(self) -> tuple[int, str]:
        length, digest = 0, hashlib.sha256()
        for piece in self._pieces():
            length += len(piece)
            assert length <= MAXIMUM
            digest.update(piece)
        return length, digest.hexdigest()

    def _pieces(self) -> Any:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(left, 65536))
            left -= len(piece)
            yield piece

    def _hear(self) -> None:
        length, digest = self._body()
        fields: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            fields.setdefault(name.lower(), []).append(value)
        self.server.heard.append(
            Heard(self.command, self.path, fields, length, digest, self.client_address[1])
        )
        if self.path.startswith("/download/"):
            self._download(int(self.path.rpartition("/")[2]))
        else:
            self._answer(
                json.dumps({"server": self.server.name, "length": length, "digest": digest}).encode()
            )

    def _answer(self, body: bytes) -> None:
        # In one piece, so that a server that is killed has answered or hasn't.
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.wfile.write(head if self.command == "HEAD" else head + body)

    def _download(self, size: int) -> None:
        assert size <= MAXIMUM
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for at in range(0, size, len(BLOCK)):
            self.wfile.write(BLOCK[: size - at])

    do_GET = do_HEAD = do_POST = do_PUT = _hear  # noqa: N815 (names that http.server looks for)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's word)
        """Tests look at ``heard``."""


class HttpServer(ThreadingHTTPServer):
    """Answers every request with what it heard; ``/download/N`` with N bytes.

    :ivar heard: Every request.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str = "server", port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.name = name
        self.heard: list[Heard] = []
        self.address = f"127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(5)


def digest_of_download(size: int) -> str:
    """SHA-256 of a download, in hexadecimal."""
    digest = hashlib.sha256()
    for at in range(0, size, len(BLOCK)):
        digest.update(BLOCK[: size - at])
    return digest.hexdigest()


def main(name: str, port: int) -> None:
    """A server as a process of its own, which can be killed."""
    with HttpServer(name, port):
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
