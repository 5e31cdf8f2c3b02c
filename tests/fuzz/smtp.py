"""An SMTP server that does as a script of bytes says, and an ``esmtp`` front between it and a client's bytes."""

import re
from collections import deque

from attrs import define, field

from tlsproxy.fronts.commands import (
    AbortBackend,
    CloseSession,
    Command,
    ConnectBackend,
    DisconnectBackend,
    SendToBackend,
    SendToClient,
    StartTls,
)
from tlsproxy.fronts.esmtp import EsmtpFront
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendDataReceived,
    BackendFinished,
    BackendLost,
    ClientDataReceived,
    Event,
    SessionOpened,
    TlsStarted,
)
from tlsproxy.identity.client import ClientAddress, TlsFacts, normalized_address

OPENED = SessionOpened(
    ClientAddress(normalized_address("192.0.2.7"), 51234),
    ClientAddress(normalized_address("198.51.100.25"), 25),
)
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
GREETING = b"220 old.example\r\n"

_STRICT_LINE_END = re.compile(rb"\r\n")
_LENIENT_LINE_END = re.compile(rb"\r\n|\r(?!\Z)|\n")
_CONTROLS = bytes(range(33))

EXTENSIONS = (
    b"PIPELINING",
    b"CHUNKING",
    b"AUTH LOGIN",
    b"STARTTLS",
    b"XCLIENT ADDR",
    b"SIZE 5000",
    b"8BITMIME",
)


@define
class Server:
    """Reads commands, and content by its end or its count. What it replies doesn't depend on how it reads.

    :ivar lenient: It takes CRLF, LF and CR for line ends, cuts lines at NUL, and skips white space and controls before a
        verb. Otherwise it takes CRLF alone, and everything as it came.
    :ivar script: Decides what it offers, and which commands it refuses: a bit for each, again and again.
    :ivar commands: All that it saw.
    :ivar messages: All that it accepted.
    """

    lenient: bool
    script: int
    commands: list[bytes] = field(init=False, factory=list)
    messages: list[bytes] = field(init=False, factory=list)
    _buffer: bytes = field(init=False, default=b"")
    _content: bytes = field(init=False, default=b"")
    _missing: int = field(init=False, default=0)
    _last: bool = field(init=False, default=False)
    _reading: str = field(init=False, default="commands")

    def receive(self, data: bytes) -> bytes:
        """Take bytes; the replies."""
        self._buffer += data
        line_end = _LENIENT_LINE_END if self.lenient else _STRICT_LINE_END
        replies = b""
        while True:
            if self._reading == "chunk":
                if len(self._buffer) < self._missing:
                    return replies
                replies += self._chunk_received()
                continue
            end = line_end.search(self._buffer)
            if end is None:
                return replies
            line = self._buffer[: end.start()]
            self._buffer = self._buffer[end.end() :]
            replies += self._line(line.partition(b"\0")[0] if self.lenient else line)

    def _chunk_received(self) -> bytes:
        self._content += self._buffer[: self._missing]
        self._buffer = self._buffer[self._missing :]
        self._reading = "commands"
        return self._accepted() if self._last else b"250 chunk\r\n"

    def _line(self, line: bytes) -> bytes:
        if self._reading == "content":
            if line == b".":
                self._reading = "commands"
                return self._accepted()
            self._content += line.removeprefix(b".") + b"\r\n"
            return b""
        if self._reading == "auth":
            self._reading = "commands"
            return b"501 cancelled\r\n" if line == b"*" else b"235 welcome\r\n"
        return self._command(line.lstrip(_CONTROLS) if self.lenient else line)

    def _accepted(self) -> bytes:
        self.messages.append(self._content)
        self._content = b""
        return b"250 queued as %d\r\n" % len(self.messages)

    def refuses(self, number: int) -> bool:
        """Whether the command of this number, from 0, is refused."""
        return bool(self.script >> 8 + number % 8 & 1)

    def _command(self, line: bytes) -> bytes:
        number = len(self.commands)
        self.commands.append(line)
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        if verb == b"BDAT":
            size, _, last = argument.partition(b" ")
            self._reading, self._missing, self._last = "chunk", int(size), last.upper() == b"LAST"
            return b""
        if verb == b"QUIT":
            return b"221 bye\r\n"
        if self.refuses(number):
            return b"502 not here\r\n" if verb == b"EHLO" else b"550 no\r\n"
        if verb == b"EHLO":
            return self._offer()
        if verb == b"DATA":
            self._reading = "content"
            return b"354 go on\r\n"
        if verb == b"AUTH":
            self._reading = "auth"
            return b"334 VXNlcm5hbWU6\r\n"
        return b"250 Ok\r\n"

    def _offer(self) -> bytes:
        offered = [word for bit, word in enumerate(EXTENSIONS) if not self.script >> bit & 1]
        lines = [b"old.example", *offered]
        return b"".join(b"250-%b\r\n" % text for text in lines[:-1]) + b"250 %b\r\n" % lines[-1]


