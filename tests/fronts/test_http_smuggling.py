"""What is malformed, or could be understood in two ways, is answered and never reaches a backend.

Each request of the table is sent whole, in single bytes, and with another request behind it: the answer is the same, the
connection is closed behind it, and no backend is even connected; of a body, what is broken and what follows it is not
passed on, so that no backend sees the end of the request.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.http_play import HttpWired, Told
from tests.support.lenient_http import SERVERS
from tlsproxy.fronts.http_request import LINE_LIMIT

GET = b"GET / HTTP/1.1\r\n"
HOST = b"Host: example.org\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: example.org\r\n\r\n"


def request(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: example.org") -> bytes:
    """A request with these fields, and a host before them."""
    return b"".join(line + b"\r\n" for line in (first, *filter(None, (host, *lines)), b""))


HEADS: list[tuple[str, int, bytes]] = [
    # How many bytes the body has
    ("two lengths that differ", 400, request(b"Content-Length: 5", b"Content-Length: 6")),
    ("two lengths that are equal", 400, request(b"Content-Length: 5", b"Content-Length: 5")),
    ("a list of lengths that differ", 400, request(b"Content-Length: 5, 6")),
    ("a list of equal lengths", 400, request(b"Content-Length: 5, 5")),
    ("a length with a plus sign", 400, request(b"Content-Length: +5")),
    ("a negative length", 400, request(b"Content-Length: -5")),
    ("a hexadecimal length", 400, request(b"Content-Length: 0x5")),
    ("a length with an underscore, as Python takes it", 400, request(b"Content-Length: 1_0")),
    ("a length with a fraction", 400, request(b"Content-Length: 5.0")),
    ("a length of two words", 400, request(b"Content-Length: 5 5")),
    ("an empty length", 400, request(b"Content-Length:")),
    ("a length in other digits", 400, request("Content-Length: \u0665".encode())),
    ("a length in Latin-1 digits", 400, request(b"Content-Length: \xb2")),
    ("a length in quotes", 400, request(b'Content-Length: "5"')),
    ("a length beyond 64 bits", 413, request(b"Content-Length: 18446744073709551621")),
    ("a length above the limit", 413, request(b"Content-Length: 104857601")),
    # How the body is coded
    ("length and coding", 400, request(b"Content-Length: 5", b"Transfer-Encoding: chunked")),
    ("coding and length", 400, request(b"Transfer-Encoding: chunked", b"Content-Length: 5")),
    ("length zero and coding", 400, request(b"Content-Length: 0", b"Transfer-Encoding: chunked")),
    ("two codings fields", 400, request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    (
        "a coding hidden in a second field",
        400,
        request(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked"),
    ),
    ("chunked twice", 400, request(b"Transfer-Encoding: chunked, chunked")),
    ("a coding behind chunked", 400, request(b"Transfer-Encoding: chunked, gzip")),
    ("chunked with a parameter", 400, request(b"Transfer-Encoding: chunked;q=1")),
    ("an empty coding", 400, request(b"Transfer-Encoding:")),
    ("chunked in quotes", 400, request(b'Transfer-Encoding: "chunked"')),
    ("chunked behind a vertical tab", 400, request(b"Transfer-Encoding: \x0bchunked")),
    ("chunked behind a NUL", 400, request(b"Transfer-Encoding: \0chunked")),
    ("chunked with a byte of Latin-1", 400, request(b"Transfer-Encoding: chunked\xa0")),
    ("a coding before chunked", 501, request(b"Transfer-Encoding: gzip, chunked")),
    ("another coding", 501, request(b"Transfer-Encoding: xchunked")),
    ("identity", 501, request(b"Transfer-Encoding: identity")),
    ("chunked in HTTP/1.0", 400, request(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0")),
    # Names that another reader takes for others
    ("white space before the colon", 400, request(b"Content-Length : 5")),
    ("a tab before the colon", 400, request(b"Transfer-Encoding\t: chunked")),
    ("a length with underscores", 400, request(b"Content_Length: 5")),
    ("a coding with underscores", 400, request(b"TRANSFER_ENCODING: chunked")),
    ("a coding with a dot", 400, request(b"Transfer.Encoding: chunked")),
    ("a name in quotes", 400, request(b'"Transfer-Encoding": chunked')),
    ("a name with a control character", 400, request(b"Transfer-Encoding\x01: chunked")),
    ("a name with a byte of Latin-1", 400, request(b"Transfer-Encod\xedng: chunked")),
    ("no name", 400, request(b": chunked")),
    ("no colon", 400, request(b"Transfer-Encoding")),
    ("a name without end", 400, request(b"x" * 257 + b": 1")),
    # Lines
    ("a folded field", 400, request(b"X: a", b" b")),
    ("a folded length", 400, request(b"Content-Length:", b" 5")),
    ("a field folded by a tab", 400, request(b"X: a", b"\tTransfer-Encoding: chunked")),
    ("a fold before the first field", 400, request(b" X: a", host=b"")),
    ("white space alone in a line", 400, request(b"X: a", b" ")),
    ("bare LF in the first line", 400, b"GET / HTTP/1.1\nHost: example.org\r\n\r\n"),
    ("bare LF behind a field", 400, GET + b"Host: example.org\nContent-Length: 5\r\n\r\n"),
    ("bare LF everywhere", 400, b"GET / HTTP/1.1\nHost: example.org\n\n"),
    ("bare LF for the empty line", 400, GET + HOST + b"\n" + SMUGGLED),
    ("bare CR in a field", 400, request(b"X: a\rTransfer-Encoding: chunked")),
    ("bare CR for a line end", 400, b"GET / HTTP/1.1\rHost: example.org\r\r"),
    ("CR before CRLF", 400, request(b"X: a\r")),
    ("NUL in a field", 400, request(b"X: a\0b")),
    ("NUL in a name", 400, request(b"X\0: a")),
    ("a control character in a field", 400, request(b"X: a\x08b")),
    ("DEL in a field", 400, request(b"X: a\x7fb")),
    ("two empty lines before it", 400, b"\r\n\r\n" + GET + HOST + b"\r\n"),
    # The first line
    ("no version, as in HTTP/0.9", 400, b"GET /\r\n"),
    ("no target", 400, request(first=b"GET HTTP/1.1")),
    ("two spaces", 400, request(first=b"GET  / HTTP/1.1")),
    ("a tab for a space", 400, request(first=b"GET\t/ HTTP/1.1")),
    ("a space before the method", 400, request(first=b" GET / HTTP/1.1")),
    ("a space behind the version", 400, request(first=b"GET / HTTP/1.1 ")),
    ("two versions", 400, request(first=b"GET / HTTP/1.1 HTTP/1.0")),
    ("a method that is no token", 400, request(first=b"GE(T / HTTP/1.1")),
    ("a version in small letters", 400, request(first=b"GET / http/1.1")),
    ("a version with two digits", 400, request(first=b"GET / HTTP/1.10")),
    ("a target with NUL", 400, request(first=b"GET /\0 HTTP/1.1")),
    ("a target in UTF-8", 400, request(first="GET /ü HTTP/1.1".encode())),
    ("a target with a fragment", 400, request(first=b"GET /#x HTTP/1.1")),
    ("HTTP/0.9 said aloud", 505, request(first=b"GET / HTTP/0.9")),
    ("HTTP/1.2", 505, request(first=b"GET / HTTP/1.2")),
    ("HTTP/2", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("a method without end", 501, request(first=b"A" * 33 + b" / HTTP/1.1")),
    ("a target without end", 414, b"GET /" + b"a" * LINE_LIMIT),
    ("a TLS handshake", 400, b"\x16\x03\x01\x02\x00\x01\x00"),
    # Whom it is for
    ("no host", 400, request(host=b"")),
    ("two hosts", 400, request(b"Host: example.net")),
    ("the same host twice", 400, request(b"Host: example.org")),
    (
        "a host with an underscore in the name's place of a hyphen",
        400,
        request(b"_Host: x", b"Host_: x", b"HOST: y"),
    ),
    ("an empty host", 400, request(host=b"Host:")),
    ("a host with a user", 400, request(host=b"Host: user@example.org")),
    ("a host with a path", 400, request(host=b"Host: example.org/x")),
    ("a host with a space", 400, request(host=b"Host: example.org example.net")),
    ("a list of hosts", 400, request(host=b"Host: example.org, example.net")),
    ("a host with markup", 400, request(host=b'Host: "><script>')),
    ("a host with an escape", 400, request(host=b"Host: example%2eorg")),
    ("a host with an empty port", 400, request(host=b"Host: example.org:")),
    ("a host with a port that is no number", 400, request(host=b"Host: example.org:80x")),
    ("a host with a port out of range", 400, request(host=b"Host: example.org:65536")),
    ("a host with port zero", 400, request(host=b"Host: example.org:0")),
    ("a host that is half an address", 400, request(host=b"Host: [::1")),
    ("a host that is no address", 400, request(host=b"Host: [1.2.3]")),
    ("a host without end", 400, request(host=b"Host: " + b"a" * 262)),
    ("another host than the target's", 400, request(first=b"GET http://example.net/ HTTP/1.1")),
    ("another port than the target's", 400, request(first=b"GET http://example.org:81/ HTTP/1.1")),
    ("a target with a user", 400, request(first=b"GET http://user@example.org/ HTTP/1.1")),
    ("a target without a host", 400, request(first=b"GET http:///x HTTP/1.1")),
    ("a target of another scheme", 400, request(first=b"GET gopher://example.org/ HTTP/1.1")),
    ("a target without a slash", 400, request(first=b"GET example.org HTTP/1.1")),
    ("an authority for a target", 400, request(first=b"GET example.org:443 HTTP/1.1")),
    ("an asterisk for a target", 400, request(first=b"GET * HTTP/1.1")),
    ("CONNECT with a path", 400, request(first=b"CONNECT / HTTP/1.1")),
    ("CONNECT without a port", 400, request(first=b"CONNECT example.org HTTP/1.1")),
    ("CONNECT", 405, request(first=b"CONNECT example.org:443 HTTP/1.1", host=b"Host: example.org:443")),
    ("TRACE", 405, request(first=b"TRACE / HTTP/1.1")),
    # What is asked of the connection
    ("Connection naming Host", 400, request(b"Connection: close, Host")),
    ("Connection naming Content-Length", 400, request(b"Connection: content-length", b"Content-Length: 5")),
    ("Connection naming Transfer-Encoding", 400, request(b"Connection: Transfer-Encoding")),
    ("another expectation", 417, request(b"Expect: 200-ok")),
    ("two expectations", 417, request(b"Expect: 100-continue, 100-continue")),
    (
        "Upgrade and a length",
        400,
        request(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 5"),
    ),
    (
        "Upgrade and a coding",
        400,
        request(b"Connection: upgrade", b"Upgrade: WebSocket", b"Transfer-Encoding: chunked"),
    ),
    # How much it is
    ("too many fields", 431, request(*[b"X: a"] * 100)),
    ("a header without end", 431, GET + b"X: a\r\n" * 6000),
    ("a field without end", 431, GET + b"X: " + b"a" * 32768),
]

BODIES: list[tuple[str, int, bytes]] = [
    ("a chunk size that is no number", 400, b"x\r\n"),
    ("an empty chunk size", 400, b"\r\n"),
    ("a chunk size with a prefix", 400, b"0x5\r\nhello\r\n"),
    ("a chunk size with a sign", 400, b"+5\r\nhello\r\n"),
    ("a negative chunk size", 400, b"-5\r\nhello\r\n"),
    ("a chunk size with an underscore", 400, b"1_0\r\n0123456789abcdef\r\n"),
    ("a chunk size behind a space", 400, b" 5\r\nhello\r\n"),
    ("a chunk size before a space", 400, b"5 \r\nhello\r\n"),
    ("a chunk size beyond 64 bits", 400, b"10000000000000005\r\nhello\r\n"),
    ("a chunk size with zeros without end", 400, b"0" * 17 + b"5\r\nhello\r\n"),
    ("a chunk size ended by a bare LF", 400, b"5\nhello\r\n"),
    ("a chunk size ended by a bare CR", 400, b"5\rhello\r\n"),
    ("a chunk size with NUL", 400, b"5\0\r\nhello\r\n"),
    ("bare LF in a chunk extension", 400, b"5;a\nb\r\nhello\r\n"),
    ("bare CR in a chunk extension", 400, b"5;a\rb\r\nhello\r\n"),
    ("a control character in a chunk extension", 400, b"5;\x01\r\nhello\r\n"),
    ("a chunk extension without end", 400, b"5;" + b"a" * 1024),
    ("a long chunk extension", 400, b"5;" + b"a" * 1021 + b"\r\nhello\r\n"),
    ("chunk extensions without end", 400, (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 17),
    ("a chunk longer than its size", 400, b"5\r\nhello!\r\n"),
    ("a chunk shorter than its size", 400, b"5\r\nhi\r\n0\r\n\r\n"),
    ("a chunk ended by a bare LF", 400, b"5\r\nhello\n0\r\n\r\n"),
    ("a chunk ended by a bare CR", 400, b"5\r\nhello\r0\r\n\r\n"),
    ("a last chunk ended by a bare LF", 400, b"0\n\r\n"),
    ("an end of chunks with a bare LF", 400, b"0\r\n\n"),
    ("a folded trailer", 400, b"0\r\nX: a\r\n b\r\n\r\n"),
    ("a trailer that is no field", 400, b"0\r\nGET / HTTP/1.1\r\n\r\n"),
    ("NUL in a trailer", 400, b"0\r\nX: \0\r\n\r\n"),
    ("a trailer without end", 431, b"0\r\nX: " + b"a" * 8192),
    ("too many trailers", 431, b"0\r\n" + b"X: a\r\n" * 33 + b"\r\n"),
]


def named(table: list[tuple[str, int, bytes]]) -> list[object]:
    return [pytest.param(status, data, id=name) for name, status, data in table]


def refused(wired: HttpWired, status: int) -> None:
    """One answer, which ends the session."""
    assert wired.client.startswith(b"HTTP/1.1 %d " % status), wired.client
    assert wired.client.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in wired.client
    assert wired.reason is not None
    assert [each.status for each in wired.logged] == [status]


def test_the_table_is_long_enough() -> None:
    assert len({data for _, _, data in [*HEADS, *BODIES]}) == len(HEADS) + len(BODIES) >= 60


@pytest.mark.parametrize(("status", "data"), named(HEADS))
def test_a_head_is_refused_and_no_byte_of_it_reaches_a_backend(status: int, data: bytes) -> None:
    for behind in (b"", SMUGGLED):
        whole = HttpWired.opened()
        whole.client_says(data + behind)
        refused(whole, status)
        assert whole.backends == []


@pytest.mark.parametrize(("status", "data"), named(HEADS))
def test_a_head_in_single_bytes_is_refused_alike(status: int, data: bytes) -> None:
    whole, bytewise = HttpWired.opened(), HttpWired.opened()
    whole.client_says(data)
    for at in range(len(data)):
        bytewise.client_says(data[at : at + 1])
    refused(bytewise, status)
    assert (bytewise.client, bytewise.reports, bytewise.backends) == (whole.client, whole.reports, [])


@pytest.mark.parametrize(("status", "data"), named(BODIES))
def test_a_broken_body_is_refused_and_no_backend_sees_its_end(status: int, data: bytes) -> None:
    for behind in (b"", SMUGGLED):
        whole, bytewise = HttpWired.opened(), HttpWired.opened()
        whole.client_says(CHUNKED + data + behind)
        for at in range(len(CHUNKED + data)):
            bytewise.client_says((CHUNKED + data)[at : at + 1])
        for wired in (whole, bytewise):
            refused(wired, status)
            assert wired.told == []
            assert b"smuggled" not in wired.received
            assert wired.backends[0].received.count(b"HTTP/1.1") == 1


def test_a_body_above_the_limit_is_cut_off_where_it_is() -> None:
    wired = HttpWired.opened(http_max_body_size=5)
    wired.client_says(CHUNKED + b"3\r\nabc\r\n")
    assert wired.client == b""
    wired.client_says(b"3\r\ndef\r\n0\r\n\r\n")
    refused(wired, 413)
    assert wired.told == []


def test_without_a_limit_a_body_may_be_of_any_length() -> None:
    wired = HttpWired.opened(http_max_body_size=0)
    wired.client_says(request(b"Content-Length: 999999999999999999"))
    assert (wired.client, len(wired.backends)) == (b"", 1)


SOUND: list[tuple[str, bytes, bytes]] = [
    ("an empty line before it", b"\r\n" + request(), b"/"),
    ("a length with zeros before it", request(b"Content-Length: 005") + b"hello", b"/"),
    ("white space around a length", request(b"Content-Length: \t 5 \t") + b"hello", b"/"),
    (
        "chunked in capitals",
        request(b"Transfer-Encoding: CHUNKED") + b'5;x="y z" ; q\r\nhello\r\n0\r\n\r\n',
        b"/",
    ),
    (
        "a chunk size in capitals",
        request(b"Transfer-Encoding: chunked") + b"00A\r\n0123456789\r\n0;\r\n\r\n",
        b"/",
    ),
    ("Latin-1 in a field", request(b"X: \xe4"), b"/"),
    ("an empty field", request(b"X:"), b"/"),
    ("the target's host, by its default port", request(first=b"GET HTTP://EXAMPLE.org:80/x HTTP/1.1"), b"/x"),
    (
        "a target for https without a path",
        request(first=b"GET https://example.org?q HTTP/1.1", host=b"Host: example.org:443"),
        b"/?q",
    ),
    ("OPTIONS for all", request(first=b"OPTIONS * HTTP/1.1"), b"*"),
    ("OPTIONS for a host", request(first=b"OPTIONS http://example.org HTTP/1.1"), b"*"),
    ("OPTIONS for a root", request(first=b"OPTIONS http://example.org/ HTTP/1.1"), b"/"),
    ("a host that is an address", request(host=b"Host: [2001:db8::1]:8443"), b"/"),
    ("HTTP/1.0 without a host", request(first=b"GET / HTTP/1.0", host=b""), b"/"),
    (
        "HTTP/1.0 with a target that has one",
        request(first=b"GET http://a.example/x HTTP/1.0", host=b""),
        b"/x",
    ),
    ("an odd but valid method", request(first=b"M-SEARCH! /x HTTP/1.1"), b"/x"),
    (
        "an upgrade that isn't offered, and a body",
        request(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 0"),
        b"/",
    ),
]


@pytest.mark.parametrize(
    ("data", "target"), [pytest.param(data, target, id=name) for name, data, target in SOUND]
)
def test_what_is_unusual_but_plain_is_sent_on(data: bytes, target: bytes) -> None:
    seen: list[Told] = []
    for step in (len(data), 1):
        wired = HttpWired.opened()
        for at in range(0, len(data), step):
            wired.client_says(data[at : at + step])
        while wired.deliver():
            pass
        assert wired.client.startswith(b"HTTP/1.1 200 ")
        assert len(wired.told) == 1
        seen += wired.told
    assert seen[0] == seen[1]
    assert seen[0].target == target


PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n"

PIECES = [
    b"GET /1 HTTP/1.1\r\n",
    b"POST /2 HTTP/1.1\r\n",
    b"PUT /3 HTTP/1.0\r\n",
    b"Host: a\r\n",
    b"Host: a",
    b"Content-Length: 32\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Content_Length: 32\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Content-Length\r\n",
    b"Expect: 100-continue\r\n",
    b"X: y\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\0",
    b"0\r\n\r\n",
    b"20\r\n" + PROBE + b"\r\n",
    b"20;a\r\n" + PROBE + b"\r\n",
    b"3\r\nabc\r\n",
    b"3\nabc\n",
    b"0\nX: y\n",
    PROBE,
]

WHOLE = [
    b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\n" + PROBE,
    b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\n" + PROBE,
    b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20;x\r\n"
    + PROBE
    + b"\r\n0\r\nX: y\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\n" + PROBE,
    b"POST /2 HTTP/1.1\r\nHost: a\r\nContent_Length: 32\r\n\r\n" + PROBE,
    b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n20\r\n" + PROBE + b"\r\n0\r\n\r\n",
    b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + PROBE,
    b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"
    + PROBE,
]


@given(
    st.lists(st.sampled_from(WHOLE), max_size=3),
    st.lists(st.sampled_from(PIECES), max_size=12),
    st.integers(1, 99),
)
def test_no_server_however_lenient_sees_another_request_than_was_meant(
    whole: list[bytes], pieces: list[bytes], step: int
) -> None:
    wired = HttpWired.opened()
    data = b"".join(whole + pieces)
    for at in range(0, len(data), step):
        wired.client_says(data[at : at + step])
        while wired.deliver():
            pass
    for backend in wired.backends:
        meant = [b"%b %b HTTP/1.1" % (told.method, told.target) for told in backend.told]
        for server in SERVERS:
            seen = server.requests(backend.received)
            assert seen[: len(meant)] == meant
            assert len(seen) <= len(meant) + 1  # the last may be under way
            assert b"GET /probe HTTP/1.1" not in seen or b"GET /probe HTTP/1.1" in meant
