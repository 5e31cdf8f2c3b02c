"""A backend or a client that fails, at each step of a message: what the other side is told, and what comes back.

Of each it is shown that the client gets a reply, the right one, and never a dead socket; that a message which the client is
told wasn't taken wasn't taken; and that session and sockets are given back.

One case is open in SMTP itself (RFC 5321 §4.5.3.2.6): the backend has the whole message, and is lost, or says nothing,
before its reply. Nobody knows whether it took the message. The client is told 421 and sends it again; it is shown that this
happens in no other case.
"""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.mail_backend import Dialogue, Failure, Fault, MailBackend, Moment
from tests.support.mail_client import MailClient, Reply, Tls
from tests.support.processes import is_listening
from tests.support.proxy import Proxy
from tlsproxy.service.ending import CUT

CONFIG = """
    drain_timeout = {drain_timeout}
    tls_certificate = "{certificate.chain_path}"
    tls_key = "{certificate.key_path}"
    idle_timeout = {idle_timeout}
    close_timeout = 0.5
    smtp_hostname = "mx.example.org"
    [backend.old]
    servers = ["{backend}"]
    [[esmtp_listener]]
    backend = "old"
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      tls_wrappermode = true
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      tls_security_level = "encrypt"
"""
MAY, WRAPPED, ENCRYPT = range(3)

UNAVAILABLE = Reply("421 4.3.2 mx.example.org Service not available, try again later\n")
BACKEND_ERROR = Reply("421 4.3.0 mx.example.org Internal mail system error, try again later\n")
TIMEOUT = Reply("421 4.4.2 mx.example.org Error: timeout exceeded\n")
QUEUED = Reply("250 queued\n")
BYE = Reply("221 2.0.0 Bye\n")

Words = Sequence[tuple[str, bytes]]
"""What a client says, one after the other, each with a name."""

_ENVELOPE = [
    ("EHLO", b"EHLO client.example\r\n"),
    ("MAIL", b"MAIL FROM:<a@client.example>\r\n"),
    ("RCPT", b"RCPT TO:<b@mail.example>\r\n"),
]
_QUIT = [("QUIT", b"QUIT\r\n")]
CONTENT = b"Subject: test\r\n\r\n..\r\n..a dot\r\n.\r\n"
BY_DATA: Words = [*_ENVELOPE, ("DATA", b"DATA\r\n"), (".", CONTENT), *_QUIT]
BY_BDAT: Words = [
    *_ENVELOPE,
    ("BDAT", b"BDAT 17\r\nSubject: test\r\n\r\n"),
    ("BDAT LAST", b"BDAT 7 LAST\r\n.\r\nNOOP"),
    *_QUIT,
]

LOST = (Fault.FIN, Fault.RST)
SPOKEN = (Fault.GARBAGE, Fault.EXTRA_REPLY)

TLS: Sequence[Tls] = ("none", "starttls", "implicit")


def start(directory: Path, authority: Authority, backend: str, *, drain_timeout: float = 0) -> Proxy:
    toml = CONFIG.format(
        drain_timeout=drain_timeout,
        certificate=authority.issue("localhost"),
        idle_timeout=1,
        backend=backend,
    )
    return Proxy.start(directory, toml)


def connected(proxy: Proxy, authority: Authority, tls: Tls, listen: int | None = None) -> MailClient:
    if listen is None:
        listen = WRAPPED if tls == "implicit" else MAY
    context = ssl.create_default_context(cafile=str(authority.path))
    logged = len(proxy.notes)
    client = MailClient(proxy.ports()[listen], context, tls)
    client.logged = logged
    return client


def descriptors(proxy: Proxy) -> int:
    return len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))


def sessions(proxy: Proxy, event: str) -> list[str]:
    """The sessions that have had ``event``."""
    return [note["session"] for note in proxy.notes if note["event"] == event]


@pytest.fixture(scope="module")
def backend() -> Iterator[MailBackend]:
    with MailBackend() as running:
        yield running


@pytest.fixture(scope="module")
def running(
    backend: MailBackend, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, int]]:
    """A proxy that has served, and the file descriptors that it has without a session."""
    with start(tmp_path_factory.mktemp("proxy"), authority, backend.address) as proxy:
        proxy.wait_until(lambda: len(proxy.ports()) == 3, "not every listen is open")
        with connected(proxy, authority, "implicit") as client:
            assert converse(client, BY_DATA)[-1][1].code == 221
            expect_end(client)
        proxy.wait_for_note("session_ended")
        yield proxy, descriptors(proxy)
        assert sorted(sessions(proxy, "session_ended")) == sorted(sessions(proxy, "session_started"))
        assert not sessions(proxy, "session_fault")


