"""Whether a mail server relays for whoever comes through the proxy. It is asked to; nothing is ever sent.

A server is connected to as the proxy does it: from the same address, in the same TLS, told of a client from outside in the
same way. Then the envelope of a message from elsewhere to elsewhere is begun, and given up. A server that takes the
recipient relays.

Only a refusal of the recipient itself shows that it doesn't. One that defers, or that finds fault with the sender's domain,
may yet relay for others: that is not determined.
"""

import re
import socket
import time
from collections.abc import Callable
from enum import Enum
from ipaddress import ip_address
from typing import Final, Self

from attrs import define, field, frozen

from tlsproxy.config.addresses import ServerAddress, UnixAddress
from tlsproxy.config.backend import Backend, BackendTls
from tlsproxy.config.backend_checks import server_name
from tlsproxy.errors import OptionsError, TlsError, TlsproxyError
from tlsproxy.fronts.introduction import Introduced, Introduction, NotIntroduced
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.fronts.replies import MALFORMED, Reply, ReplyReader
from tlsproxy.fronts.smtp_opening import Failed, Opened, SendToServer, SmtpOpening, StartServerTls, TurnedAway
from tlsproxy.identity.client import ClientAddress
from tlsproxy.tls.client import client_context
from tlsproxy.tls.engine import Engine

CLIENT: Final = ClientAddress(ip_address("192.0.2.1"), 40001)
"""The client that a server is told of: nobody has this address (RFC 5737), so nobody trusts it."""

LOCAL: Final = ClientAddress(ip_address("192.0.2.2"), 25)
"""What that client connected to."""

DEADLINE: Final = 90.0
"""Seconds for one server in all. RFC 5321 §4.5.3.2 allows 5 minutes for each reply; an operator waits for this one."""

TEXT_SHOWN: Final = 200
"""Characters of a reply that are shown: two lines of a terminal."""


class Verdict(Enum):
    """What was found."""

    RELAYS = "relays"
    REFUSES = "refuses"
    UNDETERMINED = "undetermined"


@frozen
class Finding:
    """What was found of one server."""

    verdict: Verdict
    detail: str
    """The reply that shows it, or why nothing could be found."""
    client: str | None = None
    """The address that the server took its client to have; None where it wasn't reached."""


@frozen
class Envelope:
    """What the server is asked to take."""

    sender: str
    recipient: str


class Untestable(TlsproxyError):
    """The server doesn't get to the question, or gives no answer to it."""


def relay_test(backend: Backend, address: ServerAddress, envelope: Envelope, hostname: str) -> Finding:
    """Ask one server. Blocks for :data:`DEADLINE` at most.

    :param hostname: Our name, for EHLO.
    """
    if backend.identity is IdentityMode.TRANSPARENT:
        return Finding(
            Verdict.UNDETERMINED, "connections have each client's own address: try it from outside"
        )
    try:
        with _Connection.open(backend, address) as connection:
            client = _client_seen(backend, connection)
            try:
                return _ask(connection, backend, envelope, hostname, client)
            except (Untestable, TlsError, OSError) as error:
                return Finding(Verdict.UNDETERMINED, _in_words(error), client)
    except (Untestable, OptionsError, OSError) as error:
        return Finding(Verdict.UNDETERMINED, _in_words(error))


def _client_seen(backend: Backend, connection: "_Connection") -> str:
    told = backend.identity not in (IdentityMode.NONE, IdentityMode.TRACE_HEADER)
    return str(CLIENT.ip) if told else connection.own_address


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str((isinstance(error, OSError) and error.strerror) or error)


# The dialogue


def _ask(
    connection: "_Connection", backend: Backend, envelope: Envelope, hostname: str, client: str
) -> Finding:
    introduction = Introduction(
        backend.identity, client=CLIENT, destination=LOCAL, tls=None, hostname=hostname
    )
    if introduction.opening:
        connection.send(introduction.opening)
    if backend.tls is BackendTls.IMPLICIT:
        connection.start_tls()
    _open(connection, SmtpOpening(starttls=backend.tls is BackendTls.STARTTLS, hostname=hostname))
    _introduce(connection, introduction)
    _greet(connection, hostname)
    verdict, reply = _begin_message(connection, envelope)
    connection.take_leave()
    return Finding(verdict, shown(reply), client)


def _open(connection: "_Connection", opening: SmtpOpening) -> None:
    """Wait for the greeting, and start TLS where that is by STARTTLS."""
    while True:
        result = opening.receive(connection.receive())
        if isinstance(result, StartServerTls):
            connection.start_tls()
            result = opening.tls_started()
        if isinstance(result, SendToServer):
            connection.send(result.data)
        elif isinstance(result, (Failed, TurnedAway)):
            raise Untestable(result.detail)
        elif isinstance(result, Opened):
            connection.replies.feed(result.said)
            return


def _introduce(connection: "_Connection", introduction: Introduction) -> None:
    """Say who the client is."""
    while not isinstance(result := introduction.receive(connection.reply()), Introduced):
        if isinstance(result, NotIntroduced):
            said = f": {shown(result.verdict)}" if result.verdict is not None else ""
            raise Untestable(result.detail + said)
        connection.send(result)


def _greet(connection: "_Connection", hostname: str) -> None:
    reply = connection.ask(f"EHLO {hostname}")
    if reply.negative:
        reply = connection.ask(f"HELO {hostname}")
    if not reply.positive:
        raise Untestable(f"our greeting was answered {shown(reply)}")


