"""A session without a network: its client, its front and its backend do as the test says."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, cast

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.transports import RecordingTransport
from tests.tls.peers import Peer
from tlsproxy.config.backend import Backend
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import Kind
from tlsproxy.fronts.commands import Command
from tlsproxy.fronts.events import Event
from tlsproxy.fronts.options import FrontOptions, IdentityMode
from tlsproxy.identity.client import ClientAddress
from tlsproxy.net.backend import BackendConnection, BackendConnector, BackendUser, ConnectionRequest
from tlsproxy.net.leg import Leg
from tlsproxy.net.session import Session, SessionHost, SessionPlan
from tlsproxy.notes import Note
from tlsproxy.policy.pace import Due
from tlsproxy.tls.contexts import ServerContext

CLIENT = ClientAddress(ip_address("192.0.2.7"), 51234)
LOCAL = ClientAddress(ip_address("198.51.100.25"), 25)
SERVER = "old.example:25"


class Transport(RecordingTransport):
    """One end of a connection, and what its peer does."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", str(LOCAL.ip), LOCAL.port)

    def says(self, data: bytes) -> None:
        """The peer sends."""
        self.protocol.dataReceived(data)

    def finishes(self) -> None:
        """The peer sends FIN."""
        self.protocol.readConnectionLost()

    def all_written(self) -> None:
        """The kernel has all that was written, and our FIN."""
        self.protocol.writeConnectionLost()

    def is_lost(self) -> None:
        """The connection is gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def state(self) -> str:
        """How it was ended from this side: ``aborted``, ``closed``, ``finished`` (FIN), or ``open``."""
        ends = {"aborted": self.aborted, "closed": self.closed, "finished": self.half_closed}
        return next((name for name, reached in ends.items() if reached), "open")


class NoOwner:
    """Owns a leg that isn't a session's yet."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class ScriptedFront:
    """Remembers what it was told; answers an event of a kind with the next of the answers set for that kind."""

    def __init__(self) -> None:
        self.client_name: bytes | None = None
        self.due = Due.NOTHING
        self.step = 0
        self.told: list[Event] = []
        self._answers: dict[type[Event], deque[Sequence[Command] | Exception]] = {}

    def on(self, kind: type[Event], *commands: Command) -> None:
        """Answer the next event of this kind, that has no answer yet, with ``commands``."""
        self._answers.setdefault(kind, deque()).append(commands)

    def fail_on(self, kind: type[Event]) -> None:
        """Raise at the next event of this kind."""
        self._answers.setdefault(kind, deque()).append(ZeroDivisionError("unexpected"))

    def handle(self, event: Event) -> Sequence[Command]:
        self.told.append(event)
        answers = self._answers.get(type(event))
        answer = answers.popleft() if answers else ()
        if isinstance(answer, Exception):
            raise answer
        return answer


@define(eq=False)
class Connecting:
    """A session's wait for a backend, and what comes of it."""

    user: BackendUser
    request: ConnectionRequest
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@define(eq=False)
class Connection:
    """What a session gets of a connector."""

    leg: Leg
    server: str = SERVER
    reused: bool = False
    released: bool = False
    blamed: list[str] = field(factory=list)

    def release(self) -> None:
        self.released = True

    def blame(self, detail: str) -> None:
        self.blamed.append(detail)


class Connector:
    """Connects nobody by itself."""

    def __init__(self) -> None:
        self.backend = Backend(name="old", servers=(), identity=IdentityMode.NONE)
        self.asked: list[Connecting] = []
        self.at_once: Callable[[Connecting], None] | None = None

    def connect(self, user: BackendUser, request: ConnectionRequest) -> Connecting:
        self.asked.append(Connecting(user, request))
        if self.at_once is not None:
            self.at_once(self.asked[-1])
        return self.asked[-1]


class World:
    """One session.

    :ivar client: The client's connection.
    :ivar backends: The connections to the backend, in order, and their transports.
    """

    def __init__(
        self, *, context: ServerContext | None = None, local: ClientAddress | None = None, **options: Any
    ) -> None:
        self.clock = Clock()
        self.front = ScriptedFront()
        self.connector = Connector()
        self.notes: list[Note] = []
        self.opened: list[Session] = []
        self.on_opened: Callable[[Session], None] = self.opened.append
        self.ended: list[Session] = []
        self.backends: list[tuple[Connection, Transport]] = []
        settings = Settings(**options)
        host = SessionHost(
            listen="198.51.100.25:25",
            kind=Kind("esmtp", lambda _: self.front, frozenset(IdentityMode), smtp=True),
            connector=cast("BackendConnector", self.connector),
            clock=self.clock,
            notify=self.notes.append,
            opened=lambda session: self.on_opened(session),  # noqa: PLW0108 - a test may set it later
            ended=self.ended.append,
        )
        front_options = FrontOptions(settings, IdentityMode.NONE, lambda: datetime.now(UTC))
        plan = SessionPlan(settings, settings.handshake_policy, context, front_options)
        self.session = Session(host, plan, CLIENT, local)
        self.client = Transport(self.session.client)

    def open(self) -> "World":
        """The client connects."""
        self.session.client.makeConnection(self.client)
        return self

    def connect(self, *, reused: bool = False, engine: Any = None) -> Transport:
        """The connection that the session waits for comes up."""
        leg = Leg(cast("Any", NoOwner()), self.clock, lambda _: None)
        transport = Transport(leg)
        leg.makeConnection(transport)
        leg.engine = engine
        connection = Connection(leg, reused=reused)
        self.backends.append((connection, transport))
        self.connector.asked[-1].user.backend_connected(cast("BackendConnection", connection))
        return transport

    @property
    def connection(self) -> Connection:
        """The last connection to the backend."""
        return self.backends[-1][0]

    @property
    def backend(self) -> Transport:
        """Its transport."""
        return self.backends[-1][1]

    def told(self, kind: type[Event]) -> list[Any]:
        """The events of a kind that the front was told."""
        return [event for event in self.front.told if isinstance(event, kind)]

    def noted(self, kind: type[Note]) -> list[Any]:
        """The notes of a kind."""
        return [note for note in self.notes if isinstance(note, kind)]

    def note(self, kind: type[Note]) -> Any:
        """The only note of a kind."""
        (note,) = self.noted(kind)
        return note

    def lose_all(self) -> None:
        """Every socket is closed."""
        for transport in (self.client, *(each for _, each in self.backends)):
            if not transport.protocol.lost:
                transport.is_lost()


class TlsClient:
    """A client in TLS in front of a session."""

    def __init__(self, world: World, peer: Peer | None = None) -> None:
        self.world = world
        self.peer = peer or Peer.client()
        self._taken = 0

    def exchange(self) -> None:
        """Carry bytes to and fro until neither side has any."""
        self.peer.step()
        while data := self.peer.output() + self._receive():
            self.world.client.says(data)

    def _receive(self) -> bytes:
        written = bytes(self.world.client.written[self._taken :])
        self._taken += len(written)
        self.peer.feed(written)
        return self.peer.output()

    def says(self, plaintext: bytes) -> None:
        """Send, and take what comes back."""
        self.world.client.says(self.peer.encrypt(plaintext))
        self.exchange()
