"""A TLS client that comes to look: it goes on with whatever the server is, and tells what that was.

It believes whoever answers, so nobody's data is to be given to it. Ciphertext goes in and out by memory; whoever has the
socket carries it.
"""

from collections.abc import Sequence
from typing import Final, cast

from attrs import define, field
from cryptography import x509
from OpenSSL import SSL, crypto

from tlsproxy.errors import HandshakeFailed, TlsRecordError
from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.building import VERIFY_DEPTH
from tlsproxy.tls.ciphers import SECURITY_LEVEL_0
from tlsproxy.tls.outside.key_updates import SUITES, KeyUpdater
from tlsproxy.tls.reasons import VerifyError, explain, reason_text
from tlsproxy.tls.server_flight import is_resumption
from tlsproxy.tls.verify import is_sent_by_sni

_READ_SIZE: Final = 64 * 1024

_NO_RENEGOTIATION: Final = "no renegotiation"
"""``SSL_R_NO_RENEGOTIATION``: the server refused by that alert."""

_KEY_UPDATE_STATE: Final = b"TLSv1.3 read server key update"


class RenegotiationDeclined(TlsRecordError):
    """The server answered with the alert no_renegotiation."""


@define(eq=False)
class Visitor:
    """One connection's client side.

    :ivar established: The handshake is done.
    :ivar key_updates: KeyUpdate messages that the server sent.
    :ivar verify_error: What OpenSSL has against the server's chain of certificates; None: nothing, or not yet.
    """

    _connection: SSL.Connection
    _server_name: str
    _alpn: Sequence[str]
    established: bool = field(init=False, default=False)
    key_updates: int = field(init=False, default=0)
    _flight: bytes = field(init=False, default=b"")
    # What the server sent in the handshake …
    _first_flight: bytes = field(init=False, default=b"")
    # … and before this end answered: up to TLS 1.2, all that came before this end's Finished.
    _answered: bool = field(init=False, default=False)
    _secrets: dict[str, bytes] = field(init=False, factory=dict)

    @classmethod
    def create(
        cls,
        versions: Sequence[TlsVersion],
        *,
        server_name: str = "",
        authorities: str | None = None,
        alpn: Sequence[str] = (),
        for_key_updates: bool = False,
    ) -> "Visitor":
        """
        :param versions: Those to offer, without a gap.
        :param server_name: For SNI; nothing is sent for an IP address.
        :param authorities: PEM file of those to verify the server's chain against; None: the machine's.
        :param alpn: Protocols to offer; none: no ALPN.
        :param for_key_updates: :meth:`key_updater` will be asked for.
        :raises OSError: The file can't be used.
        """
        context = _context(versions, authorities)
        if for_key_updates:
            context.set_tls13_ciphersuites(SUITES.encode("ascii"))
        secrets: dict[str, bytes] = {}
        context.set_keylog_callback(lambda _connection, line: _keep_secret(secrets, line))
        visitor = cls(_connection(context, server_name, alpn), server_name, alpn)
        visitor._secrets = secrets
        return visitor

    def again(self) -> "Visitor":
        """A second visit, to resume the session of this one.

        :raises HandshakeFailed: The server gave nothing to resume by.
        """
        session = self._connection.get_session()
        if session is None:
            raise HandshakeFailed("no session was begun")
        connection = _connection(self._connection.get_context(), self._server_name, self._alpn)
        connection.set_session(session)
        return Visitor(connection, self._server_name, self._alpn)

    # Carrying

    def shake_hands(self, received: bytes = b"") -> bytes:
        """Begin or continue the handshake; what is to be sent.

        :raises HandshakeFailed: It failed. The alert isn't sent: what comes next on the socket is the server's doing alone.
        """
        if received:
            self._flight += received
            self._first_flight += b"" if self._answered else received
            self._connection.bio_write(received)
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            raise HandshakeFailed(explain(error, "server")) from error
        else:
            self._establish()
        output = self._output()
        self._answered = self._answered or bool(output and received)
        return output

    def _establish(self) -> None:
        self.established = True
        self._connection.set_info_callback(self._count_key_updates)

    def _count_key_updates(self, connection: SSL.Connection, where: int, _value: int) -> None:
        if where & SSL.SSL_CB_LOOP and connection.get_state_string() == _KEY_UPDATE_STATE:
            self.key_updates += 1

    def receive(self, data: bytes) -> bytes:
        """Take in ciphertext; the plaintext in it.

        :raises TlsRecordError: The server ended the connection by an alert, or broke the protocol.
        """
        if data:
            self._connection.bio_write(data)
        pieces: list[bytes] = []
        try:
            while True:
                pieces.append(self._connection.recv(_READ_SIZE))
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return b"".join(pieces)
        except SSL.Error as error:
            raise TlsRecordError(explain(error, "server")) from error

    def encrypt(self, plaintext: bytes) -> bytes:
        """Ciphertext to be sent."""
        self._connection.send(plaintext)
        return self._output()

    def _output(self) -> bytes:
        pieces: list[bytes] = []
        try:
            while True:
                pieces.append(self._connection.bio_read(_READ_SIZE))
        except SSL.WantReadError:
            return b"".join(pieces)

    # Trying

    def renegotiate(self) -> bytes:
        """Begin a renegotiation; the ClientHello to be sent.

        :raises TlsRecordError: It can't be begun.
        """
        try:
            self._connection.renegotiate()
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            raise TlsRecordError(explain(error, "server")) from error
        return self._output()

    def continue_renegotiation(self, received: bytes) -> tuple[bytes, bool]:
        """Go on with one; what is to be sent, and whether it is over.

        :raises RenegotiationDeclined: The server declined.
        :raises TlsRecordError: It failed otherwise.
        """
        self._connection.bio_write(received)
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return self._output(), False
        except SSL.Error as error:
            kind = RenegotiationDeclined if reason_text(error) == _NO_RENEGOTIATION else TlsRecordError
            raise kind(explain(error, "server")) from error
        return self._output(), True

    def key_updater(self) -> KeyUpdater:
        """Writes from here on in place of this connection: :meth:`receive` alone may be used then."""
        return KeyUpdater(self.cipher, self._secrets["CLIENT_TRAFFIC_SECRET_0"])

    # Telling

    @property
    def version(self) -> str:
        return self._connection.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        return self._connection.get_cipher_name() or ""

    @property
    def group(self) -> str | None:
        return self._connection.get_group_name()

    @property
    def alpn(self) -> str | None:
        return self._connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace") or None

    @property
    def resumed(self) -> bool:
        version = self._connection.get_protocol_version()
        return is_resumption(self._flight if version == TlsVersion.TLS1_3 else self._first_flight, version)

    @property
    def chain(self) -> list[x509.Certificate]:
        """The certificates as the server sent them, its own first; none for an anonymous cipher suite.

        :raises ValueError: One can't be read.
        """
        return list(self._connection.get_peer_cert_chain(as_cryptography=True) or ())

    @property
    def verify_error(self) -> VerifyError | None:
        noted = self._connection.get_app_data()
        return noted if isinstance(noted, VerifyError) else None


