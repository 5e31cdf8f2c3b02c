"""Reading TLS handshake messages that were sent in the clear: both sides' hellos (RFC 8446 §4, RFC 5246 §7.4)."""

from collections.abc import Iterator
from enum import IntEnum

from attrs import define


class ContentType(IntEnum):
    """What a record carries (RFC 8446 §5.1)."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


class HandshakeType(IntEnum):
    """The handshake messages read here (RFC 8446 §4)."""

    CLIENT_HELLO = 1
    SERVER_HELLO = 2


class ExtensionType(IntEnum):
    """The extensions read here (RFC 8446 §4.2)."""

    SERVER_NAME = 0
    PRE_SHARED_KEY = 41
    SUPPORTED_VERSIONS = 43


class TruncatedError(Exception):
    """The bytes end before the structure does."""


@define
class Reader:
    """Takes structures off the front of a byte string.

    :raises TruncatedError: from every method, when there are fewer bytes than the structure needs.
    """

    data: bytes
    position: int = 0

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return self.position < len(self.data)

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        end = self.position + count
        if end > len(self.data):
            raise TruncatedError
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, size: int) -> int:
        """The next ``size`` bytes as an unsigned number in network order."""
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        """A vector whose length takes ``size`` bytes (RFC 8446 §3.4)."""
        return self.take(self.number(size))


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The complete records in ``data``: content type and fragment."""
    reader = Reader(data)
    try:
        while reader:
            content_type = reader.number(1)
            reader.take(2)  # legacy_record_version
            yield content_type, reader.vector(2)
    except TruncatedError:
        return


def handshake_messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The complete handshake messages in ``data``, which may run over several records: type and body."""
    fragments = (fragment for kind, fragment in records(data) if kind == ContentType.HANDSHAKE)
    reader = Reader(b"".join(fragments))
    try:
        while reader:
            message_type = reader.number(1)
            yield message_type, reader.vector(3)
    except TruncatedError:
        return


def extensions(block: bytes) -> dict[int, bytes]:
    """Extensions by type, from their list without its length."""
    reader = Reader(block)
    found: dict[int, bytes] = {}
    while reader:
        extension_type = reader.number(2)
        found[extension_type] = reader.vector(2)
    return found
