"""A thousand messages through the proxy into a real Postfix: each arrives once, byte for byte.

By twenty clients at a time, over STARTTLS and implicit TLS, by DATA and by BDAT, to backends that are told who the client
is in three ways. What an MTA itself changes is accounted for: the fields that it puts on top, and line ends in the mailbox.
"""

import hashlib
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from attrs import define, field, frozen

from tests.support.certificates import Authority
from tests.support.mail_client import MailClient, Tls
from tests.support.mailboxes import content_of
from tests.support.postfix import DOMAIN, Postfix, Smtpd
from tests.support.proxy import Proxy

MESSAGES = 1000
CLIENTS = 20
LARGEST = 20 * 1024 * 1024

CONFIG = """
    tls_certificate = "{certificate.chain_path}"
    tls_key = "{certificate.key_path}"
    [backend.none]
    servers = ["127.0.0.1:{plain}"]
    [backend.xclient]
    servers = ["127.0.0.1:{trusting}"]
    identity = "xclient"
    [backend.trace]
    servers = ["127.0.0.1:{plain}"]
    identity = "trace_header"
"""
LISTENER = """
    [[esmtp_listener]]
    backend = "{backend}"
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
      tls_wrappermode = true
"""
BACKENDS = ("none", "xclient", "trace")

SIZES = [
    *[0] * 6,
    *[LARGEST] * 3,
    *[1 << 20, 2 << 20, 3 << 20, 5 << 20, 8 << 20],
    *range(100_000, 500_000, 10_007),
    *range(4_000, 60_000, 197),
]
"""Of some messages, in bytes; the others have less than 2 KiB."""

LINE_LENGTHS = (998, 999, 1000, 2047, 2048, 2049, 4096, 16_383, 16_384, 65_536, 100_001)
"""CRLF not counted. RFC 5321 §4.5.3.1.6 allows 998; Postfix reads 2048 at a time, TLS has records of 16,384 bytes."""

DOTS = (b".", b"..", b"...", b". ", b".x", b"..x", b".\t", b"")

_ANY_BYTE = bytes(byte for byte in range(256) if byte not in b"\r\n")


