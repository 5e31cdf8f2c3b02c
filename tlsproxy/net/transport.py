"""What a leg needs of a transport: the parts of ITCPTransport, IConsumer and IPushProducer that it calls.

Twisted's own TCP and Unix transports have them; whatever else has them can take their place.
"""

from fcntl import ioctl
from struct import Struct
from termios import TIOCOUTQ
from typing import Any, Final, Protocol

_INT: Final = Struct("i")


class Transport(Protocol):
    """A stream connection."""

    def write(self, data: bytes) -> None:
        """See ``ITransport``."""

    def loseWriteConnection(self) -> None:
        """See ``IHalfCloseableDescriptor``."""

    def loseConnection(self) -> None:
        """See ``ITransport``."""

    def abortConnection(self) -> None:
        """See ``ITCPTransport``."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""

    def resumeProducing(self) -> None:
        """See ``IPushProducer``."""

    def getHost(self) -> Any:
        """See ``ITransport``."""

    def getPeer(self) -> Any:
        """See ``ITransport``."""


def untaken(transport: Any) -> int:
    """Bytes written to a transport that its peer hasn't taken: those that the transport keeps, and those in the kernel's
    queue that aren't acknowledged (SIOCOUTQ in tcp(7) and unix(7)).

    A transport tells what it keeps in ``unsent``. Twisted's has no name for it: of the three fields, the last is where
    ``write`` puts what ``doWrite`` hasn't seen yet.
    """
    kept = getattr(transport, "unsent", None)
    if kept is None:
        kept = len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001 - see above
    (queued,) = _INT.unpack(ioctl(transport.fileno(), TIOCOUTQ, bytes(_INT.size)))
    return int(kept) + int(queued)
