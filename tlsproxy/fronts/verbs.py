"""SMTP commands: how a line is read, and what is known of each verb.

What reaches the backend is one line that begins with a verb, has no control character but TAB in it and ends in CRLF,
written anew from what was read. So a backend that skips leading white space, cuts lines at NUL or takes a bare CR for their
end reads the same command as the proxy did, and none that the proxy would have refused.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from attrs import frozen

COMMAND_LIMIT: Final = 2048
"""Bytes of a command line, CRLF included. RFC 5321 §4.5.3.1.4 says 512, and extensions add to it (DSN: 500 for ORCPT, over
100 for ENVID; AUTH=: 500; SMTPUTF8: 10). Postfix's ``line_length_limit`` is 2048."""

AUTH_LIMIT: Final = 12288
"""Bytes of a line in an AUTH dialogue, AUTH with its initial response included (RFC 4954 §4)."""

MAX_CHUNK_SIZE: Final = 2**31 - 2**16
"""Octets of a BDAT chunk. An old server counts in 32 bits, signed or not; of a size that wraps round it would take less
than was announced, and the rest of the chunk for commands. 64 KiB are left for a ``Received:`` field."""


class Awaited(Enum):
    """What a reply of the backend answers: that decides what it leads to."""

    __hash__ = object.__hash__  # a key of tables; Enum's own hashes the name, in Python

    GREETING = auto()
    HELLO = auto()
    HELO_FOR_EHLO = auto()
    """The HELO that was tried for a client's EHLO."""
    MAIL = auto()
    RSET = auto()
    DATA = auto()
    END_OF_DATA = auto()
    """The dot, or the last BDAT chunk."""
    CHUNK = auto()
    """A BDAT chunk that isn't the last."""
    AUTH = auto()
    CANCELLED_AUTH = auto()
    """An AUTH dialogue cancelled by the proxy, which has answered the client itself."""
    QUIT = auto()
    OTHER = auto()


@frozen
class Verb:
    """What is known of a verb."""

    awaited: Awaited = Awaited.OTHER
    pipelined: bool = False
    """Other commands may follow before its reply (RFC 2920 §3.1, RFC 3030 §4.2). An unknown verb isn't of that kind."""
    before_hello: bool = False
    """Passes after STARTTLS before a new EHLO or HELO."""
    junk: bool = False
    """Does no work by itself. Postfix's ``smtpd_junk_command_limit`` counts these."""


UNKNOWN: Final = Verb()

VERBS: Final[Mapping[bytes, Verb]] = {
    b"EHLO": Verb(Awaited.HELLO, before_hello=True, junk=True),
    b"HELO": Verb(Awaited.HELLO, before_hello=True, junk=True),
    b"STARTTLS": Verb(before_hello=True),
    b"AUTH": Verb(Awaited.AUTH),
    b"MAIL": Verb(Awaited.MAIL, pipelined=True),
    b"SEND": Verb(Awaited.MAIL, pipelined=True),
    b"SOML": Verb(Awaited.MAIL, pipelined=True),
    b"SAML": Verb(Awaited.MAIL, pipelined=True),
    b"RCPT": Verb(pipelined=True),
    b"DATA": Verb(Awaited.DATA),
    b"BDAT": Verb(pipelined=True),
    b"RSET": Verb(Awaited.RSET, pipelined=True, before_hello=True, junk=True),
    b"NOOP": Verb(before_hello=True, junk=True),
    b"HELP": Verb(before_hello=True, junk=True),
    b"VRFY": Verb(junk=True),
    b"EXPN": Verb(junk=True),
    b"ETRN": Verb(junk=True),
    b"QUIT": Verb(Awaited.QUIT, before_hello=True),
}

IDENTITY_VERBS: Final = (b"XCLIENT", b"XFORWARD", b"XPROXY")
"""Beginnings of verbs that say who a client is, which backends believe the proxy: Postfix's, and Exchange's XPROXY,
XPROXYFROM and XPROXYTO. Beginnings, because some server may compare no more than it knows."""

