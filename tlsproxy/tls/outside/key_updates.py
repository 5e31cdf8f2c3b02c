"""KeyUpdate messages of a TLS 1.3 client (RFC 8446 §4.6.3), made by hand: pyOpenSSL has no ``SSL_key_update(3)``.

The records go on where the client's handshake ended: OpenSSL logs the secret that its keys come from (RFC 9850), and must
send nothing itself afterwards. It goes on reading what the server sends: each direction has keys of its own.
"""

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tlsproxy.tls.wire import ContentType

_KEY_UPDATE: Final = 24
_NOT_REQUESTED, _REQUESTED = 0, 1

_NONCE_LENGTH: Final = 12

_Aead = type[AESGCM] | type[ChaCha20Poly1305]

_SUITES: Final[dict[str, tuple[_Aead, int, HashAlgorithm]]] = {
    "TLS_AES_128_GCM_SHA256": (AESGCM, 16, SHA256()),
    "TLS_AES_256_GCM_SHA384": (AESGCM, 32, SHA384()),
    "TLS_CHACHA20_POLY1305_SHA256": (ChaCha20Poly1305, 32, SHA256()),
}

SUITES: Final = ":".join(_SUITES)
"""What a client may offer that is to send KeyUpdates."""


class KeyUpdater:
    """Writes a client's records after its handshake."""

    def __init__(self, suite: str, secret: bytes) -> None:
        """:param secret: ``client_application_traffic_secret_0`` (RFC 8446 §7.1)."""
        self._aead, self._key_length, self._hash = _SUITES[suite]
        self._secret = secret
        self._start_keys()

    def key_update(self, *, requested: bool) -> bytes:
        """A record with a KeyUpdate. What follows it has new keys.

        :param requested: Ask the server for one in return.
        """
        update = _REQUESTED if requested else _NOT_REQUESTED
        record = self.record(ContentType.HANDSHAKE, bytes([_KEY_UPDATE, 0, 0, 1, update]))
        self._secret = self._expand("traffic upd", self._hash.digest_size)
        self._start_keys()
        return record

    def record(self, content_type: int, content: bytes) -> bytes:
        """A record (RFC 8446 §5.2)."""
        inner = content + bytes([content_type])
        header = bytes([ContentType.APPLICATION_DATA, 3, 3]) + (len(inner) + 16).to_bytes(2)
        nonce = int.from_bytes(self._iv) ^ self._sequence
        self._sequence += 1
        return header + self._cipher.encrypt(nonce.to_bytes(_NONCE_LENGTH), inner, header)

    def _start_keys(self) -> None:
        """RFC 8446 §7.3."""
        self._cipher = self._aead(self._expand("key", self._key_length))
        self._iv = self._expand("iv", _NONCE_LENGTH)
        self._sequence = 0

    def _expand(self, label: str, length: int) -> bytes:
        """HKDF-Expand-Label without a context (RFC 8446 §7.1)."""
        name = b"tls13 " + label.encode("ascii")
        info = length.to_bytes(2) + bytes([len(name)]) + name + b"\0"
        return HKDFExpand(self._hash, length, info).derive(self._secret)
