"""The database is kept up to date, and its failures hurt no session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from tests.ops.report.samples import established, refused
from tlsproxy.notes import Note, ReportFailed
from tlsproxy.ops.report.buffer import ReportBuffer
from tlsproxy.ops.report.store import ReportReader
from tlsproxy.ops.report.writer import INTERVAL, ReportWriter


class World:
    """A writer, its clock, and what it noted. Its thread is this one, unless ``hold`` is set."""

    def __init__(self, path: Path | None) -> None:
        self.clock = Clock()
        self.noted: list[Note] = []
        self.calls = 0
        self.hold = False
        self.held: list[Callable[[], object]] = []
        self.writer = ReportWriter(
            None if path is None else str(path),
            reactor=self.clock,
            notify=self.noted.append,
            in_thread=self._in_thread,
        )

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.calls += 1
        if not self.hold:
            return maybeDeferred(function, *arguments)
        done: Deferred[Any] = Deferred()
        self.held.append(lambda: maybeDeferred(function, *arguments).chainDeferred(done))
        return done

    def release(self) -> None:
        self.hold = False
        for call in self.held:
            call()
        self.held.clear()

    def passes(self) -> None:
        self.clock.advance(INTERVAL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.db"


def sessions_in(path: Path) -> int:
    reader = ReportReader(str(path))
    try:
        return sum(row.sessions for row in reader.rows())
    finally:
        reader.close()


def test_what_was_heard_is_in_the_file_a_moment_later(path: Path) -> None:
    world = World(path)
    world.writer.start()
    world.writer.hear(refused())
    world.passes()
    assert sessions_in(path) == 1
    world.writer.stop()
    assert world.noted == []


def test_what_other_processes_heard_is_too(path: Path) -> None:
    world = World(path)
    world.writer.start()
    other = ReportBuffer()
    other(refused())
    world.writer.merge(other.take())
    world.passes()
    assert sessions_in(path) == 1
    world.writer.stop()


def test_the_last_word_is_written_at_the_stop(path: Path) -> None:
    world = World(path)
    world.writer.start()
    world.writer.hear(refused())
    assert world.writer.stop().called
    assert sessions_in(path) == 1
    assert not world.clock.getDelayedCalls()


def test_the_stop_waits_for_a_write_that_runs(path: Path) -> None:
    world = World(path)
    world.writer.start()
    world.writer.hear(refused())
    world.hold = True
    world.passes()
    world.writer.hear(refused())
    told: list[None] = []
    world.writer.stop().addCallback(told.append)
    assert told == []
    world.release()
    assert told == [None]
    assert sessions_in(path) == 2


def test_a_writer_that_never_started_stops(path: Path) -> None:
    assert World(path).writer.stop().called


def test_nothing_is_written_where_nothing_happens(path: Path) -> None:
    world = World(path)
    world.writer.start()
    before = world.calls
    for _ in range(10):
        world.passes()
    assert world.calls == before
    world.writer.stop()


def test_what_an_earlier_life_wrote_is_at_hand_at_once(path: Path) -> None:
    first = World(path)
    first.writer.start()
    first.writer.hear(refused())
    first.writer.hear(established("TLSv1", would_be_refused=True))
    first.writer.stop()
    second = World(path)
    second.writer.start()
    [row] = second.writer.top
    [summary] = second.writer.summary
    assert (row["helo"], row["sessions"]) == ("scanner", 1)
    assert (summary["sessions"], summary["refused"], summary["networks"]) == (1, 1, 1)
    second.writer.stop()


def test_without_a_file_rows_are_at_hand_while_the_process_lives() -> None:
    world = World(None)
    world.writer.start()
    world.writer.hear(refused())
    world.passes()
    assert [row["network"] for row in world.writer.top] == ["10.3.7.0/24"]
    world.writer.stop()


def test_a_file_that_fails_is_told_once_and_what_was_heard_is_kept(path: Path) -> None:
    directory = path.parent / "later"
    world = World(directory / "report.db")
    world.writer.start()
    world.writer.hear(refused())
    for _ in range(5):
        world.passes()
    [note] = world.noted
    assert isinstance(note, ReportFailed)
    assert note.detail == f"{directory}/report.db: No such file or directory"
    directory.mkdir()
    world.passes()
    assert sessions_in(directory / "report.db") == 1
    world.writer.stop()
    assert len(world.noted) == 1


def test_a_failure_after_a_recovery_is_told_again(path: Path) -> None:
    world = World(path)
    world.writer.start()
    for expected in (1, 2):
        world.writer.path = str(path.parent / "nowhere" / "report.db")
        world.passes()
        world.passes()
        world.writer.path = str(path)
        world.passes()
        assert len(world.noted) == expected
    world.writer.stop()


def test_a_damaged_file_is_told_once(path: Path) -> None:
    path.write_text("no database at all" * 100)
    world = World(path)
    world.writer.start()
    world.writer.hear(refused())
    world.passes()
    [note] = world.noted
    assert isinstance(note, ReportFailed)
    assert note.detail == f"{path} was damaged: it is now {path}.damaged, and a new one begins"
    assert sessions_in(path) == 1
    world.writer.stop()


def test_another_file_is_written_from_the_moment_it_is_named(path: Path) -> None:
    world = World(path)
    world.writer.start()
    world.writer.hear(refused())
    world.passes()
    other = path.with_name("other.db")
    world.writer.path = str(other)
    world.passes()
    assert world.writer.top == [], "its rows are shown, and there are none"
    world.writer.hear(refused())
    world.passes()
    assert (sessions_in(path), sessions_in(other)) == (1, 1)
    world.writer.stop()
