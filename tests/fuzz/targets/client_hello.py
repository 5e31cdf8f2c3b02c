"""Any bytes are read as a ClientHello or as none, and every beginning of them as that same one or as none."""

from struct import pack

from tests.fuzz.inputs import taken
from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.client_hello import is_sslv2_client_hello, parse_client_hello
from tlsproxy.tls.server_flight import is_resumption

MAX_SIZE = 256
TOKENS = (
    b"\x16\x03\x01\x00",
    b"\x16\x03\x03\x00",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x01\x00\x00",
    b"\x02\x00\x00",
    b"\x03\x03",
    b"\x03\x04",
    b"\x1a\x1a",
    b"\x00\x2b\x00\x03\x02\x03\x04",
    b"\x00\x00\x00\x08\x00\x06\x00\x00\x03a.B",
    b"\x00\x29\x00\x02\x00\x00",
    b"\x80\x2e\x01\x03\x01",
)


def hello(extensions: bytes) -> bytes:
    """The body of a ClientHello with these extensions."""
    return pack(">H32sB", 0x0303, b"", 0) + b"\0\2\0\x2f\1\0" + pack(">H", len(extensions)) + extensions


def in_records(message: bytes, size: int) -> bytes:
    """A handshake message in records of at most ``size`` bytes."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(pack(">BHH", 22, 0x0301, len(part)) + part for part in parts)


def one_input(data: bytes) -> None:
    """See the module. Lengths are hard to guess: the first byte says how much of the frame is made."""
    (frame, size, cut), stream = taken(data, 3)
    if frame & 1:
        body = hello(stream) if frame & 2 else stream
        stream = in_records(b"\1" + len(body).to_bytes(3) + body, size + 40)
    parsed = parse_client_hello(stream)
    assert parse_client_hello(stream[: len(stream) * cut // 256]) in (None, parsed)
    assert parsed is None or not is_sslv2_client_hello(stream)
    if parsed is not None:
        assert parsed.offered.isprintable()
        assert list(parsed.versions) == sorted(set(parsed.versions))
        assert parsed.server_name is None or (
            parsed.server_name.isascii() and parsed.server_name == parsed.server_name.lower()
        )
    is_resumption(stream, TlsVersion.TLS1_3 if frame & 4 else TlsVersion.TLS1_2)
