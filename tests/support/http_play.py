"""HTTP sessions without a network: fronts with settings, and one wired to backends that record what reaches them."""

from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import h11
from attrs import define, field, frozen

from tests.fronts.conftest import NOON, OPENED, TLS
from tests.support.playbook import Playbook
from tlsproxy.fronts.commands import (
    AbortBackend,
    BeginRequest,
    CloseSession,
    Command,
    ConnectBackend,
    DisconnectBackend,
    FinishBackend,
    LogRequest,
    PauseClient,
    ReleaseBackend,
    Report,
    ResumeClient,
    SendToBackend,
    SendToClient,
    Splice,
    StartTimer,
    StartTls,
    StopTimer,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendDataReceived,
    BackendFinished,
    ClientDataReceived,
    Event,
    SessionOpened,
    TlsStarted,
)
from tlsproxy.fronts.http import HttpFront
from tlsproxy.fronts.options import FrontOptions, IdentityMode, TlsSecurityLevel

KEEPALIVE, REQUEST, RESPONSE = StartTimer(75.0), StartTimer(30.0), StartTimer(60.0)

DATE = "Date: Mon, 23 Nov 2026 12:00:00 GMT"
"""What the proxy says at the time of these tests."""

FORWARDED = (
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-Port: 25",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: example.org",
    'Forwarded: for=192.0.2.7;host="example.org";proto=https',
    "Via: 1.1 tlsproxy",
)
"""What the backend is told of the client in these tests, when the request is for example.org."""


@frozen(kw_only=True)
class HttpSettings:
    """The options of an ``http`` session, with the defaults that they have in the catalogue."""

    tls_security_level: TlsSecurityLevel = TlsSecurityLevel.MAY
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    http_tls_headers: bool = False
    http_redirect: bool = False
    http_redirect_host: str = ""
    http_redirect_port: int = 443
    http_hsts: int = 0
    http_hsts_include_subdomains: bool = False
    http_hsts_preload: bool = False
    http_refused_methods: tuple[str, ...] = ("CONNECT", "TRACE")
    http_upgrades: tuple[str, ...] = ("websocket",)
    http_max_header_size: int = 32768
    http_max_header_fields: int = 100
    http_max_body_size: int = 104_857_600
    http_max_requests: int = 1000
    http_request_timeout: float = 30.0
    http_keepalive_timeout: float = 75.0
    http_response_timeout: float = 60.0


def http_options(
    identity: IdentityMode = IdentityMode.NONE,
    read_challenge: Callable[[str], bytes | None] | None = None,
    **settings: Any,
) -> FrontOptions:
    """Options for a front with these settings."""
    return FrontOptions(HttpSettings(**settings), identity, lambda: NOON, read_challenge)  # type: ignore[arg-type]


def browsing(opened: SessionOpened = OPENED, **options: Any) -> Playbook:
    """A playbook at the point where the first request is awaited. Takes what :func:`http_options` takes."""
    playbook = Playbook(HttpFront(http_options(**options)))
    if options.get("tls_security_level") is TlsSecurityLevel.NONE:
        return playbook >> opened << REQUEST
    return playbook >> opened << StartTls() >> TlsStarted(TLS) << REQUEST


