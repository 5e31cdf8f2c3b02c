"""However a PROXY header is split, it is refused or read the same, and no further; written again, it says the same."""

from tests.fuzz.inputs import pieces, taken
from tlsproxy.errors import ProxyHeaderError
from tlsproxy.identity.proxy_header import (
    MAX_ENCODED_SIZE,
    MAX_V2_SIZE,
    ProxyHeader,
    ProxyHeaderParser,
    encode_v1,
    encode_v2,
)

MAX_SIZE = 256
TOKENS = (
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 65535 25\r\n",
    b"PROXY UNKNOWN\r\n",
    b"::ffff:",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\x00\x0c",
    b"\x21\x21\x00\x24",
    b"\x20\x00\x00\x00",
    b"\x01\x00\x02h2",
    b"\x02\x00\x01a",
    b"\x03\x00\x04",
    b"\x20\x00\x05\x01\x00\x00\x00\x00",
    b"\x21\x00\x07TLSv1.3",
    b"\x22\x00\x01c",
    b"\x23\x00\x01x",
    b"\x26\x00\x01x",
)


def read(stream: bytes, sizes: bytes) -> tuple[ProxyHeader, bytes] | str | None:
    """The header and what stands behind it; a word where it is refused; None where it isn't whole."""
    parser = ProxyHeaderParser()
    header, behind = None, b""
    for piece in pieces(stream, sizes):
        if header is not None:
            behind += piece
            continue
        try:
            header = parser.feed(piece)
        except ProxyHeaderError as error:
            assert str(error)
            return "refused"
    return None if header is None else (header, parser.rest + behind)


def one_input(data: bytes) -> None:
    """See the module."""
    sizes, stream = taken(data, 2)
    result = read(stream, sizes)
    assert result == read(stream, b"\0")
    if not isinstance(result, tuple):
        return
    header, rest = result
    assert len(stream) - len(rest) <= MAX_V2_SIZE
    assert stream.endswith(rest)
    assert not (header.local and header.source)
    if header.source is None or header.destination is None:
        return
    again = encode_v2(header.source, header.destination, header.tls, checksum=bool(sizes[0] & 1))
    assert len(again) <= MAX_ENCODED_SIZE
    (second, behind) = _whole(read(again + rest, b"\1"))
    assert (second.source, second.destination, behind) == (header.source, header.destination, rest)
    assert (second.tls is None) == (header.tls is None)
    first = encode_v1(header.source, header.destination)
    named = _whole(read(first + rest, b"\0"))[0].source
    assert named == (None if header.source.ip is None else header.source)


def _whole(result: tuple[ProxyHeader, bytes] | str | None) -> tuple[ProxyHeader, bytes]:
    assert isinstance(result, tuple), result
    return result
