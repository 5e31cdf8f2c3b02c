"""Tests for tlsproxy.service.channel."""

import os
import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.service import channel
from tlsproxy.service.channel import (
    MAX_FDS,
    BlockingChannel,
    ChannelError,
    Decoder,
    Message,
    ReactorChannel,
    close_all,
    encode,
    socket_pair,
)


def content(messages: list[Message]) -> list[tuple[str, Any]]:
    return [(message.type, message.values) for message in messages]


class Reactor:
    """Remembers who wants to read and write."""

    def __init__(self) -> None:
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)


class End:
    """A reactor's end, and what it told."""

    def __init__(self, sock: socket.socket) -> None:
        self.reactor = Reactor()
        self.messages: list[Message] = []
        self.lost: list[str] = []
        self.channel = ReactorChannel(
            sock, reactor=self.reactor, received=self.messages.append, lost=self.lost.append
        )


@pytest.fixture
def blocking_pair() -> Iterator[tuple[BlockingChannel, BlockingChannel]]:
    one, other = map(BlockingChannel, socket_pair())
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def pair() -> Iterator[tuple[End, BlockingChannel]]:
    one, other = socket_pair()
    end, peer = End(one), BlockingChannel(other)
    yield end, peer
    end.channel.close()
    peer.close()


WIRE = encode("a", {"n": 1}) + encode("b", {"text": "zwei\n"}) + encode("c", {})
SENT = [("a", {"n": 1}), ("b", {"text": "zwei\n"}), ("c", {})]


def test_messages_come_as_they_were_sent() -> None:
    assert content([*Decoder().feed(WIRE)]) == SENT


def test_messages_come_byte_by_byte() -> None:
    decoder = Decoder()
    assert content([message for byte in WIRE for message in decoder.feed(bytes([byte]))]) == SENT


@given(cuts=st.lists(st.integers(0, len(WIRE)), max_size=4))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    decoder = Decoder()
    places = [0, *sorted(cuts), len(WIRE)]
    parts = [WIRE[start:end] for start, end in pairwise(places)]
    assert content([message for part in parts for message in decoder.feed(part)]) == SENT


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"1\n",
        b'{"type":"a"}\n',
        b'{"type":1,"fds":0}\n',
        b"\xff\n",
        b"[" * 9999 + b"\n",
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ChannelError):
        list(Decoder().feed(line))


@given(junk=st.binary(max_size=200))
def test_nothing_but_a_channel_error_comes_of_junk(junk: bytes) -> None:
    try:
        list(Decoder().feed(junk))
    except ChannelError:
        return
    assert junk.count(b"\n") == 0


@pytest.mark.parametrize("count", ["1", "-1", '"0"', "null"])
def test_a_message_that_claims_descriptors_which_did_not_come_is_refused(count: str) -> None:
    with pytest.raises(ChannelError, match="without its descriptors"):
        list(Decoder().feed(f'{{"type":"a","fds":{count}}}\n'.encode()))


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "MAX_LINE", 100)
    with pytest.raises(ChannelError, match="more than 100 bytes"):
        list(Decoder().feed(b"x" * 101))


def test_too_large_a_message_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "MAX_LINE", 100)
    with pytest.raises(ChannelError, match="too large"):
        encode("a", {"text": "x" * 100})


def test_more_descriptors_than_the_kernel_takes_are_not_sent() -> None:
    with pytest.raises(ChannelError, match="too large"):
        encode("a", {}, MAX_FDS + 1)


def test_descriptors_come_with_their_message(blocking_pair: tuple[BlockingChannel, BlockingChannel]) -> None:
    one, other = blocking_pair
    reading, writing = os.pipe()
    one.send("first")
    one.send("pipe", fds=[reading, writing])
    one.send("last", fds=[reading])
    first, pipe, last = other.receive(5), other.receive(5), other.receive(5)
    assert (first.fds, len(pipe.fds), len(last.fds)) == ((), 2, 1)
    os.write(pipe.fds[1], b"through")
    assert os.read(last.fds[0], 100) == b"through"
    assert not any(os.get_inheritable(fd) for fd in pipe.fds)
    close_all([reading, writing, *pipe.fds, *last.fds])


def test_as_many_descriptors_come_as_the_kernel_takes(
    blocking_pair: tuple[BlockingChannel, BlockingChannel],
) -> None:
    one, other = blocking_pair
    one.send("many", fds=[one.fileno()] * MAX_FDS)
    message = other.receive(5)
    assert len(message.fds) == MAX_FDS
    message.close()


