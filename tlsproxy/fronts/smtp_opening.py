"""The first words with an SMTP server, before a front gets to speak with it: is it there, is it fit, and STARTTLS.

========  ==============================  ======================================================
state     the server says                 then
========  ==============================  ======================================================
GREETING  220, and STARTTLS isn't wanted  ``Opened``, with all that it said
GREETING  220, and STARTTLS is            ``EHLO`` is sent
GREETING  another reply                   ``TurnedAway``
HELLO     250, with STARTTLS in it        ``STARTTLS`` is sent
STARTTLS  220                             ``StartServerTls``, then the handshake
TLS       (the handshake is done)         ``Opened``, with the greeting
any       anything else                   ``Failed``
========  ==============================  ======================================================

A connection that is taken says little of a mail server: the kernel takes it for one that hangs. Its greeting does.

STARTTLS stands below the front. After it the server starts from nothing, waits for EHLO, and gives no new greeting (RFC
3207 §4.2). So the front is given the greeting from before, as if it came now, and finds a server like any other. It is the
one thing that is believed without TLS, and lets nobody do more than choose its words.

A server that doesn't offer STARTTLS isn't used: whoever sits between could take the offer away. What stands behind the 220
in plaintext would be taken for what the server said in TLS, and ends the attempt (CVE-2011-0411, seen from the client).
"""

from enum import Enum, auto
from typing import Final

from attrs import frozen

from tlsproxy.fronts import ehlo
from tlsproxy.fronts.replies import MALFORMED, Reply, ReplyReader

_READY: Final = 220
_OK: Final = 250

_TEXT_SHOWN: Final = 100
"""Characters of a reply that a message quotes."""


@frozen
class SendToServer:
    data: bytes


@frozen
class StartServerTls:
    """Handshake, then call :meth:`SmtpOpening.tls_started`."""


@frozen
class Opened:
    """The server is a front's from here on."""

    said: bytes
    """What the front has to be given first, as if it came now."""


@frozen
class TurnedAway:
    """The server is there, and its greeting says that it doesn't serve."""

    said: bytes
    """All that it said, for a front that has no other server to speak with."""
    detail: str


@frozen
class Failed:
    """The server can't be used."""

    detail: str


Result = SendToServer | StartServerTls | Opened | TurnedAway | Failed


class _State(Enum):
    GREETING = auto()
    HELLO = auto()
    STARTTLS = auto()
    TLS = auto()


class SmtpOpening:
    """One connection to a server, from its first byte to one of the ends."""

    __slots__ = ("_greeting", "_hostname", "_reader", "_said", "_starttls", "_state")

    def __init__(self, *, starttls: bool, hostname: str) -> None:
        """
        :param starttls: Whether it is wanted.
        :param hostname: Our name, for EHLO.
        """
        self._starttls = starttls
        self._hostname = hostname
        self._state = _State.GREETING
        self._reader = ReplyReader()
        self._said: list[bytes] = []
        # As it came: no more than a reply may have, and what came with its end.
        self._greeting = b""

    def receive(self, data: bytes) -> Result | None:
        """Take bytes from the server. None: more are needed."""
        if self._state is _State.GREETING:
            self._said.append(data)
        reply = self._reader.only_reply(data)
        if reply is None:
            self._reader.feed(data)
            reply = self._reader.next_reply()
        if reply is None:
            return None
        if reply.code == MALFORMED:
            return Failed(f"what the server says is no SMTP reply ({self._state.name})")
        if self._state is _State.GREETING:
            return self._greeted(reply)
        if self._reader.unread:
            return Failed(_OUT_OF_TURN if self._state is _State.HELLO else _INJECTED)
        return self._offered(reply) if self._state is _State.HELLO else self._agreed(reply)

    def tls_started(self) -> Result:
        """The handshake is done, and the server is who it should be."""
        return Opened(self._greeting)

    def _greeted(self, reply: Reply) -> Result:
        said = b"".join(self._said)
        if reply.code != _READY:
            return TurnedAway(said, f"greeting {_shown(reply)}")
        if not self._starttls:
            return Opened(said)
        if self._reader.unread:
            return Failed(_OUT_OF_TURN)
        self._greeting = reply.data
        self._state = _State.HELLO
        return SendToServer(f"EHLO {self._hostname}\r\n".encode("ascii", "replace"))

    def _offered(self, reply: Reply) -> Result:
        if reply.code != _OK:
            return Failed(f"STARTTLS can't be had: EHLO was answered {_shown(reply)}")
        if b"STARTTLS" not in ehlo.keywords(reply):
            return Failed("STARTTLS isn't offered")
        self._state = _State.STARTTLS
        return SendToServer(b"STARTTLS\r\n")

    def _agreed(self, reply: Reply) -> Result:
        if reply.code != _READY:
            return Failed(f"STARTTLS was answered {_shown(reply)}")
        self._state = _State.TLS
        return StartServerTls()


_OUT_OF_TURN: Final = "the server speaks before it is asked"
_INJECTED: Final = (
    "plaintext behind the server's reply to STARTTLS: somebody may have put it there (CVE-2011-0411)"
)


def _shown(reply: Reply) -> str:
    text = b" ".join(reply.texts).decode("ascii", "backslashreplace")
    return f"{reply.code} {text[:_TEXT_SHOWN]}".rstrip()