@pytest.fixture
def proxy(running: tuple[Proxy, int], backend: MailBackend) -> Iterator[Proxy]:
    """One that is tidy after the test: no session and no socket is left, and it serves."""
    proxy, idle = running
    yield proxy
    backend.failure = None
    proxy.wait_until(lambda: descriptors(proxy) == idle, "sockets are left")


def reason(proxy: Proxy, client: MailClient) -> str:
    """Why the client's session ended."""
    note = proxy.wait_for_note("session_ended", after=client.logged, client=client.address)
    return str(note["reason"])


def detail(proxy: Proxy, client: MailClient) -> str:
    """What the backend failed the client by."""
    note = proxy.wait_for_note("backend_failed", after=client.logged, client=client.address)
    return str(note["detail"])


def converse(
    client: MailClient, words: Words, *, interrupted_by: MailBackend | None = None
) -> list[tuple[str, Reply]]:
    """Say ``words`` until the session ends or is about to: each with its reply.

    :param interrupted_by: Content is sent to its half, and on when this backend's connection is over.
    """
    if client.tls == "starttls":
        client.greet()
        words = words[1:]
        told = []
    else:
        told = [("banner", client.reply())]
    for name, word in words:
        if told and told[-1][1].code in (0, 421):
            break
        if interrupted_by is not None and name in (".", "BDAT"):
            half = len(word) // 2
            client.send(word[:half])
            assert interrupted_by.dialogues[-1].ended.wait(10)
            client.send(word[half:])
        else:
            client.send(word)
        told.append((name, client.reply()))
    return told


def expect_end(client: MailClient) -> None:
    """The other side ends in order, and says nothing more."""
    assert client.read_to_end() == ("", "fin" if client.tls == "none" else "close_notify")


def last(backend: MailBackend) -> Dialogue:
    """The last connection to the backend, once it is over."""
    dialogue = backend.dialogues[-1]
    if dialogue.stalled.is_set():
        backend.drop()
    assert dialogue.ended.wait(10), "the backend's connection is left open"
    return dialogue


TOLD_BY_DATA = {
    Moment.BEFORE_BANNER: "banner",
    Moment.AFTER_BANNER: "EHLO",
    Moment.EHLO: "EHLO",
    Moment.AFTER_EHLO: "MAIL",
    Moment.MAIL: "MAIL",
    Moment.AFTER_MAIL: "RCPT",
    Moment.RCPT: "RCPT",
    Moment.AFTER_RCPT: "DATA",
    Moment.DATA: "DATA",
    Moment.AFTER_DATA: ".",
    Moment.IN_CONTENT: ".",
    Moment.DOT: ".",
    Moment.AFTER_DOT: "QUIT",
}
"""When something goes wrong in such a moment, what the client said last when it is told."""

TOLD_BY_BDAT = {
    Moment.IN_CONTENT: "BDAT",
    Moment.CHUNK: "BDAT",
    Moment.AFTER_CHUNK: "BDAT LAST",
    Moment.DOT: "BDAT LAST",
    Moment.AFTER_DOT: "QUIT",
}

WAYS = [(BY_DATA, moment, told) for moment, told in TOLD_BY_DATA.items()] + [
    (BY_BDAT, moment, told) for moment, told in TOLD_BY_BDAT.items()
]
WAY_IDS = [f"{'data' if words is BY_DATA else 'bdat'}-{moment.name}" for words, moment, _ in WAYS]


def expected_end(moment: Moment, told_at: str, fault: Fault) -> list[tuple[str, Reply]]:
    """What a client may be told last, and when: in some moments that depends on who is quicker."""
    if moment is Moment.AFTER_BANNER and fault is Fault.RST:
        return [("banner", UNAVAILABLE), ("EHLO", UNAVAILABLE)]  # it overtakes the banner
    if moment is Moment.AFTER_DOT:
        return [
            ("QUIT", UNAVAILABLE),
            ("QUIT", BYE),
        ]  # the backend is known to be gone, or turns out to be when asked
    return [(told_at, UNAVAILABLE)]


