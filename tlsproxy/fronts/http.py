"""The ``http`` front: HTTP/1.1 (RFC 9110, RFC 9112) between a client with TLS and a backend without.

One request is under way at a time; what a client sends behind it waits, unread. So a response can't be taken for another's,
and the client gets them in order. How the client's bytes are read (:class:`Reading`):

=========  =========  ===========================================================================================
from       to         when
=========  =========  ===========================================================================================
NOTHING    HEAD       the handshake is done; or there is none
HEAD       BODY       a request's head is there, and a body is to follow
HEAD       WAITING    a request's head is there, without a body
BODY       WAITING    the body is over
WAITING    HEAD       the response is over
=========  =========  ===========================================================================================

The connection to the backend (:class:`Leg`):

==========  ==========  =========================================================================================
from        to          when
==========  ==========  =========================================================================================
NONE        CONNECTING  a request is to be sent
CONNECTING  CONNECTED   it is up, and the request goes out
CONNECTED   NONE        it was given back, or closed
==========  ==========  =========================================================================================

It is given back, for any session to use, when request and response ended as both sides know they do. It is never given back
when something was wrong on it, and neither

- when the request had a body. Old servers leave the body of a request that they don't expect one with unread, and take it
  for the next request: somebody else's. They are told to close the connection.
- when it belongs to this client: a PROXY header opened it, or it is authenticated by NTLM or its like (RFC 4559 §6). It is
  kept for the client's next request, then.

A request is sent again, on a new connection, when the one it was sent on ended without a byte of a response, if its method
is idempotent and all of it is still held (RFC 9110 §9.2.2). One that isn't idempotent isn't sent on a connection that has
served others before: that may have been closed at the very moment.

A response that comes before the request is over is passed on, and the request goes on; then the connection is closed,
because nobody knows whether the client goes on with its body.
"""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, ClassVar, Final

from tlsproxy.fronts.commands import (
    AbortBackend,
    BeginRequest,
    CloseSession,
    ConnectBackend,
    DisconnectBackend,
    FinishBackend,
    LogRequest,
    PauseClient,
    ReleaseBackend,
    Report,
    ResumeClient,
    Splice,
    StartTimer,
    StartTls,
    StopTimer,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendDataReceived,
    BackendFinished,
    BackendLost,
    BackendUnavailable,
    ClientDataReceived,
    ClientFinished,
    ClientTooSlow,
    DrainRequested,
    Event,
    IdleTimedOut,
    SessionOpened,
    TimerExpired,
    TlsStarted,
)
from tlsproxy.fronts.http_answers import answer, date_field
from tlsproxy.fronts.http_exchange import Exchange
from tlsproxy.fronts.http_forward import request_head, response_head
from tlsproxy.fronts.http_policy import Answer, http_policy, refusal
from tlsproxy.fronts.http_request import Request, RequestReader
from tlsproxy.fronts.http_response import Response, ResponseReader
from tlsproxy.fronts.http_syntax import HeadBuffer, HttpError
from tlsproxy.fronts.machine import Machine
from tlsproxy.fronts.options import FrontOptions, IdentityMode, TlsSecurityLevel
from tlsproxy.fronts.output import Output
from tlsproxy.identity.client import TlsFacts
from tlsproxy.identity.forwarded import Forwarding, is_trusted
from tlsproxy.identity.proxy_header import encode_v1, encode_v2
from tlsproxy.policy.pace import Due

HELD_LIMIT: Final = 65536
"""Bytes that wait for the response to the request before them, until the client is paused: some hundred pipelined requests.
Browsers don't pipeline; programs that do send a few."""

INFORMATIONAL_LIMIT: Final = 1000
"""Responses with 1xx to one request: WebDAV servers send one every few seconds while they work."""

_SWITCHING_PROTOCOLS: Final = 101
_REQUEST_TIMEOUT: Final = 408

_CLOSED: Final = "connection_close"

