"""tlsproxy.tls.engine: bytes in, plaintext and bytes out."""

import re
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.tls.conftest import Serve
from tests.tls.crafted import APPLICATION_DATA, TLS12_SUITE, TLS13_SUITE, Secrets, Tls12Writer, Tls13Writer
from tests.tls.peers import Peer, Split, bytewise, client_context, exchange, whole
from tlsproxy.errors import HandshakeFailed, TlsRecordError, VersionRefused
from tlsproxy.policy.handshakes import HandshakePolicy
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.engine import BATCH, MAX_HELD, Engine

PROTOCOL_VERSION, INTERNAL_ERROR, CLOSE_NOTIFY = 70, 80, 0
FATAL = 2

versions = pytest.mark.parametrize("version", list(TlsVersion), ids=lambda version: version.label)
old_versions = pytest.mark.parametrize("version", list(TlsVersion)[:3], ids=lambda version: version.label)


def plain_alert(data: bytes) -> int:
    """The description in an alert record that isn't encrypted."""
    content_type, _, length, level, description = struct.unpack(">BHHBB", data)
    assert (content_type, length, level) == (21, 2, FATAL)
    return int(description)


class TestHandshake:
    @versions
    @pytest.mark.parametrize("split", [whole, bytewise])
    def test_completes_however_the_bytes_arrive(
        self, serve: Serve, version: TlsVersion, split: Split
    ) -> None:
        engine, peer = serve().engine(), Peer.client(client_context(version))
        exchange(engine, peer, split=split)
        assert engine.established
        assert peer.established
        assert engine.facts is not None
        assert engine.facts.version == version.label

    @versions
    def test_data_right_behind_the_finished_is_received(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().engine(), Peer.client(client_context(version))
        while not peer.established:
            peer.feed(engine.bytes_to_send())
            if not peer.established:
                assert engine.receive(peer.output(), 0.0) == b""
        # Below TLS 1.3 the server is done first; in 1.3 the Finished is still on its way.
        assert engine.receive(peer.output() + peer.encrypt(b"MAIL"), 0.0) == b"MAIL"

    def test_a_server_has_nothing_to_start(self, serve: Serve) -> None:
        engine = serve().engine()
        engine.start_handshake()
        assert engine.bytes_to_send() == b""

    def test_a_client_starts_with_its_hello(self, serve: Serve) -> None:
        server = serve()
        engine = Engine(
            Peer.client().connection,
            protocols=TlsProtocols.parse(">=TLSv1.2"),
            policy=HandshakePolicy(),
            is_client=True,
        )
        connection = server.context.new_connection()
        peer = Peer(connection)
        engine.start_handshake()
        peer.feed(engine.bytes_to_send())
        exchange(engine, peer)
        assert engine.established
        assert engine.receive(peer.encrypt(b"220 ready"), 0.0) == b"220 ready"
        assert engine.facts is not None
        assert engine.facts.client_subject is None, "a server's certificate is no client's"
        assert engine.offered_versions is None

    def test_an_older_client_is_refused_with_an_alert_and_what_it_offered(self, serve: Serve) -> None:
        engine = serve(tls_protocols=">=TLSv1.2").engine()
        peer = Peer.client(
            client_context(TlsVersion.TLS1_0, TlsVersion.TLS1_1), server_name=b"MX.example.org"
        )
        peer.step()
        with pytest.raises(HandshakeFailed, match=r"offered are <=TLSv1\.1, allowed are TLSv1\.2 TLSv1\.3"):
            engine.receive(peer.output(), 0.0)
        assert plain_alert(engine.bytes_to_send()) == PROTOCOL_VERSION
        assert engine.offered_versions == "<=TLSv1.1"
        assert engine.offered_server_name == "mx.example.org"
        assert not engine.established
        assert engine.facts is None

    def test_a_newer_client_is_refused_with_what_it_offered(self, serve: Serve) -> None:
        engine, peer = (
            serve(tls_protocols="<=TLSv1.2").engine(),
            Peer.client(client_context(TlsVersion.TLS1_3)),
        )
        peer.step()
        with pytest.raises(
            HandshakeFailed, match=r"offered are TLSv1\.3, allowed are TLSv1 TLSv1\.1 TLSv1\.2"
        ):
            engine.receive(peer.output(), 0.0)
        assert engine.offered_versions == "TLSv1.3"

    def test_what_was_offered_is_dropped_once_established(self, serve: Serve) -> None:
        engine, _ = serve().connect(Peer.client(server_name=b"mx.example.org"))
        assert engine.offered_versions is None
        assert engine.offered_server_name is None
        assert engine.facts is not None
        assert engine.facts.server_name == "mx.example.org"

    @pytest.mark.parametrize(
        ("begin", "message"),
        [
            (b"EHLO client.example\r\n", "^not TLS: the client begins with b'EHLO "),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "^not TLS: the client begins with b'GET /"),
            (b"\x00" * 700, "^not TLS"),
            (b"\x80\x2e\x01\x03\x01" + b"\x00" * 43, "SSLv2 ClientHello"),
        ],
    )
    @pytest.mark.parametrize("split", [whole, bytewise])
    def test_what_is_no_tls_is_refused_without_an_answer(
        self, serve: Serve, begin: bytes, message: str, split: Split
    ) -> None:
        engine = serve().engine()
        error = None
        waiting = list(split(begin))
        while error is None:
            try:
                engine.receive(waiting.pop(0), 0.0)
            except HandshakeFailed as raised:
                error = str(raised)
        assert re.search(message, error)
        assert engine.bytes_to_send() == b""

    def test_a_record_longer_than_tls_allows_is_refused_by_its_header(self, serve: Serve) -> None:
        engine = serve().engine()
        with pytest.raises(HandshakeFailed, match="longer than TLS allows"):
            engine.receive(struct.pack(">BHH", 22, 0x0301, 2**14 + 2049), 0.0)
        assert plain_alert(engine.bytes_to_send()) == 22  # record_overflow

    def test_application_data_before_the_handshake_is_refused(self, serve: Serve) -> None:
        engine = serve().engine()
        with pytest.raises(HandshakeFailed, match="unexpected message"):
            engine.receive(b"\x17\x03\x01\x00\x05HELLO", 0.0)
        assert plain_alert(engine.bytes_to_send()) == 10

    @versions
    def test_a_clients_alert_is_named(self, serve: Serve, version: TlsVersion) -> None:
        engine = serve().engine()
        context = client_context(version)
        context.set_verify(SSL.VERIFY_PEER)  # it knows no authority
        with pytest.raises(HandshakeFailed, match="the client sent the alert unknown ca"):
            exchange(engine, Peer.client(context))

    def test_no_cipher_suite_in_common(self, serve: Serve) -> None:
        engine = serve(tls_ciphers="ECDHE+AESGCM", tls_protocols="TLSv1.2").engine()
        with pytest.raises(HandshakeFailed, match="no cipher suite in common"):
            exchange(engine, Peer.client(client_context(TlsVersion.TLS1_2, ciphers="AES128-SHA")))
        assert plain_alert(engine.bytes_to_send()) == 40

    @pytest.mark.parametrize("sent", [0, 1, 5, 100])
    def test_an_end_during_the_handshake_is_a_failure(self, serve: Serve, sent: int) -> None:
        engine, peer = serve().engine(), Peer.client()
        peer.step()
        engine.receive(peer.output()[:sent], 0.0)
        with pytest.raises(HandshakeFailed, match="closed the connection during the handshake"):
            engine.receive_eof()
        assert engine.receive(b"\x16", 0.0) == b""

    def test_close_notify_during_the_handshake_is_a_failure(self, serve: Serve) -> None:
        engine, peer = serve().engine(), Peer.client(client_context(TlsVersion.TLS1_2))
        peer.step()
        engine.receive(peer.output(), 0.0)
        with pytest.raises(HandshakeFailed, match="the client sent close_notify"):
            engine.receive(b"\x15\x03\x03\x00\x02\x01\x00", 0.0)

    def test_a_tampered_finished_is_refused(self, serve: Serve) -> None:
        engine, peer = serve().engine(), Peer.client(client_context(TlsVersion.TLS1_2))
        peer.step()
        engine.receive(peer.output(), 0.0)
        peer.feed(engine.bytes_to_send())
        flight = peer.output()
        with pytest.raises(HandshakeFailed, match="can't be decrypted"):
            engine.receive(flight[:-1] + bytes([flight[-1] ^ 1]), 0.0)
        assert not engine.established

    def test_a_failed_engine_stays_silent(self, serve: Serve) -> None:
        engine = serve().engine()
        with pytest.raises(HandshakeFailed):
            engine.receive(b"EHLO x\r\n", 0.0)
        peer = Peer.client()
        peer.step()
        assert engine.receive(peer.output(), 0.0) == b""
        engine.close_write()
        engine.receive_eof()
        assert engine.bytes_to_send() == b""


