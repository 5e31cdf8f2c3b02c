"""Backends for the demonstration, in the proxy's own process and plaintext, as an old server would be."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

from tlsproxy.config.addresses import UnixAddress
from tlsproxy.config.backend import Backend

LINE_LIMIT: Final = 16 * 1024
"""Bytes of a line that is echoed; a longer one ends the connection."""


class Echo(LineOnlyReceiver):
    """Greets, and says every line back."""

    delimiter = b"\n"
    MAX_LENGTH = LINE_LIMIT

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        greeting = b"tlsproxy demo backend: plaintext on this side, what you type comes back"
        self.sendLine(greeting)  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self.sendLine(line)  # type: ignore[no-untyped-call]


def _echo(_directory: Path) -> Factory:
    return Factory.forProtocol(Echo)


def _mail(directory: Path) -> Factory:
    from tlsproxy.cli.demo.mail import MailFactory

    return MailFactory(directory / MAILDIR)


def _web(_directory: Path) -> Any:
    from tlsproxy.cli.demo.web import web_site

    return web_site()


MAILDIR: Final = "maildir"
"""Where mail is stored, below the demonstration's directory."""

BACKENDS: Final[Mapping[str, Callable[[Path], Any]]] = {"echo": _echo, "mail": _mail, "web": _web}
"""By the name of the backend, ``[backend.NAME]``, what takes its place, given the demonstration's directory."""


def start_backends(reactor: Any, backends: Mapping[str, Backend], directory: Path) -> None:
    """Start those of the configuration's backends that the demonstration has, where the configuration expects them.

    :param directory: Where they keep what they get.
    :raises twisted.internet.error.CannotListenError: An address is in use.
    """
    for name, backend in backends.items():
        if name not in BACKENDS:
            continue
        factory = BACKENDS[name](directory)
        server = backend.servers[0].address
        if isinstance(server, UnixAddress):
            reactor.listenUNIX(server.path, factory)
        else:
            reactor.listenTCP(server.port, factory, interface=server.host)
