"""Tests for :mod:`tlsproxy.net.proxy_header`: connections that begin with a PROXY header."""

from collections.abc import Callable, Sequence
from typing import cast

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.identity.facts import CLIENT4, CLIENT6, SERVER4, SERVER6, UNIX, end
from tests.net.world import LOCAL, Transport
from tlsproxy.identity.client import ClientAddress
from tlsproxy.identity.proxy_header import LOCAL_V2, encode_v1, encode_v2
from tlsproxy.net.proxy_header import ProxyHeaderReader

SENDER = end("203.0.113.1", 40000)
TIMEOUT = 5.0


class Received(Protocol):
    """The session's protocol: what came to it."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.lost = True


class Behind:
    """A connection from a trusted proxy."""

    def __init__(self, *, usable: bool = True) -> None:
        self.clock = Clock()
        self.served = Received()
        self.accepted: list[tuple[ClientAddress, ClientAddress]] = []
        self.refusals: list[str] = []
        self.over: list[int] = []
        self._usable = usable
        reader = ProxyHeaderReader(
            sender=SENDER,
            accept=self._accept,
            refused=self.refusals.append,
            clock=self.clock,
            timeout=TIMEOUT,
            over=lambda _: self.over.append(len(self.accepted)),
        )
        self.reader = reader
        self.transport = Transport(reader)
        reader.makeConnection(self.transport)

    def _accept(self, client: ClientAddress, local: ClientAddress) -> IProtocol | None:
        self.accepted.append((client, local))
        return cast("IProtocol", self.served) if self._usable else None

    def says(self, *pieces: bytes) -> "Behind":
        for piece in pieces:
            self.transport.says(piece)
        return self

    @property
    def refused(self) -> bool:
        """The connection was reset, and nobody served it."""
        return self.transport.state == "aborted" and not self.accepted


def whole(data: bytes) -> Sequence[bytes]:
    return [data]


def bytewise(data: bytes) -> Sequence[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def apart(data: bytes) -> Sequence[bytes]:
    return [data[:-5], data[-5:]]


Split = Callable[[bytes], Sequence[bytes]]

HEADERS = {
    "v1 IPv4": (encode_v1(CLIENT4, SERVER4), CLIENT4, SERVER4),
    "v1 IPv6": (encode_v1(CLIENT6, SERVER6), CLIENT6, SERVER6),
    "v2 IPv4": (encode_v2(CLIENT4, SERVER4), CLIENT4, SERVER4),
    "v2 IPv6": (encode_v2(CLIENT6, SERVER6, checksum=True), CLIENT6, SERVER6),
    "LOCAL": (LOCAL_V2, SENDER, LOCAL),
    "unix": (encode_v2(UNIX, UNIX), UNIX, UNIX),
}


@pytest.mark.parametrize("split", [whole, bytewise, apart])
@pytest.mark.parametrize("header", HEADERS)
def test_the_client_is_who_the_header_says_however_it_comes(header: str, split: Split) -> None:
    data, client, local = HEADERS[header]
    behind = Behind().says(*split(data + b"EHLO "))
    behind.says(b"c")
    assert behind.accepted == [(client, local)]
    assert behind.served.data == b"EHLO c"
    assert behind.served.transport is behind.transport
    assert behind.transport.protocol is behind.served
    assert behind.clock.getDelayedCalls() == []


@pytest.mark.parametrize("header", HEADERS)
def test_nothing_is_made_up_behind_a_header(header: str) -> None:
    behind = Behind().says(HEADERS[header][0])
    assert behind.accepted
    assert behind.served.data == b""


def test_who_accepts_it_gets_its_end() -> None:
    behind = Behind().says(encode_v1(CLIENT4, SERVER4))
    behind.transport.is_lost()
    assert behind.served.lost


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n", LOCAL_V2[:12] + b"\x21\0\0\0"],
)
def test_a_client_without_a_name_is_not_taken_for_the_proxy(header: bytes) -> None:
    behind = Behind().says(header + b"EHLO c\r\n")
    assert behind.refused
    assert behind.refusals == ["the PROXY header names no client"]


@pytest.mark.parametrize(
    "data", [b"EHLO c\r\n", b"\x16\x03\x01", b"PROXY TCP4 x\r\n", LOCAL_V2[:12] + b"\x31\0\0\0", bytes(108)]
)
@pytest.mark.parametrize("split", [whole, bytewise])
def test_what_is_no_header_ends_the_connection_once(data: bytes, split: Split) -> None:
    behind = Behind().says(*split(data), b"more", encode_v1(CLIENT4, SERVER4))
    assert behind.refused
    assert len(behind.refusals) == 1
    assert behind.clock.getDelayedCalls() == []


@pytest.mark.parametrize("said", [b"", b"PROXY TCP4 192.0.2.1", LOCAL_V2[:14]])
def test_a_header_has_to_come_in_time(said: bytes) -> None:
    behind = Behind().says(said)
    behind.clock.advance(TIMEOUT - 0.1)
    assert not behind.refused
    behind.clock.advance(0.2)
    assert behind.refused
    assert behind.refusals == ["no PROXY header within 5 s"]
    behind.says(encode_v1(CLIENT4, SERVER4))
    assert behind.accepted == []


def test_the_time_is_that_of_the_header_alone() -> None:
    behind = Behind().says(encode_v1(CLIENT4, SERVER4))
    behind.clock.advance(TIMEOUT * 2)
    assert behind.refusals == []
    assert behind.transport.state == "open"


def test_a_connection_that_ends_before_its_header_leaves_nothing_behind() -> None:
    behind = Behind().says(b"PROXY ")
    behind.transport.is_lost()
    assert behind.clock.getDelayedCalls() == []
    assert behind.refusals == []


def test_a_client_whose_settings_can_t_be_used_is_closed() -> None:
    behind = Behind(usable=False).says(encode_v1(CLIENT4, SERVER4) + b"EHLO c\r\n")
    assert behind.accepted == [(CLIENT4, SERVER4)]
    assert behind.transport.state == "aborted"
    assert behind.served.data == b""


class TestItsEnd:
    def test_it_is_over_once_when_the_session_has_begun(self) -> None:
        behind = Behind().says(encode_v1(CLIENT4, SERVER4)[:10])
        assert behind.over == []
        behind.says(encode_v1(CLIENT4, SERVER4)[10:])
        assert behind.over == [1]
        behind.transport.is_lost()
        assert behind.over == [1]

    def test_it_is_over_once_however_it_ends(self) -> None:
        for end_it in (
            lambda behind: behind.says(b"GET / HTTP/1.1\r\n"),
            lambda behind: behind.clock.advance(TIMEOUT),
            lambda behind: behind.transport.is_lost(),
            lambda behind: behind.reader.abandon(),
        ):
            behind = Behind()
            end_it(behind)
            if behind.transport.state == "aborted":
                behind.transport.is_lost()
            assert behind.over == [0]
            assert behind.clock.getDelayedCalls() == []

    def test_it_is_over_when_nobody_serves_the_client(self) -> None:
        assert Behind(usable=False).says(encode_v1(CLIENT4, SERVER4)).over == [1]

    def test_abandoned_it_is_reset_without_a_refusal(self) -> None:
        behind = Behind()
        behind.reader.abandon()
        assert behind.transport.state == "aborted"
        assert behind.refusals == []