@pytest.mark.parametrize("tls", ["none", "implicit"])
@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize(("words", "moment", "told_at"), WAYS, ids=WAY_IDS)
def test_a_backend_that_is_lost(
    proxy: Proxy,
    backend: MailBackend,
    authority: Authority,
    words: Words,
    moment: Moment,
    told_at: str,
    fault: Fault,
    tls: Tls,
) -> None:
    """421 4.3.2 comes in place of the next reply; in a message, after its end."""
    backend.failure = Failure(moment, fault)
    with connected(proxy, authority, tls) as client:
        interrupted_by = backend if moment is Moment.IN_CONTENT else None
        told = converse(client, words, interrupted_by=interrupted_by)
        assert told[-1] in expected_end(moment, told_at, fault)
        expect_end(client)
    dialogue = last(backend)
    accepted = [reply for _, reply in told].count(QUEUED)
    assert len(dialogue.accepted) == accepted == (moment is Moment.AFTER_DOT)
    assert dialogue.has_whole_message == (moment in (Moment.DOT, Moment.AFTER_DOT))


@pytest.mark.parametrize("fault", LOST)
def test_a_backend_that_is_lost_over_quit(
    proxy: Proxy, backend: MailBackend, authority: Authority, fault: Fault
) -> None:
    backend.failure = Failure(Moment.QUIT, fault)
    with connected(proxy, authority, "implicit") as client:
        assert converse(client, BY_DATA)[-2:] == [(".", QUEUED), ("QUIT", BYE)]
        expect_end(client)
    assert len(last(backend).accepted) == 1


@pytest.mark.parametrize("fault", SPOKEN)
@pytest.mark.parametrize(
    ("words", "moment", "told_at"),
    [way for way in WAYS if way[1].name.startswith("AFTER_") or way[1] is Moment.IN_CONTENT],
    ids=[name for name in WAY_IDS if "AFTER_" in name or "IN_CONTENT" in name],
)
def test_a_backend_that_says_what_nobody_asked_for(
    proxy: Proxy,
    backend: MailBackend,
    authority: Authority,
    words: Words,
    moment: Moment,
    told_at: str,
    fault: Fault,
) -> None:
    """Not even 250 in the middle of a message is taken for an answer."""
    backend.failure = Failure(moment, fault)
    with connected(proxy, authority, "implicit") as client:
        interrupted_by = backend if moment is Moment.IN_CONTENT else None
        told = converse(client, words, interrupted_by=interrupted_by)
        assert told[-1] == (told_at, BACKEND_ERROR)
        expect_end(client)
    assert len(last(backend).accepted) == [reply for _, reply in told].count(QUEUED)
    assert reason(proxy, client) == "backend_protocol_error"


@pytest.mark.parametrize(
    ("words", "moment", "told_at"),
    [
        (BY_DATA, Moment.BEFORE_BANNER, "banner"),
        (BY_DATA, Moment.EHLO, "EHLO"),
        (BY_DATA, Moment.MAIL, "MAIL"),
        (BY_DATA, Moment.RCPT, "RCPT"),
        (BY_DATA, Moment.DATA, "DATA"),
        (BY_DATA, Moment.IN_CONTENT, "."),
        (BY_DATA, Moment.DOT, "."),
        (BY_DATA, Moment.QUIT, "QUIT"),
        (BY_BDAT, Moment.CHUNK, "BDAT"),
        (BY_BDAT, Moment.DOT, "BDAT LAST"),
    ],
    ids=lambda value: value.name if isinstance(value, Moment) else "",
)
def test_a_backend_that_stalls(
    proxy: Proxy, backend: MailBackend, authority: Authority, words: Words, moment: Moment, told_at: str
) -> None:
    """421 4.3.2 after ``idle_timeout``."""
    backend.failure = Failure(moment, Fault.STALL)
    with connected(proxy, authority, "implicit") as client:
        told = converse(client, words)
        assert told[-1] == (told_at, UNAVAILABLE)
        expect_end(client)
    assert reason(proxy, client) == "backend_timeout"
    assert len(last(backend).accepted) == [reply for _, reply in told].count(QUEUED)


LARGE = b"line\r\n" * (4 * 1024 * 1024) + b".\r\n"
"""24 MiB: more than sockets and the proxy together take."""


def test_a_backend_that_takes_no_more_of_a_large_message(
    proxy: Proxy, backend: MailBackend, authority: Authority
) -> None:
    """The client waits for it, and is no idler: it may send the rest, and is told behind it."""
    backend.failure = Failure(Moment.IN_CONTENT, Fault.STALL)
    with connected(proxy, authority, "implicit") as client:
        told = converse(client, [*BY_DATA[:4], (".", LARGE)])
        assert told[-1] == (".", UNAVAILABLE)
        expect_end(client)
    assert detail(proxy, client) == "took nothing for 1 s"
    assert not last(backend).has_whole_message


