"""No split and no order of arrival changes what :mod:`tlsproxy.fronts.http` makes of a conversation."""

from itertools import cycle

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fronts.conftest import CLIENT, LOCAL, TLS
from tests.support.http_play import HttpWired, Told, ok
from tlsproxy.fronts.http_forward import request_head, response_head
from tlsproxy.fronts.http_request import RequestReader
from tlsproxy.fronts.http_response import ResponseReader
from tlsproxy.fronts.http_syntax import HeadBuffer, HttpError
from tlsproxy.fronts.options import TlsSecurityLevel
from tlsproxy.identity.forwarded import Forwarding

HOST = b"Host: example.org\r\n"
GET = b"GET /1?q HTTP/1.1\r\n" + HOST + b"X: \xe4\t b\r\nConnection: x\r\n\r\n"
HEAD = b"\r\nHEAD /2 HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /3 HTTP/1.1\r\n" + HOST + b"Content-Length: 11\r\n\r\nGET / HTTP/"
CHUNKED = (
    b"PUT /4 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b'3;x="y"\r\nabc\r\n0A\r\n0\r\n\r\nGET /\r\n0\r\nDigest: x\r\n\r\n'
)
OLD = b"GET http://example.org/5 HTTP/1.0\r\n\r\n"
LAST = b"GET /6 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
CONNECT = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
BROKEN = b"POST /7 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"
AMBIGUOUS = (
    b"POST /8 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)
BARE = b"GET /9 HTTP/1.1\r\nHost: example.org\n\r\n"
LARGE = b"PUT /10 HTTP/1.1\r\n" + HOST + b"Content-Length: 30\r\n\r\n" + b"x" * 30
LONG = b"GET /11 HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 6000 + b"\r\n"

CONVERSATIONS = [
    [GET, HEAD, POST, CHUNKED, LAST],
    [GET + HEAD + POST + CHUNKED + GET + CONNECT + GET],
    [POST + OLD, GET],
    [CHUNKED + BROKEN, GET],
    [GET + AMBIGUOUS + GET],
    [HEAD + BARE],
    [LARGE + LARGE],
    [GET + LONG],
    [b"\r\n" + HEAD],
]

RESPONSES = [
    ok,
    lambda told: b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + ok(told),
    lambda told: (
        b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"" if told.method == b"HEAD" else b"003  \r\nabc\r\n1;x\r\nd\r\n0\r\nDigest: x\r\n\r\n")
    ),
    lambda _: b"HTTP/1.1 304 Same\r\nDate: x\r\nContent-Length: 5\r\nX: a\r\n b\r\n\r\n",
    lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    lambda _: b"garbage\n",
]

PIECES = st.lists(st.sampled_from([1, 2, 3, 5, 8, 40, 1000]), min_size=1, max_size=8)
DELIVERIES = st.lists(st.sampled_from([0, 1, 4, 30, None]), min_size=1, max_size=8)
OPTIONS = st.fixed_dictionaries(
    {
        "tls_security_level": st.sampled_from([TlsSecurityLevel.NONE, TlsSecurityLevel.MAY]),
        "http_redirect": st.booleans(),
        "http_hsts": st.sampled_from([0, 300]),
        "http_max_requests": st.sampled_from([2, 1000]),
        "http_max_body_size": st.sampled_from([20, 1000]),
    }
)


def heard(wired: HttpWired, conversation: list[bytes]) -> list[object]:
    """What the client makes of what it was told: heads, and content without its chunks."""
    requests = b"".join(conversation)
    methods = [b"HEAD" if b"HEAD" in each.split(b" ")[0] else b"GET" for each in lines_of_requests(requests)]
    heard: list[object] = []
    rest = wired.client
    for method in [*methods, b"GET"]:
        client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        client.receive_data(rest)
        content = b""
        while (event := client.next_event()) is not h11.NEED_DATA and not isinstance(event, h11.EndOfMessage):
            if isinstance(event, h11.Data):
                content += bytes(event.data)
            else:
                heard.append(event)
        heard.append((content, event))
        rest = client.trailing_data[0]
        if not rest:
            break
    return heard


def lines_of_requests(requests: bytes) -> list[bytes]:
    return [line for line in requests.split(b"\r\n") if line.endswith((b" HTTP/1.1", b" HTTP/1.0"))]