def _begin_message(connection: "_Connection", envelope: Envelope) -> tuple[Verdict, Reply]:
    reply = connection.ask(f"MAIL FROM:<{envelope.sender}>")
    if reply.positive:
        reply = connection.ask(f"RCPT TO:<{envelope.recipient}>")
        if reply.positive:
            return Verdict.RELAYS, reply
        if _refuses_to_relay(reply):
            return Verdict.REFUSES, reply
        raise Untestable(f"the recipient was answered {shown(reply)}")
    if _ENHANCED_REFUSAL.match(reply.data) or reply.code == _AUTHENTICATION_REQUIRED:
        return Verdict.REFUSES, reply
    raise Untestable(f"the sender was answered {shown(reply)}")


_AUTHENTICATION_REQUIRED: Final = 530
"""RFC 4954 §6: to nobody without authentication."""

_ENHANCED_REFUSAL: Final = re.compile(rb"5[0-9]{2}[ -]5\.7\.(?!27\b)")
"""By policy (RFC 3463 §3.8), for who or what the client is; but not for a sender's domain that takes no mail (RFC 7505)."""

_ADDRESS_FAULT: Final = re.compile(rb"5[0-9]{2}[ -]5\.(?:1\.|7\.27\b)")
"""Something is wrong with an address of ours, whoever asks (RFC 3463 §3.2)."""

_REFUSALS: Final = frozenset({530, 550, 551, 553, 554})
"""RFC 5321 §4.2.3, and RFC 4954 §6. The others in 5yz are about syntax and the order of commands."""


def _refuses_to_relay(reply: Reply) -> bool:
    return reply.code in _REFUSALS and not _ADDRESS_FAULT.match(reply.data)


def shown(reply: Reply) -> str:
    """A reply in one line."""
    text = b" ".join(reply.texts).decode("ascii", "backslashreplace")
    return f"{reply.code} {text[:TEXT_SHOWN]}".rstrip()


# The connection


@define(eq=False)
class _Connection:
    """A blocking connection to a server. Every wait is bounded."""

    _socket: socket.socket
    _new_engine: Callable[[], Engine]
    _reply_timeout: float
    _deadline: float
    _engine: Engine | None = field(init=False, default=None)
    _early: bytes = field(init=False, default=b"")  # came with the end of the handshake
    replies: ReplyReader = field(init=False, factory=ReplyReader)

    @classmethod
    def open(cls, backend: Backend, address: ServerAddress) -> "_Connection":
        """Connect.

        :raises OSError: It can't be connected to.
        :raises OptionsError: TLS can't be spoken to it: a file can't be used.
        """
        deadline = time.monotonic() + DEADLINE
        context = client_context(backend) if backend.tls is not BackendTls.NONE else None

        def new_engine() -> Engine:
            assert context is not None  # noqa: S101 - whoever starts TLS has it configured
            return context.new_engine(server_name(backend, address))

        return cls(_connected(backend, address), new_engine, backend.greeting_timeout, deadline)

    @property
    def own_address(self) -> str:
        """Where the connection comes from; a Unix socket comes from nowhere."""
        name = self._socket.getsockname()
        return str(name[0]) if isinstance(name, tuple) else "a Unix socket"

    def send(self, data: bytes) -> None:
        """Send plaintext."""
        if self._engine is not None:
            self._engine.send(data)
            data = self._engine.bytes_to_send()
        self._wait(self._reply_timeout)
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """Plaintext, as it comes.

        :raises Untestable: The server closed the connection.
        """
        while True:
            received, self._early = self._early or self._receive(), b""
            if received:
                return received

    def start_tls(self) -> None:
        """Handshake.

        :raises TlsError: It failed, or the server isn't who it should be.
        """
        engine = self._engine = self._new_engine()
        engine.start_handshake()
        self._flush(engine)
        while not engine.established:
            self._early += self._receive()

    def _receive(self) -> bytes:
        self._wait(self._reply_timeout)
        data = self._socket.recv(65536)
        if not data:
            raise Untestable("the server closed the connection")
        engine = self._engine
        if engine is None:
            return data
        plaintext = engine.receive(data, time.monotonic())
        self._flush(engine)
        return plaintext

    def reply(self) -> Reply:
        """Read a reply.

        :raises Untestable: None came.
        """
        while (reply := self.replies.next_reply()) is None:
            self.replies.feed(self.receive())
        if reply.code == MALFORMED:
            raise Untestable("what the server says is no SMTP reply")
        return reply

    def ask(self, command: str) -> Reply:
        """Say a command, and read the reply."""
        self.send(f"{command}\r\n".encode())
        return self.reply()

    def take_leave(self) -> None:
        """Give the message up, and end the session. Whether the server hears of it changes nothing that was found."""
        try:
            self.ask("RSET")
            self.ask("QUIT")
        except (Untestable, TlsError, OSError):
            pass

    def _flush(self, engine: Engine) -> None:
        self._wait(self._reply_timeout)
        self._socket.sendall(engine.bytes_to_send())

    def _wait(self, timeout: float) -> None:
        """The next operation may take this long, or until the deadline."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(timeout, left))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _connected(backend: Backend, address: ServerAddress) -> socket.socket:
    if isinstance(address, UnixAddress):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(backend.connect_timeout)
        try:
            connection.connect(address.path)
        except OSError:
            connection.close()
            raise
        return connection
    source = (backend.source_address, 0) if backend.source_address is not None else None
    return socket.create_connection((address.host, address.port), backend.connect_timeout, source)
