"""No bytes of a client's make the backend see other requests than the proxy does, or a client other answers, however they
come.

The backend is h11, a reader of its own: where it sees another number of requests than the proxy sent on, or none in what
it was sent, the two disagree. A head that comes at once may be read as a whole, and one that comes in pieces never is: both
have to come to the same. So have the heads of responses, of which the other half of the inputs is made.
"""

from itertools import cycle

import h11

from tests.fuzz.inputs import taken
from tests.support.http_play import HttpWired, ok
from tlsproxy.fronts.http_forward import response_head
from tlsproxy.fronts.http_response import ResponseReader
from tlsproxy.fronts.http_syntax import HttpError
from tlsproxy.fronts.options import TlsSecurityLevel

MAX_SIZE = 512
TOKENS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\n",
    b"HTTP/1.1 200 OK\r\nDate: x\r\n",
    b"GET ",
    b"HEAD ",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"Content-Length: 5\r\n",
    b"content_length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Keep-Alive: x\r\n",
    b"Expect: 100-continue\r\n",
    b"Via: x\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b" :",
    b"\t",
    b"\0",
)


def one_input(data: bytes) -> None:
    """See the module."""
    (choice, *sizes), stream = taken(data, 4)
    pieces = [size & 0x3F or len(stream) for size in sizes]
    if choice & 1:
        _responses(choice, stream, pieces)
    else:
        _requests(choice, stream, pieces)


def _requests(choice: int, stream: bytes, sizes: list[int]) -> None:
    whole, split = _opened(choice), _opened(choice)
    _says(whole, stream)
    for piece in _split(stream, sizes):
        _says(split, piece)
    for wired in (whole, split):
        sent_on = [each for each in wired.logged if each.status == 200]
        assert [told.method.decode() for told in wired.told] == [each.method for each in sent_on]
    assert _seen(whole) == _seen(split), (_seen(whole), _seen(split))


def _opened(choice: int) -> HttpWired:
    level = TlsSecurityLevel.MAY if choice & 2 else TlsSecurityLevel.NONE
    # Upgrades are left out: what follows one isn't HTTP. So is OPTIONS, which the proxy itself may answer with 200.
    refused = ("CONNECT", "OPTIONS", "TRACE")
    return HttpWired.opened(ok, tls_security_level=level, http_upgrades=(), http_refused_methods=refused)


def _says(wired: HttpWired, data: bytes) -> None:
    if wired.reason is None:
        wired.client_says(data)
    while wired.deliver():
        pass


def _split(stream: bytes, sizes: list[int]) -> list[bytes]:
    pieces: list[bytes] = []
    at = 0
    for size in cycle(sizes):
        if at >= len(stream):
            return pieces
        pieces.append(stream[at : at + size])
        at += size
    return pieces


def _seen(wired: HttpWired) -> object:
    # How much of a request was read before it was refused depends on how it came.
    logged = [(each.method, each.path, each.status) for each in wired.logged]
    return wired.client, wired.told, logged, wired.reports, wired.reason


def _responses(choice: int, head: bytes, sizes: list[int]) -> None:
    method = (b"GET", b"HEAD", b"CONNECT", b"GET")[choice >> 1 & 3]
    whole = _response([head], method)
    # What is there at once is never read as a whole if its first byte came before.
    assert whole == _response([head[:1], *_split(head[1:], sizes)], method)
    if isinstance(whole, bytes):
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        client.receive_data(whole)
        event = client.next_event()
        assert isinstance(event, h11.Response | h11.InformationalResponse), event


def _response(pieces: list[bytes], method: bytes) -> object:
    """The first response's head, as it is sent on; or what is wrong with it."""
    reader = ResponseReader()
    for piece in pieces:
        reader.feed(piece)
        try:
            response = reader.next_response(method)
        except HttpError as error:
            return error.status, error.detail
        if response is not None:
            return response_head(response, replaced=b"strict-transport-security")
    return None
