"""Tests for :mod:`tlsproxy.identity.proxy_tlvs`."""

from struct import pack

import pytest
from attrs import evolve

from tests.identity.facts import CLIENT4, SERVER4, TLS12, TLS13
from tlsproxy.errors import ProxyHeaderError
from tlsproxy.identity.client import TlsFacts
from tlsproxy.identity.proxy_header import encode_v2
from tlsproxy.identity.proxy_tlvs import TlvFacts, crc32c, encode_tlvs, read_tlvs

CERTIFIED = evolve(TLS12, client_common_name="printer.example.org")


def tlv(kind: int, value: bytes) -> bytes:
    return pack("!BH", kind, len(value)) + value


def ssl(client: int, verify: int, *tlvs: bytes) -> bytes:
    return tlv(0x20, pack("!BI", client, verify) + b"".join(tlvs))


VERSION, CIPHER = tlv(0x21, b"TLSv1.2"), tlv(0x23, b"ECDHE-RSA-AES128-GCM-SHA256")
COMMON_NAME = tlv(0x22, b"printer.example.org")


# Writing


@pytest.mark.parametrize(
    ("tls", "tlvs"),
    [
        (None, b""),
        (TLS12, ssl(0x01, 1, VERSION, CIPHER)),
        (
            TLS13,
            ssl(0x01, 1, tlv(0x21, b"TLSv1.3"), tlv(0x23, b"TLS_AES_256_GCM_SHA384"), tlv(0x26, b"X25519"))
            + tlv(0x02, b"mx.example.org")
            + tlv(0x01, b"smtp"),
        ),
        (evolve(TLS12, resumed=True), ssl(0x01, 1, VERSION, CIPHER)),
        (CERTIFIED, ssl(0x07, 1, VERSION, CIPHER, COMMON_NAME)),
        (evolve(CERTIFIED, client_verified=True), ssl(0x07, 0, VERSION, CIPHER, COMMON_NAME)),
        (evolve(CERTIFIED, client_verified=True, resumed=True), ssl(0x05, 0, VERSION, CIPHER, COMMON_NAME)),
        (evolve(TLS12, client_verified=True), ssl(0x07, 0, VERSION, CIPHER)),
        (evolve(TLS12, client_subject="O=Example"), ssl(0x07, 1, VERSION, CIPHER)),
        (evolve(TLS12, client_subject="", client_verified=True), ssl(0x07, 0, VERSION, CIPHER)),
        (
            evolve(TLS12, client_common_name="Jürgen"),
            ssl(0x07, 1, VERSION, CIPHER, tlv(0x22, b"J\xc3\xbcrgen")),
        ),
    ],
)
def test_tls_facts_become_tlvs(tls: TlsFacts | None, tlvs: bytes) -> None:
    assert encode_tlvs(tls, 484, checksum=False) == tlvs


def test_plaintext_is_told_by_silence() -> None:
    assert encode_tlvs(None, 0, checksum=False) == b""
    assert read_tlvs(b"", 0) == TlvFacts()


EVERYTHING = evolve(TLS13, cipher_bits=0, client_common_name="c" * 40, client_verified=True)


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        (evolve(EVERYTHING, client_common_name="c" * 500), evolve(EVERYTHING, client_common_name=None)),
        (evolve(EVERYTHING, server_name="s" * 500), evolve(EVERYTHING, server_name=None)),
        (
            evolve(EVERYTHING, client_common_name="c" * 255, server_name="s" * 255),
            evolve(EVERYTHING, client_common_name="c" * 255, server_name=None),
        ),
        (evolve(EVERYTHING, alpn="a" * 500), evolve(EVERYTHING, alpn=None)),
        (evolve(EVERYTHING, cipher="x" * 500), evolve(EVERYTHING, cipher="")),
        (evolve(EVERYTHING, group="g" * 500), evolve(EVERYTHING, group=None)),
    ],
)
def test_what_does_not_fit_is_left_out_and_nothing_is_cut(tls: TlsFacts, told: TlsFacts) -> None:
    assert read_tlvs(encode_tlvs(tls, 484, checksum=False), 0) == TlvFacts(told, told.server_name, told.alpn)


