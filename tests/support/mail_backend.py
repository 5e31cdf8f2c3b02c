"""An old mail server that fails at a moment of one's choice, and remembers what it had by then."""

import contextlib
import socket
import threading
from enum import Enum, auto

from attrs import define, field, frozen

from tests.support.mail_client import reset
from tests.support.servers import Server


class Moment(Enum):
    """When something happens in the dialogue of one message. ``AFTER_`` a reply: the server has given it, and its client
    has said nothing more, or is about to."""

    BEFORE_BANNER = auto()
    AFTER_BANNER = auto()
    EHLO = auto()
    AFTER_EHLO = auto()
    MAIL = auto()
    AFTER_MAIL = auto()
    RCPT = auto()
    AFTER_RCPT = auto()
    DATA = auto()
    AFTER_DATA = auto()
    """354 was given, no content has come."""
    IN_CONTENT = auto()
    """Some of the content has come, or of a chunk."""
    CHUNK = auto()
    """A chunk that isn't the last has come whole."""
    AFTER_CHUNK = auto()
    DOT = auto()
    """The message has come whole, with its end; its reply is awaited."""
    AFTER_DOT = auto()
    QUIT = auto()
    AFTER_QUIT = auto()


class Fault(Enum):
    """What goes wrong with a server."""

    FIN = auto()
    """Its process ends."""
    RST = auto()
    """Its machine loses the connection."""
    GARBAGE = auto()
    """It says what is no SMTP."""
    EXTRA_REPLY = auto()
    """It says 250 once more than it was asked."""
    STALL = auto()
    """It neither reads nor says anything any more."""


@frozen
class Failure:
    """What goes wrong, and when."""

    moment: Moment
    fault: Fault


@define(eq=False)
class Dialogue:
    """What one connection brought.

    :ivar commands: The lines received.
    :ivar content: What came of a message's content, its end included.
    :ivar accepted: The messages that were accepted: 250 was said to them.
    :ivar reached: The moments that were reached.
    :ivar ended: Set when the connection is over.
    :ivar stalled: Set when it stalls.
    """

    connection: socket.socket
    commands: list[bytes] = field(factory=list)
    content: bytes = b""
    accepted: list[bytes] = field(factory=list)
    reached: list[Moment] = field(factory=list)
    ended: threading.Event = field(factory=threading.Event)
    stalled: threading.Event = field(factory=threading.Event)
    released: threading.Event = field(factory=threading.Event)
    dropped_by: Fault | None = None

    @property
    def has_whole_message(self) -> bool:
        """Whether the end of data was received, or the last chunk whole: from then on it is the server's message."""
        return Moment.DOT in self.reached


class _Over(Exception):
    """The connection is over."""


_END_OF_DATA = b"\r\n.\r\n"

_SAID = {Fault.GARBAGE: b"\xff\x00 what is this\r\n", Fault.EXTRA_REPLY: b"250 2.0.0 Ok\r\n"}

