"""Tests for tlsproxy.service.log_pipe."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.service.test_channel import Reactor
from tlsproxy.notes import Level
from tlsproxy.service.log_pipe import KEPT, LineDecoder, LogReader, PipeSink

LINES = [
    (Level.INFO, "one"),
    (Level.WARNING, "two\n    | of a traceback"),
    (Level.ERROR, ""),
    (Level.INFO, "x" * 9999),
]
WIRE = b"ione\0wtwo\n    | of a traceback\0e\0i" + b"x" * 9999 + b"\0"


class Pipe:
    """Both ends of a pipe, and what came through."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.reactor = Reactor()
        self.lines: list[tuple[Level, str]] = []
        self.ends = 0
        self.sink = PipeSink(writing, self.reactor)
        self.reader = LogReader(reading, reactor=self.reactor, write=self.take, ended=self.end)

    def take(self, level: Level, line: str) -> None:
        self.lines.append((level, line))

    def end(self) -> None:
        self.ends += 1

    def fill(self) -> int:
        """Write until a line is lost; how many weren't."""
        count = 0
        while True:
            try:
                self.sink.write(Level.INFO, "x" * 1000)
                self.sink.flush()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.sink.fileno())
    pipe.reader.connectionLost(Failure(ConnectionDone()))
    assert pipe.ends == 1


def test_lines_come_whole() -> None:
    assert [*LineDecoder().feed(WIRE)] == LINES


def test_lines_come_byte_by_byte() -> None:
    decoder = LineDecoder()
    assert [line for byte in WIRE for line in decoder.feed(bytes([byte]))] == LINES


@given(cut=st.integers(0, len(WIRE)))
def test_it_does_not_matter_where_the_bytes_are_cut(cut: int) -> None:
    decoder = LineDecoder()
    assert [*decoder.feed(WIRE[:cut]), *decoder.feed(WIRE[cut:])] == LINES


def test_a_line_without_end_comes_in_parts() -> None:
    decoder = LineDecoder()
    assert not [*decoder.feed(b"i" + b"x" * (KEPT - 1))]
    assert [*decoder.feed(b"xx")] == [(Level.INFO, "x" * (KEPT + 1))]


@given(data=st.binary())
def test_junk_is_lines_too(data: bytes) -> None:
    assert len([*LineDecoder().feed(data)]) == data.count(b"\0")


def test_lines_go_through_in_one_piece(pipe: Pipe) -> None:
    for level, line in LINES:
        pipe.sink.write(level, line)
    pipe.sink.flush()
    pipe.reader.doRead()
    assert pipe.lines == LINES
    assert not pipe.reactor.writers


def test_a_late_reader_gets_every_line_that_was_kept(pipe: Pipe) -> None:
    written = pipe.fill()
    assert pipe.reactor.writers == {pipe.sink}
    while pipe.reactor.writers:
        pipe.reader.doRead()
        pipe.sink.doWrite()
    pipe.reader.doRead()
    assert pipe.lines == [(Level.INFO, "x" * 1000)] * written
    assert written * 1000 > KEPT


def test_a_reader_that_is_gone_loses_lines_and_no_time(pipe: Pipe) -> None:
    pipe.fill()
    pipe.reader.connectionLost(Failure(ConnectionDone()))
    pipe.sink.doWrite()
    assert not pipe.reactor.writers
    pipe.sink.write(Level.INFO, "x")
    with pytest.raises(BrokenPipeError):
        pipe.sink.flush()


def test_the_end_of_a_process_waits_for_its_reader_but_not_long(pipe: Pipe) -> None:
    pipe.sink.write(Level.INFO, "x")
    pipe.sink.wait(5)
    pipe.fill()
    pipe.sink.wait(0.01)
    assert pipe.reactor.writers == {pipe.sink}


def test_the_end_of_a_process_does_not_wait_for_a_reader_that_is_gone(pipe: Pipe) -> None:
    pipe.fill()
    pipe.reader.connectionLost(Failure(ConnectionDone()))
    pipe.sink.wait(5)


def test_the_end_is_told_once(pipe: Pipe) -> None:
    duplicate = os.dup(pipe.sink.fileno())
    os.close(duplicate)
    pipe.reader.doRead()
    assert pipe.ends == 0
    pipe.sink.connectionLost(Failure(ConnectionDone()))
    pipe.reader.connectionLost(Failure(ConnectionDone()))
    pipe.reader.doRead()
    assert pipe.ends == 1