@pytest.mark.parametrize("fault", LOST)
def test_a_backend_that_is_lost_while_the_client_waits_for_it(
    proxy: Proxy, backend: MailBackend, authority: Authority, fault: Fault
) -> None:
    backend.failure = Failure(Moment.IN_CONTENT, Fault.STALL)
    with connected(proxy, authority, "implicit") as client:
        converse(client, BY_DATA[:4])
        sender = threading.Thread(target=client.send, args=(LARGE,))
        sender.start()
        assert backend.dialogues[-1].stalled.wait(10)
        backend.drop(fault)
        sender.join(10)
        assert not sender.is_alive()
        assert client.reply() == UNAVAILABLE
        expect_end(client)
    assert not last(backend).has_whole_message


def test_a_pipelined_group_that_is_half_answered(
    proxy: Proxy, backend: MailBackend, authority: Authority
) -> None:
    backend.failure = Failure(Moment.RCPT, Fault.FIN)
    with connected(proxy, authority, "implicit") as client:
        client.greet()
        client.send(b"".join(word for _, word in BY_DATA[1:4]))
        assert [client.reply() for _ in range(2)] == [Reply("250 sender\n"), UNAVAILABLE]
        expect_end(client)
    assert not last(backend).content


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize(
    ("moment", "told_at"),
    [(Moment.BEFORE_BANNER, "banner"), (Moment.EHLO, "EHLO"), (Moment.AFTER_EHLO, "STARTTLS")],
)
def test_a_backend_that_is_lost_before_starttls(
    proxy: Proxy, backend: MailBackend, authority: Authority, moment: Moment, told_at: str, fault: Fault
) -> None:
    backend.failure = Failure(moment, fault)
    words = [BY_DATA[0], ("STARTTLS", b"NOOP\r\n"), *BY_DATA]
    with connected(proxy, authority, "none") as client:
        assert converse(client, words)[-1] == (told_at, UNAVAILABLE)
        expect_end(client)


@pytest.mark.parametrize("fault", LOST)
def test_a_backend_that_is_lost_during_the_handshake_is_connected_to_again(
    proxy: Proxy, backend: MailBackend, authority: Authority, fault: Fault
) -> None:
    """After STARTTLS a session starts from nothing anyway."""
    before = len(backend.dialogues)
    with connected(proxy, authority, "none") as client:
        client.greet()
        assert client.says("STARTTLS").code == 220
        backend.drop(fault)
        assert backend.dialogues[-1].ended.wait(10)
        client.handshake()
        for name, word in BY_DATA:
            client.send(word)
            assert client.reply().code in (250, 354, 221), name
    assert [len(dialogue.accepted) for dialogue in backend.dialogues[before:]] == [0, 1]


def test_where_tls_is_demanded_a_lost_backend_is_told_of_behind_it(
    proxy: Proxy, backend: MailBackend, authority: Authority
) -> None:
    backend.failure = Failure(Moment.BEFORE_BANNER, Fault.FIN)
    with connected(proxy, authority, "none", ENCRYPT) as client:
        client.greet()
        assert client.says("STARTTLS").code == 220
        client.handshake()
        client.send(BY_DATA[0][1])
        assert client.reply() == UNAVAILABLE
        assert client.read_to_end() == ("", "close_notify")


HOW = ("finish", "vanish", "crash")
"""What a client does: says that it is done; closes its socket; is gone."""

CLIENT_WORDS = {"banner": 0, "EHLO": 1, "MAIL": 2, "RCPT": 3, "DATA": 4}


