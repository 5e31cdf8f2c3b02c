"""What the mail servers of tests have in common: a log to wait for, and a mailbox to look into."""

import abc
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import Program, ProgramError

DOMAIN = "mail.example"
"""Where mail is delivered; other destinations are refused (no relaying)."""


class MailServer(abc.ABC):
    """A mail server of a test's own, on loopback ports. Use it as a context manager.

    :ivar directory: Everything that it has, from its start on. It goes when the server stops.
    """

    directory: Path

    @property
    @abc.abstractmethod
    def log(self) -> str:
        """What the server logged so far."""

    @property
    @abc.abstractmethod
    def inbox(self) -> Path:
        """The directory that each delivered message becomes a file in."""

    @property
    @abc.abstractmethod
    def daemon(self) -> Program:
        """The process that ends the server when it is stopped."""

    @abc.abstractmethod
    def start(self) -> None:
        """Make the server and wait until it listens."""

    def stop(self) -> None:
        """Stop every daemon and remove the server."""
        self.daemon.stop()
        shutil.rmtree(self.directory)

    def messages(self) -> list[bytes]:
        """The messages delivered, oldest first, as the server stored them: LF line ends, its own fields on top."""
        paths = self.inbox.iterdir() if self.inbox.exists() else ()
        return [path.read_bytes() for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)]

    def messages_with(self, marker: bytes) -> list[bytes]:
        """Those messages delivered that ``marker`` stands in."""
        return [message for message in self.messages() if marker in message]

    def wait_for_messages(self, count: int, timeout: float = 10) -> list[bytes]:
        """Wait until ``count`` messages were delivered."""
        self.wait_until(lambda: len(self.messages()) >= count, f"fewer than {count} messages", timeout)
        return self.messages()

    def wait_for_message(self, marker: bytes, timeout: float = 10) -> bytes:
        """Wait until the one message is delivered that ``marker`` stands in."""
        self.wait_until(lambda: bool(self.messages_with(marker)), f"no message with {marker!r}", timeout)
        (message,) = self.messages_with(marker)
        return message

    def wait_for_log(self, pattern: str, timeout: float = 10) -> re.Match[str]:
        """Wait until the log matches ``pattern`` (searched, multi-line)."""
        regex = re.compile(pattern, re.MULTILINE)
        self.wait_until(lambda: regex.search(self.log) is not None, f"no {pattern!r} in the log", timeout)
        match = regex.search(self.log)
        assert match is not None
        return match

    def wait_until(self, happened: Callable[[], bool], failure: str, timeout: float = 10) -> None:
        """Wait until ``happened`` is true; ``failure`` says what is the matter if that doesn't come."""
        try:
            self.daemon.wait_until(happened, failure, timeout)
        except ProgramError as error:
            raise ProgramError(f"{error}\n{type(self).__name__} logged:\n{self.log}") from None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


_OWN_FIELDS = re.compile(
    rb"(?:From [^\n]*\n)?(?:(?:Return-Path|X-Original-To|Delivered-To|Envelope-to|Delivery-date): [^\n]*\n)*"
    rb"Received: [^\n]*\n(?:[ \t][^\n]*\n)*"
)


def content_of(message: bytes) -> bytes:
    """What the client sent, of a message that was delivered: without the lines that the server put on top.

    They are the mbox format's ``From``, the fields of a delivery (``Return-Path`` and its like), and the first
    ``Received`` with its folded lines.
    """
    match = _OWN_FIELDS.match(message)
    assert match is not None, message[:200]
    return message[match.end() :]


def received_of(message: bytes) -> str:
    """The ``Received`` field that the server put on top of a message, in one line."""
    match = _OWN_FIELDS.match(message)
    assert match is not None, message[:200]
    return " ".join(match[0][match[0].index(b"Received: ") :].decode().split())