def _connection(context: SSL.Context, server_name: str, alpn: Sequence[str]) -> SSL.Connection:
    connection = SSL.Connection(context)
    connection.set_connect_state()
    if alpn:
        connection.set_alpn_protos([name.encode("ascii") for name in alpn])
    if is_sent_by_sni(server_name):
        connection.set_tlsext_host_name(server_name.encode("ascii"))
    return connection


def _context(versions: Sequence[TlsVersion], authorities: str | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(min(versions))
    context.set_max_proto_version(max(versions))
    # Whom else but an outside view would a server without RFC 5746, or with MD5 in its chain, be shown to?
    context.set_options(SSL.OP_LEGACY_SERVER_CONNECT)
    context.set_cipher_list(f"ALL:COMPLEMENTOFALL:!eNULL:!aNULL:{SECURITY_LEVEL_0}".encode("ascii"))
    context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
    if authorities is None:
        context.set_default_verify_paths()
    else:
        _load(context, authorities)
    store = cast("crypto.X509Store", context.get_cert_store())
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.set_verify_depth(VERIFY_DEPTH)
    context.set_verify(SSL.VERIFY_PEER, _note_and_go_on)
    return context


def _load(context: SSL.Context, authorities: str) -> None:
    try:
        context.load_verify_locations(authorities)
    except SSL.Error as error:
        raise OSError(f"{authorities}: no certificates of authorities in PEM can be read from it") from error


def _note_and_go_on(
    connection: SSL.Connection, _certificate: crypto.X509, code: int, depth: int, preverified: int
) -> bool:
    if not preverified and connection.get_app_data() is None:
        connection.set_app_data(VerifyError(code, depth))
    return True


def _keep_secret(secrets: dict[str, bytes], line: bytes) -> None:
    """A line of the log: label, client's random, secret in hexadecimal (RFC 9850 §2)."""
    label, _, secret = line.decode("ascii").split()
    secrets[label] = bytes.fromhex(secret)
