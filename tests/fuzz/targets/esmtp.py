"""No bytes of a client's make the backend see a command that isn't one of its own lines, in its place, however they come.

A line of its own: one that a strict reader of the client's bytes takes for a command. It ends in CRLF (with ``normalize``
and ``pass``: in LF); content ends at CRLF.CRLF or by its count and nowhere else. The backend reads as leniently as any: it
takes LF.LF for the end of data. Beside it one that is strict reads the same, and must see the same.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from attrs import frozen

from tests.fuzz.inputs import taken
from tests.fuzz.smtp import OPENED, Conversation, Server
from tlsproxy.fronts.esmtp import EsmtpFront
from tlsproxy.fronts.events import (
    BackendFinished,
    BackendLost,
    ClientFinished,
    DrainRequested,
    Event,
    IdleTimedOut,
)
from tlsproxy.fronts.options import BareNewline, FrontOptions, IdentityMode, InjectionPolicy, TlsSecurityLevel
from tlsproxy.policy.protocols import TlsProtocols

MAX_SIZE = 512
TOKENS = (
    b"EHLO c\r\n",
    b"HELO c\r\n",
    b"MAIL FROM:<a> SIZE=5\r\n",
    b"RCPT TO:<b>\r\n",
    b"DATA\r\n",
    b"BDAT 5\r\n",
    b"BDAT 0 LAST\r\n",
    b"AUTH LOGIN\r\n",
    b"RSET\r\n",
    b"STARTTLS\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"VRFY x\r\n",
    b"XCLIENT ADDR=127.0.0.1\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r\n.\0\r\n",
    b"\r\n",
    b"*\r\n",
)

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@frozen(kw_only=True)
class Settings:
    """The options of an ``esmtp`` session."""

    tls_security_level: TlsSecurityLevel
    tls_wrappermode: bool
    tls_auth_only: bool
    starttls_injection_policy: InjectionPolicy
    smtp_bare_newline: BareNewline
    smtp_hostname: str = "proxy.example"
    smtp_auth_tls_protocols: TlsProtocols | None = None
    smtp_discard_ehlo_keywords: tuple[str, ...] = ()
    smtp_discard_ehlo_keywords_tls: tuple[str, ...] | None = None


_MODES = (BareNewline.REJECT, BareNewline.NORMALIZE, BareNewline.PASS, BareNewline.REJECT)
_LEVELS = (TlsSecurityLevel.NONE, TlsSecurityLevel.MAY, TlsSecurityLevel.NONE, TlsSecurityLevel.ENCRYPT)


def settings(choice: int) -> Settings:
    """What the bits of ``choice`` stand for; the highest is left for the identity."""
    return Settings(
        smtp_bare_newline=_MODES[choice & 3],
        tls_security_level=_LEVELS[choice >> 2 & 3],
        tls_wrappermode=choice & 0x34 == 0x30,
        tls_auth_only=bool(choice & 0x10 and choice & 4),
        starttls_injection_policy=InjectionPolicy.IGNORE if choice & 0x40 else InjectionPolicy.REJECT,
    )


def opened(choice: int, script: int) -> Conversation:
    """A session whose client has said nothing yet."""
    identity = IdentityMode.TRACE_HEADER if choice & 0x80 else IdentityMode.NONE
    chosen = settings(choice)
    # "pass" is for servers that are strict.
    lenient = chosen.smtp_bare_newline is not BareNewline.PASS
    conversation = Conversation(EsmtpFront(FrontOptions(chosen, identity, lambda: NOON)), script, lenient)
    conversation.tell(OPENED)
    return conversation


def one_input(data: bytes) -> None:
    """See the module."""
    (choice, offer, refusals, happening, *sizes), stream = taken(data, 6)
    script = refusals << 8 | offer
    whole = opened(choice, script)
    whole.rest()
    whole.client_says(stream)
    whole.rest()
    in_place = settings(choice).tls_security_level is TlsSecurityLevel.NONE
    check(whole, stream, choice, in_place=in_place)
    split = opened(choice, script)
    split.rest()
    unforeseen = _UNFORESEEN.get(happening & 0x0F)
    for step, (piece, delivered) in enumerate(_steps(stream, sizes)):
        split.client_says(piece)
        if unforeseen is not None and step == happening >> 4:
            split.happens(unforeseen)
        split.deliver(delivered)
    split.rest()
    check(split, stream, choice, in_place=in_place)
    if in_place and unforeseen is None:  # what STARTTLS is followed by depends on the time
        assert split.result == whole.result, (split.result, whole.result)


# No 354 or 334: after one that isn't meant the server would read content, or a response, as commands.
_UNFORESEEN: dict[int, Event | bytes] = dict(
    enumerate(
        (
            BackendLost("reset"),
            BackendFinished(),
            IdleTimedOut(),
            DrainRequested(),
            ClientFinished(),
            b"421 closing\r\n",
            b"250 unasked\r\n",
            b"550 unasked\r\n",
            b"no reply\r\n",
        ),
        start=1,
    )
)


def _steps(stream: bytes, sizes: list[int]) -> Iterator[tuple[bytes, int | None]]:
    """The client's next bytes, and how many of the server's are delivered after them: None for all."""
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        step = size & 0x0F or len(stream)
        yield stream[at : at + step], (None, 0, 7, 40)[size >> 4 & 3]
        at += step
        turn += 1


def check(conversation: Conversation, stream: bytes, choice: int, *, in_place: bool) -> None:
    """Compare what servers saw with what the client said."""
    for first, second in conversation.servers:
        assert first.commands == second.commands
        assert first.messages == second.messages or first.lenient
        assert len(first.messages) == len(second.messages)
    seen = [server.commands for server, _ in conversation.servers]
    strict = settings(choice).smtp_bare_newline is BareNewline.REJECT
    if in_place:
        (server, _), *others = conversation.servers
        assert not others
        _check_in_place(server, stream, strict=strict)
    else:
        _check_in_order([command for commands in seen for command in commands], stream, strict=strict)


_BLANK = re.compile(rb"[ \t]+")
_DIGITS = re.compile(rb"\A[0-9]+")
_SIZE = re.compile(rb"(?i)( SIZE=)[0-9]+")


def compared(command: bytes) -> bytes:
    """A command without what the proxy may change: white space, sizes (for a ``Received:`` field), EHLO said as HELO."""
    verb, _, argument = _BLANK.sub(b" ", command).strip(b" ").partition(b" ")
    verb = verb.upper()
    if verb == b"BDAT":
        return b"BDAT " + _DIGITS.sub(b"0", argument.upper(), count=1)
    return (b"HELO" if verb == b"EHLO" else verb) + b" " + _SIZE.sub(rb"\1", argument)


def _line_at(stream: bytes, at: int, *, strict: bool) -> tuple[bytes | None, int]:
    """The line that begins at ``at``, None where it isn't one of the client's; and where the next begins."""
    end = stream.find(b"\n", at)
    if end < 0:
        return None, len(stream)
    line = stream[at:end]
    if strict:
        return (line[:-1], end + 1) if line.endswith(b"\r") else (None, end + 1)
    return line.rstrip(b"\r"), end + 1


def _chunk_size(line: bytes) -> int:
    return int(line.split()[1])


def _check_in_order(commands: list[bytes], stream: bytes, *, strict: bool) -> None:
    """Each command is a line behind that of the one before it; QUIT, and HELO behind EHLO, may be the proxy's own."""
    places, before = {0}, b""
    for command in commands:
        if command.startswith(b"HELO") and before[:4].upper() == b"EHLO" and before[4:] == command[4:]:
            continue
        before = command
        behind = {end for place in places for end in _ends(stream, place, compared(command), strict=strict)}
        assert behind or command == b"QUIT", command
        places = behind or places


