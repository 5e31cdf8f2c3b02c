"""A transport that remembers what was asked of it, for tests without a network."""

from typing import Any

from twisted.internet.interfaces import ITCPTransport
from zope.interface import implementer


@implementer(ITCPTransport)
class RecordingTransport:
    """Half of a connection: what was written, and how it stands."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.reading = True
        self.half_closed = False
        self.closed = False
        self.aborted = False
        self.producer: Any = None
        self.no_delay = False

    def write(self, data: bytes) -> None:
        assert not self.half_closed, "written after the half-close"
        self.written += data

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def loseConnection(self) -> None:
        self.closed = True

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpKeepAlive(self, enabled: bool) -> None:
        raise NotImplementedError

    def getTcpKeepAlive(self) -> bool:
        raise NotImplementedError

    def getPeer(self) -> Any:
        raise NotImplementedError

    def getHost(self) -> Any:
        raise NotImplementedError
