"""What is said before TLS where it begins in the middle: STARTTLS of SMTP (RFC 3207), IMAP (RFC 9051 §6.2.1) and POP3 (RFC
2595 §4). For a server that speaks TLS from the first byte, nothing is."""

from contextlib import suppress
from typing import Final, Protocol

from attrs import define, field

from tlsproxy.cli.server_probe.link import Link, NoAnswer

MAX_SAID: Final = 64 * 1024
"""Bytes of an answer. RFC 5321 §4.5.3.1.5 allows 512 for a line; EHLO is answered by some dozens."""

AFTERWARDS: Final = 1.0
"""Seconds for what a server has to say after it said something: all of it comes at once, and some end only later."""

MAX_LINES: Final = 1000
"""On one connection; some dozens are usual."""

TEXT_SHOWN: Final = 120
"""Characters of an answer in a message."""

OUR_NAME: Final = "tlsproxy-probe.invalid"
"""For EHLO: a name that nobody has (RFC 6761 §6.4)."""


class Dialogue(Protocol):
    """How one protocol is spoken. One for each connection."""

    injected: bytes
    """A harmless command that a server must not carry out when it comes behind STARTTLS (CVE-2011-0411)."""
    carried_out: str
    """How the answer to it begins, where no answer to a farewell does."""

    def open(self, link: Link, /) -> list[str]:
        """Hear the greeting, and ask what there is: the keywords.

        :raises NoAnswer: The server doesn't answer as it should.
        """

    def ask_for_tls(self, link: Link, behind: bytes = b"", /) -> None:
        """Say STARTTLS, with plaintext ``behind`` it in the same segment, and hear that it is welcome.

        :raises NoAnswer: It isn't.
        """

    def keywords(self, link: Link, /) -> list[str]:
        """Ask what there is.

        :raises NoAnswer: The server doesn't answer as it should.
        """

    def farewell(self, link: Link, /) -> list[str]:
        """Leave; everything that is said until the server ends the connection, or falls silent, a line each.

        :raises NoAnswer: It says nothing.
        """


@define
class _Lines:
    """Reads lines, whatever pieces they come in."""

    _read: bytes = field(init=False, default=b"")
    _count: int = field(init=False, default=0)

    def line(self, link: Link) -> str:
        self._count += 1
        if self._count > MAX_LINES:
            raise NoAnswer(f"the server says more than {MAX_LINES} lines")
        while b"\n" not in self._read:
            received = link.receive()
            if not received:
                raise NoAnswer("the server closed the connection")
            self._read += received
            if len(self._read) > MAX_SAID:
                raise NoAnswer(f"the server says more than {MAX_SAID} bytes at once")
        line, _, self._read = self._read.partition(b"\n")
        return line.rstrip(b"\r").decode("ascii", "backslashreplace")

    def rest(self, link: Link) -> list[str]:
        """Every line until the end, or until nothing more comes."""
        said = self._read or link.receive()
        with suppress(NoAnswer):
            while len(said) < MAX_SAID and (received := link.receive(AFTERWARDS)):
                said += received
        self._read = b""
        return said.decode("ascii", "backslashreplace").split("\r\n")[:-1]

    def forget(self) -> bytes:
        """Throw away what was read in plaintext; it is told."""
        read, self._read = self._read, b""
        return read


def _expect(said: str, wanted: str) -> str:
    if not said.startswith(wanted):
        raise NoAnswer(f"the server says {said[:TEXT_SHOWN]!r}")
    return said


@define
class Direct:
    """TLS from the first byte."""

    injected: bytes = b""
    carried_out: str = ""

    def open(self, _link: Link, /) -> list[str]:
        return []

    def ask_for_tls(self, _link: Link, _behind: bytes = b"", /) -> None:
        pass

    def keywords(self, _link: Link, /) -> list[str]:
        return []

    def farewell(self, _link: Link, /) -> list[str]:
        return []


@define
class Smtp:
    """RFC 5321, RFC 3207."""

    injected: bytes = b"NOOP\r\n"
    carried_out: str = "250"
    _lines: _Lines = field(init=False, factory=_Lines)

    def open(self, link: Link) -> list[str]:
        _expect(self._reply(link)[-1], "220")
        return self.keywords(link)

    def ask_for_tls(self, link: Link, behind: bytes = b"") -> None:
        link.send(b"STARTTLS\r\n" + behind)
        _expect(self._reply(link)[-1], "220")
        if self._lines.forget():
            raise NoAnswer("the server goes on in plaintext behind its answer to STARTTLS")

    def keywords(self, link: Link) -> list[str]:
        link.send(f"EHLO {OUR_NAME}\r\n".encode("ascii"))
        reply = self._reply(link)
        _expect(reply[-1], "250")
        return [line[4:].upper() for line in reply[1:]]

    def farewell(self, link: Link) -> list[str]:
        link.send(b"QUIT\r\n")
        return self._lines.rest(link)

    def _reply(self, link: Link) -> list[str]:
        reply = [self._lines.line(link)]
        while reply[-1][3:4] == "-":
            reply.append(self._lines.line(link))
        return reply


@define
class Imap:
    """RFC 9051."""

    injected: bytes = b"x NOOP\r\n"
    carried_out: str = "x "
    _lines: _Lines = field(init=False, factory=_Lines)

    def open(self, link: Link) -> list[str]:
        _expect(self._lines.line(link), "* ")
        return self.keywords(link)

    def ask_for_tls(self, link: Link, behind: bytes = b"") -> None:
        link.send(b"a STARTTLS\r\n" + behind)
        _expect(self._tagged(link, "a")[-1], "a OK")
        if self._lines.forget():
            raise NoAnswer("the server goes on in plaintext behind its answer to STARTTLS")

    def keywords(self, link: Link) -> list[str]:
        link.send(b"b CAPABILITY\r\n")
        answer = self._tagged(link, "b")
        _expect(answer[-1], "b OK")
        told = [line.upper() for line in answer if line.upper().startswith("* CAPABILITY ")]
        return [word for line in told for word in line.split()[2:]]

    def farewell(self, link: Link) -> list[str]:
        link.send(b"c LOGOUT\r\n")
        return [line for line in self._lines.rest(link) if not line.startswith("* ")]

    def _tagged(self, link: Link, tag: str) -> list[str]:
        answer = [self._lines.line(link)]
        while not answer[-1].startswith(f"{tag} "):
            answer.append(self._lines.line(link))
        return answer


@define
class Pop3:
    """RFC 1939, RFC 2449, RFC 2595."""

    injected: bytes = b"NOOP\r\n"
    carried_out: str = "-ERR"
    _lines: _Lines = field(init=False, factory=_Lines)

    def open(self, link: Link) -> list[str]:
        _expect(self._lines.line(link), "+OK")
        return self.keywords(link)

    def ask_for_tls(self, link: Link, behind: bytes = b"") -> None:
        link.send(b"STLS\r\n" + behind)
        _expect(self._lines.line(link), "+OK")
        if self._lines.forget():
            raise NoAnswer("the server goes on in plaintext behind its answer to STLS")

    def keywords(self, link: Link) -> list[str]:
        link.send(b"CAPA\r\n")
        _expect(self._lines.line(link), "+OK")
        told = []
        while (line := self._lines.line(link)) != ".":
            told.append(line.upper())
        return told

    def farewell(self, link: Link) -> list[str]:
        link.send(b"QUIT\r\n")
        return self._lines.rest(link)


DIALOGUES: Final[dict[str, type[Dialogue]]] = {"none": Direct, "smtp": Smtp, "imap": Imap, "pop3": Pop3}
"""By the word of ``--starttls``."""
