"""Tests for :mod:`tlsproxy.identity.proxy_header`."""

import contextlib
from struct import pack

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from tests.identity.facts import CLIENT4, CLIENT6, SERVER4, SERVER6, TLS12, TLS13, UNIX, end, ends
from tlsproxy.errors import ProxyHeaderError
from tlsproxy.identity.client import ClientAddress, TlsFacts
from tlsproxy.identity.proxy_header import (
    LOCAL_V2,
    MAX_ENCODED_SIZE,
    MAX_V1_SIZE,
    MAX_V2_SIZE,
    ProxyHeader,
    ProxyHeaderParser,
    encode_v1,
    encode_v2,
)

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
CLIENT4_TO_SERVER4 = bytes.fromhex("C0000201 C6336407 C822 0019")
CLIENT6_TO_SERVER6 = bytes.fromhex(
    "20010DB8000000000000000000000001 20010DB8FFFF00000000000000000007 C822 0019"
)


def v2(version_command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + pack("!BBH", version_command, family, len(block) if length is None else length) + block


def fed(pieces: list[bytes]) -> tuple[ProxyHeader | None, bytes]:
    """What the parser makes of the pieces, and what it leaves."""
    parser = ProxyHeaderParser()
    for number, piece in enumerate(pieces):
        header = parser.feed(piece)
        if header is not None:
            return header, parser.rest + b"".join(pieces[number + 1 :])
    return None, b""


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


TRAILING = [
    b"",
    b"\n",
    b"EHLO helo.example\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\n",
    SIGNATURE,
    bytes(70000),
]


def parsed(data: bytes) -> ProxyHeader:
    """Parse whole, byte by byte and with bytes behind, and find the same each time."""
    header, rest = fed([data])
    assert header is not None
    assert rest == b""
    for trailing in TRAILING:
        assert fed([data + trailing]) == (header, trailing)
    assert fed([*bytewise(data), b"next"]) == (header, b"next")
    assert fed(bytewise(data)[:-1]) == (None, b"")
    return header


# Writing


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        (CLIENT4, SERVER4, b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 25\r\n"),
        (CLIENT6, SERVER6, b"PROXY TCP6 2001:db8::1 2001:db8:ffff::7 51234 25\r\n"),
        (end("0.0.0.1", 0), end("255.255.255.255", 65535), b"PROXY TCP4 0.0.0.1 255.255.255.255 0 65535\r\n"),
        (end("fe80::1%eth0", 1), SERVER6, b"PROXY TCP6 fe80::1 2001:db8:ffff::7 1 25\r\n"),
        (CLIENT4, SERVER6, b"PROXY TCP6 ::ffff:c000:201 2001:db8:ffff::7 51234 25\r\n"),
        (CLIENT6, SERVER4, b"PROXY TCP6 2001:db8::1 ::ffff:c633:6407 51234 25\r\n"),
        (CLIENT4, UNIX, b"PROXY TCP4 192.0.2.1 0.0.0.0 51234 0\r\n"),
        (CLIENT6, UNIX, b"PROXY TCP6 2001:db8::1 :: 51234 0\r\n"),
        (UNIX, UNIX, b"PROXY UNKNOWN\r\n"),
        (UNIX, SERVER4, b"PROXY UNKNOWN\r\n"),
    ],
)
def test_version_1_is_a_line_of_text(source: ClientAddress, destination: ClientAddress, line: bytes) -> None:
    assert encode_v1(source, destination) == line


