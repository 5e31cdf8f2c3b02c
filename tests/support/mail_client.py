"""An SMTP client on a socket: says what it is told to, and tells exactly what it saw."""

import contextlib
import socket
import ssl
import struct
from types import TracebackType
from typing import Literal, Self

from attrs import define, field, frozen

TIMEOUT = 20.0
"""Seconds that one socket operation may take."""

Tls = Literal["none", "starttls", "implicit"]

End = Literal["close_notify", "fin", "reset"]
"""How the other side ended: in order under TLS, in order without (or a truncation, under TLS), or by a reset."""


@frozen
class Reply:
    """A whole reply, or what came of one before the end."""

    text: str
    end: End | None = None
    """None: the connection goes on."""

    @property
    def code(self) -> int:
        """Of its last line; 0 where there is none."""
        last = self.text.rstrip("\n").rpartition("\n")[2]
        return int(last[:3]) if last[:3].isdigit() else 0


def reset(connection: socket.socket) -> None:
    """Close with RST, as a machine that crashed and came back would."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@define(eq=False)
class MailClient:
    """A connection to an SMTP server; nothing was read or said yet, but for a handshake where TLS is implicit."""

    port: int
    context: ssl.SSLContext
    tls: Tls = "none"
    host: str = "127.0.0.1"
    address: str = field(init=False)
    """Its own, as the proxy's log has it."""
    logged: int = field(init=False, default=0)
    """Lines that the proxy's log had before: another client may have had this one's port."""
    _socket: socket.socket = field(init=False)
    _received: bytes = field(init=False, default=b"")

    def __attrs_post_init__(self) -> None:
        self._socket = socket.create_connection((self.host, self.port), timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = "{}:{}".format(*self._socket.getsockname())
        if self.tls == "implicit":
            self.handshake()

    def handshake(self) -> None:
        """Begin TLS."""
        self._socket = self.context.wrap_socket(
            self._socket, server_hostname="localhost", suppress_ragged_eofs=False
        )

    def greet(self) -> Reply:
        """Read the banner, say EHLO, and begin TLS where it is by STARTTLS: the reply to the last EHLO."""
        reply = self.reply()
        assert reply.code == 220, reply
        reply = self.says("EHLO client.example")
        if self.tls == "starttls":
            assert self.says("STARTTLS").code == 220
            self.handshake()
            reply = self.says("EHLO client.example")
        assert reply.code == 250, reply
        return reply

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def says(self, line: str) -> Reply:
        """Say a line, and read the reply."""
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def reply(self) -> Reply:
        """Read a reply."""
        text = ""
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                text += line.decode("latin-1").rstrip("\r") + "\n"
                if line[3:4] != b"-":
                    return Reply(text)
                continue
            end = self._receive()
            if end is not None:
                return Reply(text + self._received.decode("latin-1"), end)

    def read_to_end(self) -> tuple[str, End]:
        """Everything that still comes, and the end."""
        while (end := self._receive()) is None:
            pass
        received, self._received = self._received, b""
        return received.decode("latin-1").replace("\r\n", "\n"), end

    def _receive(self) -> End | None:
        try:
            data = self._socket.recv(65536)
        except ssl.SSLZeroReturnError:  # instead of b"", once finish() was called
            return "close_notify"
        except ssl.SSLEOFError:
            return "fin"
        except ConnectionError:
            return "reset"
        if not data:
            return "close_notify" if isinstance(self._socket, ssl.SSLSocket) else "fin"
        self._received += data
        return None

    def finish(self) -> None:
        """Say in order that nothing more comes: close_notify and FIN. Replies can still be read."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError):  # it is sent; the other side's isn't waited for
                self._socket.unwrap()
            self._socket.settimeout(TIMEOUT)
        else:
            self._socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """Close without a word: FIN, and RST where there is something unread."""
        self._socket.close()

    def crash(self) -> None:
        """Close with RST."""
        reset(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