@define
class Conversation:
    """A front, and behind it two servers that see the same bytes: what the first says is delivered.

    :ivar front: The front.
    :ivar script: Of the servers.
    :ivar lenient: Whether the first server is; the second never is.
    :ivar client: All that the client was told.
    :ivar servers: A pair for each connection.
    """

    front: EsmtpFront
    script: int
    lenient: bool = True
    client: bytes = b""
    servers: list[tuple[Server, Server]] = field(init=False, factory=list)
    reason: str | None = field(init=False, default=None)
    tls_awaited: bool = field(init=False, default=False)
    _said: bytes = field(init=False, default=b"")
    _connected: bool = field(init=False, default=False)
    _lost: bool = field(init=False, default=False)

    def tell(self, event: Event) -> None:
        """Tell the front, and carry out what it asks for."""
        events = deque([event])
        while events and self.reason is None:
            for command in self.front.handle(events.popleft()):
                self._carry_out(command, events)

    def _carry_out(self, command: Command, events: deque[Event]) -> None:
        match command:
            case SendToClient(data):
                self.client += data
            case SendToBackend(data):
                assert self._connected
                if not self._lost:
                    first, second = self.servers[-1]
                    self._said += first.receive(data)
                    second.receive(data)
            case ConnectBackend():
                assert not self._connected
                self._connected = True
                self.servers.append((Server(self.lenient, self.script), Server(False, self.script)))
                self._said = GREETING
                events.append(BackendConnected())
            case DisconnectBackend() | AbortBackend():
                assert self._connected
                self._connected = self._lost = False
                self._said = b""
            case StartTls():
                assert not self.tls_awaited
                self.tls_awaited = True
            case CloseSession(reason):
                self.reason = reason

    def client_says(self, data: bytes) -> None:
        """Not while TLS is awaited: nobody reads plaintext then."""
        if not self.tls_awaited:
            self.tell(ClientDataReceived(data))

    def happens(self, what: Event | bytes) -> None:
        """Something unforeseen: an event, or words of the server's that nothing asked for."""
        if isinstance(what, bytes):
            self._said += what if self._connected else b""
        elif not isinstance(what, BackendLost | BackendFinished):
            self.tell(what)
        elif self._connected and not self._lost:
            self._lost = True
            self._said = b""
            self.tell(what)

    def deliver(self, size: int | None) -> bool:
        """Hand on some of what the server has said, None for all; whether there was anything."""
        said, self._said = self._said[:size], self._said[len(self._said[:size]) :]
        if said:
            self.tell(BackendDataReceived(said))
        return bool(said)

    def rest(self) -> None:
        """Let everything happen that can without the client."""
        while self.deliver(None) or self._started_tls():
            pass

    def _started_tls(self) -> bool:
        awaited, self.tls_awaited = self.tls_awaited, False
        if awaited:
            self.tell(TlsStarted(TLS))
        return awaited

    @property
    def result(self) -> object:
        """All that came of it."""
        seen = [(server.commands, server.messages) for server, _ in self.servers]
        return self.client, seen, self.reason
