"""SMTP replies (RFC 5321 §4.2): the proxy's own, and a reader of the backend's.

The enhanced codes are RFC 3463's; texts are Postfix's where it has one, because logs and scripts know them.
``{hostname}`` stands for ``smtp_hostname``.
"""

import re
from typing import Final

from attrs import frozen

# The proxy answers for itself while the backend isn't touched: tls_security_level = "encrypt", before TLS.
GREETING: Final = b"220 {hostname} ESMTP\r\n"
HELLO: Final = b"250 {hostname}\r\n"
OK: Final = b"250 2.0.0 Ok\r\n"
HELP: Final = b"214 2.0.0 Only STARTTLS, EHLO, HELO, NOOP, RSET and QUIT before TLS\r\n"
BYE: Final = b"221 2.0.0 Bye\r\n"
MUST_START_TLS: Final = b"530 5.7.0 Must issue a STARTTLS command first\r\n"
HELLO_SYNTAX: Final = b"501 5.5.4 Syntax: %b hostname\r\n"

# STARTTLS
READY_TO_START_TLS: Final = b"220 2.0.0 Ready to start TLS\r\n"
STARTTLS_SYNTAX: Final = b"501 5.5.4 Syntax: STARTTLS\r\n"
TLS_ALREADY_ACTIVE: Final = b"503 5.5.1 Error: TLS already active\r\n"
IN_TRANSACTION: Final = b"503 5.5.1 Error: mail transaction in progress\r\n"
TLS_NOT_AVAILABLE: Final = b"454 4.7.0 TLS not available due to local problem\r\n"
TOO_MANY_HANDSHAKES: Final = b"454 4.7.0 TLS not available, too many handshakes from your address\r\n"
STARTTLS_INJECTION: Final = b"554 5.5.1 Error: data behind STARTTLS\r\n"
SEND_HELLO_FIRST: Final = b"503 5.5.1 Error: send HELO/EHLO first\r\n"

# Commands that don't reach the backend
NOT_AUTHORIZED: Final = b"550 5.7.0 Error: insufficient authorization\r\n"
NOT_IMPLEMENTED: Final = b"502 5.5.1 Error: command not implemented\r\n"
ENCRYPTION_REQUIRED: Final = b"538 5.7.11 Encryption required for authentication\r\n"
BAD_SYNTAX: Final = b"500 5.5.2 Error: bad syntax\r\n"
LINE_TOO_LONG: Final = b"500 5.5.2 Error: command too long\r\n"
AUTH_LINE_TOO_LONG: Final = b"500 5.5.6 Authentication exchange line is too long\r\n"

# With these the session ends
BDAT_SYNTAX: Final = b"521 5.5.4 Syntax: BDAT count [LAST]\r\n"
BDAT_NOT_IMPLEMENTED: Final = b"521 5.5.1 Error: command not implemented\r\n"
BARE_LF_IN_COMMAND: Final = b"500 5.5.2 Error: bare <LF> received\r\n"
BARE_NEWLINE_IN_CONTENT: Final = b"550 5.5.2 Error: bare <LF> or <CR> received\r\n"
NOT_HTTP: Final = b"221 2.7.0 Error: I can break rules, too. Goodbye.\r\n"
UNAVAILABLE: Final = b"421 4.3.2 {hostname} Service not available, try again later\r\n"
BACKEND_ERROR: Final = b"421 4.3.0 {hostname} Internal mail system error, try again later\r\n"
TIMEOUT: Final = b"421 4.4.2 {hostname} Error: timeout exceeded\r\n"
TOO_MANY_ERRORS: Final = b"421 4.7.0 {hostname} Error: too many errors\r\n"
TOO_MANY_SESSIONS: Final = b"421 4.7.0 {hostname} Error: too many connections\r\n"
TOO_MANY_OF_PEER: Final = b"421 4.7.0 {hostname} Error: too many connections from your address\r\n"
CLOSING: Final = b"421 4.3.0 {hostname} Closing connection\r\n"

SERVICE_CLOSING: Final = 421
"""The code that may come at any time, and ends the session (RFC 5321 §3.8)."""

MALFORMED: Final = 0
"""Code of a reply that isn't one."""

REPLY_LIMIT: Final = 65536
"""Bytes of a reply with all its lines. RFC 5321 §4.5.3.1.5 allows 512 for a line and no end of lines; the longest known are
HELP texts of some KiB."""


@frozen
class Reply:
    """A reply of the backend, whole."""

    code: int
    """Of its last line, as clients read it; or ``MALFORMED``."""
    data: bytes
    """All lines as they came, each with CRLF at its end."""

    @property
    def positive(self) -> bool:
        """It says that the command was carried out."""
        return 200 <= self.code < 300  # RFC 5321 §4.2.1

    @property
    def intermediate(self) -> bool:
        """It says that more is expected from the client than another command."""
        return 300 <= self.code < 400

    @property
    def negative(self) -> bool:
        """It says that the command wasn't carried out."""
        return self.code >= 400

    @property
    def texts(self) -> list[bytes]:
        """What stands behind the code in each line."""
        return [line[4:] for line in self.data[:-2].split(b"\r\n")]


def multiline(texts: list[bytes]) -> bytes:
    """Write a 250 reply of one or more lines."""
    lines = [b"250-" + text for text in texts[:-1]]
    return b"\r\n".join([*lines, b"250 " + texts[-1], b""])


# 1yz isn't used in SMTP. Code and nothing else is a line too (RFC 5321 §4.2).
_LINE: Final = re.compile(rb"[2-5][0-9][0-9](?:([ -])[^\n]*)?\r?\Z")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_WHOLE: Final = re.compile(rb"(?:[2-5][0-9][0-9]-[^\n]*\r\n)*([2-5][0-9][0-9])(?: [^\n]*)?\r\n")
"""A reply in which each line ends in CRLF: nearly all are of that kind, and come by themselves."""


class ReplyReader:
    """Reads the backend's replies, in whatever pieces they come.

    A reply is given out whole, so that a backend lost in the middle of one leaves no half of it with the client. Lines that
    end in a bare LF are taken, and get their CR.
    """

    __slots__ = ("_buffer", "_line", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._line = 0  # where the line begins that isn't read yet; those before it belong to the same reply
        self._scanned = 0  # no LF from the line's begin to here

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        self._buffer += data

    def only_reply(self, data: bytes) -> Reply | None:
        """The reply that ``data`` is, no more and no less; None: it has to be fed, to be read line by line."""
        if self._buffer or len(data) > REPLY_LIMIT:
            return None
        whole = _WHOLE.fullmatch(data)
        return Reply(int(whole[1]), data) if whole is not None else None

    @property
    def unread(self) -> int:
        """Bytes behind the last reply that was given out."""
        return len(self._buffer)

    def next_reply(self) -> Reply | None:
        """The next reply; None while it isn't whole. After one that is ``MALFORMED`` the reader is of no more use."""
        while (end := self._buffer.find(b"\n", self._scanned)) >= 0:
            line = _LINE.match(self._buffer, self._line, end)
            if line is None or end >= REPLY_LIMIT:
                return Reply(MALFORMED, b"")
            last = line[1] != b"-"
            code = int(self._buffer[self._line : self._line + 3])
            self._line = self._scanned = end + 1
            if last:
                return Reply(code, self._cut())
        self._scanned = len(self._buffer)
        return None if self._scanned < REPLY_LIMIT else Reply(MALFORMED, b"")

    def _cut(self) -> bytes:
        data = bytes(self._buffer[: self._line])
        del self._buffer[: self._line]
        self._line = self._scanned = 0
        return _BARE_LF.sub(b"\r\n", data)
