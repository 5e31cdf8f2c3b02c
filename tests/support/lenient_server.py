"""An SMTP server as lenient as any that a proxy may stand in front of, and a front connected to it without a network."""

import re
from collections import deque

from attrs import define, field

from tlsproxy.fronts import Front
from tlsproxy.fronts.commands import (
    AbortBackend,
    CloseSession,
    Command,
    ConnectBackend,
    DisconnectBackend,
    Report,
    SendToBackend,
    SendToClient,
    StartTls,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendDataReceived,
    ClientDataReceived,
    Event,
    TlsStarted,
)
from tlsproxy.identity.client import TlsFacts

_LINE_END = re.compile(rb"\r\n|\r(?!\Z)|\n")
_REPLIES = {
    b"MAIL": b"250 sender\r\n",
    b"RCPT": b"250 recipient\r\n",
    b"XCLIENT": b"220 old.example\r\n",
    b"QUIT": b"221 bye\r\n",
}


@define
class LenientServer:
    """Takes CRLF, LF and CR for line ends, cuts lines at NUL, skips white space and control characters before a verb.

    :ivar commands: Every command line that it saw.
    :ivar messages: Every message that it accepted.
    """

    offered: tuple[bytes, ...] = (b"PIPELINING", b"CHUNKING", b"AUTH LOGIN", b"XCLIENT NAME ADDR")
    commands: list[bytes] = field(init=False, factory=list)
    messages: list[bytes] = field(init=False, factory=list)
    _buffer: bytes = field(init=False, default=b"")
    _content: bytes = field(init=False, default=b"")
    _chunk: tuple[int, bool] | None = field(init=False, default=None)
    _reading: str = field(init=False, default="commands")

    greeting = b"220 old.example\r\n"

    def receive(self, data: bytes) -> bytes:
        """Take bytes; the replies."""
        self._buffer += data
        replies = b""
        while True:
            if self._chunk is not None:
                size, last = self._chunk
                if len(self._buffer) < size:
                    return replies
                self._content += self._buffer[:size]
                self._buffer = self._buffer[size:]
                self._chunk = None
                replies += self._accepted() if last else b"250 chunk\r\n"
                continue
            end = _LINE_END.search(self._buffer)
            if end is None:
                return replies
            line = self._buffer[: end.start()].partition(b"\0")[0]
            self._buffer = self._buffer[end.end() :]
            replies += self._line(line)

    def _line(self, line: bytes) -> bytes:
        if self._reading == "content":
            if line == b".":
                self._reading = "commands"
                return self._accepted()
            self._content += line.removeprefix(b".") + b"\r\n"
            return b""
        if self._reading == "auth":
            self._reading = "commands"
            return b"235 welcome\r\n" if line != b"*" else b"501 cancelled\r\n"
        return self._command(line)

    def _accepted(self) -> bytes:
        self.messages.append(self._content)
        self._content = b""
        return b"250 queued as %d\r\n" % len(self.messages)

    def _command(self, line: bytes) -> bytes:
        line = line.lstrip(bytes(range(33)))
        self.commands.append(line)
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        if verb == b"EHLO":
            lines = [b"old.example", *self.offered]
            return b"".join(b"250-%b\r\n" % text for text in lines[:-1]) + b"250 %b\r\n" % lines[-1]
        if verb == b"DATA":
            self._reading = "content"
            return b"354 go on\r\n"
        if verb == b"BDAT":
            size, _, last = argument.partition(b" ")
            self._chunk = int(size), last.upper() == b"LAST"
            return b""
        if verb == b"AUTH":
            self._reading = "auth"
            return b"334 VXNlcm5hbWU6\r\n"
        return _REPLIES.get(verb, b"250 Ok\r\n")


@define
class Wired:
    """A front with a server behind it. What the server says waits until it is delivered.

    :ivar client: All that the client was told.
    :ivar servers: Those it was connected to, the last one last.
    """

    front: Front
    facts: TlsFacts
    client: bytes = b""
    servers: list[LenientServer] = field(init=False, factory=list)
    reports: list[str] = field(init=False, factory=list)
    reason: str | None = field(init=False, default=None)
    tls_awaited: bool = field(init=False, default=False)
    _said: bytes = field(init=False, default=b"")
    _connected: bool = field(init=False, default=False)

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
                self._said += self.servers[-1].receive(data)
            case ConnectBackend():
                assert not self._connected
                self._connected = True
                self.servers.append(LenientServer())
                self._said = LenientServer.greeting
                events.append(BackendConnected())
            case DisconnectBackend() | AbortBackend():
                self._connected = False
                self._said = b""
            case StartTls():
                self.tls_awaited = True
            case CloseSession(reason):
                self.reason = reason
            case Report(what):
                self.reports.append(what)

    def client_says(self, data: bytes) -> None:
        """Not while TLS is awaited: nobody reads plaintext then."""
        if not self.tls_awaited:
            self.tell(ClientDataReceived(data))

    def start_tls(self) -> None:
        """The handshake that is awaited is done."""
        if self.tls_awaited:
            self.tls_awaited = False
            self.tell(TlsStarted(self.facts))

    def deliver(self, size: int | None = None) -> bool:
        """Hand on some of what the server has said, or all of it; whether there was anything."""
        said, self._said = self._said[:size], self._said[len(self._said[:size]) :]
        if said:
            self.tell(BackendDataReceived(said))
        return bool(said)

    @property
    def commands(self) -> list[bytes]:
        """Every command that a server saw."""
        return [command for server in self.servers for command in server.commands]
