"""Renewed files are noticed: once, and when they are whole."""

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tlsproxy.config.parse import parse
from tlsproxy.service.watch import INTERVAL, FileWatch, State, watched_files

LONG_AFTER = 2e10
"""Every file is older than that."""


def at_once(work: Callable[[], State]) -> Deferred[State]:
    return succeed(work())


class World:
    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.told = 0
        self.file = directory / "cert.pem"
        self.file.write_text("one")
        self.watch = FileWatch(self.clock, at_once, self.tell)
        self.watch.files_read(frozenset({str(self.file)}), LONG_AFTER)

    def tell(self) -> None:
        self.told += 1

    def look(self, times: int = 1) -> int:
        for _ in range(times):
            self.clock.advance(INTERVAL)
        return self.told


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_nothing_is_told_of_what_stays_as_it_is(world: World) -> None:
    assert world.look(5) == 0


def test_a_change_is_told_once_when_it_is_over(world: World) -> None:
    world.file.write_text("half")
    assert world.look() == 0
    world.file.write_text("half and half")
    assert world.look() == 0, "it was still being written"
    assert world.look() == 1
    assert world.look(5) == 1


def test_a_file_that_goes_and_comes_is_a_change(world: World) -> None:
    world.file.unlink()
    assert world.look(2) == 1
    world.file.write_text("another")
    assert world.look(2) == 2


def test_a_symbolic_link_is_followed(world: World, tmp_path: Path) -> None:
    (tmp_path / "two").write_text("two")
    link = tmp_path / "link"
    link.symlink_to(world.file)
    world.watch.files_read(frozenset({str(link)}), LONG_AFTER)
    assert world.look(3) == 0
    (tmp_path / "next").symlink_to(tmp_path / "two")
    (tmp_path / "next").replace(link)
    assert world.look(2) == 1


def test_what_a_reload_has_read_is_no_change(world: World) -> None:
    world.file.write_text("another")
    world.watch.files_read(frozenset({str(world.file)}), LONG_AFTER)
    assert world.look(5) == 0


def test_what_changed_while_it_was_read_is_read_again(world: World) -> None:
    world.file.write_text("another")
    world.watch.files_read(frozenset({str(world.file)}), 0.0)
    assert world.look(3) == 1


def test_a_watch_that_stopped_looks_no_more(world: World) -> None:
    world.file.write_text("another")
    world.watch.stop()
    assert world.look(5) == 0
    assert world.clock.getDelayedCalls() == []


def test_a_look_that_fails_is_followed_by_another(tmp_path: Path) -> None:
    clock = Clock()
    looks: list[int] = []

    def failing(work: Callable[[], State]) -> Deferred[State]:
        looks.append(1)
        raised: Deferred[State] = Deferred()
        raised.errback(RuntimeError("no thread"))
        return raised

    watch = FileWatch(clock, failing, lambda: None)
    watch.files_read(frozenset({str(tmp_path)}), LONG_AFTER)
    clock.advance(INTERVAL)
    clock.advance(INTERVAL)
    assert len(looks) == 2


def test_every_file_of_tls_options_is_watched() -> None:
    configuration = parse(
        """
        tls_certificate = ["a.pem", "b.pem"]
        tls_key = ["a.key", "b.key"]
        tls_certificate_tlsa = "tlsa"
        [backend.x]
        servers = ["127.0.0.1:9"]
        tls = "implicit"
        tls_ca = "backend-ca.pem"
        tls_certificate = "client.pem"
        tls_key = "client.key"
        [[stream_listener]]
        backend = "x"
        [[stream_listener.listen]]
        address = "127.0.0.1:0"
        [[stream_listener.listen.peer]]
        network = "10.0.0.0/8"
        tls_client_ca = "ca.pem"
        tls_verify_mode = "require"
        tls_certificate = "c.pem"
        tls_key = "c.key"
        """,
        "/etc/tlsproxy/tlsproxy.toml",
    )
    assert {Path(file).name for file in watched_files(configuration)} == {
        *("a.pem", "b.pem", "c.pem", "a.key", "b.key", "c.key", "ca.pem"),
        *("tlsa", "backend-ca.pem", "client.pem", "client.key"),
    }