def result(wired: HttpWired, conversation: list[bytes]) -> object:
    # How much of a request was read before it was refused depends on how it came.
    logged = [
        (each.method, each.path, each.status, each.status < 400 and each.bytes_in) for each in wired.logged
    ]
    return heard(wired, conversation), wired.told, logged, wired.reports, wired.reason, wired.spliced


def at_rest(wired: HttpWired) -> HttpWired:
    while wired.deliver():
        pass
    return wired


def all_at_once(conversation: list[bytes], respond: int, options: dict[str, object]) -> object:
    wired = HttpWired.opened(RESPONSES[respond], **options)
    for data in conversation:
        wired.client_says(data)
        at_rest(wired)
    return result(wired, conversation)


@given(st.sampled_from(CONVERSATIONS), st.integers(0, len(RESPONSES) - 1), OPTIONS, PIECES, DELIVERIES)
def test_a_conversation_is_the_same_in_any_split_and_order(
    conversation: list[bytes],
    respond: int,
    options: dict[str, object],
    pieces: list[int],
    deliveries: list[int | None],
) -> None:
    wired = HttpWired.opened(RESPONSES[respond], **options)
    sizes, amounts = cycle(pieces), cycle(deliveries)
    for data in conversation:
        rest = data
        while rest:
            wired.deliver(next(amounts))
            size = next(sizes)
            wired.client_says(rest[:size])
            rest = rest[size:]
        at_rest(wired)
    assert result(wired, conversation) == all_at_once(conversation, respond, options)


@pytest.mark.parametrize("conversation", range(len(CONVERSATIONS)))
@pytest.mark.parametrize("respond", range(len(RESPONSES)))
def test_a_conversation_is_the_same_in_single_bytes(conversation: int, respond: int) -> None:
    wired = HttpWired.opened(RESPONSES[respond])
    for data in CONVERSATIONS[conversation]:
        for at in range(len(data)):
            wired.client_says(data[at : at + 1])
            while wired.deliver(1):
                pass
        at_rest(wired)
    assert result(wired, CONVERSATIONS[conversation]) == all_at_once(CONVERSATIONS[conversation], respond, {})


@given(st.lists(st.sampled_from([1, 2, 3, 5, 8]), min_size=1, max_size=8), st.booleans())
def test_a_response_until_close_is_the_same_in_any_split(pieces: list[int], old: bool) -> None:
    def respond(_: Told) -> bytes:
        return b"HTTP/1.0 200 OK\r\nDate: x\r\nX-Y : z\r\n\r\nuntil close"

    wired = HttpWired.opened(respond)
    request = OLD if old else GET
    wired.client_says(request)
    for size in pieces:
        wired.deliver(size)
    wired.backend_finishes()
    content, end = heard(wired, [request])[-1]  # type: ignore[misc]
    assert content == b"until close"
    assert isinstance(end, h11.EndOfMessage) is not old
    assert wired.reason == ("connection_close" if old else None)


# A head that is there at once may be read as a whole; one that comes in pieces never is.