@pytest.mark.parametrize("tls", ["none", "implicit"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "after", ["banner", "EHLO", "MAIL", "RCPT", "DATA", "half of it", "BDAT", "half a chunk"]
)
def test_a_client_that_is_lost(
    proxy: Proxy, backend: MailBackend, authority: Authority, after: str, how: str, tls: Tls
) -> None:
    """The backend is disconnected without an end of data, so it has nothing to take for a message."""
    words = BY_BDAT if "BDAT" in after or "chunk" in after else BY_DATA
    whole = CLIENT_WORDS.get(after, 3 if after == "half a chunk" else 4)
    with connected(proxy, authority, tls) as client:
        converse(client, words[:whole])
        if after in ("half of it", "half a chunk"):
            word = words[whole][1]
            client.send(word[: len(word) // 2])
        getattr(client, how)()
    dialogue = last(backend)
    assert not dialogue.accepted
    assert not dialogue.has_whole_message
    reasons = {
        "finish": ["client_closed"],
        "vanish": ["client_closed", "client_lost"],
        "crash": ["client_lost"],
    }
    assert reason(proxy, client) in reasons[how]


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_a_client_that_has_sent_all_still_gets_its_replies(
    proxy: Proxy, backend: MailBackend, authority: Authority, tls: Tls
) -> None:
    """It says that it is done as soon as it is."""
    with connected(proxy, authority, tls) as client:
        converse(client, BY_DATA[:4])
        client.send(CONTENT + b"QUIT\r\n")
        client.finish()
        assert client.read_to_end()[0] == "250 queued\n221 bye\n"
    assert len(last(backend).accepted) == 1


def test_a_message_of_a_client_that_is_lost_before_its_reply_is_the_backend_s(
    proxy: Proxy, backend: MailBackend, authority: Authority
) -> None:
    with connected(proxy, authority, "implicit") as client:
        converse(client, BY_DATA[:4])
        client.send(CONTENT)
        proxy.wait_until(lambda: backend.dialogues[-1].has_whole_message, "no message")
        client.crash()
    assert len(last(backend).accepted) == 1


@pytest.mark.parametrize("after", ["banner", "EHLO", "MAIL", "DATA", "half of it", "half a chunk"])
def test_a_client_that_stalls(proxy: Proxy, backend: MailBackend, authority: Authority, after: str) -> None:
    """421 4.4.2 after ``idle_timeout``."""
    words = BY_BDAT if after == "half a chunk" else BY_DATA
    whole = CLIENT_WORDS.get(after, 3 if after == "half a chunk" else 4)
    with connected(proxy, authority, "implicit") as client:
        converse(client, words[:whole])
        if after.startswith("half"):
            client.send(words[whole][1][:14])
        assert client.reply() == TIMEOUT
        expect_end(client)
    assert not last(backend).has_whole_message
    assert reason(proxy, client) == "idle_timeout"


def test_a_client_that_never_begins_its_handshake(
    proxy: Proxy, backend: MailBackend, authority: Authority
) -> None:
    with connected(proxy, authority, "none") as client:
        client.greet()
        assert client.says("STARTTLS").code == 220
        assert client.read_to_end()[0] == "", "no plaintext during a handshake"
    assert reason(proxy, client) == "idle_timeout"


def test_a_backend_that_comes_up_later(authority: Authority, tmp_path: Path) -> None:
    with MailBackend() as backend:
        refusing = socket.socket()
        refusing.bind(
            ("127.0.0.1", 0)
        )  # not listening: connections are refused, and nobody else gets the port
        with start(tmp_path, authority, "127.0.0.1:{1}".format(*refusing.getsockname())) as proxy, refusing:
            proxy.wait_until(lambda: len(proxy.ports()) == 3, "not every listen is open")
            for tls in ("none", "implicit"):
                with connected(proxy, authority, tls) as client:
                    assert client.reply() == UNAVAILABLE
                    expect_end(client)
                assert detail(proxy, client) == "connection refused"
            backend.serve(refusing)
            with connected(proxy, authority, "starttls") as client:
                assert converse(client, BY_DATA)[-2:] == [(".", QUEUED), ("QUIT", Reply("221 bye\n"))]


def test_a_stop_waits_for_the_message_that_is_under_way(
    backend: MailBackend, authority: Authority, tmp_path: Path
) -> None:
    with start(tmp_path, authority, backend.address, drain_timeout=30) as proxy:
        proxy.wait_until(lambda: len(proxy.ports()) == 3, "not every listen is open")
        port = proxy.ports()[MAY]
        with connected(proxy, authority, "none") as idle, connected(proxy, authority, "starttls") as busy:
            idle.greet()
            converse(busy, BY_DATA[:4])
            proxy.process.terminate()
            assert idle.reply() == UNAVAILABLE
            expect_end(idle)
            proxy.wait_until(lambda: not is_listening(port), "still listening")
            busy.send(CONTENT)
            assert [busy.reply(), busy.reply()] == [QUEUED, UNAVAILABLE]
            expect_end(busy)
        assert proxy.wait() == 0
        assert proxy.wait_for_note("stopped")["sessions_cut"] == 0
    assert len(last(backend).accepted) == 1


def test_a_stop_cuts_a_message_that_takes_too_long(
    backend: MailBackend, authority: Authority, tmp_path: Path
) -> None:
    with start(tmp_path, authority, backend.address, drain_timeout=0.5) as proxy:
        proxy.wait_until(lambda: len(proxy.ports()) == 3, "not every listen is open")
        with connected(proxy, authority, "starttls") as client:
            converse(client, BY_DATA[:4])
            client.send(CONTENT[:10])
            proxy.process.terminate()
            assert client.reply() == UNAVAILABLE
            expect_end(client)
        assert proxy.wait() == CUT
        assert proxy.wait_for_note("stopped")["sessions_cut"] == 1
        assert proxy.wait_for_note("session_ended")["reason"] == "shutdown"
    assert not last(backend).has_whole_message