@pytest.mark.parametrize(
    ("source", "destination", "header"),
    [
        (CLIENT4, SERVER4, v2(0x21, 0x11, CLIENT4_TO_SERVER4)),
        (CLIENT6, SERVER6, v2(0x21, 0x21, CLIENT6_TO_SERVER6)),
        (
            CLIENT4,
            SERVER6,
            v2(0x21, 0x21, bytes(10) + b"\xff\xff\xc0\0\x02\x01" + CLIENT6_TO_SERVER6[16:]),
        ),
        (CLIENT4, UNIX, v2(0x21, 0x11, CLIENT4_TO_SERVER4[:4] + bytes(4) + b"\xc8\x22\0\0")),
        (UNIX, UNIX, v2(0x21, 0x31, bytes(216))),
        (UNIX, SERVER4, v2(0x21, 0x31, bytes(216))),
    ],
)
def test_version_2_is_binary(source: ClientAddress, destination: ClientAddress, header: bytes) -> None:
    assert encode_v2(source, destination) == header


def test_a_health_check_relays_nobody() -> None:
    assert v2(0x20, 0x00, b"") == LOCAL_V2
    assert parsed(LOCAL_V2) == ProxyHeader(None, None, local=True)


@given(ends, ends)
@example(end("::ffff:ffff", 65535), end("2001:db8:1111:2222:3333:4444:5555:6666", 65535))
def test_no_version_1_header_is_longer_than_its_limit(
    source: ClientAddress, destination: ClientAddress
) -> None:
    assert len(encode_v1(source, destination)) <= MAX_V1_SIZE


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("source", [CLIENT4, CLIENT6, UNIX])
def test_the_smallest_segment_is_used_to_its_last_byte(source: ClientAddress, checksum: bool) -> None:
    def size(alpn_size: int) -> int:
        tls = evolve(TLS12, server_name="s" * 100, alpn="a" * alpn_size)
        return len(encode_v2(source, SERVER6, tls, checksum=checksum))

    room = MAX_ENCODED_SIZE - size(1)
    assert size(1 + room) == MAX_ENCODED_SIZE
    assert size(2 + room) < size(1)


long_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(
    st.just(CLIENT4) | st.just(CLIENT6) | st.just(UNIX),
    st.builds(
        TlsFacts,
        version=st.just("TLSv1.3"),
        cipher=long_text,
        cipher_bits=st.just(0),
        group=st.none() | long_text,
        server_name=st.none() | long_text,
        alpn=st.none() | long_text,
        client_common_name=st.none() | long_text,
    ),
    st.booleans(),
)
def test_a_version_2_header_fits_into_the_smallest_segment(
    source: ClientAddress, tls: TlsFacts, checksum: bool
) -> None:
    assert len(encode_v2(source, SERVER6, tls, checksum=checksum)) <= MAX_ENCODED_SIZE


# Reading


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 25\r\n", CLIENT4, SERVER4),
        (b"PROXY TCP6 2001:db8::1 2001:db8:ffff::7 51234 25\r\n", CLIENT6, SERVER6),
        (b"PROXY TCP6 2001:DB8::1 2001:0db8:FFFF:0:0:0:0:7 51234 25\r\n", CLIENT6, SERVER6),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6407 51234 25\r\n", CLIENT4, SERVER4),
        (b"PROXY TCP4 0.0.0.1 255.255.255.255 0 65535\r\n", end("0.0.0.1", 0), end("255.255.255.255", 65535)),
    ],
)
def test_version_1_names_both_ends(line: bytes, source: ClientAddress, destination: ClientAddress) -> None:
    assert parsed(line) == ProxyHeader(source, destination)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN \r\n",
        b"PROXY UNKNOWN ffff:f:f:f:f:f:f:ffff ffff::ffff 65535 65535\r\n",
        b"PROXY UNKNOWN " + b"\xff" * (MAX_V1_SIZE - 16) + b"\r\n",
        v2(0x21, 0x00, b""),
        v2(0x21, 0x00, b"\x01\x00"),
        v2(0x21, 0x00, bytes(MAX_V2_SIZE - 16)),
        v2(0x21, 0x12, CLIENT4_TO_SERVER4),
        v2(0x21, 0x22, CLIENT6_TO_SERVER6),
        v2(0x21, 0x32, bytes(216)),
    ],
)
def test_a_client_that_is_not_named_is_not_a_health_check(header: bytes) -> None:
    told = parsed(header)
    assert (told.source, told.destination, told.local) == (None, None, False)


