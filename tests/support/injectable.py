"""Mail servers that offer STARTTLS and have its oldest hole: what came behind it is carried out in TLS (CVE-2011-0411)."""

import contextlib
import socket
import ssl
from collections.abc import Mapping

from attrs import define, field

from tests.support.certificates import Issued

GREETINGS: Mapping[str, str] = {"smtp": "220 old.example ESMTP", "imap": "* OK ready", "pop3": "+OK ready"}

REPLIES: Mapping[str, Mapping[str, str]] = {
    "smtp": {
        "EHLO": "250-old.example\n250-PIPELINING\n250-STARTTLS\n250 AUTH PLAIN CRAM-MD5",
        "STARTTLS": "220 go ahead",
        "NOOP": "250 nothing done",
        "QUIT": "221 bye",
    },
    "imap": {
        "CAPABILITY": "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\n{tag} OK done",
        "STARTTLS": "{tag} OK go ahead",
        "NOOP": "{tag} OK nothing done",
        "LOGOUT": "* BYE\n{tag} OK bye",
    },
    "pop3": {
        "CAPA": "+OK\nSTLS\nUSER\nSASL PLAIN\n.",
        "STLS": "+OK go ahead",
        "NOOP": "-ERR not yet",
        "QUIT": "+OK bye",
    },
}
"""By protocol and command."""


@define
class Injectable:
    """For :class:`tests.support.servers.Server`.

    :param forgetful: Throw away what came behind STARTTLS, as it should be.
    :param strict: End the session for it.
    :param replies: By command, in place of those in ``REPLIES``; with an empty one the session ends.
    :ivar in_tls: Commands carried out in TLS.
    """

    protocol: str
    certificate: Issued
    forgetful: bool = False
    strict: bool = False
    replies: Mapping[str, str] = field(factory=dict)
    in_tls: list[str] = field(init=False, factory=list)

    def handle(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as opened, contextlib.suppress(ssl.SSLError):
            self._converse(connection, opened)

    def _converse(self, stream: socket.socket, opened: contextlib.ExitStack) -> None:
        buffer, started = b"", False
        self._say(stream, GREETINGS[self.protocol], "")
        while True:
            while b"\n" not in buffer:
                received = stream.recv(4096)
                if not received:
                    return
                buffer += received
            line, _, buffer = buffer.partition(b"\n")
            tag, command = self._words(line.decode().strip())
            if started:
                self.in_tls.append(command)
            if not self._say(stream, self._reply(command), tag):
                return
            if command in ("STARTTLS", "STLS"):
                if buffer and self.strict:
                    stream.shutdown(socket.SHUT_RDWR)
                    return
                buffer = b"" if self.forgetful else buffer
                stream = opened.enter_context(self._context().wrap_socket(stream, server_side=True))
                started = True
            if command in ("QUIT", "LOGOUT"):
                return

    def _words(self, line: str) -> tuple[str, str]:
        tag, line = line.split(" ", 1) if self.protocol == "imap" else ("", line)
        return tag, line.split(" ")[0].upper()

    def _reply(self, command: str) -> str:
        return {**REPLIES[self.protocol], **self.replies}.get(command, "500 what?")

    def _say(self, stream: socket.socket, reply: str, tag: str) -> bool:
        if reply:
            stream.sendall((reply.replace("{tag}", tag).replace("\n", "\r\n") + "\r\n").encode())
        return bool(reply)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.chain_path, self.certificate.key_path)
        return context
