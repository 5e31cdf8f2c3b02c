"""One TLS connection without a socket: ciphertext in, plaintext out, and back.

A life has three phases. *Handshaking*: input is fed to ``do_handshake()`` until it is done; then version and facts are
looked at, and the guard is armed. *Established*: input is fed and read, each direction ends by its own close_notify.
*Over*: an error or a verdict ended it; input is ignored and output thrown away, but for what OpenSSL wrote until then.

Input is fed in batches of whole records, and OpenSSL is asked for plaintext once for each record at most. So in the steady
state no call fails for want of input, and what one call can be made to do is bounded.
"""

from collections.abc import Callable
from typing import Final

from OpenSSL import SSL

from tlsproxy.errors import HandshakeFailed, TlsRecordError, VersionRefused
from tlsproxy.identity.client import TlsFacts
from tlsproxy.policy.candidate import would_refuse
from tlsproxy.policy.handshakes import HandshakePolicy, Outcome
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.client_hello import MAX_BYTES, ClientHello, parse_client_hello
from tlsproxy.tls.facts import gather_facts
from tlsproxy.tls.guard import HandshakeGuard
from tlsproxy.tls.reasons import Handshake, VerifyError, explain
from tlsproxy.tls.records import RecordCounter
from tlsproxy.tls.server_flight import is_resumption

BATCH: Final = 16
"""Records fed to OpenSSL between two looks at the guard. Of large records that is more than one read of a socket holds; of
the smallest, which can each be a KeyUpdate, it is what the budget may be overshot by if OpenSSL didn't stop at once."""

SLICE: Final = 512
"""Bytes fed at once of what isn't TLS records: no more records than a batch has, should OpenSSL see any in it."""

MAX_PLAINTEXT: Final = 2**14
"""Longest plaintext of a record (RFC 8446 §5.1)."""

MAX_HELD: Final = 1024 * 1024
"""Bytes of plaintext held back during a renegotiation. Whoever heeds ``blocked`` stays far below."""

_RECORD_OVERHEAD: Final = 128
"""More than any cipher suite adds to a record: header 5, IV 16, MAC 48, padding 16 …"""

_MESSAGE_ROOM: Final = 4096
"""Room for handshake messages and alerts in the first read of OpenSSL's output; more are read in turn."""