@pytest.mark.parametrize(
    "header",
    [
        v2(0x20, 0x00, b""),
        v2(0x20, 0x11, CLIENT4_TO_SERVER4),
        v2(0x20, 0x11, b""),
        v2(0x20, 0xFF, b"\x03\x00"),
        v2(0x20, 0x00, bytes(MAX_V2_SIZE - 16)),
    ],
)
def test_all_that_a_local_header_holds_is_discarded(header: bytes) -> None:
    assert parsed(header) == ProxyHeader(None, None, local=True)


@pytest.mark.parametrize(
    ("header", "source", "destination"),
    [
        (v2(0x21, 0x11, CLIENT4_TO_SERVER4), CLIENT4, SERVER4),
        (v2(0x21, 0x21, CLIENT6_TO_SERVER6), CLIENT6, SERVER6),
        (v2(0x21, 0x31, b"/run/x".ljust(108, b"\0") + bytes(108)), UNIX, UNIX),
    ],
)
def test_version_2_names_both_ends(header: bytes, source: ClientAddress, destination: ClientAddress) -> None:
    assert parsed(header) == ProxyHeader(source, destination)


def test_a_header_may_be_as_long_as_its_limit() -> None:
    noop = bytes([4]) + pack("!H", MAX_V2_SIZE - 16 - 12 - 3) + bytes(MAX_V2_SIZE - 16 - 12 - 3)
    header = v2(0x21, 0x11, CLIENT4_TO_SERVER4 + noop)
    assert len(header) == MAX_V2_SIZE
    assert parsed(header) == ProxyHeader(CLIENT4, SERVER4)


