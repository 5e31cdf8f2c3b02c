"""A TLS client that misbehaves after the handshake, on tlslite-ng, which lets any message be sent at any time."""

import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.errors import TLSAbruptCloseError, TLSRemoteAlert
from tlslite.messages import ClientHello

VERSIONS = {"TLSv1": (3, 1), "TLSv1.1": (3, 2), "TLSv1.2": (3, 3), "TLSv1.3": (3, 4)}

NO_RENEGOTIATION = 100
"""RFC 5246 §7.2.2."""


class CorkedSocket:
    """A socket whose writes can be held back and sent as one."""

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain
        self._held: bytearray | None = None

    def cork(self) -> None:
        self._held = bytearray()

    def uncork(self) -> int:
        held, self._held = self._held or bytearray(), None
        with suppress(ConnectionError):  # the other side is quick: it may close before all is sent
            self._plain.sendall(held)
        return len(held)

    def send(self, data: bytes) -> int:
        if self._held is None:
            return self._plain.send(data)
        self._held += data
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.send(data) if self._held is not None else self._plain.sendall(data)

    def recv(self, size: int) -> bytes:
        return self._plain.recv(size)

    def close(self) -> None:
        """tlslite-ng closes at the first alert; what comes after it is of interest here."""

    def really_close(self) -> None:
        self._plain.close()

    def shutdown(self, how: int) -> None:
        self._plain.shutdown(how)


class Attacker:
    """A client with one established connection."""

    def __init__(self, port: int, version: str) -> None:
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = VERSIONS[version]
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = CorkedSocket(plain)
        self._version = VERSIONS[version]
        self._sent_at = 0.0
        self.tls = TLSConnection(self._socket)
        self.tls.handshakeClientCert(settings=settings, serverName="localhost")

    def renegotiation_burst(self, count: int) -> None:
        """Send ``count`` ClientHello messages in one write, without waiting for an answer."""
        hello = ClientHello().create(
            self._version,
            bytearray(32),
            bytearray(),
            [0xC02F, 0xC02B, 0xC013, 0x002F, 0x00FF],
            serverName="localhost",
        )
        self._burst(lambda: self.tls._sendMsg(hello, update_hashes=False), count)

    def key_update_burst(self, count: int) -> None:
        """Send ``count`` KeyUpdate messages that ask for no answer, in one write."""
        self._burst(lambda: self.tls.send_keyupdate_request(0), count)

    def _burst(self, send: object, count: int) -> None:
        self._socket.cork()
        for _ in range(count):
            for _ in send():  # type: ignore[operator]
                pass
        self._sent_at = time.monotonic()
        self._socket.uncork()

    def read_to_end(self) -> tuple[list[int], float]:
        """Read until the other side closes: descriptions of its alerts, and the seconds since the burst began.

        Reads the socket on beyond alerts that end a session for tlslite.
        """
        alerts: list[int] = []
        while True:
            try:
                if not self.tls.read(max=65536):
                    break
            except TLSRemoteAlert as alert:
                alerts.append(alert.description)
            except (TLSAbruptCloseError, ConnectionError):
                break
        while True:
            try:
                if not self._socket.recv(65536):
                    break
            except ConnectionError:
                break
        return alerts, time.monotonic() - self._sent_at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.really_close()
