"""What a leg needs of a transport: the parts of ITCPTransport, IConsumer and IPushProducer that it calls.

Twisted's own TCP and Unix transports have them; whatever else has them can take their place.
"""

from typing import Any, Protocol


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