# Malformed headers, and how many of their bytes are enough to know it.
MALFORMED: list[tuple[bytes, int]] = [
    # Other protocols.
    (b"EHLO helo.example\r\n", 1),
    (b"GET / HTTP/1.1\r\n", 1),
    (bytes.fromhex("16030102000100"), 1),
    (b"\0", 1),
    (b" PROXY TCP4 192.0.2.1 198.51.100.7 51234 25\r\n", 1),
    (b"proxy TCP4 192.0.2.1 198.51.100.7 51234 25\r\n", 1),
    (b"POST / HTTP/1.1\r\n", 2),
    (b"PROXY\tTCP4 192.0.2.1 198.51.100.7 51234 25\r\n", 6),
    (b"PROXY\r\n", 6),
    (b"\r\nEHLO helo.example\r\n", 3),
    (b"\r\n\r\n\r\n", 5),
    (SIGNATURE[:11] + b"\r", 12),
    # Version 1: the end of the line.
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 25\n", 43),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 25\r\r\n", 44),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 25\rEHLO x\r\n", 44),
    (b"PROXY TCP4 192.0.2.1\n198.51.100.7 51234 25\r\n", 21),
    (b"PROXY UNKNOWN\n", 14),
    (b"PROXY UNKNOWN a\rb\r\n", 17),
    (b"PROXY UNKNOWN a\nb\r\n", 16),
    (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", MAX_V1_SIZE - 1),
    (b"PROXY " + b"x" * 200, MAX_V1_SIZE - 1),
    # Version 1: words.
    (b"PROXY \r\n", 8),
    (b"PROXY TCP4\r\n", 12),
    (b"PROXY UNKNOWNX\r\n", 16),
    (b"PROXY unknown\r\n", 15),
    (b"PROXY tcp4 192.0.2.1 198.51.100.7 51234 25\r\n", 44),
    (b"PROXY TCP5 192.0.2.1 198.51.100.7 51234 25\r\n", 44),
    (b"PROXY UDP4 192.0.2.1 198.51.100.7 51234 25\r\n", 44),
    (b"PROXY  TCP4 192.0.2.1 198.51.100.7 51234 25\r\n", 45),
    (b"PROXY TCP4  192.0.2.1 198.51.100.7 51234 25\r\n", 45),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 25 \r\n", 45),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 25 1\r\n", 46),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234\r\n", 41),
    # Version 1: addresses.
    (b"PROXY TCP4 2001:db8::1 2001:db8:ffff::7 51234 25\r\n", 50),
    (b"PROXY TCP6 192.0.2.1 198.51.100.7 51234 25\r\n", 44),
    (b"PROXY TCP6 2001:db8::1 198.51.100.7 51234 25\r\n", 46),
    (b"PROXY TCP4 192.0.2.01 198.51.100.7 51234 25\r\n", 45),
    (b"PROXY TCP4 192.0.2.256 198.51.100.7 51234 25\r\n", 46),
    (b"PROXY TCP4 192.0.2 198.51.100.7 51234 25\r\n", 42),
    (b"PROXY TCP4 192.0.2.1/32 198.51.100.7 51234 25\r\n", 47),
    (b"PROXY TCP4 0xC0000201 198.51.100.7 51234 25\r\n", 45),
    (b"PROXY TCP4 \xd9\xa1.0.2.1 198.51.100.7 51234 25\r\n", 43),
    (b"PROXY TCP4 mx.example.org 198.51.100.7 51234 25\r\n", 49),
    (b"PROXY TCP6 fe80::1%eth0 2001:db8:ffff::7 51234 25\r\n", 51),
    (b"PROXY TCP6 2001:db8::1::2 2001:db8:ffff::7 51234 25\r\n", 53),
    (b"PROXY TCP6 1:2:3:4:5:6:7 2001:db8:ffff::7 51234 25\r\n", 52),
    (b"PROXY TCP6 1:2:3:4:5:6:7:8:9 2001:db8:ffff::7 51234 25\r\n", 56),
    (b"PROXY TCP6 12345:: 2001:db8:ffff::7 51234 25\r\n", 46),
    (b"PROXY TCP6 [2001:db8::1] 2001:db8:ffff::7 51234 25\r\n", 52),
    # Version 1: ports.
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 25\r\n", 44),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 65536\r\n", 47),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 512345 25\r\n", 45),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 051234 25\r\n", 45),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 025\r\n", 45),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 -1 25\r\n", 41),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 +1 25\r\n", 41),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 0x19 25\r\n", 43),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 smtp 25\r\n", 43),
    # Version 2: version and command.
    (v2(0x11, 0x11, CLIENT4_TO_SERVER4), 13),
    (v2(0x31, 0x11, CLIENT4_TO_SERVER4), 13),
    (v2(0x01, 0x11, CLIENT4_TO_SERVER4), 13),
    (v2(0x22, 0x11, CLIENT4_TO_SERVER4), 13),
    (v2(0x2F, 0x11, CLIENT4_TO_SERVER4), 13),
    # Version 2: family and transport.
    (v2(0x21, 0x01, CLIENT4_TO_SERVER4), 16),
    (v2(0x21, 0x10, CLIENT4_TO_SERVER4), 16),
    (v2(0x21, 0x13, CLIENT4_TO_SERVER4), 16),
    (v2(0x21, 0x41, CLIENT4_TO_SERVER4), 16),
    (v2(0x21, 0xFF, CLIENT4_TO_SERVER4), 16),
    # Version 2: length.
    (v2(0x21, 0x11, b""), 16),
    (v2(0x21, 0x11, CLIENT4_TO_SERVER4[:-1]), 16),
    (v2(0x21, 0x21, CLIENT6_TO_SERVER6[:-1]), 16),
    (v2(0x21, 0x21, CLIENT4_TO_SERVER4), 16),
    (v2(0x21, 0x31, bytes(215)), 16),
    (v2(0x21, 0x11, CLIENT4_TO_SERVER4, length=MAX_V2_SIZE - 15), 16),
    (v2(0x20, 0x00, b"", length=0xFFFF), 16),
]


