"""Records that no TLS library sends, encrypted with the keys of a connection whose client is in our hands."""

import struct

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

HANDSHAKE, APPLICATION_DATA = 22, 23

EMPTY_CLIENT_HELLO = b"\x01\x00\x00\x00"
"""Refused, like any other, before it is read further."""

TLS12_SUITE = "AES128-GCM-SHA256"
TLS13_SUITE = "TLS_AES_128_GCM_SHA256"
_KEY_LENGTH = 16


class Tls12Writer:
    """Goes on where a TLS 1.2 client with ``TLS12_SUITE`` stopped writing: after its Finished (RFC 5288)."""

    def __init__(self, client: SSL.Connection) -> None:
        master, server_random, client_random = (
            client.master_key(),
            client.server_random(),
            client.client_random(),
        )
        assert master is not None
        assert server_random is not None
        assert client_random is not None
        assert client.get_cipher_name() == TLS12_SUITE
        block = _prf(master, b"key expansion" + server_random + client_random, 2 * _KEY_LENGTH + 8)
        self._cipher = AESGCM(block[:_KEY_LENGTH])
        self._salt = block[2 * _KEY_LENGTH : 2 * _KEY_LENGTH + 4]
        self._sequence = 1  # 0 was the Finished

    def record(self, content_type: int, content: bytes) -> bytes:
        sequence = struct.pack(">Q", self._sequence)
        self._sequence += 1
        header = struct.pack(">BHH", content_type, 0x0303, len(content))
        sealed = self._cipher.encrypt(self._salt + sequence, content, sequence + header)
        return struct.pack(">BHH", content_type, 0x0303, 8 + len(sealed)) + sequence + sealed


def _prf(secret: bytes, seed: bytes, length: int) -> bytes:
    """RFC 5246 §5, with SHA-256."""
    value, output = seed, b""
    while len(output) < length:
        value = _hmac(secret, value)
        output += _hmac(secret, value + seed)
    return output[:length]


def _hmac(key: bytes, data: bytes) -> bytes:
    digest = hmac.HMAC(key, hashes.SHA256())
    digest.update(data)
    return digest.finalize()


class Secrets:
    """Collects the secrets of the connections of a client context."""

    def __init__(self, context: SSL.Context) -> None:
        self.by_label: dict[bytes, bytes] = {}
        context.set_keylog_callback(self._note)

    def _note(self, _connection: SSL.Connection, line: bytes) -> None:
        label, _, secret = line.split()
        self.by_label[label] = bytes.fromhex(secret.decode())


class Tls13Writer:
    """Writes in place of a TLS 1.3 client with ``TLS13_SUITE`` that is done with its handshake (RFC 8446 §5.2, §7.2)."""

    def __init__(self, secrets: Secrets) -> None:
        self._use(secrets.by_label[b"CLIENT_TRAFFIC_SECRET_0"])

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(_expand(secret, b"key", _KEY_LENGTH))
        self._iv = _expand(secret, b"iv", 12)
        self._sequence = 0

    def record(self, content_type: int, content: bytes) -> bytes:
        nonce = int.from_bytes(self._iv) ^ self._sequence
        self._sequence += 1
        inner = content + bytes([content_type])
        header = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        return header + self._cipher.encrypt(nonce.to_bytes(12), inner, header)

    def key_update(self, *, answer: bool = False) -> bytes:
        record = self.record(HANDSHAKE, bytes([24, 0, 0, 1, answer]))
        self._use(_expand(self._secret, b"traffic upd", 32))
        return record


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446 §7.1, with SHA-256 and no context."""
    full = b"tls13 " + label
    info = struct.pack(">HB", length, len(full)) + full + b"\0"
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)
