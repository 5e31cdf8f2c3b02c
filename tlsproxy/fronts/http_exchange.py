"""A request on its way, and the response to it."""

from typing import Final

from attrs import define, field

from tlsproxy.fronts.http_body import Body, Framing, body, chunk
from tlsproxy.fronts.http_forward import end_of_chunks
from tlsproxy.fronts.http_request import Request
from tlsproxy.fronts.http_response import Response
from tlsproxy.fronts.http_syntax import HttpError

HELD_LIMIT: Final = 65536
"""Bytes of a request, as it was sent to the backend, that are held so as to send it again. Forms and small uploads fit."""

CONNECTIONS_LIMIT: Final = 2
"""Connections made for one request: the second for when a backend is stopped with the first. A third time, it is likely to
be the request that stops it."""


_CHUNKED: Final = Framing.CHUNKED
_UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE


@define(eq=False)
class Exchange:
    """What is known of one request while it is under way."""

    request: Request
    bytes_in: int
    """Of the request, head and body, so far."""
    bytes_out: int = 0
    """Of the response as it was sent to the client, so far."""
    head: bytes = b""
    """Of the request, as it is sent to the backend."""
    upgrading: bool = False
    """The backend may go on with another protocol."""
    last: bool = False
    """The backend was told to close the connection behind its response."""
    connections: int = 0
    """Those made for it."""
    content: int = 0
    """Bytes of the request's content, so far."""
    informational: int = 0
    """Responses with 1xx so far."""
    response: Response | None = None
    """Its head has gone to the client."""
    chunked: bool = False
    """The response goes to the client in chunks."""
    closes: bool = False
    """The client has been told that the connection is closed behind the response."""
    _body: Body = field(init=False)
    _response_body: Body = field(init=False)
    _held: bytearray | None = field(init=False, factory=bytearray)

    def __attrs_post_init__(self) -> None:
        self._body = body(self.request.framing, self.request.length)

    @property
    def resendable(self) -> bool:
        """Whether it may be sent again on another connection, and still can."""
        return self.request.idempotent and self._held is not None and self.connections < CONNECTIONS_LIMIT

    @property
    def held(self) -> bytes:
        """What was sent of the body."""
        return bytes(self._held or b"")

    def take_body(self, data: bytes, limit: int) -> tuple[bytes, bytes | None]:
        """Take bytes of the request's body; what goes to the backend, and what came behind the body once it is over.

        :param limit: Bytes of content that it may have; 0 for any number.
        :raises HttpError: The framing is broken, or there is too much.
        """
        reader = self._body
        content = reader.receive(data)
        rest = reader.rest
        self.content += len(content)
        self.bytes_in += len(data) - len(rest or b"")
        if 0 < limit < self.content:
            raise HttpError(413, "the body is too large")
        sent = content
        if self.request.framing is _CHUNKED:
            sent = chunk(content) if rest is None else chunk(content) + end_of_chunks(reader.trailers)
        if self._held is not None:
            self._held += sent
            if len(self._held) > HELD_LIMIT:
                self._held = None
        return sent, rest

    def begin_response(self, response: Response, *, closes: bool) -> None:
        """The response's head goes to the client.

        :param closes: The client's connection is to be closed behind it.
        """
        framing = response.framing
        self.response = response
        self._held = None
        self.chunked = framing in (_CHUNKED, _UNTIL_CLOSE) and self.request.line.minor > 0
        self.closes = closes
        self._response_body = body(framing, response.length or 0, lenient=True)

    def take_response(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take bytes of the response's body; what goes to the client, and what came behind the body once it is over.

        :raises HttpError: The framing is broken.
        """
        reader = self._response_body
        if reader.rest is not None:  # there is none
            return b"", data
        content = reader.receive(data)
        if not self.chunked:
            return content, reader.rest
        return chunk(content) if reader.rest is None else chunk(content) + end_of_chunks(
            reader.trailers
        ), reader.rest

    def end_response(self) -> bytes | None:
        """The backend sends no more: what the client gets for an end, or None where something is missing."""
        if self.response is None or self.response.framing is not _UNTIL_CLOSE:
            return None
        return end_of_chunks(()) if self.chunked else b""