@pytest.mark.parametrize(("data", "known_after"), MALFORMED)
def test_a_malformed_header_is_refused_as_soon_as_it_can_be(data: bytes, known_after: int) -> None:
    for trailing in TRAILING:
        with pytest.raises(ProxyHeaderError, match="PROXY header"):
            fed([data + trailing])
    assert fed(bytewise(data[: known_after - 1])) == (None, b"")
    with pytest.raises(ProxyHeaderError):
        fed(bytewise(data[:known_after]))


def test_the_refusal_shows_how_the_connection_began() -> None:
    with pytest.raises(
        ProxyHeaderError, match=r"no PROXY header: the connection begins with b'EHLO helo.exampl'"
    ):
        ProxyHeaderParser().feed(b"EHLO helo.example\r\n")


def test_nothing_fed_is_nothing_learnt() -> None:
    assert fed([b"", b"PROXY UNKNOWN", b"", b"\r\n"]) == (ProxyHeader(None, None), b"")


@pytest.mark.parametrize("first", [LOCAL_V2, b"EHLO helo.example\r\n"])
def test_there_is_one_header(first: bytes) -> None:
    parser = ProxyHeaderParser()
    with contextlib.suppress(ProxyHeaderError):
        parser.feed(first)
    with pytest.raises(RuntimeError):
        parser.feed(LOCAL_V2)


# Both


@st.composite
def split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """``data`` in pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[begin:stop] for begin, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(ends, ends, st.binary(max_size=20), st.data())
def test_version_1_is_read_as_written(
    source: ClientAddress, destination: ClientAddress, trailing: bytes, data: st.DataObject
) -> None:
    pieces = data.draw(split(encode_v1(source, destination) + trailing))
    assert fed(pieces) == (ProxyHeader(source, destination), trailing)


names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@st.composite
def told_facts(draw: st.DrawFn) -> TlsFacts:
    """Facts as a header can tell them, all small enough to be told together."""
    common_name = draw(st.none() | names)
    return TlsFacts(
        version=draw(words),
        cipher=draw(words),
        cipher_bits=0,
        group=draw(st.none() | words),
        server_name=draw(st.none() | names),
        alpn=draw(st.none() | words),
        resumed=common_name is not None and draw(st.booleans()),
        client_common_name=common_name,
        client_verified=common_name is not None and draw(st.booleans()),
    )


@given(ends, ends, told_facts() | st.none(), st.booleans(), st.binary(max_size=20), st.data())
def test_version_2_is_read_as_written(
    source: ClientAddress,
    destination: ClientAddress,
    tls: TlsFacts | None,
    checksum: bool,
    trailing: bytes,
    data: st.DataObject,
) -> None:
    pieces = data.draw(split(encode_v2(source, destination, tls, checksum=checksum) + trailing))
    authority, alpn = (None, None) if tls is None else (tls.server_name, tls.alpn)
    assert fed(pieces) == (ProxyHeader(source, destination, tls, authority, alpn), trailing)


mutated = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=300).map(lambda tail: b"PROXY " + tail),
    st.binary(max_size=300).map(lambda tail: SIGNATURE + b"\x21\x11\0\x80" + tail),
    st.tuples(
        st.sampled_from(
            [
                encode_v1(CLIENT4, SERVER4),
                encode_v1(CLIENT6, SERVER6),
                encode_v2(CLIENT4, SERVER4, TLS12),
                encode_v2(CLIENT6, SERVER6, TLS13, checksum=True),
            ]
        ),
        st.integers(0, 150),
        st.binary(min_size=1, max_size=3),
    ).map(lambda case: case[0][: case[1]] + case[2] + case[0][case[1] + len(case[2]) :]),
)


@given(mutated, st.data())
def test_any_split_of_any_bytes_comes_to_the_same(stream: bytes, data: st.DataObject) -> None:
    try:
        whole = fed([stream])
    except ProxyHeaderError:
        whole = None
    try:
        assert fed(data.draw(split(stream))) == whole
    except ProxyHeaderError:
        assert whole is None
