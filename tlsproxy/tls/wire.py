"""Reading TLS handshake messages that were sent in the clear: both sides' hellos (RFC 8446 §4, RFC 5246 §7.4)."""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final

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


_RECORD_HEADER: Final = Struct("!BHH")
_MESSAGE_HEADER: Final = Struct("!L")
"""The type in the high byte, the length in the others."""
_EXTENSION_HEADER: Final = Struct("!HH")
_HANDSHAKE: Final = int(ContentType.HANDSHAKE)


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
    position, size = 0, len(data)
    while position + _RECORD_HEADER.size <= size:
        content_type, _legacy_record_version, length = _RECORD_HEADER.unpack_from(data, position)
        position += _RECORD_HEADER.size
        if position + length > size:
            return
        yield content_type, data[position : position + length]
        position += length


def handshake_messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The complete handshake messages in ``data``, which may run over several records: type and body."""
    stream = b"".join([fragment for kind, fragment in records(data) if kind == _HANDSHAKE])
    position, size = 0, len(stream)
    while position + _MESSAGE_HEADER.size <= size:
        (header,) = _MESSAGE_HEADER.unpack_from(stream, position)
        position += _MESSAGE_HEADER.size
        end = position + (header & 0xFFFFFF)
        if end > size:
            return
        yield header >> 24, stream[position:end]
        position = end


def extensions(block: bytes) -> dict[int, bytes]:
    """Extensions by type, from their list without its length.

    :raises TruncatedError: The last one isn't whole.
    """
    found: dict[int, bytes] = {}
    position, size = 0, len(block)
    while position < size:
        begin = position + _EXTENSION_HEADER.size
        if begin > size:
            raise TruncatedError
        extension_type, length = _EXTENSION_HEADER.unpack_from(block, position)
        position = begin + length
        if position > size:
            raise TruncatedError
        found[extension_type] = block[begin:position]
    return found