_BOUND_MODES: Final = frozenset({IdentityMode.PROXY_V1, IdentityMode.PROXY_V2, IdentityMode.TRANSPARENT})


class Reading(Enum):
    """What the client's next bytes are."""

    __hash__ = object.__hash__  # Enum's own is slow, and members are what they are by identity

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()
    WAITING = auto()


class Leg(Enum):
    """The connection to the backend."""

    NONE = auto()
    CONNECTING = auto()
    CONNECTED = auto()


# By names of their own: through its class a member costs as much as a call, and these are looked at several times an event.
_NOTHING: Final = Reading.NOTHING
_HEAD: Final = Reading.HEAD
_BODY: Final = Reading.BODY
_WAITING: Final = Reading.WAITING
_NONE: Final = Leg.NONE
_CONNECTING: Final = Leg.CONNECTING
_CONNECTED: Final = Leg.CONNECTED

_BEGIN_REQUEST: Final = BeginRequest()
_CONNECT: Final = ConnectBackend()
_CONNECT_FRESH: Final = ConnectBackend(fresh=True)
_RELEASE: Final = ReleaseBackend()
_STOP_TIMER: Final = StopTimer()


class HttpFront(Machine):
    """One session of an ``http`` listener."""

    client_name: ClassVar[None] = None

    __slots__ = (
        "_awaited",
        "_awaited_in",
        "_client_finished",
        "_draining",
        "_ended",
        "_exchange",
        "_forwarding",
        "_hsts",
        "_input",
        "_leg",
        "_opened",
        "_options",
        "_out",
        "_paused",
        "_pinned",
        "_policy",
        "_reading",
        "_requests",
        "_responses",
        "_reused",
        "_settings",
        "_taken",
        "_timed",
        "_tls",
    )
    _opened: SessionOpened
    _forwarding: Forwarding

    def __init__(self, options: FrontOptions) -> None:
        settings = options.settings
        self._options = options
        self._settings = settings
        self._policy = http_policy(options)
        self._out = Output()
        self._ended = False
        self._draining = False

        self._reading = _NOTHING
        self._input = HeadBuffer()
        self._requests = RequestReader(
            self._input,
            header_limit=settings.http_max_header_size,
            fields_limit=settings.http_max_header_fields,
        )
        self._taken = 0  # requests so far
        self._timed = False  # the next one's time has begun
        self._tls: TlsFacts | None = None
        self._hsts = b""
        self._client_finished = False
        self._paused = False
        self._awaited: StartTimer | None = None
        self._awaited_in = 0  # the request

        self._leg = _NONE
        self._reused = False
        self._pinned = False  # authenticated as this client
        self._responses = ResponseReader()
        self._exchange: Exchange | None = None

    @property
    def due(self) -> Due:
        """What the client has to send: a body. For a head there are timers."""
        return Due.CONTENT if self._reading is _BODY and self._leg is _CONNECTED else Due.NOTHING

    @property
    def step(self) -> int:
        """Another number for each request."""
        return self._taken

    # The client's connection

    def _session_opened(self, event: SessionOpened) -> None:
        self._opened = event
        if self._settings.tls_security_level is TlsSecurityLevel.NONE:
            self._begin(None)
        elif event.tls_available:
            self._out.add(StartTls())
        else:
            self._end("tls_unavailable")

    def _tls_started(self, event: TlsStarted) -> None:
        self._hsts = self._policy.hsts
        self._begin(event.facts)

    def _begin(self, tls: TlsFacts | None) -> None:
        opened, settings = self._opened, self._settings
        self._tls = tls
        self._reading = _HEAD
        self._forwarding = Forwarding(
            opened.client,
            opened.local,
            tls,
            trusted=is_trusted(opened.client, settings.trusted_proxies),
            tell_tls=settings.http_tls_headers,
        )

    def _client_data(self, event: ClientDataReceived) -> None:
        exchange = self._exchange
        if (
            self._reading is _BODY
            and exchange is not None
            and not self._input.data
            and self._leg is _CONNECTED
        ):
            self._body(exchange, event.data)
        else:
            self._input.feed(event.data)

    def _client_finishes(self, _event: ClientFinished) -> None:
        self._client_finished = True

    def _drain(self, _event: DrainRequested) -> None:
        self._draining = True

    def _after_event(self) -> None:
        """Do what follows once nothing more can be read."""
        awaits_client = self._reading is _HEAD or (self._reading is _BODY and self._leg is _CONNECTED)
        if self._client_finished and awaits_client:
            self._end("client_closed")
        elif self._draining and self._reading is _HEAD and not self._requests.begun:
            self._end("draining")
        else:
            wanted = not awaits_client and len(self._input.data) > HELD_LIMIT
            if wanted is not self._paused:
                self._set_pause(wanted=wanted)
            self._set_timer()

    def _set_pause(self, *, wanted: bool) -> None:
        self._paused = wanted
        self._out.add(PauseClient() if wanted else ResumeClient())

    # Time

    def _set_timer(self) -> None:
        """The time for something is that of one request: it is another for the next one."""
        awaited = self._now_awaited()
        if awaited is self._awaited and (awaited is None or self._awaited_in == self._taken):
            return
        self._awaited, self._awaited_in = awaited, self._taken
        self._out.add(_STOP_TIMER if awaited is None else awaited)

    def _now_awaited(self) -> StartTimer | None:
        """What is waited for, by the timer for it. Whoever connects has a request to send, and the time for it runs at
        once."""
        reading = self._reading
        if reading is _HEAD:
            begun = self._requests.begun or not self._taken
            return self._policy.request_timer if begun else self._policy.keepalive_timer
        if reading is _WAITING and (exchange := self._exchange) is not None and exchange.response is None:
            return self._policy.response_timer
        return None

    def _timer_expired(self, _event: TimerExpired) -> None:
        if self._awaited is None:
            return
        self._awaited = None
        if self._reading is _HEAD:
            self._head_timed_out("request_timeout")
        else:
            self._drop()
            self._fail(504, "the backend gave no response in time", "backend_timeout")

    def _idle(self, _event: IdleTimedOut) -> None:
        exchange = self._exchange
        if exchange is None:
            self._head_timed_out("idle_timeout")
        elif exchange.response is not None:
            self._cut(exchange, "idle_timeout")
        elif self._reading is _BODY and self._leg is _CONNECTED:
            self._answer(refusal(408, "the body took too long"), close=True, reason="idle_timeout")
        else:
            self._answer(refusal(504, "the backend took too long"), close=True, reason="backend_timeout")

    def _too_slow(self, event: ClientTooSlow) -> None:
        exchange = self._exchange
        if exchange is None:
            self._end(event.limit)
        elif exchange.response is not None:
            self._cut(exchange, event.limit)
        else:
            self._answer(refusal(408, "the body came too slowly"), close=True, reason=event.limit)

    def _head_timed_out(self, reason: str) -> None:
        """A client without a request under way isn't owed a word (RFC 9110 §15.5.9)."""
        if self._requests.begun:
            self._answer(refusal(408, "the request took too long"), close=True, reason=reason)
        else:
            self._end("idle_timeout")

    # Requests

    def _read_nothing(self) -> bool:
        return False

    def _read_head(self) -> bool:
        if not self._requests.begun:
            return False
        if not self._timed:
            self._timed = True
            self._out.add(_BEGIN_REQUEST)
        try:
            request = self._requests.next_request()
        except HttpError as error:
            self._refuse(error)
            return True
        if request is None:
            return False
        self._take(request)
        return True

    def _take(self, request: Request) -> None:
        self._taken += 1
        exchange = self._exchange = Exchange(request, request.size)
        self._reading = _BODY if request.has_body else _WAITING
        own = self._policy.own_answer(request, self._forwarding)
        if own is None:
            self._forward(exchange)
        else:
            self._answer(own, close=own.status >= 400)

    def _read_body(self) -> bool:
        exchange = self._exchange
        if exchange is None or self._leg is not _CONNECTED or not self._input.data:
            return False
        self._body(exchange, self._input.take_all())
        return True

    def _body(self, exchange: Exchange, data: bytes) -> None:
        try:
            sent, rest = exchange.take_body(data, self._settings.http_max_body_size)
        except HttpError as error:
            self._refuse(error)
            return
        if sent:
            self._out.to_backend(sent)
        if rest is not None:
            self._reading = _WAITING
            self._input.feed(rest)

    def _refuse(self, error: HttpError) -> None:
        """Nobody knows where the next request begins, and the backend doesn't get to the end of this one."""
        exchange = self._exchange
        self._out.add(Report("request_refused", error.detail))
        if exchange is not None and exchange.response is not None:
            self._cut(exchange, "request_refused")
        else:
            self._answer(refusal(error.status, error.detail), close=True, reason="request_refused")

    def _forward(self, exchange: Exchange) -> None:
        request = exchange.request
        exchange.upgrading = bool(request.upgrade) and self._policy.upgrades(request)
        exchange.last = request.has_body and not (self._pinned or request.binds_connection)
        exchange.head = request_head(
            request,
            self._forwarding,
            host=request.host or str(self._opened.local).encode(),
            upgrade=exchange.upgrading,
            last=exchange.last,
        )
        if self._leg is _CONNECTED and not (self._pinned or request.idempotent):
            self._drop(unused=True)
        if self._leg is _CONNECTED:
            self._reused = True
            self._send(exchange)
        else:
            self._connect(exchange, fresh=not request.idempotent)

    # The backend's connection

    def _connect(self, exchange: Exchange, *, fresh: bool) -> None:
        self._leg = _CONNECTING
        self._pinned = exchange.request.binds_connection
        self._out.add(_CONNECT_FRESH if fresh else _CONNECT)

    def _backend_connected(self, event: BackendConnected) -> None:
        exchange = self._exchange
        if exchange is None or self._leg is not _CONNECTING:
            return
        self._leg = _CONNECTED
        self._reused = event.reused
        if not event.reused:
            exchange.connections += 1
            self._introduce()
        self._send(exchange)

    def _introduce(self) -> None:
        """Say who the client is, where the backend's ``identity`` has a header before all else for it."""
        opened, mode = self._opened, self._options.identity
        if mode is IdentityMode.PROXY_V1:
            self._out.to_backend(encode_v1(opened.client, opened.local))
        elif mode is IdentityMode.PROXY_V2:
            self._out.to_backend(encode_v2(opened.client, opened.local, self._tls))

    def _send(self, exchange: Exchange) -> None:
        self._responses.begin()
        self._out.to_backend(exchange.head + exchange.held)

    def _drop(self, *, unused: bool = False) -> None:
        """Close the connection. In the middle of a request reset it: old servers take a FIN for the end of a body."""
        self._leg = _NONE
        self._pinned = False
        unfinished = self._reading is _BODY and not unused
        self._out.add(AbortBackend() if unfinished else DisconnectBackend())

    def _backend_unavailable(self, _event: BackendUnavailable) -> None:
        if self._leg is not _CONNECTING:
            return
        self._leg = _NONE
        self._fail(503, "the backend can't be reached", "backend_unavailable")

    def _backend_gone(self, event: BackendFinished | BackendLost) -> None:
        exchange = self._exchange
        if self._leg is not _CONNECTED:
            return
        if exchange is None:
            self._drop()
        elif exchange.response is not None:
            self._response_cut_off(exchange, event)
        else:
            self._drop()
            if exchange.resendable and not self._responses.begun:
                self._connect(exchange, fresh=True)
            else:
                self._fail(502, "the backend closed the connection without a response", _reason(event))

    def _response_cut_off(self, exchange: Exchange, event: BackendFinished | BackendLost) -> None:
        end = exchange.end_response() if isinstance(event, BackendFinished) else None
        if end is None:
            self._cut(exchange, _reason(event))
        else:
            self._to_client(exchange, end)
            self._response_over(exchange, leftover=False)

    # Responses

    def _backend_data(self, event: BackendDataReceived) -> None:
        exchange = self._exchange
        if self._leg is not _CONNECTED:
            return
        if exchange is None:
            self._drop()  # some servers say 408 to an idle connection before they close it
        elif exchange.response is not None:
            self._response_body(exchange, event.data)
        else:
            self._responses.feed(event.data)
            self._read_responses(exchange)

    def _read_responses(self, exchange: Exchange) -> None:
        """All that precede the final one, and that one."""
        while exchange.response is None and exchange is self._exchange and self._leg is _CONNECTED:
            try:
                response = self._responses.next_response(exchange.request.line.method)
                if response is None:
                    return
                if response.informational:
                    self._inform(exchange, response)
                else:
                    self._respond(exchange, response)
            except HttpError as error:
                self._backend_error(exchange, error.detail)

    def _inform(self, exchange: Exchange, response: Response) -> None:
        exchange.informational += 1
        if response.status == _SWITCHING_PROTOCOLS:
            if not exchange.upgrading or response.upgrade != exchange.request.upgrade:
                raise HttpError(502, "101 that nothing asked for")
            self._switch(exchange, response)
        elif exchange.informational > INFORMATIONAL_LIMIT:
            raise HttpError(502, "too many responses with 1xx")
        elif exchange.request.line.minor > 0:  # RFC 9110 §15.2
            self._to_client(exchange, response_head(response))

    def _respond(self, exchange: Exchange, response: Response) -> None:
        request = exchange.request
        if request.line.method == b"CONNECT" and response.status < 300:
            self._switch(exchange, response)
            return
        if response.status == _REQUEST_TIMEOUT and self._reused and exchange.resendable:
            self._drop()  # said before the request was there, by a server that closes an idle connection
            self._connect(exchange, fresh=True)
            return
        exchange.begin_response(response, closes=not self._persists(request))
        head = response_head(
            response,
            chunked=exchange.chunked,
            close=exchange.closes,
            added=self._hsts if response.dated else self._hsts + date_field(self._options.now()),
            replaced=b"strict-transport-security" if self._hsts else b"",
        )
        self._to_client(exchange, head)
        self._response_body(exchange, self._responses.take_rest())

    def _response_body(self, exchange: Exchange, data: bytes) -> None:
        try:
            sent, rest = exchange.take_response(data)
        except HttpError as error:
            self._backend_error(exchange, error.detail)
            return
        self._to_client(exchange, sent)
        if rest is not None:
            self._response_over(exchange, leftover=bool(rest))

    def _response_over(self, exchange: Exchange, *, leftover: bool) -> None:
        response = exchange.response
        assert response is not None  # noqa: S101 - it is over
        self._log(exchange, response.status)
        self._settle(exchange, response, leftover=leftover)
        self._next(close=exchange.closes or self._draining, reason=_CLOSED)

    def _settle(self, exchange: Exchange, response: Response, *, leftover: bool) -> None:
        """Keep the connection, give it back, or close it."""
        if leftover:
            self._out.add(Report("backend_protocol_error", "bytes behind a response"))
        at_rest = self._reading is _WAITING and not leftover
        if not at_rest or exchange.last or not response.persistent:
            self._drop()
        elif self._pinned or response.binds_connection:
            self._pinned = True
        elif self._options.identity not in _BOUND_MODES:
            self._leg = _NONE
            self._out.add(_RELEASE)

    def _switch(self, exchange: Exchange, response: Response) -> None:
        """The backend goes on with another protocol; what came behind it goes first."""
        self._to_client(exchange, response_head(response) + self._responses.take_rest())
        if self._input.data:
            self._out.to_backend(self._input.take_all())
        self._log(exchange, response.status)
        self._out.add(_STOP_TIMER)
        if self._paused:
            self._set_pause(wanted=False)
        if self._client_finished:
            self._out.add(FinishBackend())
        self._out.add(Splice())
        self._exchange = None
        self._ended = True

    # Answers of our own, and the end

    def _persists(self, request: Request) -> bool:
        """Whether the client's connection goes on behind the response."""
        return (
            request.persistent
            and self._reading is _WAITING
            and not self._draining
            and self._taken < self._settings.http_max_requests
        )

    def _to_client(self, exchange: Exchange, data: bytes) -> None:
        if data:
            exchange.bytes_out += len(data)
            self._out.to_client(data)

    def _backend_error(self, exchange: Exchange, detail: str) -> None:
        self._out.add(Report("backend_protocol_error", detail))
        if exchange.response is not None:
            self._cut(exchange, "backend_protocol_error")
        else:
            self._drop()
            self._fail(502, "the backend's response is malformed", "backend_protocol_error")

    def _fail(self, status: int, detail: str, reason: str) -> None:
        self._answer(refusal(status, detail), close=False, reason=reason)

    def _answer(self, own: Answer, *, close: bool, reason: str = _CLOSED) -> None:
        """Give an answer of our own. What came before it was none of a response."""
        exchange = self._exchange
        close = close or exchange is None or not self._persists(exchange.request)
        data = answer(
            own.status,
            own.text,
            now=self._options.now(),
            fields=own.fields + self._hsts,
            media_type=own.media_type,
            head=exchange is not None and exchange.request.line.method == b"HEAD",
            close=close,
        )
        self._out.to_client(data)
        if exchange is not None:
            exchange.bytes_out += len(data)
            self._log(exchange, own.status)
        else:
            line = self._requests.line
            method, path = (line.method.decode("ascii"), line.path) if line is not None else (None, None)
            self._out.add(LogRequest(method, path, own.status, 0, len(data)))
        self._next(close=close, reason=reason)

    def _cut(self, exchange: Exchange, reason: str) -> None:
        """End the session in the middle of a response: its client can tell, by a length or a last chunk that is missing."""
        assert exchange.response is not None  # noqa: S101 - as said
        self._log(exchange, exchange.response.status)
        self._end(reason)

    def _next(self, *, close: bool, reason: str) -> None:
        self._exchange = None
        self._timed = False
        if close:
            self._end("draining" if self._draining and reason == _CLOSED else reason)
        else:
            self._reading = _HEAD

    def _log(self, exchange: Exchange, status: int) -> None:
        line = exchange.request.line
        method = line.method.decode("ascii")
        self._out.add(LogRequest(method, line.path, status, exchange.bytes_in, exchange.bytes_out))

    def _end(self, reason: str) -> None:
        self._ended = True
        if self._reading is _BODY and self._leg is _CONNECTED:
            self._drop()
        self._out.add(CloseSession(reason))

    EVENTS: ClassVar[Mapping[type[Event], Callable[["HttpFront", Any], None]]] = {
        SessionOpened: _session_opened,
        TlsStarted: _tls_started,
        ClientDataReceived: _client_data,
        ClientFinished: _client_finishes,
        BackendConnected: _backend_connected,
        BackendUnavailable: _backend_unavailable,
        BackendDataReceived: _backend_data,
        BackendFinished: _backend_gone,
        BackendLost: _backend_gone,
        IdleTimedOut: _idle,
        ClientTooSlow: _too_slow,
        TimerExpired: _timer_expired,
        DrainRequested: _drain,
    }

    READERS: ClassVar[Mapping[Reading, Callable[["HttpFront"], bool]]] = {
        _NOTHING: _read_nothing,
        _HEAD: _read_head,
        _BODY: _read_body,
        _WAITING: _read_nothing,
    }


def _reason(event: BackendFinished | BackendLost) -> str:
    return "backend_lost" if isinstance(event, BackendLost) else "backend_closed"
