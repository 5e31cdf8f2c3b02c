"""Connections to the server that is probed: blocking, each wait and all of them together bounded, and their number, too."""

import socket
import time
from typing import Final, Self

from attrs import define, field, frozen

from tlsproxy.config.addresses import ServerAddress, UnixAddress
from tlsproxy.errors import HandshakeFailed, TlsproxyError
from tlsproxy.tls.outside.visitor import Visitor

DEADLINE: Final = 180.0
"""Seconds for a probe in all, however slow the server is."""

READ_SIZE: Final = 64 * 1024


class NoAnswer(TlsproxyError):
    """The server, or what was allowed of it, gave no more; the message says what happened."""


@frozen
class Target:
    """The server."""

    address: ServerAddress
    name: str
    """The name that its certificate has to be for; a host name is sent by SNI."""
    timeout: float
    """Seconds of each wait."""


@define
class Budget:
    """What a probe may still cost the server and the operator."""

    connections: int
    """How many more may be made."""
    made: int = 0
    deadline: float = field(factory=lambda: time.monotonic() + DEADLINE)

    def spend(self) -> None:
        """Take one connection.

        :raises NoAnswer: There is none left.
        """
        if self.made >= self.connections:
            raise NoAnswer(f"not tried: {self.connections} connections were made")
        self.made += 1

    def time_left(self) -> float:
        """Seconds, above 0.

        :raises NoAnswer: There are none left.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise NoAnswer(f"not tried: {DEADLINE:.0f} seconds are over")
        return left


@define(eq=False)
class Link:
    """One connection."""

    _socket: socket.socket
    _timeout: float
    _budget: Budget
    tls: Visitor | None = field(init=False, default=None)
    """Through which plaintext goes, once it is established."""
    _plaintext: bytes = field(init=False, default=b"")

    @classmethod
    def open(cls, target: Target, budget: Budget) -> "Link":
        """Connect.

        :raises NoAnswer: It can't be connected to, or there is no budget left.
        """
        timeout = min(target.timeout, budget.time_left())
        budget.spend()
        try:
            return cls(_connected(target.address, timeout), target.timeout, budget)
        except OSError as error:
            raise NoAnswer(f"can't connect: {_in_words(error)}") from error

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are.

        :raises NoAnswer: They can't be sent.
        """
        try:
            self._socket.settimeout(min(self._timeout, self._budget.time_left()))
            self._socket.sendall(data)
        except OSError as error:
            raise NoAnswer(_in_words(error)) from error

    def receive_raw(self, timeout: float | None = None) -> bytes:
        """Bytes as they come; b"" at the end, also where the server resets the connection.

        :raises NoAnswer: None came in time.
        """
        try:
            self._socket.settimeout(min(timeout or self._timeout, self._budget.time_left()))
            return self._socket.recv(READ_SIZE)
        except ConnectionError:
            return b""
        except OSError as error:
            raise NoAnswer(_in_words(error)) from error

    def start_tls(self, visitor: Visitor) -> None:
        """Shake hands.

        :raises HandshakeFailed: It failed.
        :raises NoAnswer: The server went away, or says nothing.
        """
        self.send_raw(visitor.shake_hands())
        while not visitor.established:
            received = self.receive_raw()
            if not received:
                raise HandshakeFailed("the server closed the connection during the handshake")
            self.send_raw(visitor.shake_hands(received))
        self.tls = visitor
        self._plaintext = visitor.receive(b"")

    def send(self, plaintext: bytes) -> None:
        """Send plaintext."""
        self.send_raw(self.tls.encrypt(plaintext) if self.tls is not None else plaintext)

    def receive(self, timeout: float | None = None) -> bytes:
        """Plaintext as it comes; b"" at the end.

        :raises NoAnswer: None came in time.
        :raises TlsRecordError: The server ended TLS by an alert.
        """
        while not self._plaintext:
            received = self.receive_raw(timeout)
            if not received:
                return b""
            self._plaintext = self.tls.receive(received) if self.tls is not None else received
        taken, self._plaintext = self._plaintext, b""
        return taken

    def is_closed_within(self, seconds: float) -> bool:
        """Whether the server ends the connection; what it says until then is thrown away."""
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                if not self.receive_raw(left):
                    return True
        except NoAnswer:
            pass
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _connected(address: ServerAddress, timeout: float) -> socket.socket:
    if isinstance(address, UnixAddress):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(address.path)
        except OSError:
            connection.close()
            raise
        return connection
    connection = socket.create_connection((address.host, address.port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _in_words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error)
