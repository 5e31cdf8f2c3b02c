"""The first words to the backend, before the client's: who the client is.

====================  ==========================================================================================
``proxy_v1/_v2``      a PROXY header, with the connection's first bytes; then the greeting is awaited
``xclient``           greeting, ``EHLO`` with the proxy's name, ``XCLIENT`` in one line or more; the reply to the
                      last is a greeting again, for the client that the backend now sees
others                the greeting is awaited
====================  ==========================================================================================

What XCLIENT has told lasts as long as the connection (XCLIENT_README); a new EHLO takes nothing of it back. HELO and PROTO
aren't told: the EHLO or HELO that follows is the client's own. Postfix wouldn't take them later, either: once it sees the
client's address, it is the client that would need the right to say XCLIENT.

A backend that can't be told is not used. It would take every client for the proxy, and may relay for that.
"""

from typing import Final

from attrs import frozen

from tlsproxy.errors import XclientError
from tlsproxy.fronts import ehlo
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.fronts.replies import SERVICE_CLOSING, Reply
from tlsproxy.identity.client import ClientAddress, TlsFacts
from tlsproxy.identity.proxy_header import encode_v1, encode_v2
from tlsproxy.identity.xclient import offered_attributes, xclient_command

_READY: Final = 220
_OK: Final = 250

# What XCLIENT_README gives for faults in the command and its use. Any other refusal is meant for the client.
_XCLIENT_FAULTS: Final = frozenset({SERVICE_CLOSING, 500, 501, 502, 503, 504, 550})

_FROM_CLIENT: Final = frozenset({"HELO", "PROTO"})


def proxy_header(
    mode: IdentityMode, client: ClientAddress, destination: ClientAddress, tls: TlsFacts | None
) -> bytes:
    """The PROXY header that a connection to the backend begins with; empty where its ``identity`` is another."""
    if mode is IdentityMode.PROXY_V1:
        return encode_v1(client, destination)
    if mode is IdentityMode.PROXY_V2:
        return encode_v2(client, destination, tls)
    return b""


@frozen
class Introduced:
    """The backend knows what it is to know."""

    greeting: Reply


@frozen
class NotIntroduced:
    """The backend can't be used for this client."""

    detail: str
    verdict: Reply | None = None
    """What the backend says to the client itself, if it does."""


class Introduction:
    """The dialogue with the backend from ``opening`` to one of the two results.

    :ivar opening: What to send before anything else; may be empty.
    """

    __slots__ = ("_client", "_destination", "_hostname", "_lines", "_step", "opening")

    def __init__(
        self,
        mode: IdentityMode,
        *,
        client: ClientAddress,
        destination: ClientAddress,
        tls: TlsFacts | None,
        hostname: str,
    ) -> None:
        self._client = client
        self._destination = destination
        self._hostname = hostname
        self._lines: list[bytes] = []
        self._step = self._greeted
        self.opening = proxy_header(mode, client, destination, tls)
        if mode is IdentityMode.XCLIENT:
            self._step = self._greeted_for_xclient

    def receive(self, reply: Reply) -> bytes | Introduced | NotIntroduced:
        """Take a reply: what to send next, or the result."""
        return self._step(reply)

    def _greeted(self, reply: Reply) -> bytes | Introduced | NotIntroduced:
        return Introduced(reply)

    def _greeted_for_xclient(self, reply: Reply) -> bytes | Introduced | NotIntroduced:
        if reply.code != _READY:
            return NotIntroduced(f"greeting {reply.code}", reply)
        self._step = self._offered
        return f"EHLO {self._hostname}\r\n".encode()

    def _offered(self, reply: Reply) -> bytes | Introduced | NotIntroduced:
        if reply.code != _OK:
            return NotIntroduced(f"reply {reply.code} to EHLO")
        parameters = ehlo.keywords(reply).get(b"XCLIENT")
        if parameters is None:
            return NotIntroduced("XCLIENT isn't offered to the proxy")
        try:
            self._lines = xclient_command(
                offered_attributes(parameters.decode("latin-1")) - _FROM_CLIENT,
                client=self._client,
                destination=self._destination,
                helo=None,
                protocol="SMTP",
            )
        except XclientError as error:
            return NotIntroduced(str(error))
        self._step = self._told
        return self._lines.pop(0)

    def _told(self, reply: Reply) -> bytes | Introduced | NotIntroduced:
        if reply.code != _READY:
            fault = reply.code in _XCLIENT_FAULTS or reply.positive or reply.intermediate
            return NotIntroduced(f"reply {reply.code} to XCLIENT", None if fault else reply)
        return self._lines.pop(0) if self._lines else Introduced(reply)