@frozen
class Told:
    """A request as a backend understood it."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]


Respond = Callable[[Told], bytes]


def ok(told: Told) -> bytes:
    """A response that shows which request it answers."""
    body = b"%b %b" % (told.method, told.target)
    head = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if told.method == b"HEAD" else head + body


@define
class RecordingBackend:
    """Understands requests as h11 does.

    :ivar received: Every byte that reached it.
    :ivar told: Every request.
    """

    respond: Respond
    received: bytes = b""
    told: list[Told] = field(init=False, factory=list)
    _h11: h11.Connection = field(init=False, factory=lambda: h11.Connection(h11.SERVER))
    _request: h11.Request | None = field(init=False, default=None)
    _body: bytes = field(init=False, default=b"")

    def receive(self, data: bytes) -> bytes:
        """Take bytes; what is said to them."""
        self.received += data
        self._h11.receive_data(data)
        said = b""
        while (event := self._h11.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            said += self._hear(event)
        return said

    def _hear(self, event: Any) -> bytes:
        match event:
            case h11.Request():
                self._request, self._body = event, b""
            case h11.Data(data):
                self._body += bytes(data)
            case h11.EndOfMessage(headers):
                request = self._request
                assert request is not None
                told = Told(request.method, request.target, list(request.headers), self._body, list(headers))
                self.told.append(told)
                if self._h11.their_state is h11.DONE:
                    self._h11.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                    self._h11.send(h11.EndOfMessage())
                    self._h11.start_next_cycle()
                return self.respond(told)
        return b""


@define
class HttpWired:
    """A front with backends behind it. What they say waits until it is delivered.

    :ivar client: All that the client was told.
    :ivar backends: Those it was connected to, the last one last.
    :ivar reason: Why the session ended.
    """

    front: HttpFront
    respond: Respond = ok
    client: bytes = b""
    backends: list[RecordingBackend] = field(init=False, factory=list)
    logged: list[LogRequest] = field(init=False, factory=list)
    reports: list[Report] = field(init=False, factory=list)
    reason: str | None = field(init=False, default=None)
    spliced: bool = field(init=False, default=False)
    _said: bytes = field(init=False, default=b"")
    _connected: bool = field(init=False, default=False)
    _idle: bool = field(init=False, default=False)  # the last backend, given back

    @classmethod
    def opened(cls, respond: Respond = ok, **options: Any) -> "HttpWired":
        """With TLS, where the settings have any."""
        wired = cls(HttpFront(http_options(**options)), respond)
        wired.tell(OPENED)
        return wired

    def tell(self, event: Event) -> None:
        """Tell the front, and carry out what it asks for."""
        events = deque([event])
        while events and self.reason is None:
            for command in self.front.handle(events.popleft()):
                self._carry_out(command, events)

    def _carry_out(self, command: Command, events: deque[Event]) -> None:
        assert self.reason is None, f"{command} after the end"
        match command:
            case SendToClient(data):
                assert data
                self.client += data
            case StartTls():
                events.append(TlsStarted(TLS))
            case CloseSession(reason):
                self.reason = reason
            case Report():
                self.reports.append(command)
            case LogRequest():
                self.logged.append(command)
            case Splice():
                self.spliced = True
            case _:
                self._to_backend(command, events)

    def _to_backend(self, command: Command, events: deque[Event]) -> None:
        match command:
            case SendToBackend(data):
                assert self._connected
                self._said += self.backends[-1].receive(data)
            case ConnectBackend(fresh):
                assert not self._connected
                reused = self._idle and not fresh
                if not reused:
                    self.backends.append(RecordingBackend(self.respond))
                self._connected, self._idle = True, False
                events.append(BackendConnected(reused=reused))
            case ReleaseBackend():
                assert self._connected
                assert not self._said
                self._connected, self._idle = False, True
            case DisconnectBackend() | AbortBackend():
                assert self._connected
                self._connected = False
                self._said = b""
            case _:
                assert isinstance(
                    command,
                    StartTimer | StopTimer | BeginRequest | PauseClient | ResumeClient | FinishBackend,
                )

    def client_says(self, data: bytes) -> None:
        """The client says."""
        self.tell(ClientDataReceived(data))

    def deliver(self, size: int | None = None) -> bool:
        """Hand on some of what the backend has said, or all of it; whether there was anything."""
        said, self._said = self._said[:size], self._said[len(self._said[:size]) :]
        if said:
            self.tell(BackendDataReceived(said))
        return bool(said)

    def backend_finishes(self) -> None:
        """The backend closes its connection, when all that it said was delivered."""
        while self.deliver():
            pass
        if self._connected:
            self.tell(BackendFinished())

    @property
    def received(self) -> bytes:
        """Every byte that reached any backend."""
        return b"".join(backend.received for backend in self.backends)

    @property
    def told(self) -> list[Told]:
        """Every request that reached any backend."""
        return [told for backend in self.backends for told in backend.told]