def test_the_end_of_the_peer_is_told(blocking_pair: tuple[BlockingChannel, BlockingChannel]) -> None:
    one, other = blocking_pair
    one.send("last")
    one.close()
    assert other.receive(5).type == "last"
    with pytest.raises(EOFError):
        other.receive(5)


def test_a_silent_peer_is_told(blocking_pair: tuple[BlockingChannel, BlockingChannel]) -> None:
    with pytest.raises(TimeoutError):
        blocking_pair[0].receive(0.01)


def test_a_reactor_s_end_reads_and_writes(pair: tuple[End, BlockingChannel]) -> None:
    end, peer = pair
    peer.send("question", n=7, fds=[peer.fileno()])
    end.channel.doRead()
    (question,) = end.messages
    assert (question.values, len(question.fds)) == ({"n": 7}, 1)
    question.close()
    end.channel.send("answer", n=8, fds=[peer.fileno()])
    answer = peer.receive(5)
    assert (answer.type, answer.values, len(answer.fds)) == ("answer", {"n": 8}, 1)
    answer.close()
    assert not end.reactor.writers


def test_a_message_larger_than_the_socket_s_buffer_arrives(pair: tuple[End, BlockingChannel]) -> None:
    end, peer = pair
    text = "x" * 3_000_000
    end.channel.send("large", text=text, fds=[peer.fileno()])
    end.channel.send("next")
    assert end.reactor.writers == {end.channel}
    arrived: list[Message] = []
    while len(arrived) < 2:
        end.channel.doWrite()
        arrived += peer.read(5)
    assert content(arrived) == [("large", {"text": text}), ("next", {})]
    assert [len(message.fds) for message in arrived] == [1, 0]
    assert not end.reactor.writers
    arrived[0].close()


def test_a_peer_that_does_not_read_is_given_up(
    pair: tuple[End, BlockingChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    end, _ = pair
    monkeypatch.setattr(channel, "MAX_QUEUE", 1_000_000)
    while not end.lost:
        end.channel.send("more", text="x" * 100_000, fds=[0])
    assert end.lost == ["it doesn't read"]
    assert not end.channel.open
    assert not end.reactor.readers | end.reactor.writers
    end.channel.send("nothing happens")


def test_a_reactor_s_end_tells_that_the_peer_is_gone_once(pair: tuple[End, BlockingChannel]) -> None:
    end, peer = pair
    peer.send("last")
    peer.close()
    end.channel.doRead()
    end.channel.doRead()
    assert content(end.messages) == [("last", {})]
    assert end.lost == ["it has closed"]
    end.channel.close()
    assert end.lost == ["it has closed"]


def test_a_peer_that_breaks_the_protocol_is_given_up(pair: tuple[End, BlockingChannel]) -> None:
    end, peer = pair
    peer._socket.send(b"junk\n")
    end.channel.doRead()
    assert end.lost == ["not a message: b'junk'"]


def test_a_message_that_closes_the_channel_is_the_last(pair: tuple[End, BlockingChannel]) -> None:
    end, peer = pair
    end.channel._received = lambda _: end.channel.close()
    peer.send("one")
    peer.send("two", fds=[peer.fileno()])
    end.channel.doRead()
    assert not end.channel.open
    assert end.lost == []


def test_all_is_sent_at_the_end_of_a_process(pair: tuple[End, BlockingChannel]) -> None:
    end, peer = pair
    end.channel.send("small")
    end.channel.flush(5)
    assert peer.receive(5).type == "small"


def test_a_peer_that_does_not_read_does_not_hold_up_the_end(pair: tuple[End, BlockingChannel]) -> None:
    end, _ = pair
    end.channel.send("large", text="x" * 3_000_000)
    end.channel.flush(0.01)
    assert not end.channel.open


def test_a_channel_is_given_away_with_what_was_read(
    blocking_pair: tuple[BlockingChannel, BlockingChannel],
) -> None:
    one, other = blocking_pair
    one._socket.sendall(encode("a", {}) + encode("b", {}) + encode("c", {})[:5])
    other.receive(5)
    sock, decoder, arrived = other.detach()
    assert content(arrived) == [("b", {})]
    assert sock is other._socket
    assert content([*decoder.feed(encode("c", {})[5:])]) == [("c", {})]