UNCARRIABLE: Final = frozenset(
    {
        b"TURN",  # RFC 821, RFC 2645: client and server change roles
        b"ATRN",
        b"BURL",  # RFC 4468: content that doesn't go past the proxy
        b"CHECKPOINT",  # RFC 1845: DATA begins in the middle of a message
        b"LHLO",  # RFC 2033: a reply for each recipient
        b"XEXCH50",  # Exchange: octets behind a reply 354 that no DATA asked for
        b"X-EXPS",  # Exchange: AUTH by another name
        b"X-ANONYMOUSTLS",  # Exchange: STARTTLS by another name
        b"X-LINK2STATE",  # Exchange: what servers tell each other of their routing (MS05-021)
    }
)
"""Verbs and EHLO keywords of extensions that the proxy can't carry."""

HTTP_METHODS: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT"}
)
"""A browser or an HTTP client made to talk to a mail server by someone else (SSRF). Of these Postfix's
``smtpd_forbidden_commands`` has CONNECT, GET and POST."""


@frozen
class CommandLine:
    """A command."""

    verb: bytes
    """In capitals."""
    argument: bytes
    """What stands behind the verb; empty if nothing does."""
    wire: bytes
    """The line for the backend."""


_PLAIN: Final = re.compile(
    rb"([A-Za-z][A-Za-z0-9-]*)(?: ([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?))?\r\n"
)
"""A line that is on the wire as it came."""
_CONTROL: Final = re.compile(rb"[\0-\x08\x0a-\x1f\x7f]")
_COMMAND: Final = re.compile(rb"[ \t]*([A-Za-z][A-Za-z0-9-]*)(?:[ \t]+(.*))?")


def parse_command(text: bytes) -> CommandLine | None:
    """Read a line, without its line end; None: it isn't a command.

    White space before the verb and at the end is dropped, as Postfix does, and between verb and argument is one SP.
    """
    match = _COMMAND.fullmatch(text.rstrip(b" \t"))
    if match is None or has_control(text):
        return None
    verb, argument = match.groups(b"")
    wire = verb + b" " + argument + b"\r\n" if argument else verb + b"\r\n"
    return CommandLine(verb.upper(), argument, wire)


def plain_command(line: bytes) -> CommandLine | None:
    """Read a line with its CRLF that needs no change on its way: the same as :func:`parse_command` does, in one step.

    None: look closer.
    """
    match = _PLAIN.fullmatch(line)
    return CommandLine(match[1].upper(), match[2] or b"", line) if match is not None else None


def has_control(text: bytes) -> bool:
    """Whether a control character other than TAB is in ``text``: no command or AUTH response has one."""
    return _CONTROL.search(text) is not None


_BDAT: Final = re.compile(rb"([0-9]{1,20})(?:[ \t]+(LAST))?", re.IGNORECASE)


def parse_bdat(argument: bytes) -> tuple[int, bool] | None:
    """The size of a BDAT chunk in octets, and whether it is the last (RFC 3030 §2); None: it isn't valid."""
    match = _BDAT.fullmatch(argument)
    if match is None or int(match[1]) > MAX_CHUNK_SIZE:
        return None
    return int(match[1]), match[2] is not None


# A path is quoted as RFC 5321 §4.1.2 says: a SIZE= inside it is no parameter.
_PATH: Final = re.compile(rb'[^<"]*<(?:"(?:[^"\\]|\\.)*"|[^">])*>')
_SIZE: Final = re.compile(rb"(?<=[ \t]SIZE=)[0-9]{1,20}(?![^ \t])", re.IGNORECASE)


def mail_parameters(argument: bytes) -> bytes:
    """What stands behind the reverse-path in MAIL: its parameters, with white space before each."""
    path = _PATH.match(argument)
    return argument[path.end() :] if path else b""


def has_parameter(parameters: bytes, keyword: bytes) -> bool:
    """Whether MAIL's parameters have a ``keyword`` (capitals) without a value."""
    return keyword in parameters.upper().split()


def with_larger_size(mail: CommandLine, more: int) -> bytes:
    """MAIL for the backend, with ``more`` octets added to the ``SIZE=`` that it declares, if it does (RFC 1870 §6)."""
    parameters = mail_parameters(mail.argument)
    larger = _SIZE.sub(lambda size: b"%d" % (int(size[0]) + more), parameters)
    line_end = -len(b"\r\n")
    return mail.wire[: line_end - len(parameters)] + larger + b"\r\n"
