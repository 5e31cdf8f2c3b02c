"""The ``esmtp`` front: SMTP (RFC 5321) between a client with TLS and a backend without.

The machine follows the dialogue for the whole session: it must know at any time whether the client's next bytes are
commands, an AUTH response or content, because a command of the client's that the backend reads where the proxy has seen
content is said in the proxy's name. It never guesses. What the client is told is the backend's own word, but for what
belongs to TLS, identity and safety; and of what happened to a message, the backend's alone.

How the client's bytes are read (:class:`Reading`):

=============  ===================  =====================================================================
from           to                   when
=============  ===================  =====================================================================
NOTHING        COMMANDS             the session opens, or the handshake is done
COMMANDS       NOTHING              STARTTLS was answered with 220, or ``tls_wrappermode``
COMMANDS       AUTH_RESPONSE        the backend replied 334 to AUTH or to a response
AUTH_RESPONSE  COMMANDS             the response was sent on
COMMANDS       CONTENT              the backend replied 354 to DATA; or BDAT was sent on
CONTENT        COMMANDS             the end of data, or of the chunk, was sent on
=============  ===================  =====================================================================

Commands are read while :class:`~tlsproxy.fronts.owed.Owed` allows it: one at a time to a backend that doesn't offer
PIPELINING, else up to the next that has to be the last of its group. Each command has one entry in that queue, so that the
proxy's own replies come in their place.

What the backend's replies lead to depends on what they answer: ``_REPLIES``. One that answers nothing would be taken for
the answer to the next command, and so ends the session; 421 is allowed to (RFC 5321 §3.8).

Where a message can't be had whole, because the client disappears or something refuses it, the backend is disconnected in
the middle of it, without an end of data. See :mod:`~tlsproxy.fronts.transfer` for the client's side.

DrainRequested ends the session where no message is under way: between a reply to MAIL and the one to the end of data
nothing happens.
"""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import partial
from typing import Any, ClassVar, Final

from attrs import Factory, define, field

from tlsproxy.fronts import ehlo, replies
from tlsproxy.fronts.commands import (
    AbortBackend,
    CloseSession,
    ConnectBackend,
    DisconnectBackend,
    PauseClient,
    Report,
    Reported,
    ResumeClient,
    StartTls,
)
from tlsproxy.fronts.content import Body, Chunk, Message
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
    TlsStarted,
)
from tlsproxy.fronts.introduction import Introduced, Introduction, NotIntroduced
from tlsproxy.fronts.lines import TOO_LONG, LineBuffer
from tlsproxy.fronts.machine import Machine
from tlsproxy.fronts.options import (
    BareNewline,
    EsmtpOptions,
    FrontOptions,
    IdentityMode,
    InjectionPolicy,
    TlsSecurityLevel,
)
from tlsproxy.fronts.output import Output
from tlsproxy.fronts.owed import Owed
from tlsproxy.fronts.replies import MALFORMED, SERVICE_CLOSING, Reply, ReplyReader
from tlsproxy.fronts.transfer import Transfer, Verdict
from tlsproxy.fronts.verbs import (
    AUTH_LIMIT,
    COMMAND_LIMIT,
    HTTP_METHODS,
    IDENTITY_VERBS,
    UNCARRIABLE,
    UNKNOWN,
    VERBS,
    Awaited,
    CommandLine,
    has_control,
    has_parameter,
    mail_parameters,
    parse_bdat,
    parse_command,
    plain_command,
    with_larger_size,
)
from tlsproxy.identity.client import TlsFacts
from tlsproxy.identity.trace_header import received_field
from tlsproxy.policy.pace import Due

HELD_LIMIT: Final = 65536
"""Bytes of commands that wait for the reply to one before them, before the client is paused. RFC 2920 §3.1 leaves the size
of a group to the client's TCP window; this is a common one."""

ERROR_LIMIT: Final = 20
"""Commands refused by the proxy before the session ends: Postfix's ``smtpd_hard_error_limit``."""

JUNK_LIMIT: Final = 100
"""Commands that do no work between two messages; beyond it each counts as an error. Postfix's ``smtpd_junk_command_limit``,
which leaves room for a client that keeps its connection alive with NOOP or RSET."""