NAMES = (
    b"Host host HOST Connection connection Content-Length content_length Transfer-Encoding Transfer_Encoding Expect "
    b"Authorization Max-Forwards Upgrade TE Keep-Alive Proxy-Connection HTTP2-Settings X-Forwarded-For x_forwarded_for "
    b"X-Real-IP X-TLS-Version Via Forwarded Proxy Date date Strict-Transport-Security WWW-Authenticate Accept Cookie X"
).split()
VALUES = (
    b"example.org|example.org:80|EXAMPLE.org|a b|a@b||x| x|x |\tx|x\ty|0|5|05|5, 5|5, 6|+5|chunked|Chunked|chunked, gzip|"
    b"keep-alive|Close|keep-alive, close|close, accept|cookie|host|upgrade|websocket|100-continue|NTLM x|Basic x|\xe4|"
    b"\x80|\x7f|\x00|a\rb|a\nb|x\r\n fold|" + b"x" * 1100
).split(b"|")
PLAIN = [
    *(
        b"Accept: x",
        b"Cookie: a=b; c=\xe4",
        b"X-A: b\tc",
        b"Server: d",
        b"connection: Keep-Alive",
        b"Date: today",
    ),
    *(b"Connection: close", b"Content-Length: 5", b"Keep-Alive: timeout=5", b"Transfer-Encoding: chunked"),
]
PLAIN_ONES = st.sampled_from([each + b"\r\n" for each in PLAIN])
ODD_ONES = st.tuples(
    st.sampled_from([*NAMES, b"", b"a b", b"Host ", b"x" * 256, b"x" * 257]),
    st.sampled_from([b": "] * 9 + [b":", b" : ", b":\t", b" "]),
    st.sampled_from(VALUES),
    st.sampled_from([b"\r\n"] * 30 + [b"\n", b"\r"]),
).map(b"".join)
FIELDS = (st.lists(PLAIN_ONES, max_size=5) | st.lists(PLAIN_ONES | ODD_ONES, max_size=5)).map(b"".join)
REQUEST_LINES = st.sampled_from(
    [b"GET / HTTP/1.1\r\n"] * 3
    + [b"HEAD /a?b HTTP/1.1\r\n", b"GET /#a HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"GET  / HTTP/1.1\r\n"]
    + [b"POST / HTTP/1.1\r\n", b"GET http://example.org/ HTTP/1.1\r\n", b"GET /\xe4 HTTP/1.1\r\n"]
    + [b"GET /%b HTTP/1.1\r\n" % (b"x" * size) for size in (2000, 8177, 8178)]
)
STATUS_LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n"] * 3
    + [b"HTTP/1.1 404 Not  there\xe4\r\n", b"HTTP/1.1 204 \r\n", b"HTTP/1.1 304\r\n", b"HTTP/1.0 200 OK\r\n"]
    + [b"HTTP/1.1 103 Hints\r\n", b"HTTP/1.1 600 ?\r\n", b"HTTP/1.1 200 \x00\r\n"]
    + [b"HTTP/1.1 200 %b\r\n" % (b"x" * size) for size in (8179, 8180)]
)
HOST_FIELD = st.sampled_from([b"Host: example.org\r\n"] * 5 + [b""])


def requests_read(pieces: list[bytes], limit: int, forwarding: Forwarding) -> list[object]:
    """What is made of requests, and what is left; or the error."""
    buffer = HeadBuffer()
    reader = RequestReader(buffer, header_limit=limit, fields_limit=4)
    made: list[object] = []
    for piece in pieces:
        buffer.feed(piece)
        try:
            while (request := reader.next_request()) is not None:
                facts = (request.line, request.host, request.options, request.size, request.upgrade)
                more = (request.framing, request.length, request.max_forwards, request.binds_connection)
                head = request_head(request, forwarding, host=b"own")
                made.append((facts, more, request.expects_continue, head))
        except HttpError as error:
            return [*made, error.status, error.detail]
    return [*made, buffer.take_all()]


@given(
    REQUEST_LINES,
    HOST_FIELD,
    FIELDS,
    st.sampled_from([1, 2]),
    st.sampled_from([300, 2060, 9000]),
    st.booleans(),
)
def test_a_request_that_is_there_at_once_is_read_as_one_in_pieces(
    line: bytes, host: bytes, fields: bytes, times: int, limit: int, trusted: bool
) -> None:
    forwarding = Forwarding(CLIENT, LOCAL, TLS, trusted=trusted, tell_tls=True)
    head = line + host + fields + b"\r\n"
    pieces = [head[:1], head[1:-1], head[-1:]] * times
    assert requests_read([head * times + b"rest"], limit, forwarding) == requests_read(
        [*pieces, b"rest"], limit, forwarding
    )


@given(STATUS_LINES, FIELDS, st.sampled_from([b"GET", b"HEAD", b"CONNECT"]), st.booleans())
def test_a_response_that_is_there_at_once_is_read_as_one_in_pieces(
    line: bytes, fields: bytes, method: bytes, replacing: bool
) -> None:
    head = line + fields + b"\r\n"

    def read(pieces: list[bytes]) -> object:
        reader = ResponseReader()
        response = None
        for piece in pieces:
            reader.feed(piece)
            try:
                response = reader.next_response(method)
            except HttpError as error:
                return error.status, error.detail
        if response is None:
            return None
        sent = response_head(response, replaced=b"strict-transport-security" if replacing else b"")
        facts = (response.status, response.minor, response.options, response.framing, response.length)
        return sent, facts, response.upgrade, response.binds_connection, response.dated, reader.take_rest()

    assert read([head]) == read([head[:1], head[1:-1], head[-1:]])
