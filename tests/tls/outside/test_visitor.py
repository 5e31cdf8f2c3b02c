"""A visitor shakes hands with any server, and tells what it was; it knocks twice, renegotiates, updates keys."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from OpenSSL import SSL

from tests.support.certificates import Authority, Issued
from tlsproxy.errors import HandshakeFailed, TlsRecordError
from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.outside.key_updates import SUITES
from tlsproxy.tls.outside.visitor import RenegotiationDeclined, Visitor

ALL = list(TlsVersion)
ALLOW_CLIENT_RENEGOTIATION = 1 << 8
LIMIT = 65536


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue("localhost", key_type="rsa")


def server_of(issued: Issued, *, options: int = 0, suites: str | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(0x0301)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    if suites is not None:
        context.set_tls13_ciphersuites(suites.encode())
    context.set_options(options)
    context.set_session_id(b"test")
    context.use_certificate_chain_file(str(issued.chain_path))
    context.use_privatekey_file(str(issued.key_path))
    return context


class Conversation:
    """A visitor and a server in memory, their handshake done."""

    def __init__(self, context: SSL.Context, visitor: Visitor) -> None:
        self.visitor = visitor
        self.server = SSL.Connection(context)
        self.server.set_accept_state()
        to_server = visitor.shake_hands()
        while not visitor.established:
            to_server = visitor.shake_hands(self.serve(to_server))
        self.visitor.receive(self.serve(to_server))

    def serve(self, data: bytes) -> bytes:
        """What the server answers; it reads on once its handshake is done."""
        if data:
            self.server.bio_write(data)
        with suppress(SSL.WantReadError):
            self.server.do_handshake()
            self.read = self.server.recv(LIMIT)
        with suppress(SSL.WantReadError):
            return self.server.bio_read(LIMIT)
        return b""


@pytest.mark.parametrize("version", ALL)
def test_it_speaks_every_version(issued: Issued, authority: Authority, version: TlsVersion) -> None:
    visitor = Visitor.create([version], server_name="localhost", authorities=str(authority.path))
    talk = Conversation(server_of(issued), visitor)
    assert visitor.version == version.label
    assert visitor.chain == [issued.certificate]
    assert visitor.verify_error is None
    assert not visitor.resumed
    assert talk.server.get_servername() == b"localhost"
    talk.serve(visitor.encrypt(b"hello"))
    assert talk.read == b"hello"


def test_it_goes_on_where_a_chain_is_not_trusted(
    issued: Issued, tmp_path: object, authority: Authority
) -> None:
    visitor = Visitor.create(ALL)
    Conversation(server_of(issued), visitor)
    assert visitor.verify_error is not None
    assert visitor.verify_error.depth == 0


def test_a_file_without_authorities_is_told(issued: Issued) -> None:
    with pytest.raises(OSError, match="no certificates of authorities"):
        Visitor.create(ALL, authorities=str(issued.key_path))


@pytest.mark.parametrize("version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3])
@pytest.mark.parametrize("resumes", [True, False])
def test_it_resumes_where_the_server_lets_it(issued: Issued, version: TlsVersion, resumes: bool) -> None:
    context = server_of(issued)
    first = Conversation(context, Visitor.create([version])).visitor
    second = Conversation(context if resumes else server_of(issued), first.again()).visitor
    assert second.resumed is resumes


def test_alpn_is_told(issued: Issued) -> None:
    context = server_of(issued)
    context.set_alpn_select_callback(lambda _connection, offered: offered[-1])
    visitor = Conversation(context, Visitor.create(ALL, alpn=["h2", "http/1.1"])).visitor
    assert visitor.alpn == "http/1.1"


def test_an_alert_ends_the_handshake() -> None:
    visitor = Visitor.create(ALL)
    visitor.shake_hands()
    with pytest.raises(HandshakeFailed, match="alert handshake failure"):
        visitor.shake_hands(b"\x15\x03\x03\x00\x02\x02\x28")


def renegotiated(talk: Conversation) -> None:
    answer, over = talk.serve(talk.visitor.renegotiate()), False
    while not over:
        to_server, over = talk.visitor.continue_renegotiation(answer)
        answer = talk.serve(to_server)


def test_a_renegotiation_is_done_where_the_server_lets_it(issued: Issued) -> None:
    talk = Conversation(
        server_of(issued, options=ALLOW_CLIENT_RENEGOTIATION), Visitor.create([TlsVersion.TLS1_2])
    )
    renegotiated(talk)
    talk.serve(talk.visitor.encrypt(b"after"))
    assert talk.read == b"after"


def test_a_renegotiation_that_is_declined_is_told(issued: Issued) -> None:
    talk = Conversation(server_of(issued), Visitor.create([TlsVersion.TLS1_2]))
    with pytest.raises(RenegotiationDeclined):
        renegotiated(talk)


def test_there_is_none_in_tls_1_3(issued: Issued) -> None:
    talk = Conversation(server_of(issued), Visitor.create([TlsVersion.TLS1_3]))
    with pytest.raises(TlsRecordError):
        talk.visitor.renegotiate()


@pytest.mark.parametrize("suite", SUITES.split(":"))
def test_key_updates_made_by_hand_are_taken_and_answered(issued: Issued, suite: str) -> None:
    visitor = Visitor.create([TlsVersion.TLS1_3], for_key_updates=True)
    talk = Conversation(server_of(issued, suites=suite), visitor)
    assert visitor.cipher == suite
    updater = visitor.key_updater()
    for round_ in range(1, 4):
        records = [updater.key_update(requested=number == 3) for number in range(5)]
        assert visitor.receive(talk.serve(b"".join(records))) == b""
        assert visitor.key_updates == round_
    talk.serve(updater.record(23, b"still here"))
    assert talk.read == b"still here"


def test_a_server_that_ends_the_connection_is_told(issued: Issued) -> None:
    talk = Conversation(server_of(issued), Visitor.create([TlsVersion.TLS1_2]))
    with pytest.raises(TlsRecordError):
        talk.visitor.receive(b"\x17\x03\x03\x00\x20" + bytes(32))


def test_what_is_said_goodbye_to_is_no_error(
    issued: Issued, make_closed: Callable[[Conversation], bytes]
) -> None:
    talk = Conversation(server_of(issued), Visitor.create(ALL))
    assert talk.visitor.receive(make_closed(talk)) == b""


@pytest.fixture
def make_closed() -> Callable[[Conversation], bytes]:
    def close(talk: Conversation) -> bytes:
        talk.server.shutdown()
        return talk.server.bio_read(LIMIT)

    return close