class Disagreeing:
    """Policies about versions other than the context was made for."""

    class Nothing(TlsProtocols):
        def allows(self, version: int) -> bool:
            return False

    class Broken(TlsProtocols):
        def allows(self, version: int) -> bool:
            raise KeyError(version)


class TestVersionCheck:
    @pytest.mark.parametrize(
        ("policy", "message"),
        [
            (Disagreeing.Nothing, "negotiated, allowed are"),
            (Disagreeing.Broken, "couldn't be checked: KeyError"),
        ],
    )
    @versions
    def test_refuses_what_openssl_agreed_to(
        self, serve: Serve, version: TlsVersion, policy: type[TlsProtocols], message: str
    ) -> None:
        connection = serve().context.new_connection()
        engine = Engine(connection, protocols=policy.parse(">=TLSv1"), policy=HandshakePolicy())
        peer = Peer.client(client_context(version))
        with pytest.raises(VersionRefused, match=message):
            exchange(engine, peer)
        assert not engine.established
        assert engine.facts is None
        peer.feed(engine.bytes_to_send())
        assert peer.closed
        with pytest.raises(RuntimeError):
            engine.send(b"secret")


class TestData:
    @versions
    def test_runs_both_ways(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().connect_at(version)
        assert engine.receive(peer.encrypt(b"EHLO client\r\n"), 0.0) == b"EHLO client\r\n"
        engine.send(b"250 server\r\n")
        peer.feed(engine.bytes_to_send())
        assert peer.received == b"250 server\r\n"
        assert engine.bytes_to_send() == b""

    @versions
    def test_large_pieces_run_whole(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().connect_at(version)
        piece = bytes(range(256)) * 4096 * 2
        assert engine.receive(peer.encrypt(piece), 0.0) == piece
        engine.send(piece)
        engine.send(piece)
        peer.feed(engine.bytes_to_send())
        assert peer.received == piece * 2

    @versions
    def test_more_records_than_a_batch_has_are_all_received(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().connect_at(version)
        lines = [b"%d\r\n" % number for number in range(BATCH * 3 + 1)]
        assert engine.receive(b"".join(map(peer.encrypt, lines)), 0.0) == b"".join(lines)

    @versions
    def test_byte_by_byte(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().connect_at(version)
        data = peer.encrypt(b"one") + peer.encrypt(b"two") + peer.close_notify()
        assert b"".join(engine.receive(part, 0.0) for part in bytewise(data)) == b"onetwo"
        assert engine.peer_closed

    def test_nothing_is_made_of_nothing(self, serve: Serve) -> None:
        engine, peer = serve().connect()
        assert engine.receive(b"", 0.0) == b""
        engine.send(b"")
        assert engine.bytes_to_send() == b""
        assert engine.receive(peer.encrypt(b"x"), 0.0) == b"x"

    def test_sending_before_the_handshake_is_done_is_an_error_of_ours(self, serve: Serve) -> None:
        with pytest.raises(RuntimeError, match="before the handshake is done"):
            serve().engine().send(b"220 too early\r\n")

    def test_steady_data_never_makes_openssl_read_in_vain(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine, peer = serve().connect()
        exchange(engine, peer)
        vain = []
        recv, bio_read = SSL.Connection.recv, SSL.Connection.bio_read

        def counting(method: object) -> object:
            def call(*arguments: object) -> bytes:
                try:
                    return method(*arguments)  # type: ignore[operator, no-any-return]
                except SSL.WantReadError:
                    vain.append(method)
                    raise

            return call

        received = sent = 0
        encrypted = [peer.encrypt(b"x" * size) for size in (1, 64, 16384, 100_000)]
        monkeypatch.setattr(SSL.Connection, "recv", counting(recv))
        monkeypatch.setattr(SSL.Connection, "bio_read", counting(bio_read))
        for data in encrypted:
            for start in range(0, len(data), 1460):
                received += len(engine.receive(data[start : start + 1460], 0.0))
                sent += len(engine.bytes_to_send())
            engine.send(b"y" * 1000)
            sent += len(engine.bytes_to_send())
        assert received == 1 + 64 + 16384 + 100_000
        assert sent > 4000
        assert vain == []

    @old_versions
    def test_a_record_of_2_to_the_14_and_1_is_refused(self, serve: Serve, version: TlsVersion) -> None:
        suites = f"{TLS12_SUITE}:AES128-SHA:@SECLEVEL=0"
        engine, peer = serve(tls_ciphers=suites).connect(client_context(version, ciphers=suites))
        if version is TlsVersion.TLS1_2:
            data = Tls12Writer(peer.connection).record(APPLICATION_DATA, b"x" * (2**14 + 1))
        else:
            data = struct.pack(">BHH", APPLICATION_DATA, version, 2**14 + 2049)
        with pytest.raises(TlsRecordError, match="longer than TLS allows"):
            engine.receive(data, 0.0)
        peer.feed(engine.bytes_to_send())
        assert peer.alerts[-1] == 22  # record_overflow

    def test_a_record_that_was_tampered_with_is_refused(self, serve: Serve) -> None:
        engine, peer = serve().connect()
        data = peer.encrypt(b"x")
        with pytest.raises(TlsRecordError, match="can't be decrypted"):
            engine.receive(data[:-1] + bytes([data[-1] ^ 1]), 0.0)
        peer.feed(engine.bytes_to_send())
        assert peer.alerts[-1] == 20  # bad_record_mac
        engine.send(b"y")
        engine.close_write()
        assert engine.bytes_to_send() == b""
        assert engine.receive(peer.encrypt(b"z") if not peer.error else b"\x17", 0.0) == b""

    @versions
    def test_a_record_with_nothing_in_it_is_refused(self, serve: Serve, version: TlsVersion) -> None:
        engine, _ = serve().connect_at(version)
        with pytest.raises(TlsRecordError):
            engine.receive(b"\x17\x03\x03\x00\x00", 0.0)
        assert engine.bytes_to_send()

    @versions
    def test_a_record_with_empty_plaintext_is_nothing(self, serve: Serve, version: TlsVersion) -> None:
        """As OpenSSL up to 1.1 sends one before each CBC record of TLS 1.0 (CVE-2011-3389)."""
        if version is TlsVersion.TLS1_3:
            context = client_context(version, ciphersuites=TLS13_SUITE)
            secrets = Secrets(context)
            engine, _ = serve().connect(context)
            writer = Tls13Writer(secrets)
            data = writer.record(APPLICATION_DATA, b"") + writer.record(APPLICATION_DATA, b"x")
        elif version is TlsVersion.TLS1_2:
            engine, peer = serve().connect(client_context(version, ciphers=TLS12_SUITE))
            writer12 = Tls12Writer(peer.connection)
            data = writer12.record(APPLICATION_DATA, b"") + writer12.record(APPLICATION_DATA, b"x")
        else:
            engine, peer = serve().connect(client_context(version, ciphers="AES128-SHA:@SECLEVEL=0"))
            data = peer.encrypt(b"x")
        assert engine.receive(data, 0.0) == b"x"

    @pytest.mark.parametrize("split", [whole, bytewise])
    def test_a_type_of_record_that_tls_doesnt_use_is_refused(self, serve: Serve, split: Split) -> None:
        engine, peer = serve().connect()
        heartbeat = b"\x18\x03\x03\x00\x13" + b"\x01" * 19
        refused = 0
        for part in split(peer.encrypt(b"x") + heartbeat):
            try:
                engine.receive(part, 0.0)
            except TlsRecordError:
                refused += 1
        assert refused == 1
        assert engine.bytes_to_send()

    def test_an_error_of_openssl_while_sending_ends_it(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_arguments: object) -> int:
            raise SSL.Error([("SSL routines", "", "internal error")])

        engine, peer = serve().connect()
        exchange(engine, peer)
        monkeypatch.setattr(SSL.Connection, "send", broken)
        with pytest.raises(TlsRecordError, match="internal error"):
            engine.send(b"x")
        engine.send(b"y")
        engine.close_write()
        assert engine.bytes_to_send() == b""

    def test_bytes_that_stop_being_records_are_refused(self, serve: Serve) -> None:
        engine, peer = serve().connect()
        with pytest.raises(TlsRecordError):
            engine.receive(peer.encrypt(b"x") + b"QUIT\r\n" * 500, 0.0)


@versions
def test_where_records_cant_be_counted_nothing_is_lost(serve: Serve, version: TlsVersion) -> None:
    """Should OpenSSL go on with what the counter takes for no records."""
    engine, peer = serve().engine(), Peer.client(client_context(version))
    engine._records.lost = True
    exchange(engine, peer)
    lines = [b"%d " % number * number for number in range(1, 200)]
    data = b"".join(map(peer.encrypt, lines)) + peer.close_notify()
    assert engine.receive(data, 0.0) == b"".join(lines)
    assert engine.peer_closed


@st.composite
def cuts(draw: st.DrawFn) -> list[int]:
    return draw(st.lists(st.integers(min_value=0, max_value=4000), max_size=30))


def parts(data: bytes, at: list[int]) -> Iterator[bytes]:
    edges = sorted({0, len(data), *(cut for cut in at if cut < len(data))})
    return (data[a:b] for a, b in pairwise(edges))


@versions
@given(at=cuts())
def test_any_split_of_the_ciphertext_gives_the_same_plaintext(
    serve: Serve, version: TlsVersion, at: list[int]
) -> None:
    engine, peer = serve().connect_at(version)
    lines = [b"%d " % number * number for number in range(25)]
    data = b"".join(peer.encrypt(line) for line in lines if line) + peer.close_notify()
    assert b"".join(engine.receive(part, 0.0) for part in parts(data, at)) == b"".join(lines)
    assert engine.peer_closed


@given(data=st.binary(max_size=2000), at=cuts())
def test_garbage_fails_the_handshake_or_waits_for_more(serve: Serve, data: bytes, at: list[int]) -> None:
    engine = serve().engine()
    try:
        for part in parts(data, at):
            assert engine.receive(part, 0.0) == b""
    except HandshakeFailed:
        pass
    assert not engine.established


@given(data=st.binary(min_size=1, max_size=2000))
def test_garbage_after_the_handshake_is_refused_or_waits_for_more(serve: Serve, data: bytes) -> None:
    engine, _ = serve().connect()
    try:
        assert engine.receive(data, 0.0) == b""
    except TlsRecordError:
        assert engine.receive(data, 0.0) == b""


class TestClosing:
    @versions
    def test_close_notify_of_the_peer_ends_reading_alone(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().connect_at(version)
        assert engine.receive(peer.encrypt(b"QUIT") + peer.close_notify(), 0.0) == b"QUIT"
        assert engine.peer_closed
        assert engine.bytes_to_send() == b"", "nothing is answered by itself"
        engine.send(b"221 bye")
        peer.feed(engine.bytes_to_send())
        assert peer.received == b"221 bye"
        engine.close_write()
        peer.feed(engine.bytes_to_send())
        assert peer.closed
        engine.receive_eof()
        assert not engine.truncated

    @versions
    def test_our_close_notify_ends_sending_alone(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().connect_at(version)
        engine.send(b"last")
        engine.close_write()
        peer.feed(engine.bytes_to_send())
        assert peer.received == b"last"
        assert peer.closed
        assert engine.receive(peer.encrypt(b"still here"), 0.0) == b"still here"
        assert not engine.peer_closed

    def test_close_write_is_idempotent_and_nothing_follows_it(self, serve: Serve) -> None:
        engine, peer = serve().connect()
        exchange(engine, peer)
        engine.close_write()
        assert engine.bytes_to_send()
        engine.close_write()
        engine.send(b"too late")
        assert engine.bytes_to_send() == b""

    def test_crossing_close_notifies(self, serve: Serve) -> None:
        engine, peer = serve().connect()
        ours, theirs = engine, peer.close_notify()
        ours.close_write()
        assert ours.receive(theirs, 0.0) == b""
        assert ours.peer_closed
        peer.feed(ours.bytes_to_send())
        assert peer.closed

    @versions
    def test_data_after_close_notify_is_ignored(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().connect_at(version)
        data = peer.encrypt(b"a"), peer.close_notify(), b"\x17\x03\x03\x00\x20" + b"?" * 32
        assert engine.receive(b"".join(data), 0.0) == b"a"
        assert engine.peer_closed
        assert engine.receive(b"anything", 0.0) == b""

    def test_an_end_without_close_notify_is_truncation(self, serve: Serve) -> None:
        engine, peer = serve().connect()
        assert engine.receive(peer.encrypt(b"DATA"), 0.0) == b"DATA"
        engine.receive_eof()
        assert engine.truncated
        assert not engine.peer_closed
        engine.send(b"451")
        peer.feed(engine.bytes_to_send())
        assert peer.received == b"451"

    def test_close_write_before_the_handshake_sends_nothing(self, serve: Serve) -> None:
        engine = serve().engine()
        engine.close_write()
        assert engine.bytes_to_send() == b""

    def test_a_fatal_alert_of_the_peer_is_named(self, serve: Serve) -> None:
        engine, peer = serve(tls_ciphers=TLS12_SUITE).connect(client_context(TlsVersion.TLS1_2))
        alert = Tls12Writer(peer.connection).record(21, bytes([FATAL, INTERNAL_ERROR]))
        with pytest.raises(TlsRecordError, match="the client sent the alert internal error"):
            engine.receive(alert, 0.0)
        engine.close_write()
        assert engine.bytes_to_send() == b""


class TestSendingDuringRenegotiation:
    """With ``tls_allow_renegotiation`` a peer decides when the handshake goes on, and OpenSSL sends nothing until then."""

    @pytest.fixture
    def halfway(self, serve: Serve) -> tuple[Engine, Peer]:
        engine, peer = serve(tls_allow_renegotiation=True).connect_at(TlsVersion.TLS1_2)
        engine.receive(peer.renegotiation(), 0.0)
        return engine, peer

    def test_plaintext_waits_and_is_sent_in_order(self, halfway: tuple[Engine, Peer]) -> None:
        engine, peer = halfway
        engine.send(b"one ")
        engine.send(b"two")
        engine.close_write()
        blocked = [engine.blocked]
        exchange_rest(engine, peer)
        blocked.append(engine.blocked)
        assert blocked == [True, False]
        assert peer.received == b"one two"
        assert peer.closed

    def test_what_waits_outlasts_input_that_doesnt_end_the_wait(self, halfway: tuple[Engine, Peer]) -> None:
        engine, peer = halfway
        engine.send(b"one ")
        engine.send(b"two")
        peer.feed(engine.bytes_to_send())
        exchange(engine, peer, split=bytewise)
        assert not engine.blocked
        assert peer.received == b"one two"
        engine.send(b" three")
        peer.feed(engine.bytes_to_send())
        assert peer.received == b"one two three"

    def test_close_notify_waits_too(self, halfway: tuple[Engine, Peer]) -> None:
        engine, peer = halfway
        engine.close_write()
        exchange_rest(engine, peer)
        assert peer.closed

    def test_no_more_waits_than_the_limit(self, halfway: tuple[Engine, Peer]) -> None:
        engine, _ = halfway
        engine.send(b"x" * MAX_HELD)
        with pytest.raises(TlsRecordError, match="doesn't finish its renegotiation"):
            engine.send(b"x")
        engine.send(b"dropped")


def exchange_rest(engine: Engine, peer: Peer) -> None:
    """Go on with a renegotiation."""
    peer.feed(engine.bytes_to_send())
    exchange(engine, peer)
