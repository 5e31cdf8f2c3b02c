"""What a server answers to a ClientHello, as far as it does in the clear: its whole first flight up to TLS 1.2 (RFC 5246
§7.4), the ServerHello in TLS 1.3 (RFC 8446 §4.1.3).

A ServerHello alone is no acceptance up to TLS 1.2: OpenSSL may find only then that it can't sign for the client, and send
an alert. So the answer is whole with ServerHelloDone.
"""

from typing import Final

from attrs import evolve, frozen

from tlsproxy.tls.outside.hello import TLS1_3
from tlsproxy.tls.wire import (
    ContentType,
    ExtensionType,
    HandshakeType,
    Reader,
    TruncatedError,
    extensions,
    handshake_messages,
    records,
)

MAX_BYTES: Final = 256 * 1024
"""Of an answer. A flight has a chain of certificates in it, some KiB; who sends more is no server to go on with."""

_RENEGOTIATION_INFO: Final = 0xFF01
"""RFC 5746 §3.2."""

_KEY_SHARE: Final = 51

_SERVER_KEY_EXCHANGE: Final = 12
_SERVER_HELLO_DONE: Final = 14

_NAMED_CURVE: Final = 3
"""RFC 8422 §5.4."""


@frozen
class Answer:
    """A server's answer."""

    version: int = 0
    """As on the wire; 0: refused."""
    suite: int = 0
    group: int | None = None
    """Number of the named group; None: the key exchange has none."""
    dh_bits: int | None = None
    """Size of a Diffie-Hellman prime that has no name."""
    compression: int = 0
    secure_renegotiation: bool = False
    """The server knows RFC 5746; never told in TLS 1.3, which has none."""
    alert: int | None = None
    """Description of the alert that it refused by."""
    not_tls: bytes = b""
    """What came was no TLS: how it begins."""

    @property
    def accepted(self) -> bool:
        return self.version != 0 and self.alert is None


def read_answer(data: bytes, *, ended: bool = False) -> Answer | None:
    """Read what has come so far.

    :param ended: No more will come.
    :returns: None while more has to come. A server that says nothing, or too little, and ends, refuses.
    """
    if not _begins_like_tls(data):
        return Answer(not_tls=data[:40])
    try:
        answer, whole = _read(data)
    except TruncatedError:
        return Answer(not_tls=data[:40])
    if whole or answer.alert is not None:
        return answer
    return Answer() if ended or len(data) > MAX_BYTES else None


def _begins_like_tls(data: bytes) -> bool:
    """Content type of a record, then the major version 3 (RFC 8446 §5.1)."""
    return (not data or min(ContentType) <= data[0] <= max(ContentType)) and data[1:2] in (b"", b"\x03")


def _read(data: bytes) -> tuple[Answer, bool]:
    """The answer as far as it goes, and whether it is whole.

    :raises TruncatedError: A message is shorter than it says.
    """
    answer, whole = Answer(), False
    for kind, body in handshake_messages(data):
        if kind == HandshakeType.SERVER_HELLO:
            answer = _server_hello(body)
            whole = answer.version == TLS1_3
        elif kind == _SERVER_KEY_EXCHANGE:
            answer = _with_key_exchange(answer, body)
        elif kind == _SERVER_HELLO_DONE:
            whole = answer.version != 0
    alerts = [body for kind, body in records(data) if kind == ContentType.ALERT and len(body) == 2]
    # A warning (unrecognized_name, RFC 6066 §3) is no refusal.
    fatal = [body[1] for body in alerts if body[0] == 2]
    return (evolve(answer, alert=fatal[0]) if fatal and not whole else answer), whole


def _server_hello(body: bytes) -> Answer:
    """Also a HelloRetryRequest, which accepts version and suite as much."""
    reader = Reader(body)
    version = reader.number(2)
    reader.take(32)  # random
    reader.vector(1)  # legacy_session_id_echo
    suite, compression = reader.number(2), reader.number(1)
    found = extensions(reader.vector(2)) if reader else {}
    if ExtensionType.SUPPORTED_VERSIONS in found:
        version = Reader(found[ExtensionType.SUPPORTED_VERSIONS]).number(2)
    return Answer(
        version=version,
        suite=suite,
        group=Reader(found[_KEY_SHARE]).number(2) if _KEY_SHARE in found else None,
        compression=compression,
        secure_renegotiation=_RENEGOTIATION_INFO in found,
    )


def _with_key_exchange(answer: Answer, body: bytes) -> Answer:
    """ServerKeyExchange of ECDHE begins with the curve (RFC 8422 §5.4), that of DHE with the prime (RFC 5246 §7.4.3)."""
    if body[:1] == bytes([_NAMED_CURVE]):
        return evolve(answer, group=int.from_bytes(body[1:3]))
    prime = Reader(body).vector(2)
    return evolve(answer, dh_bits=int.from_bytes(prime).bit_length())