def line(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(DOTS)
    if kind < 0.31:
        length = rng.choice(LINE_LENGTHS)
        return (_ANY_BYTE * (length // len(_ANY_BYTE) + 1))[:length]  # begins with NUL
    if kind < 0.6:
        return b"x" + bytes(rng.choices(_ANY_BYTE, k=rng.randrange(78)))
    return b"The quick brown fox jumps over the lazy dog."[: rng.randrange(1, 45)]


def block(rng: random.Random, least: int) -> bytes:
    """Lines, of ``least`` bytes or more."""
    lines, length = [], 0
    while length < least:
        lines.append(line(rng) + b"\r\n")
        length += len(lines[-1])
    return b"".join(lines)


@frozen
class Sample:
    """A message, made anew from its number whenever it is asked for."""

    number: int

    @property
    def recipient(self) -> str:
        return f"m{self.number}@{DOMAIN}"

    @property
    def rng(self) -> random.Random:
        return random.Random(self.number)  # noqa: S311 - the same message each time

    @property
    def size(self) -> int:
        return SIZES[self.number] if self.number < len(SIZES) else self.rng.randrange(80, 2048)

    @property
    def content(self) -> bytes:
        """Ends in CRLF; not stuffed."""
        if self.size == 0:
            return b""
        header = f"Subject: message {self.number}\r\nX-Eight: \xe9\xff\r\n\r\n".encode("latin-1")
        missing = self.size - len(header)
        part = block(self.rng, min(missing, 256 * 1024))
        body = (part * (missing // len(part) + 1))[: missing - 2].rstrip(b"\r\n")
        return header + body.ljust(missing - 2, b"x") + b"\r\n"

    def expected(self) -> str:
        """Checksum of what is in the mailbox, below what was put on top."""
        return hashlib.sha256(self.content.replace(b"\r\n", b"\n")).hexdigest()


def stuffed(content: bytes) -> bytes:
    return (b"." if content.startswith(b".") else b"") + content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def pieces(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """``data`` cut for one write each: whole, at random, or between CR, LF, dot, CR and LF."""
    kind = rng.randrange(3)
    if kind == 0:
        cuts = []
    elif kind == 1:
        cuts = rng.sample(range(len(data)), min(20, len(data)))
    else:
        edges = [match.start() for match in re.finditer(rb"\r\n\.", data[:100_000])]
        cuts = [edge + rng.randrange(1, 6) for edge in rng.sample(edges, min(10, len(edges)))]
        cuts += [len(data) - rng.randrange(1, 6)]
    within = sorted({cut for cut in cuts if 0 < cut < len(data)})
    for begin, end in pairwise([0, *within, len(data)]):
        yield data[begin:end]


@define(eq=False)
class Sender:
    """One client: a connection for some messages, then another one."""

    context: ssl.SSLContext
    ports: list[int]
    rng: random.Random
    sent_by: dict[int, str]
    """Of each message the backend that it went to."""
    connections: int = 0
    bytes_sent: int = 0
    by_bdat: int = 0

    def send(self, numbers: list[int]) -> None:
        while numbers:
            count = self.rng.randrange(1, 12)
            some, numbers = numbers[:count], numbers[count:]
            self.send_by_one_connection(some)

    def send_by_one_connection(self, numbers: list[int]) -> None:
        listen = self.rng.randrange(len(self.ports))
        tls: Tls = "implicit" if listen % 2 else "starttls"
        self.connections += 1
        with MailClient(self.ports[listen], self.context, tls) as client:
            if tls == "implicit":
                assert client.reply().code == 220
                assert client.says("EHLO client.example").code == 250
            else:
                client.greet()
            for number in numbers:
                self.send_one(client, Sample(number))
                self.sent_by[number] = BACKENDS[listen // 2]
            assert client.says("QUIT").code == 221

    def send_one(self, client: MailClient, sample: Sample) -> None:
        content = sample.content
        self.bytes_sent += len(content)
        envelope = f"MAIL FROM:<a@client.example> BODY=8BITMIME\r\nRCPT TO:<{sample.recipient}>\r\n".encode()
        if content and self.rng.random() < 0.5:  # Postfix takes no empty message by BDAT
            self.by_bdat += 1
            self.by_chunks(client, envelope, content)
        else:
            self.by_data(client, envelope, content)

    def by_data(self, client: MailClient, envelope: bytes, content: bytes) -> None:
        client.send(envelope + b"DATA\r\n")
        assert [client.reply().code for _ in range(3)] == [250, 250, 354]
        for piece in pieces(self.rng, stuffed(content)):
            client.send(piece)
        assert client.reply().code == 250

    def by_chunks(self, client: MailClient, envelope: bytes, content: bytes) -> None:
        pipelined = self.rng.random() < 0.5
        client.send(envelope)
        replies = 2
        inside = range(1, len(content))  # Postfix refuses a chunk of no bytes that isn't the last
        cuts = sorted(self.rng.sample(inside, min(self.rng.randrange(6), len(inside))))
        chunks = [content[begin:end] for begin, end in pairwise([0, *cuts, len(content)])]
        for chunk in chunks[:-1]:
            client.send(b"BDAT %d\r\n" % len(chunk) + chunk)
            replies += 1
            if not pipelined:
                assert {client.reply().code for _ in range(replies)} == {250}
                replies = 0
        client.send(b"BDAT %d LAST\r\n" % len(chunks[-1]))
        for piece in pieces(self.rng, chunks[-1]):
            client.send(piece)
        assert {client.reply().code for _ in range(replies + 1)} == {250}


_TRACE = re.compile(rb"Received: [^\n]*\n(?:[ \t][^\n]*\n)*")


@define(eq=False)
class Mailbox:
    """What arrived: for each recipient the checksums of its messages."""

    arrived: dict[str, list[str]] = field(factory=dict)

    def take(self, path: Path, backend_of: Callable[[str], str]) -> None:
        message = path.read_bytes()
        recipient = re.search(rb"^X-Original-To: (.*)$", message[:1000], re.MULTILINE)
        assert recipient is not None
        name = recipient[1].decode()
        content = content_of(message)
        if backend_of(name) == "trace":
            trace = _TRACE.match(content)
            assert trace is not None
            assert trace[0].startswith(b"Received: from client.example ([127.0.0.1])"), trace[0]
            content = content[trace.end() :]
        self.arrived.setdefault(name, []).append(hashlib.sha256(content).hexdigest())


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    options = {
        "message_size_limit": str(2 * LARGEST),
        "virtual_mailbox_limit": "0",
        "smtpd_client_connection_count_limit": "0",
    }
    with Postfix([Smtpd(), Smtpd({"smtpd_authorized_xclient_hosts": "127.0.0.1"})], options) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(
    postfix: Postfix, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    toml = CONFIG.format(
        certificate=authority.issue("localhost"), plain=postfix.ports[0], trusting=postfix.ports[1]
    )
    toml += "".join(LISTENER.format(backend=backend) for backend in BACKENDS)
    with Proxy.start(tmp_path_factory.mktemp("proxy"), toml) as running:
        running.wait_until(lambda: len(running.ports()) == 2 * len(BACKENDS), "not every listen is open")
        yield running


def test_a_thousand_messages_arrive_once_and_byte_for_byte(
    postfix: Postfix,
    proxy: Proxy,
    authority: Authority,
    record_property: Callable[[str, object], None],
) -> None:
    numbers = list(range(MESSAGES))
    random.Random(0).shuffle(numbers)  # noqa: S311
    context = ssl.create_default_context(cafile=str(authority.path))
    sent_by: dict[int, str] = {}
    senders = [
        Sender(context, proxy.ports(), random.Random(seed), sent_by)  # noqa: S311
        for seed in range(CLIENTS)
    ]
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = [numbers[start::CLIENTS] for start in range(CLIENTS)]
        list(pool.map(Sender.send, senders, shares))
    sent = time.monotonic() - began
    inbox = postfix.inbox
    postfix.wait_until(lambda: len(list(inbox.iterdir())) >= MESSAGES, "not every message arrived", 30)
    delivered = time.monotonic() - began

    mailbox = Mailbox()
    for path in inbox.iterdir():
        mailbox.take(path, lambda name: sent_by[int(name[1:].partition("@")[0])])
    expected = {sample.recipient: [sample.expected()] for sample in map(Sample, range(MESSAGES))}
    assert mailbox.arrived == expected
    assert set(sent_by.values()) == set(BACKENDS)
    assert not [note for note in proxy.notes if note["level"] in ("error", "warning") and "session" in note]

    volume = sum(sender.bytes_sent for sender in senders)
    record_property("messages", MESSAGES)
    record_property("MiB", volume / 2**20)
    record_property("by BDAT", sum(sender.by_bdat for sender in senders))
    record_property("connections", sum(sender.connections for sender in senders))
    record_property("seconds until all were accepted", sent)
    record_property("seconds until all were delivered", delivered)
    record_property("proxy's memory, MiB", proxy.rss_kib() / 1024)