_CONTINUE: Final = {Awaited.DATA: 354, Awaited.AUTH: 334}
_AUTHENTICATED: Final = 235
_GOODBYE: Final = 221
_READY: Final = 220
_EHLO_UNKNOWN: Final = frozenset({500, 502})

_EMPTY_LINE: Final = b"\r\n"

_OF_A_MESSAGE: Final = frozenset({Awaited.MAIL, Awaited.DATA, Awaited.CHUNK, Awaited.END_OF_DATA})

_PROXY_MODES: Final = frozenset({IdentityMode.PROXY_V1, IdentityMode.PROXY_V2})


class Reading(Enum):
    """What the client's next bytes are."""

    __hash__ = object.__hash__  # as of Awaited

    NOTHING = auto()
    COMMANDS = auto()
    AUTH_RESPONSE = auto()
    CONTENT = auto()


# To ask a class for its member is a call, and what is below is done for each command.
_NOTHING: Final = Reading.NOTHING
_COMMANDS: Final = Reading.COMMANDS
_CONTENT: Final = Reading.CONTENT
_GREETING: Final = Awaited.GREETING


@define(eq=False)
class EsmtpFront(Machine):
    """One session of an ``esmtp`` listener."""

    _options: FrontOptions
    _settings: EsmtpOptions = field(init=False, default=Factory(lambda self: self._options.settings, True))
    client_name: bytes | None = field(init=False, default=None)
    step: int = field(init=False, default=0)
    _opened: SessionOpened = field(init=False)
    _out: Output = field(init=False, factory=Output)
    _owed: Owed = field(init=False, factory=Owed)
    _ended: bool = field(init=False, default=False)
    _draining: bool = field(init=False, default=False)

    _lines: LineBuffer = field(init=False, factory=LineBuffer)
    _reading: Reading = field(init=False, default=Reading.NOTHING)
    _tls: TlsFacts | None = field(init=False, default=None)
    _client_finished: bool = field(init=False, default=False)
    _paused: bool = field(init=False, default=False)
    _errors: int = field(init=False, default=0)
    _junk: int = field(init=False, default=0)

    _connected: bool = field(init=False, default=False)  # or being connected
    _introduction: Introduction = field(init=False)
    _greets: bool = field(init=False, default=False)  # its greeting is the client's
    _refused_by_backend: bool = field(init=False, default=False)
    _reply_reader: ReplyReader = field(init=False, factory=ReplyReader)
    _extensions: frozenset[bytes] = field(init=False, default=frozenset())

    _hello_asked: CommandLine = field(init=False)
    _hello: CommandLine | None = field(init=False, default=None)
    _needs_hello: bool = field(init=False, default=False)
    _authenticated: bool = field(init=False, default=False)
    _transaction: bool = field(init=False, default=False)
    _transfer: Transfer = field(init=False)
    _trace: bytes = field(init=False, default=b"")  # to be sent before the message's content
    _chunk_announced: tuple[int, bool] | None = field(
        init=False, default=None
    )  # by the client, not yet to the backend

    @property
    def due(self) -> Due:
        """What the client has to send: nothing while it waits for a reply."""
        if self._reading is Reading.CONTENT:
            return Due.CONTENT
        return Due.NOTHING if self._reading is Reading.NOTHING or self._owed else Due.COMMAND

    # The client's connection

    def _session_opened(self, event: SessionOpened) -> None:
        self._opened = event
        if self._settings.tls_wrappermode:
            if event.tls_available:
                self._out.add(StartTls())
            else:
                self._end("tls_unavailable")
            return
        self._reading = Reading.COMMANDS
        if self._settings.tls_security_level is TlsSecurityLevel.ENCRYPT:
            self._say(replies.GREETING)
        else:
            self._connect(greets=True)

    def _tls_started(self, event: TlsStarted) -> None:
        self._tls = event.facts
        self._reading = Reading.COMMANDS
        if not self._connected and not self._draining:
            self._connect(greets=self._settings.tls_wrappermode)

    def _client_data(self, event: ClientDataReceived) -> None:
        if self._reading is _CONTENT and not self._lines.held:
            self._content(event.data)
        else:
            self._lines.feed(event.data)

    def _client_finishes(self, _event: ClientFinished) -> None:
        self._client_finished = True

    def _after_event(self) -> None:
        """Do what follows once nothing more can be read."""
        if not (self._lines.held or self._paused or self._client_finished or self._draining):
            return
        waiting = self._reading is _COMMANDS and bool(self._owed)
        if self._draining and self._is_between_messages():
            self._fail(replies.UNAVAILABLE, "draining")
        elif self._client_finished and not waiting:
            self._end("client_closed")
        elif not self._paused and waiting and self._lines.held > HELD_LIMIT:
            self._paused = True
            self._out.add(PauseClient())
        elif self._paused and self._lines.held <= HELD_LIMIT:
            self._paused = False
            self._out.add(ResumeClient())

    def _is_between_messages(self) -> bool:
        return (
            self._reading in (Reading.COMMANDS, Reading.AUTH_RESPONSE)
            and not self._transaction
            and not self._owed.awaits_any(_OF_A_MESSAGE)
        )

    def _idle(self, _event: IdleTimedOut) -> None:
        if self._reading is Reading.NOTHING:
            self._end("idle_timeout")
        elif self._reading is Reading.COMMANDS and self._owed:
            self._fail(replies.UNAVAILABLE, "backend_timeout")
        else:
            self._fail(replies.TIMEOUT, "idle_timeout")

    def _too_slow(self, event: ClientTooSlow) -> None:
        if self._reading is Reading.NOTHING:
            self._end(event.limit)
        else:
            self._fail(replies.TIMEOUT, event.limit)

    def _drain(self, _event: DrainRequested) -> None:
        if not self._draining:
            self._draining = True
        elif self._reading is Reading.NOTHING:
            self._end("shutdown")  # nothing can be said during the handshake
        else:
            self._fail(replies.UNAVAILABLE, "shutdown")

    # The backend's connection

    def _connect(self, *, greets: bool) -> None:
        self._greets = greets
        self._connected = True
        self._reply_reader = ReplyReader()
        self._introduction = Introduction(
            self._options.identity,
            client=self._opened.client,
            destination=self._opened.local,
            tls=self._tls,
            hostname=self._settings.smtp_hostname,
        )
        self._owed.expect(Awaited.GREETING)
        self._out.add(ConnectBackend())

    def _disconnect(self, command: DisconnectBackend | AbortBackend = DisconnectBackend()) -> None:  # noqa: B008 - frozen
        self._connected = False
        self._owed.clear()
        self._out.add(command)

    def _backend_connected(self, _event: BackendConnected) -> None:
        if self._introduction.opening:
            self._out.to_backend(self._introduction.opening)

    def _backend_unavailable(self, _event: BackendUnavailable) -> None:
        self._fail(replies.UNAVAILABLE, "backend_unavailable")

    def _backend_data(self, event: BackendDataReceived) -> None:
        if not self._connected:
            return
        only = self._reply_reader.only_reply(event.data)
        if only is not None:
            self._replied(only)
            return
        self._reply_reader.feed(event.data)
        while self._connected and not self._ended and (reply := self._reply_reader.next_reply()) is not None:
            self._replied(reply)

    def _backend_gone(self, event: BackendFinished | BackendLost) -> None:
        if not self._connected:
            return
        reason = "backend_lost" if isinstance(event, BackendLost) else "backend_closed"
        if self._reading is Reading.NOTHING:
            self._disconnect()  # the next one is connected after the handshake
        elif self._reading is Reading.CONTENT:
            self._abandon(self._own(replies.UNAVAILABLE), reason)
        elif self._owed.awaits_only(Awaited.QUIT):
            self._fail(replies.BYE, "client_quit")
        elif self._refused_by_backend and not self._owed:
            self._end(reason)  # its greeting has told the client
        else:
            self._fail(replies.UNAVAILABLE, reason)

    # The backend's replies

    def _replied(self, reply: Reply) -> None:
        self.step += 1
        awaited = self._owed.replied()
        code = reply.code
        if self._reading is _NOTHING:
            self._disconnect()  # nothing can be said during the handshake; the next one is connected after it
        elif code == MALFORMED:
            self._backend_error("no reply")
        elif awaited is None:
            self._unasked(reply)
        elif awaited is _GREETING:
            self._introduce(reply)
        elif code == SERVICE_CLOSING:
            self._closing(reply)
        elif 300 <= code < 400 and code != _CONTINUE.get(awaited):
            self._backend_error(f"reply {reply.code} to a command that it can't answer ({awaited.name})")
        else:
            self._REPLIES[awaited](self, reply)
        self._owed.settle()

    def _unasked(self, reply: Reply) -> None:
        if reply.code == SERVICE_CLOSING or (self._reading is Reading.CONTENT and reply.negative):
            self._closing(reply)
        else:
            self._backend_error(f"reply {reply.code} that nothing asked for")

    def _closing(self, reply: Reply) -> None:
        """The backend ends the session, or refuses a message before its end, which ends the session too."""
        if self._reading is Reading.CONTENT:
            self._abandon(reply.data, "backend_closed")
        else:
            self._end_with(reply.data, "backend_closed")

    def _backend_error(self, detail: str) -> None:
        self._report("backend_protocol_error", detail)
        if self._reading is Reading.CONTENT:
            self._abandon(self._own(replies.BACKEND_ERROR), "backend_protocol_error")
        else:
            self._fail(replies.BACKEND_ERROR, "backend_protocol_error")

    def _introduce(self, reply: Reply) -> None:
        result = self._introduction.receive(reply)
        if isinstance(result, bytes):
            self._out.to_backend(result)
            self._owed.put_back(Awaited.GREETING)
        elif isinstance(result, NotIntroduced):
            self._not_introduced(result)
        else:
            self._introduced(result)

    def _introduced(self, result: Introduced) -> None:
        greeting = result.greeting
        if not self._greets and greeting.code != _READY:
            self._fail(replies.UNAVAILABLE, "backend_unavailable")
        elif greeting.code == SERVICE_CLOSING:
            self._closing(greeting)
        elif greeting.intermediate:
            self._backend_error(f"greeting {greeting.code}")
        elif self._greets:
            self._refused_by_backend = not greeting.positive
            self._out.to_client(greeting.data)

    def _not_introduced(self, result: NotIntroduced) -> None:
        if result.verdict is None:
            self._report("identity_refused", result.detail)
            self._fail(replies.UNAVAILABLE, "identity_refused")
        elif self._greets:
            self._end_with(result.verdict.data, "backend_closed")
        else:
            self._fail(replies.UNAVAILABLE, "backend_unavailable")

    def _pass(self, reply: Reply) -> None:
        self._out.to_client(reply.data)

    def _swallow(self, _reply: Reply) -> None:
        """The client has its answer."""

    def _hello_reply(self, reply: Reply) -> None:
        asked = self._hello_asked
        esmtp = asked.verb == b"EHLO"
        if esmtp and reply.code in _EHLO_UNKNOWN and ehlo.allows_starttls(self._settings):
            # A server older than ESMTP has no EHLO reply that STARTTLS could be in: its clients would go without TLS.
            self._out.to_backend(b"HELO" + asked.wire[len(b"EHLO") :])
            self._owed.expect(Awaited.HELO_FOR_EHLO)
        elif esmtp and reply.positive:
            self._greeted(reply)
        else:
            if reply.positive:
                self._said_hello(frozenset())
            self._out.to_client(reply.data)

    def _helo_for_ehlo_reply(self, reply: Reply) -> None:
        if reply.positive:
            first_line = reply.data[: reply.data.index(b"\n") + 1]  # the others are text, not keywords
            self._greeted(Reply(reply.code, first_line))
        else:
            self._out.to_client(reply.data)

    def _greeted(self, reply: Reply) -> None:
        offer = self._offer(reply)
        self._said_hello(offer.keywords)
        self._out.to_client(offer.data)

    def _offer(self, reply: Reply) -> ehlo.Offer:
        hidden = ehlo.hidden_keywords(self._settings, self._tls)
        return ehlo.filtered(reply, hidden, starttls=self._offers_starttls())

    def _said_hello(self, extensions: frozenset[bytes]) -> None:
        self._hello = self._hello_asked
        self._extensions = extensions
        self._needs_hello = False
        self._transaction = False

    def _mail_reply(self, reply: Reply) -> None:
        self._transaction = self._transaction or reply.positive
        self._out.to_client(reply.data)

    def _rset_reply(self, reply: Reply) -> None:
        self._transaction = self._transaction and not reply.positive
        self._out.to_client(reply.data)

    def _data_reply(self, reply: Reply) -> None:
        if reply.positive:
            self._backend_error(f"reply {reply.code} to DATA")
            return
        self._out.to_client(reply.data)
        if reply.intermediate:
            self._start_content(Message(self._settings.smtp_bare_newline), Awaited.END_OF_DATA)

    def _end_of_data_reply(self, reply: Reply) -> None:
        self._transaction = False
        if reply.positive:
            self._junk = 0
        self._out.to_client(reply.data)

    def _auth_reply(self, reply: Reply) -> None:
        if reply.intermediate:
            self._reading = Reading.AUTH_RESPONSE
        elif reply.code == _AUTHENTICATED:
            self._authenticated = True
        self._out.to_client(reply.data)

    def _quit_reply(self, reply: Reply) -> None:
        self._out.to_client(reply.data)
        if reply.code == _GOODBYE:
            self._end("client_quit")

    # The client's commands

    def _read_nothing(self) -> bool:
        return False

    def _read_command(self) -> bool:
        size = self._lines.held
        if not size or self._owed.blocks(pipelining=b"PIPELINING" in self._extensions):
            return False
        if self._draining and self._is_between_messages():
            return False
        long = size > COMMAND_LIMIT and self._lines.starts_with(b"AUTH ")
        line = self._lines.next_line(AUTH_LIMIT if long else COMMAND_LIMIT)
        if line is None:
            return False
        self.step += 1
        command = plain_command(line)
        if command is None:
            self._odd_line(line)
        else:
            self._command(command)
        return True

    def _odd_line(self, line: bytes) -> None:
        """Deal with a line that is no command as it stands."""
        if line is TOO_LONG:
            self._refuse(replies.LINE_TOO_LONG)
        elif self._ends_right(line):
            command = parse_command(line.rstrip(b"\r\n") if self._is_lenient() else line[:-2])
            if command is None:
                self._refuse(replies.BAD_SYNTAX)
            else:
                self._command(command)

    def _is_lenient(self) -> bool:
        return self._settings.smtp_bare_newline is not BareNewline.REJECT

    def _ends_right(self, line: bytes) -> bool:
        """Whether a line may end as it does. If not, the session ends: it is open where the next command begins."""
        if line.endswith(b"\r\n") or self._is_lenient():
            return True
        self._report("smuggling", "bare LF in a command")
        self._refuse_session(replies.BARE_LF_IN_COMMAND, "smuggling")
        return False

    def _command(self, command: CommandLine) -> None:
        verb = command.verb
        known = VERBS.get(verb, UNKNOWN)
        if known.junk:
            self._count_junk()
        if self._errors >= ERROR_LIMIT:
            return
        if known is UNKNOWN and self._refuses(verb):
            return
        if self._tls is None and self._settings.tls_security_level is TlsSecurityLevel.ENCRYPT:
            self._BEFORE_TLS.get(verb, EsmtpFront._must_start_tls)(self, command)
        elif self._needs_hello and not known.before_hello:
            self._refuse(replies.SEND_HELLO_FIRST)
        else:
            self._COMMANDS.get(verb, EsmtpFront._send_on)(self, command)

    def _refuses(self, verb: bytes) -> bool:
        """Refuse a verb that no backend is to see."""
        if verb.startswith(IDENTITY_VERBS):
            self._report("xclient_refused", verb.decode("ascii"))
            self._refuse(replies.NOT_AUTHORIZED)
        elif verb in HTTP_METHODS:
            self._report("http_request", verb.decode("ascii"))
            self._refuse_session(replies.NOT_HTTP, "http_request")
        elif verb in UNCARRIABLE:
            self._refuse(replies.NOT_IMPLEMENTED)
        else:
            return False
        return True

    def _send_on(self, command: CommandLine) -> None:
        known = VERBS.get(command.verb, UNKNOWN)
        self._out.to_backend(command.wire)
        self._owed.expect(known.awaited, pipelined=known.pipelined)

    def _ask_hello(self, command: CommandLine) -> None:
        self._hello_asked = command
        self.client_name = command.argument or None
        self._send_on(command)

    def _mail(self, command: CommandLine) -> None:
        if self._options.identity is IdentityMode.TRACE_HEADER:
            self._trace = self._received_field(command)
            self._out.to_backend(with_larger_size(command, len(self._trace) + len(_EMPTY_LINE)))
            self._owed.expect(Awaited.MAIL, pipelined=True)
        else:
            self._send_on(command)

    def _bdat(self, command: CommandLine) -> None:
        parsed = parse_bdat(command.argument)
        if parsed is None:
            self._refuse_session(replies.BDAT_SYNTAX, "bdat_refused")
        elif b"CHUNKING" not in self._extensions:
            # The backend would take the chunk for commands.
            self._refuse_session(replies.BDAT_NOT_IMPLEMENTED, "bdat_refused")
        else:
            size, last = parsed
            if self._trace and size:
                self._chunk_announced = parsed  # to the backend when its first byte is there
            else:
                self._announce_chunk(size + len(self._trace) if last else size, last=last)
                if last and self._trace:
                    self._out.to_backend(self._take_trace(b""))
            self._start_content(Chunk(size), Awaited.END_OF_DATA if last else Awaited.CHUNK)

    def _announce_chunk(self, size: int, *, last: bool) -> None:
        self._out.to_backend(b"BDAT %d%b\r\n" % (size, b" LAST" if last else b""))

    def _auth(self, command: CommandLine) -> None:
        hindrance = ehlo.auth_hindrance(self._settings, self._tls)
        if hindrance is None:
            self._send_on(command)
        else:
            self._report("auth_refused", hindrance)
            self._refuse(replies.ENCRYPTION_REQUIRED)

    def _read_auth_response(self) -> bool:
        line = self._lines.next_line(AUTH_LIMIT)
        if line is None:
            return False
        self._reading = Reading.COMMANDS
        if line is TOO_LONG:
            self._out.to_backend(b"*\r\n")
            self._owed.expect(Awaited.CANCELLED_AUTH)
            self._refuse(replies.AUTH_LINE_TOO_LONG)
        elif self._ends_right(line):
            response = line.rstrip(b"\r\n")
            # The backend's answer to the cancellation is the right one for a response that isn't base64, too.
            self._out.to_backend((b"*" if has_control(response) else response) + b"\r\n")
            self._owed.expect(Awaited.AUTH)
        return True

    # Before TLS, where the proxy answers for itself

    def _must_start_tls(self, _command: CommandLine) -> None:
        self._refuse(replies.MUST_START_TLS)

    def _own_hello(self, command: CommandLine) -> None:
        self.client_name = command.argument or None
        if not command.argument:
            self._refuse(replies.HELLO_SYNTAX % command.verb)
        elif command.verb == b"HELO":
            self._say(replies.HELLO)
        else:
            offered = [b"PIPELINING", b"ENHANCEDSTATUSCODES"]
            own = Reply(250, replies.multiline([self._settings.smtp_hostname.encode(), *offered]))
            self._out.to_client(self._offer(own).data)

    def _own_ok(self, _command: CommandLine) -> None:
        self._say(replies.OK)

    def _own_help(self, _command: CommandLine) -> None:
        self._say(replies.HELP)

    def _own_quit(self, _command: CommandLine) -> None:
        self._fail(replies.BYE, "client_quit")

    # STARTTLS

    def _offers_starttls(self) -> bool:
        return self._tls is None and self._opened.tls_available and ehlo.allows_starttls(self._settings)

    def _starttls(self, command: CommandLine) -> None:
        if command.argument:
            self._refuse(replies.STARTTLS_SYNTAX)
        elif self._tls is not None:
            self._refuse(replies.TLS_ALREADY_ACTIVE)
        elif not ehlo.allows_starttls(self._settings):
            self._refuse(replies.NOT_IMPLEMENTED)
        elif not self._opened.tls_available:
            self._refuse(replies.TLS_NOT_AVAILABLE)
        else:
            self._owed.act(self._start_tls, pipelined=False)

    def _start_tls(self) -> None:
        if self._transaction:
            self._refuse(replies.IN_TRANSACTION)
            return
        if not self._opened.allows_handshake():
            self._refuse(replies.TOO_MANY_HANDSHAKES)
            return
        if self._lines.held:
            self._report("starttls_injection", f"{self._lines.held} bytes behind STARTTLS")
            if self._settings.starttls_injection_policy is InjectionPolicy.REJECT:
                self._fail(replies.STARTTLS_INJECTION, "starttls_injection")
                return
            self._lines.take_all()
        self._say(replies.READY_TO_START_TLS)
        self._forget_plaintext()
        self._out.add(StartTls())

    def _forget_plaintext(self) -> None:
        """The session starts from nothing (RFC 3207 §4.2)."""
        self._reading = Reading.NOTHING
        self._hello = None
        self._extensions = frozenset()
        self._needs_hello = True
        self._trace = b""
        if self._connected and (self._authenticated or self._options.identity in _PROXY_MODES):
            # EHLO takes back everything else that the backend knows, but not these two.
            self._out.to_backend(b"QUIT\r\n")
            self._disconnect()
        self._authenticated = False

    # Content

    def _start_content(self, body: Body, awaited: Awaited) -> None:
        self._reading = Reading.CONTENT
        self._transfer = Transfer(body, awaited)

    def _read_content(self) -> bool:
        rest = self._transfer.rest
        if rest is not None:
            self._content_ended(rest)
        elif self._lines.held:
            self._content(self._lines.take_all())
        else:
            return False
        return True

    def _content(self, data: bytes) -> None:
        transfer = self._transfer
        passed = transfer.receive(data)
        if passed:
            if self._trace:
                self._open_content(passed)
            self._out.to_backend(passed)
        elif transfer.refused is not None and transfer.verdict is None:
            self._report("smuggling", f"{transfer.refused} in a message")
            self._abandon(replies.BARE_NEWLINE_IN_CONTENT, "smuggling")

    def _open_content(self, first: bytes) -> None:
        """Send the trace field before the first bytes of a message, and announce the chunk that it is then part of."""
        trace = self._take_trace(first)
        if self._chunk_announced is not None:
            (size, last), self._chunk_announced = self._chunk_announced, None
            self._announce_chunk(len(trace) + size, last=last)
        self._out.to_backend(trace)

    def _take_trace(self, first: bytes) -> bytes:
        """The field for a message that begins with ``first``.

        White space there would continue the field (RFC 5322 §2.2.3), in the proxy's name: an empty line ends the header
        before it, as in Postfix.
        """
        trace, self._trace = self._trace, b""
        return trace + _EMPTY_LINE if first.startswith((b" ", b"\t")) else trace

    def _content_ended(self, rest: bytes) -> None:
        transfer = self._transfer
        self._reading = Reading.COMMANDS
        if transfer.verdict is None:
            self._lines.feed(rest)
            self._owed.expect(transfer.awaited, pipelined=transfer.awaited is Awaited.CHUNK)
        else:
            self._end_with(transfer.verdict.reply, transfer.verdict.reason)

    def _abandon(self, reply: bytes, reason: str) -> None:
        """The backend gets nothing more of the content; the client gets ``reply`` at the end of it."""
        self._transfer.verdict = Verdict(reply, reason)
        self._disconnect(AbortBackend())

    def _received_field(self, mail: CommandLine) -> bytes:
        hello = self._hello
        return received_field(
            client=self._opened.client,
            helo=hello.argument if hello is not None else None,
            hostname=self._settings.smtp_hostname,
            esmtp=hello is not None and hello.verb == b"EHLO",
            tls=self._tls,
            authenticated=self._authenticated,
            smtputf8=has_parameter(mail_parameters(mail.argument), b"SMTPUTF8"),
            session_id=self._opened.session,
            date=self._options.now(),
        )

    # Words to the client, and the end

    def _own(self, reply: bytes) -> bytes:
        return reply.replace(b"{hostname}", self._settings.smtp_hostname.encode())

    def _say(self, reply: bytes) -> None:
        """Give a reply of our own, in its place behind those that are awaited."""
        self._owed.act(partial(self._out.to_client, self._own(reply)))

    def _refuse(self, reply: bytes) -> None:
        self._say(reply)
        self._count_error()

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > JUNK_LIMIT:
            self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors == ERROR_LIMIT:
            self._report("too_many_errors", f"{self._errors} errors, {self._junk} commands without work")
            self._refuse_session(replies.TOO_MANY_ERRORS, "too_many_errors")

    def _refuse_session(self, reply: bytes, reason: str) -> None:
        """End the session with a reply of our own, in its place behind those that are awaited."""
        self._owed.act(partial(self._end_with, self._own(reply), reason), pipelined=False)

    def _fail(self, reply: bytes, reason: str) -> None:
        """End the session at once with a reply of our own, whatever is awaited."""
        self._end_with(self._own(reply), reason)

    def _end_with(self, reply: bytes, reason: str) -> None:
        """End the session with ``reply``, and 421 where that doesn't say so itself."""
        self._out.to_client(reply)
        if not reply.startswith((b"421", b"221")):
            self._out.to_client(self._own(replies.CLOSING))
        self._end(reason)

    def _end(self, reason: str) -> None:
        self._ended = True
        if self._connected and self._reading is Reading.CONTENT:
            self._disconnect(AbortBackend())
        self._owed.clear()
        self._out.add(CloseSession(reason))

    def _report(self, what: Reported, detail: str) -> None:
        self._out.add(Report(what, detail))

    EVENTS: ClassVar[Mapping[type[Event], Callable[["EsmtpFront", Any], None]]] = {
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
        DrainRequested: _drain,
    }

    READERS: ClassVar[Mapping[Reading, Callable[["EsmtpFront"], bool]]] = {
        Reading.NOTHING: _read_nothing,
        Reading.COMMANDS: _read_command,
        Reading.AUTH_RESPONSE: _read_auth_response,
        Reading.CONTENT: _read_content,
    }

    # Any other verb is sent on.
    _COMMANDS: ClassVar[Mapping[bytes, Callable[["EsmtpFront", CommandLine], None]]] = {
        b"EHLO": _ask_hello,
        b"HELO": _ask_hello,
        b"STARTTLS": _starttls,
        b"AUTH": _auth,
        b"MAIL": _mail,
        b"SEND": _mail,
        b"SOML": _mail,
        b"SAML": _mail,
        b"BDAT": _bdat,
    }

    # Any other verb gets 530.
    _BEFORE_TLS: ClassVar[Mapping[bytes, Callable[["EsmtpFront", CommandLine], None]]] = {
        b"EHLO": _own_hello,
        b"HELO": _own_hello,
        b"STARTTLS": _starttls,
        b"NOOP": _own_ok,
        b"RSET": _own_ok,
        b"HELP": _own_help,
        b"QUIT": _own_quit,
    }

    _REPLIES: ClassVar[Mapping[Awaited, Callable[["EsmtpFront", Reply], None]]] = {
        Awaited.HELLO: _hello_reply,
        Awaited.HELO_FOR_EHLO: _helo_for_ehlo_reply,
        Awaited.MAIL: _mail_reply,
        Awaited.RSET: _rset_reply,
        Awaited.DATA: _data_reply,
        Awaited.CHUNK: _pass,
        Awaited.END_OF_DATA: _end_of_data_reply,
        Awaited.AUTH: _auth_reply,
        Awaited.CANCELLED_AUTH: _swallow,
        Awaited.QUIT: _quit_reply,
        Awaited.OTHER: _pass,
    }
