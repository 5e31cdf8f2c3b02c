"""Small backends for tests: one thread a connection, plain sockets, every wait bounded."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

TIMEOUT = 60.0
"""Seconds that one socket operation may take."""


class Server:
    """Accepts on a loopback port (or a Unix socket) and gives each connection to ``handler`` in a thread of its own."""

    def __init__(self, handler: Callable[[socket.socket], None], *, unix_path: str | None = None) -> None:
        self._handler = handler
        if unix_path is None:
            self._listening = socket.create_server(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        else:
            self._listening = socket.socket(socket.AF_UNIX)
            self._listening.bind(unix_path)
            self._listening.listen()
            self.address = f"unix:{unix_path}"
        self.accepted = 0
        self.faults: list[BaseException] = []
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT)
            self.accepted += 1
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._handler(connection)
            except (OSError, AssertionError) as fault:
                self.faults.append(fault)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing alone doesn't wake accept().
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


def echo(connection: socket.socket) -> None:
    """Say everything back, then end."""
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