_REPLIES = {
    b"EHLO": (Moment.EHLO, Moment.AFTER_EHLO, b"250-old.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
    b"MAIL": (Moment.MAIL, Moment.AFTER_MAIL, b"250 sender\r\n"),
    b"RCPT": (Moment.RCPT, Moment.AFTER_RCPT, b"250 recipient\r\n"),
    b"DATA": (Moment.DATA, Moment.AFTER_DATA, b"354 go on\r\n"),
    b"QUIT": (Moment.QUIT, Moment.AFTER_QUIT, b"221 bye\r\n"),
}


class MailBackend(Server):
    """Serves SMTP without TLS.

    :ivar failure: What goes wrong with the connections accepted from then on.
    :ivar dialogues: Every connection, in their order.
    """

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.dialogues: list[Dialogue] = []
        super().__init__(self._handle)

    def serve(self, listening: socket.socket) -> None:
        """Listen on a socket that is bound."""
        listening.listen()
        threading.Thread(target=self._accept_one, args=(listening,), daemon=True).start()

    def _accept_one(self, listening: socket.socket) -> None:
        self._handle(listening.accept()[0])

    def drop(self, fault: Fault = Fault.FIN) -> None:
        """End the last connection, whatever it does."""
        dialogue = self.dialogues[-1]
        dialogue.dropped_by = fault
        dialogue.released.set()
        with contextlib.suppress(OSError):
            dialogue.connection.shutdown(socket.SHUT_RD)  # wakes a thread that reads

    def _handle(self, connection: socket.socket) -> None:
        dialogue = Dialogue(connection)
        self.dialogues.append(dialogue)
        try:
            _Conversation(connection, dialogue, self.failure).run()
        except (_Over, ConnectionError):
            pass
        finally:
            if dialogue.dropped_by is Fault.RST:
                reset(connection)
            connection.close()
            dialogue.ended.set()


@define
class _Conversation:
    connection: socket.socket
    dialogue: Dialogue
    failure: Failure | None
    buffer: bytes = b""

    def run(self) -> None:
        self.at(Moment.BEFORE_BANNER)
        self.say(b"220 old.example ESMTP\r\n", Moment.AFTER_BANNER)
        while True:
            self.command(self.read_until(b"\r\n"))

    def command(self, line: bytes) -> None:
        self.dialogue.commands.append(line.rstrip())
        verb = line[:4].upper()
        if verb == b"BDAT":
            self.chunk(line)
            return
        before, after, reply = _REPLIES[verb]
        self.at(before)
        self.say(reply, after)
        if verb == b"DATA":
            self.content()
        elif verb == b"QUIT":
            raise _Over

    def content(self) -> None:
        if not self.buffer:
            self.receive()
        self.at(Moment.IN_CONTENT)
        self.finish_message(self.read_until(_END_OF_DATA))

    def chunk(self, line: bytes) -> None:
        size = int(line.split()[1])
        if not self.buffer:
            self.receive()
        self.at(Moment.IN_CONTENT)
        while len(self.buffer) < size:
            self.receive()
        chunk, self.buffer = self.buffer[:size], self.buffer[size:]
        if b"LAST" in line.upper():
            self.finish_message(chunk)
        else:
            self.dialogue.content += chunk
            self.at(Moment.CHUNK)
            self.say(b"250 chunk\r\n", Moment.AFTER_CHUNK)

    def finish_message(self, content: bytes) -> None:
        dialogue = self.dialogue
        dialogue.content += content
        self.at(Moment.DOT)
        dialogue.accepted.append(dialogue.content)
        dialogue.content = b""
        self.say(b"250 queued\r\n", Moment.AFTER_DOT)

    def say(self, reply: bytes, after: Moment) -> None:
        """Give a reply. What goes wrong with what is said goes wrong in the same breath: nobody can come between."""
        failure = self.failure
        if failure is not None and failure.moment is after:
            reply += _SAID.get(failure.fault, b"")
        self.connection.sendall(reply)
        self.at(after)

    def at(self, moment: Moment) -> None:
        self.dialogue.reached.append(moment)
        failure = self.failure
        if failure is None or failure.moment is not moment:
            return
        if moment is Moment.IN_CONTENT:
            self.dialogue.content += self.buffer
        if failure.fault is Fault.RST:
            reset(self.connection)
            raise _Over
        if failure.fault is Fault.FIN:
            self.connection.shutdown(socket.SHUT_WR)
            raise _Over
        if failure.fault is Fault.STALL:
            self.dialogue.stalled.set()
            self.dialogue.released.wait(30)
            raise _Over
        if not moment.name.startswith("AFTER_"):
            self.connection.sendall(_SAID[failure.fault])

    def read_until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            self.receive()
        line, _, self.buffer = self.buffer.partition(end)
        return line + end

    def receive(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise _Over
        self.buffer += data
