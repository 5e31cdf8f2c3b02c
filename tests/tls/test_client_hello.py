"""tlsproxy.tls.client_hello: what a client offered."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tls.peers import Peer, client_context
from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.client_hello import MAX_BYTES, ClientHello, is_sslv2_client_hello, parse_client_hello


def hello(*versions: TlsVersion, server_name: bytes | None = None) -> bytes:
    peer = Peer.client(client_context(*versions), server_name=server_name)
    peer.step()
    return peer.output()


def record(fragment: bytes, content_type: int = 22) -> bytes:
    return struct.pack(">BHH", content_type, 0x0301, len(fragment)) + fragment


def made(extensions: bytes | None, legacy_version: int = 0x0303, message_type: int = 1) -> bytes:
    """A ClientHello with these extensions."""
    body = struct.pack(">H32s", legacy_version, b"") + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    if extensions is not None:
        body += struct.pack(">H", len(extensions)) + extensions
    return record(bytes([message_type]) + len(body).to_bytes(3) + body)


def extension(number: int, content: bytes) -> bytes:
    return struct.pack(">HH", number, len(content)) + content


def server_names(*names: tuple[int, bytes]) -> bytes:
    listed = b"".join(struct.pack(">BH", kind, len(name)) + name for kind, name in names)
    return extension(0, struct.pack(">H", len(listed)) + listed)


@pytest.mark.parametrize(
    ("versions", "offered"),
    [
        ([TlsVersion.TLS1_3], "TLSv1.3"),
        ([TlsVersion.TLS1_2, TlsVersion.TLS1_3], "TLSv1.2 TLSv1.3"),
        ([TlsVersion.TLS1_0, TlsVersion.TLS1_3], "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"),
        ([TlsVersion.TLS1_2], "<=TLSv1.2"),
        ([TlsVersion.TLS1_0, TlsVersion.TLS1_1], "<=TLSv1.1"),
        ([TlsVersion.TLS1_0], "<=TLSv1"),
    ],
)
def test_versions_of_a_real_hello(versions: list[TlsVersion], offered: str) -> None:
    parsed = parse_client_hello(hello(*versions))
    assert parsed is not None
    assert parsed.offered == offered
    assert parsed.server_name is None


def test_the_server_name_is_lower_case() -> None:
    parsed = parse_client_hello(hello(server_name=b"MX.Example.ORG"))
    assert parsed is not None
    assert parsed.server_name == "mx.example.org"


def test_what_follows_doesnt_matter() -> None:
    data = hello(server_name=b"a.example")
    assert parse_client_hello(data + b"EHLO x\r\n") == parse_client_hello(data)


def test_an_incomplete_hello_isnt_guessed_at() -> None:
    data = hello(server_name=b"a.example")
    assert [parse_client_hello(data[:end]) for end in range(len(data))] == [None] * len(data)


def test_a_hello_may_run_over_several_records() -> None:
    data = hello(server_name=b"a.example")
    message = data[5:]
    pieces = b"".join(record(message[start : start + 7]) for start in range(0, len(message), 7))
    assert parse_client_hello(pieces) == parse_client_hello(data)


def test_grease_is_no_version() -> None:
    listed = struct.pack(">4H", 0x0A0A, 0x0304, 0xFAFA, 0x0303)
    parsed = parse_client_hello(made(extension(43, bytes([len(listed)]) + listed)))
    assert parsed == ClientHello((0x0303, 0x0304), 0x0303, None)


@pytest.mark.parametrize(
    ("version", "label"),
    [(0x0300, "<=SSLv3"), (0x0301, "<=TLSv1"), (0x0305, "<=0x0305"), (0x0002, "<=0x0002")],
)
def test_other_versions_are_named_too(version: int, label: str) -> None:
    parsed = parse_client_hello(made(None, legacy_version=version))
    assert parsed is not None
    assert parsed.offered == label


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([(0, b"a.example")], "a.example"),
        ([(1, b"other"), (0, b"a.example")], "a.example"),
        ([(0, b"")], None),
        ([(0, b"\xff\xfe")], None),
        ([(1, b"other")], None),
        ([], None),
    ],
)
def test_server_names(names: list[tuple[int, bytes]], expected: str | None) -> None:
    parsed = parse_client_hello(made(server_names(*names)))
    assert parsed is not None
    assert parsed.server_name == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"EHLO x\r\n",
        b"\x16\x03\x01\x00\x00",
        made(b"", message_type=2),
        record(b"\x02\x28", content_type=21),
        made(b"\x00"),
        made(extension(43, b"")),
        made(extension(43, b"\x05\x03\x03")),
        made(extension(0, b"\x00\x09\x00\x00\x01")),
        made(extension(0, b"\x00")),
    ],
)
def test_what_is_no_hello_is_none(data: bytes) -> None:
    assert parse_client_hello(data) is None


def test_no_more_is_read_than_the_bound() -> None:
    padding = extension(21, b"\x00" * MAX_BYTES)
    assert parse_client_hello(made(padding[:16000])) is None, "a truncated extension"
    long = made(extension(21, b"\x00" * 15_900))
    assert len(long) < MAX_BYTES
    assert parse_client_hello(long) is not None
    message = long[5:]
    split = b"".join(record(message[start : start + 10]) for start in range(0, len(message), 10))
    assert len(split) > MAX_BYTES
    assert parse_client_hello(split) is None


@given(st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    parse_client_hello(data)
    parse_client_hello(record(data))
    parse_client_hello(made(data))
    is_sslv2_client_hello(data)


@given(position=st.integers(0, 250), value=st.integers(0, 255))
def test_a_damaged_hello_never_raises(position: int, value: int) -> None:
    data = bytearray(hello(TlsVersion.TLS1_3, server_name=b"a.example"))
    data[position] = value
    parsed = parse_client_hello(bytes(data))
    assert parsed is None or parsed.offered


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x80\x2e\x01\x03\x01", True),  # TLS 1.0 in SSLv2's form
        (b"\x80\x2e\x01\x00\x02", True),
        (b"\x80\x2e\x01\x03", False),
        (b"\x16\x03\x01\x02\x00", False),
        (b"EHLO x", False),
        (b"", False),
    ],
)
def test_the_sslv2_form_is_known(data: bytes, expected: bool) -> None:
    assert is_sslv2_client_hello(data) is expected
