"""The demonstration's old mail server: plaintext SMTP behind PROXY headers, mail for one domain into a Maildir.

Imported late: Twisted's mail package installs a reactor.
"""

import mailbox
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import ESMTP, Address, SMTPBadRcpt, SMTPServerError, User
from zope.interface import implementer

from tlsproxy.errors import ProxyHeaderError
from tlsproxy.identity.proxy_header import ProxyHeader, ProxyHeaderParser

DOMAIN: Final = "demo.test"
"""Where mail is taken for; RFC 2606 §2 keeps the top-level domain for such."""

SIZE_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of a message, which is held in memory until its end."""


@implementer(IMessageSMTP)
class _Message:
    """A message while it comes in."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lines: list[bytes] = []
        self._size = 0

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name, as all here
        self._size += len(line) + 1
        if self._size > SIZE_LIMIT:
            raise SMTPServerError(552, b"5.3.4 Message too big")
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:  # noqa: N802
        # Waiting for the disk is all right for a demonstration.
        mailbox.Maildir(self._directory).add(b"".join(line + b"\n" for line in self._lines))
        return succeed(None)

    def connectionLost(self) -> None:  # noqa: N802
        self._lines.clear()


@implementer(IMessageDelivery)
class _Delivery:
    """Takes messages from one client."""

    def __init__(self, directory: Path, told: ProxyHeader) -> None:
        self._directory = directory
        self._told = told

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:  # noqa: ARG002, N802
        """Who the client is: as it said, and as the proxy said."""
        tls = self._told.tls
        spoken = f"{tls.version} {tls.cipher}" if tls is not None else "plaintext"
        said = helo[0].decode("ascii", "replace")
        return f"Received: from {said} ({self._told.source}, {spoken})\n by old.{DOMAIN}".encode()

    def validateFrom(self, helo: Any, origin: Address) -> Address:  # noqa: ARG002, N802
        return origin

    def validateTo(self, user: User) -> Any:  # noqa: N802
        if user.dest.domain.decode("ascii", "replace").lower() != DOMAIN:
            raise SMTPBadRcpt(user, 550, "5.7.1 Relaying denied")
        return lambda: _Message(self._directory)


class _OldServer(ESMTP):
    """One connection. Nothing is said before the PROXY header has come."""

    noisy = False

    def __init__(self, directory: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.host = f"old.{DOMAIN}"
        self._directory = directory
        self._header = ProxyHeaderParser()

    def connectionMade(self) -> None:  # noqa: N802
        self.setTimeout(self.timeout)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.delivery is None:
            data = self._introduced(data)
        if data:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def _introduced(self, data: bytes) -> bytes:
        """Read the header; what stands behind it."""
        try:
            header = self._header.feed(data)
        except ProxyHeaderError:
            assert self.transport is not None  # noqa: S101 - data came over it
            self.transport.loseConnection()
            return b""
        if header is None:
            return b""
        self.delivery = _Delivery(self._directory, header)
        super().connectionMade()  # type: ignore[no-untyped-call]
        return self._header.rest

    def greeting(self) -> bytes:
        return f"old.{DOMAIN} ESMTP".encode()

    def do_NOOP(self, rest: bytes) -> None:  # noqa: ARG002, N802
        self.sendCode(250, b"Ok")  # type: ignore[no-untyped-call]

    def extensions(self) -> dict[bytes, list[bytes] | None]:
        return {b"8BITMIME": None, b"SIZE": [b"%d" % SIZE_LIMIT]}


class MailFactory(Factory):
    """Makes the server's side of each connection.

    :param directory: The Maildir; made where it isn't there.
    """

    noisy = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        mailbox.Maildir(directory)

    def buildProtocol(self, addr: Any) -> ESMTP:  # noqa: ARG002, N802
        return _OldServer(self._directory)