def test_the_last_byte_of_room_is_used() -> None:
    tlvs = encode_tlvs(TLS13, 484, checksum=False)
    assert encode_tlvs(TLS13, len(tlvs), checksum=False) == tlvs
    without_group = TlvFacts(evolve(TLS13, cipher_bits=0, group=None), "mx.example.org", "smtp")
    assert read_tlvs(encode_tlvs(TLS13, len(tlvs) - 1, checksum=False), 0) == without_group


@pytest.mark.parametrize("tls", [None, TLS12, EVERYTHING])
@pytest.mark.parametrize("room", range(15, 200, 5))
def test_the_place_for_a_checksum_counts(tls: TlsFacts | None, room: int) -> None:
    tlvs = encode_tlvs(tls, room, checksum=True)
    assert len(tlvs) <= room
    assert tlvs.endswith(tlv(0x03, bytes(4)))


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0x00000000),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and those below: RFC 3720 §B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_the_checksum_is_crc32c(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


def test_the_checksum_covers_the_whole_header_with_zeros_in_its_place() -> None:
    header = encode_v2(CLIENT4, SERVER4, TLS12, checksum=True)
    assert header[-7:-4] == b"\x03\0\x04"
    assert header[-4:] == crc32c(header[:-4] + bytes(4)).to_bytes(4, "big")


# Reading


@pytest.mark.parametrize(
    ("tlvs", "facts"),
    [
        (b"", TlvFacts()),
        (tlv(0x02, b"mx.example.org"), TlvFacts(authority="mx.example.org")),
        (tlv(0x02, "bücher.example".encode()), TlvFacts(authority="bücher.example")),
        (tlv(0x01, b"smtp"), TlvFacts(alpn="smtp")),
        # Types that tell us nothing, twice or not.
        (tlv(0x04, b"") + tlv(0x04, b"pad") + tlv(0xE0, b"\0") * 3 + tlv(0x30, b"netns"), TlvFacts()),
        # TLS on the client's side, and what the sender tells of it.
        (ssl(0x00, 1), TlvFacts()),
        (ssl(0x00, 0, VERSION, COMMON_NAME), TlvFacts()),
        (ssl(0x01, 1), TlvFacts(TlsFacts("", "", 0))),
        (ssl(0x01, 0, VERSION), TlvFacts(TlsFacts("TLSv1.2", "", 0))),
        (ssl(0xF9, 1, VERSION, CIPHER), TlvFacts(evolve(TLS12, cipher_bits=0))),
        (
            ssl(0x01, 1, tlv(0x24, b"RSA-SHA256"), tlv(0x28, bytes(1500)), VERSION),
            TlvFacts(TlsFacts("TLSv1.2", "", 0)),
        ),
        (
            tlv(0x02, b"mx.example.org") + ssl(0x01, 1, VERSION, tlv(0x26, b"X25519")) + tlv(0x01, b"smtp"),
            TlvFacts(
                TlsFacts("TLSv1.2", "", 0, group="X25519", server_name="mx.example.org", alpn="smtp"),
                "mx.example.org",
                "smtp",
            ),
        ),
        # A certificate, shown in this connection or in the session's first; verified or not.
        (
            ssl(0x07, 0, COMMON_NAME),
            TlvFacts(TlsFacts("", "", 0, client_common_name="printer.example.org", client_verified=True)),
        ),
        (ssl(0x07, 10, COMMON_NAME), TlvFacts(TlsFacts("", "", 0, client_common_name="printer.example.org"))),
        (ssl(0x03, 0), TlvFacts(TlsFacts("", "", 0, client_verified=True))),
        (ssl(0x05, 0), TlvFacts(TlsFacts("", "", 0, resumed=True, client_verified=True))),
        # No certificate, and a sender that says 0 for "verified" all the same, as HAProxy does.
        (ssl(0x01, 0, COMMON_NAME), TlvFacts(TlsFacts("", "", 0))),
        # What a client chose and isn't text.
        (tlv(0x02, b"mx\0.example.org"), TlvFacts()),
        (tlv(0x02, b"mx\r\nfaked log line"), TlvFacts()),
        (tlv(0x02, b"mx\xff"), TlvFacts()),
        (tlv(0x02, b""), TlvFacts()),
        (tlv(0x01, b"\xe9"), TlvFacts()),
        (ssl(0x07, 1, tlv(0x22, b"J\xfcrgen")), TlvFacts(TlsFacts("", "", 0))),
        (ssl(0x07, 1, tlv(0x22, b"a\x1b[2J")), TlvFacts(TlsFacts("", "", 0))),
    ],
)
def test_tlvs_are_read(tlvs: bytes, facts: TlvFacts) -> None:
    assert read_tlvs(tlvs, 0) == facts
    assert read_tlvs(b"before" + tlvs, 6) == facts
    assert read_tlvs(tlv(0x04, b"before") + tlvs, 0) == facts


@pytest.mark.parametrize(
    ("tlvs", "problem"),
    [
        (b"\x04", "cut short"),
        (b"\x04\0", "cut short"),
        (tlv(0x04, b"") + b"\x04\0", "cut short"),
        (b"\x04\0\x01", "longer than"),
        (tlv(0x02, b"mx.example.org")[:-1], "longer than"),
        (b"\x02\xff\xffmx", "longer than"),
        (tlv(0x02, b"a") + tlv(0x02, b"b"), "two TLVs of type 0x02"),
        (tlv(0x01, b"a") + tlv(0x01, b"a"), "two TLVs of type 0x01"),
        (ssl(0x01, 1) + ssl(0x00, 1), "two TLVs of type 0x20"),
        (tlv(0x03, bytes(4)) * 2, "two TLVs of type 0x03"),
        (ssl(0x01, 1, VERSION, VERSION), "two TLVs of type 0x21"),
        (ssl(0x07, 0, COMMON_NAME, tlv(0x22, b"root")), "two TLVs of type 0x22"),
        (tlv(0x20, b""), "too short"),
        (tlv(0x20, b"\x01\0\0\0"), "too short"),
        (ssl(0x01, 1, b"\x21"), "cut short"),
        (ssl(0x01, 1, b"\x21") + tlv(0x04, b"room for it"), "cut short"),
        (ssl(0x01, 1, VERSION[:-1]), "longer than"),
        (ssl(0x01, 1, VERSION[:-1]) + tlv(0x04, b"room for it"), "longer than"),
        (ssl(0x00, 1, b"\x21\0"), "cut short"),
        (ssl(0x01, 1, tlv(0x21, b"TLSv1.2\r\n")), "names no version, cipher or group"),
        (ssl(0x01, 1, tlv(0x23, b"\xff")), "names no version, cipher or group"),
        (ssl(0x01, 1, tlv(0x26, b"\0")), "names no version, cipher or group"),
        (tlv(0x03, b""), "checksum is wrong"),
        (tlv(0x03, bytes(3)), "checksum is wrong"),
        (tlv(0x03, bytes(5)), "checksum is wrong"),
        (tlv(0x03, bytes(4)), "checksum is wrong"),
    ],
)
def test_malformed_tlvs_are_refused(tlvs: bytes, problem: str) -> None:
    with pytest.raises(ProxyHeaderError, match=problem):
        read_tlvs(tlvs, 0)


def test_a_checksum_may_stand_anywhere() -> None:
    before, after = b"header" + tlv(0x04, b"before"), tlv(0x02, b"mx.example.org")
    checksum = crc32c(before + tlv(0x03, bytes(4)) + after).to_bytes(4, "big")
    assert read_tlvs(before + tlv(0x03, checksum) + after, 6) == TlvFacts(authority="mx.example.org")


def test_a_change_of_any_bit_shows_in_the_checksum() -> None:
    header = encode_v2(CLIENT4, SERVER4, TLS12, checksum=True)
    assert read_tlvs(header, 28).tls == evolve(TLS12, cipher_bits=0)
    for bit in [*range(28 * 8), *range(len(header) * 8 - 32, len(header) * 8)]:
        changed = bytearray(header)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProxyHeaderError, match="checksum is wrong"):
            read_tlvs(bytes(changed), 28)