class Engine:
    """One TLS connection over memory BIOs.

    :ivar established: The handshake is done, and everything about it was found in order.
    :ivar peer_closed: The peer sent close_notify: no more plaintext will come. Sending may go on.
    :ivar truncated: The TCP connection's read side ended without close_notify.
    :ivar facts: What was negotiated; None until established.
    :ivar refused_offer: What the client offered, as in ``offered_versions``, where ``candidate`` would refuse it.
    """

    __slots__ = (
        "_begin",
        "_candidate",
        "_check_peer",
        "_close_owed",
        "_connection",
        "_failed",
        "_flight",
        "_guard",
        "_held",
        "_held_size",
        "_is_client",
        "_on_renegotiation",
        "_outgoing",
        "_over",
        "_protocols",
        "_records",
        "_room",
        "_write_closed",
        "established",
        "facts",
        "peer_closed",
        "refused_offer",
        "truncated",
    )

    def __init__(
        self,
        connection: SSL.Connection,
        *,
        protocols: TlsProtocols,
        policy: HandshakePolicy,
        on_renegotiation: Callable[[int, Outcome], None] | None = None,
        is_client: bool = False,
        check_peer: Callable[[SSL.Connection], None] | None = None,
        candidate: TlsProtocols | None = None,
    ) -> None:
        """
        :param connection: Over memory BIOs, in accept state (in connect state for a client).
        :param protocols: Checked again when the handshake is done.
        :param on_renegotiation: Told of each attempt of the peer: its number, counted from 1, and what it led to. Must not
            raise.
        :param is_client: This end is the client.
        :param check_peer: Given the connection once a handshake is done, the first one or a renegotiation. Raises
            ``HandshakeFailed`` if the peer isn't who it should be.
        :param candidate: Protocols that don't count, but whether they would refuse this client is looked at.
        """
        self._connection = connection
        self._protocols = protocols
        self._guard = HandshakeGuard(policy)
        self._on_renegotiation = on_renegotiation
        self._is_client = is_client
        self._check_peer = check_peer
        self._candidate = candidate
        self._records = RecordCounter()
        self._begin = b""
        # The first bytes that the peer sent, until established.
        self._flight = b""
        # What this end sent so far, until established.
        self._outgoing = b""
        # Ciphertext taken from OpenSSL and not yet handed out.
        self._room = 0
        # How much ciphertext OpenSSL may hold at most, roughly; 0: none.
        self._held: list[bytes] = []
        self._held_size = 0
        self._over = False
        self._failed = False
        # OpenSSL is in an error state, in which it must not be asked for close_notify (SSL_shutdown(3)).
        self._write_closed = False
        self._close_owed = False
        self.established = False
        self.peer_closed = False
        self.truncated = False
        self.facts: TlsFacts | None = None
        self.refused_offer: str | None = None

    # State

    @property
    def blocked(self) -> bool:
        """Plaintext waits for a renegotiation to be over. Whoever sends much should wait until this is False."""
        return bool(self._held)

    @property
    def renegotiations(self) -> int:
        """Renegotiations that the peer attempted."""
        return self._guard.attempts

    @property
    def key_updates(self) -> int:
        """TLS 1.3 KeyUpdate messages that the peer sent."""
        return self._guard.key_updates

    @property
    def offered_versions(self) -> str | None:
        """TLS versions that a client offered: ``TLSv1.2 TLSv1.3``, or ``<=TLSv1.1`` where it only said how far up it goes.

        None when its hello couldn't be read, and once established: :attr:`facts` tells, then.
        """
        hello = self._client_hello()
        return hello.offered if hello is not None else None

    @property
    def offered_server_name(self) -> str | None:
        """SNI of a client, as long as :attr:`facts` don't tell."""
        hello = self._client_hello()
        return hello.server_name if hello is not None else None

    def _client_hello(self) -> ClientHello | None:
        return None if self._is_client else parse_client_hello(self._begin)

    @property
    def _peer(self) -> str:
        return "server" if self._is_client else "client"

    # Receiving

    def receive(self, data: bytes, now: float) -> bytes:
        """Take in ciphertext; the plaintext that it made, b"" if none.

        :param now: Seconds, monotonic.
        :raises TlsError: The connection has to end. :meth:`bytes_to_send` still has the alert, if there is one; plaintext
            from the same ``data`` is lost.
        """
        if self._over or self.peer_closed or not data:
            return b""
        self._guard.now = now
        if not self.established:
            self._begin += data[: MAX_BYTES - len(self._begin)]
        pieces: list[bytes] = []
        position = 0
        try:
            while position < len(data) and not self.peer_closed:
                position = self._feed(data, position, pieces)
            if self._held or self._close_owed:
                self._release()
        except Exception:
            self._over = True
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _feed(self, data: bytes, start: int, pieces: list[bytes]) -> int:
        """Give OpenSSL one batch, and take what comes of it; where the next batch begins."""
        records = self._records
        if not records.lost:
            end, complete = records.take(data, start, BATCH)
        if records.lost:
            # No TLS, or an error that OpenSSL will see too, and answer. It says itself when it has no more.
            end = complete = min(start + SLICE, len(data))
            longest = MAX_PLAINTEXT
        else:
            longest = min(records.longest or 1, MAX_PLAINTEXT)
        whole = not start and end == len(data)
        self._connection.bio_write(data if whole else memoryview(data)[start:end])
        if complete:
            if not self.established:
                self._shake_hands()
            if self.established:
                self._read(complete, longest, pieces)
        return end

    def _read(self, records: int, longest: int, pieces: list[bytes]) -> None:
        """Take the plaintext of as many records at most, none of which has more than ``longest`` bytes."""
        recv, guard = self._connection.recv, self._guard
        try:
            for _ in range(records):
                pieces.append(recv(longest))
                if guard.touched:
                    self._judge()
        except SSL.WantReadError:
            self._judge()
        except SSL.ZeroReturnError:
            self._judge()  # the guard stops OpenSSL in a way that looks like the peer's close_notify
            self.peer_closed = True
        except SSL.Error as error:
            self._failed = True
            self._room += _MESSAGE_ROOM
            self._judge()
            raise TlsRecordError(explain(error, self._peer)) from error

    def _judge(self) -> None:
        """Act on what the guard saw."""
        if self._guard.touched:
            self._room += _MESSAGE_ROOM
            if self._guard.check(self._on_renegotiation):
                self._examine()

    def receive_eof(self) -> None:
        """The TCP connection's read side ended. Sending may go on.

        :raises HandshakeFailed: It ended during the handshake.
        """
        if self._over or self.peer_closed:
            return
        if not self.established:
            self._over = True
            raise HandshakeFailed(f"the {self._peer} closed the connection during the handshake")
        self.truncated = True

    # Handshake

    def start_handshake(self) -> None:
        """Make the ClientHello. For a server, which speaks second, there is nothing to do."""
        if self._is_client and not self.established:
            self._shake_hands()

    def _shake_hands(self) -> None:
        self._room += _MESSAGE_ROOM
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            sent = self._take_output()
            self._outgoing += sent
            self._flight += sent
        except SSL.Error as error:
            self._failed = True
            raise HandshakeFailed(self._what_is_known().explain(error)) from error
        else:
            self._establish()

    def _what_is_known(self) -> Handshake:
        noted = self._connection.get_app_data()
        return Handshake(
            peer=self._peer,
            protocols=self._protocols,
            begin=self._begin,
            hello=self._client_hello(),
            verify_error=noted if isinstance(noted, VerifyError) else None,
        )

    def _establish(self) -> None:
        version = self._connection.get_protocol_version()
        resumed = not self._is_client and is_resumption(self._flight, version)
        # Up to TLS 1.2 OpenSSL tells the name of the session that was resumed in place of this one's.
        names_another = resumed and version < TlsVersion.TLS1_3
        self._examine(resumed=resumed, hello=self._client_hello() if names_another else None)
        if self._candidate is not None:
            self.refused_offer = self._offer_refused_by(self._candidate, version)
        self._guard.arm(self._connection)
        self.established = True
        self._begin = self._flight = b""

    def _offer_refused_by(self, candidate: TlsProtocols, version: int) -> str | None:
        if candidate.allows(version):
            return None
        hello = self._client_hello()
        if hello is None:
            return self._connection.get_protocol_version_name()
        return hello.offered if would_refuse(candidate, version, hello.versions) else None

    def _examine(self, *, resumed: bool = False, hello: ClientHello | None = None) -> None:
        """See that version and peer are as they should be, whatever OpenSSL thought, and note what was negotiated."""
        try:
            self._check_version()
        except VersionRefused:
            self._send_close_notify()  # for OpenSSL all is well: it has no better alert
            raise
        if self._check_peer is not None:
            self._check_peer(self._connection)
        self.facts = gather_facts(self._connection, is_client=self._is_client, resumed=resumed, hello=hello)

    def _check_version(self) -> None:
        connection = self._connection
        try:
            allowed = self._protocols.allows(connection.get_protocol_version())
        except Exception as error:
            raise VersionRefused(f"the version negotiated couldn't be checked: {error!r}") from error
        if not allowed:
            version = connection.get_protocol_version_name()
            raise VersionRefused(f"{version} was negotiated, allowed are {self._protocols}")

    # Sending

    def send(self, plaintext: bytes) -> None:
        """Encrypt ``plaintext``. Dropped once this side has closed, or the connection is over.

        :raises TlsRecordError: A renegotiation holds up more than ``MAX_HELD`` bytes.
        :raises RuntimeError: The handshake isn't done.
        """
        if not self.established:
            raise RuntimeError("send() before the handshake is done")
        if self._over or self._write_closed or not plaintext:
            return
        if self._held or not self._encrypt(plaintext):
            self._hold(plaintext)

    def _encrypt(self, plaintext: bytes) -> bool:
        """False: not now, a renegotiation is under way."""
        self._room += len(plaintext) + (len(plaintext) // MAX_PLAINTEXT + 2) * _RECORD_OVERHEAD
        try:
            self._connection.send(plaintext)
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            self._over = self._failed = True
            raise TlsRecordError(explain(error, self._peer)) from error
        return True

    def _hold(self, plaintext: bytes) -> None:
        self._held.append(plaintext)
        self._held_size += len(plaintext)
        if self._held_size > MAX_HELD:
            self._over = True
            raise TlsRecordError(
                f"the {self._peer} doesn't finish its renegotiation, and {self._held_size} bytes wait for it"
            )

    def _release(self) -> None:
        """Send what a renegotiation held up, when it is over."""
        held = b"".join(self._held)
        if held and not self._encrypt(held):
            self._held = [held]
            return
        self._held.clear()
        self._held_size = 0
        if self._write_closed:
            self._send_close_notify()

    def close_write(self) -> None:
        """Send close_notify, after all that was sent before. Reading goes on."""
        if self._write_closed:
            return
        self._write_closed = True
        if self.established and not self._failed and not self._held:
            self._send_close_notify()

    def _send_close_notify(self) -> None:
        self._room += _MESSAGE_ROOM
        try:
            self._connection.shutdown()
            self._close_owed = False
        except SSL.Error:  # in the middle of a renegotiation there can't be one
            self._close_owed = True

    def bytes_to_send(self) -> bytes:
        """Ciphertext for the peer, b"" if none."""
        if not self._room and not self._outgoing:
            return b""
        data = self._outgoing + self._take_output() if self._outgoing else self._take_output()
        self._outgoing = b""
        return data

    def _take_output(self) -> bytes:
        size, self._room = self._room, 0
        taken: list[bytes] = []
        try:
            # A read that isn't filled was the last: one more in vain costs an exception.
            while size and (not taken or len(taken[-1]) == size):
                taken.append(self._connection.bio_read(size))
        except SSL.WantReadError:
            pass
        return taken[0] if len(taken) == 1 else b"".join(taken)