def _ends(stream: bytes, at: int, meant: bytes, *, strict: bool) -> Iterator[int]:
    """Where each line that says what is ``meant`` ends, and the chunk behind a BDAT, which needn't be at a line's end."""
    while at < len(stream):
        line, at = _line_at(stream, at, strict=strict)
        if line is not None and compared(line) == meant:
            yield at
            if meant.startswith(b"BDAT "):
                yield at + _chunk_size(line)


def _check_in_place(server: Server, stream: bytes, *, strict: bool) -> None:
    """Each command is the next that a strict reader of the client finds and the proxy doesn't refuse.

    That is exact, since without TLS what is refused once is refused whenever it is said.
    """
    at, number = 0, 0
    while number < len(server.commands):
        assert at < len(stream), server.commands[number:]
        line, at = _line_at(stream, at, strict=strict)
        assert line is not None, server.commands[number:]
        if compared(line) != compared(server.commands[number]):
            continue
        number += 1
        refused = server.refuses(number - 1)
        verb = line.split()[0].upper()
        if verb == b"DATA" and not refused:
            end = (b"\r\n" + stream[at:]).find(b"\r\n.\r\n")
            at = len(stream) if end < 0 else at + end + 3
        elif verb == b"AUTH" and not refused:
            _, at = _line_at(stream, at, strict=False)
        elif verb == b"BDAT":
            at += _chunk_size(line)
