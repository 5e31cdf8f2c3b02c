"""An SMTP server that says what it is told to, one reply for each command."""

import socket
import ssl
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from tests.support.servers import Server

REPLIES: Mapping[str, str] = {
    "greeting": "220 old.example ESMTP",
    "EHLO": "250 old.example",
    "HELO": "250 old.example",
    "MAIL": "250 sender",
    "RCPT": "550 5.7.1 Relaying denied",
    "RSET": "250 forgotten",
    "QUIT": "221 bye",
}

CLOSE = "close"
"""In place of a reply: the connection ends."""

STALL = "stall"
"""In place of a reply: nothing more is said."""


@define
class ScriptedSmtp:
    """What to say to whom, and what was heard.

    :param replies: By verb, in place of those in ``REPLIES``; lines are separated by LF.
    :param context: For STARTTLS, or ``implicit`` TLS.
    :ivar heard: Every line, the PROXY header's too.
    :ivar peers: Where connections came from.
    """

    replies: Mapping[str, str] = field(factory=dict)
    context: ssl.SSLContext | None = None
    implicit: bool = False
    header: bool = False
    heard: list[str] = field(init=False, factory=list)
    peers: list[str] = field(init=False, factory=list)

    def handle(self, connection: socket.socket) -> None:
        """Serve one connection: for :class:`~tests.support.servers.Server`."""
        peer = connection.getpeername()
        self.peers.append(peer[0] if isinstance(peer, tuple) else "unix")
        if self.header:
            self._hear(connection)
        if self.implicit:
            connection = self._tls(connection)
        with connection:
            self._converse(connection)

    def _tls(self, connection: socket.socket) -> ssl.SSLSocket:
        assert self.context is not None
        return self.context.wrap_socket(connection, server_side=True)

    def _converse(self, connection: socket.socket) -> None:
        verb = "greeting"
        while self._say(connection, verb) and verb != "QUIT":
            if verb == "STARTTLS" and self.context is not None:
                connection = self._tls(connection)
            verb = self._hear(connection).split(" ")[0].upper()
            if not verb:
                break
        connection.close()

    def _hear(self, connection: socket.socket) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            received = connection.recv(1)
            if not received:
                return ""
            line += received
        self.heard.append(line.decode().rstrip("\r\n"))
        return self.heard[-1]

    def _say(self, connection: socket.socket, verb: str) -> bool:
        reply = {**REPLIES, **self.replies}.get(verb, "502 5.5.1 not implemented")
        if reply == CLOSE:
            return False
        if reply == STALL:
            connection.recv(100)  # the other side's end
            return False
        connection.sendall((reply.replace("\n", "\r\n") + "\r\n").encode())
        return True

    def serve(self, **options: Any) -> Server:
        """Listen; a context manager."""
        return Server(self.handle, **options)
