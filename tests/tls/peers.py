"""The other end of an engine, in memory: a client of pyOpenSSL, which is no part of what is tested."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from OpenSSL import SSL

from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.engine import Engine

READ_SIZE = 1 << 20


def client_context(
    *versions: TlsVersion, ciphers: str = "ALL:@SECLEVEL=0", ciphersuites: str | None = None
) -> SSL.Context:
    """A client that speaks from the lowest to the highest of ``versions`` (all without), and verifies nothing."""
    spoken = versions or tuple(TlsVersion)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(min(spoken))
    context.set_max_proto_version(max(spoken))
    context.set_cipher_list(ciphers.encode())
    if ciphersuites is not None:
        context.set_tls13_ciphersuites(ciphersuites.encode())
    return context


class Peer:
    """One end of a connection over memory BIOs.

    :ivar alerts: What the other end alerted, by number, in order.
    :ivar error: What OpenSSL raised when it ended the connection.
    :ivar closed: close_notify came.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection
        self.alerts: list[int] = []
        self.received = b""
        self.error: SSL.Error | None = None
        self.established = False
        self.closed = False
        connection.set_info_callback(self._on_event)

    @classmethod
    def client(
        cls,
        context: SSL.Context | None = None,
        *,
        server_name: bytes | None = None,
        alpn: Sequence[bytes] = (),
        session: SSL.Session | None = None,
    ) -> "Peer":
        connection = SSL.Connection(context or client_context())
        connection.set_connect_state()
        if server_name is not None:
            connection.set_tlsext_host_name(server_name)
        if alpn:
            connection.set_alpn_protos(list(alpn))
        if session is not None:
            connection.set_session(session)
        return cls(connection)

    def _on_event(self, _connection: SSL.Connection, where: int, value: int) -> None:
        if where == SSL.SSL_CB_READ_ALERT:
            self.alerts.append(value & 0xFF)

    def step(self) -> None:
        """Handshake, or read all that is there; nothing once OpenSSL ended the connection."""
        if self.error is not None:
            return
        try:
            if not self.established:
                self.connection.do_handshake()
                self.established = True
            while True:
                self.received += self.connection.recv(READ_SIZE)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error as error:
            self.error = error

    def feed(self, data: bytes) -> None:
        if data:
            self.connection.bio_write(data)
        self.step()

    def output(self) -> bytes:
        """Ciphertext for the other end."""
        taken = b""
        while True:
            try:
                taken += self.connection.bio_read(READ_SIZE)
            except SSL.WantReadError:
                return taken

    def encrypt(self, plaintext: bytes) -> bytes:
        self.connection.sendall(plaintext)
        return self.output()

    def renegotiation(self) -> bytes:
        """The ClientHello of an attempt."""
        assert self.connection.renegotiate()
        with suppress(SSL.WantReadError):
            self.connection.do_handshake()
        return self.output()

    def close_notify(self) -> bytes:
        self.connection.shutdown()
        return self.output()

    @property
    def reason(self) -> str:
        """OpenSSL's text of what ended the connection."""
        assert self.error is not None
        return str(self.error.args[0][0][2])


Split = Callable[[bytes], Sequence[bytes]]


def whole(data: bytes) -> list[bytes]:
    return [data] if data else []


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def exchange(engine: Engine, peer: Peer, *, now: float = 0.0, split: Split = whole) -> bytes:
    """Carry bytes to and fro until neither end has any; the plaintext that the engine received."""
    plaintext = b""
    peer.step()
    for _ in range(100):
        data = peer.output()
        for part in split(data):
            plaintext += engine.receive(part, now)
        answer = engine.bytes_to_send()
        if not data and not answer:
            return plaintext
        peer.feed(answer)
    raise AssertionError("the two ends don't come to an end")
