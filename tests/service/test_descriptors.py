"""Tests for :mod:`tlsproxy.service.descriptors`: figures, and when accepting stops and goes on."""

import resource
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.support.certificates import Authority
from tlsproxy.notes import DescriptorsScarce, Note
from tlsproxy.service import descriptors
from tlsproxy.service.descriptors import (
    BURST,
    OVERHEAD,
    PAUSE,
    QUIET,
    RESERVE,
    DescriptorWatch,
    raise_soft_limit,
    shortage,
)
from tlsproxy.service.prepare import Prepared, prepare


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> str:
    issued = authority.issue("mx.example.org", stem="descriptors")
    return f'tls_certificate = "{issued.chain_path}"\ntls_key = "{issued.key_path}"\n'


def prepared(tmp_path: Path, certificate: str, head: str, listen: str = "") -> Prepared:
    config = tmp_path / "tlsproxy.toml"
    config.write_text(f"""{certificate}
{head}
[backend.old]
servers = ["127.0.0.1:2525"]
source_address = "127.0.0.9"
[[esmtp_listener]]
backend = "old"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:2526"
  [[esmtp_listener.listen]]
  address = "127.0.0.1:2527"
  {listen}
""")
    return prepare(config)


class TestFigures:
    def told(self, ready: Prepared, limit: int) -> str | None:
        problem = shortage(ready, limit)
        return None if problem is None else problem.message

    def test_two_for_each_session_and_some_beside(self, tmp_path: Path, certificate: str) -> None:
        ready = prepared(tmp_path, certificate, "max_sessions = 1000")
        needed = 2000 + OVERHEAD + 2
        assert shortage(ready, needed) is None
        problem = shortage(ready, needed - 1)
        assert problem is not None
        assert problem.path == "max_sessions"
        assert problem.message.startswith(
            f"1000 sessions need {needed} file descriptors in each of 1 process, and {needed - 1} can be had: "
            "enough for 999 sessions."
        )

    def test_each_process_has_its_part(self, tmp_path: Path, certificate: str) -> None:
        ready = prepared(tmp_path, certificate, "max_sessions = 1000\nworkers = 4")
        assert self.told(ready, 500 + OVERHEAD + 2) is None
        message = self.told(ready, 499 + OVERHEAD + 2)
        assert message is not None
        assert "in each of 4 processes" in message
        assert "enough for 996 sessions" in message

    def test_scopes_with_a_value_of_their_own_add_up(self, tmp_path: Path, certificate: str) -> None:
        ready = prepared(tmp_path, certificate, "max_sessions = 1000", "max_sessions = 500")
        assert self.told(ready, 3000 + OVERHEAD + 2) is None
        assert self.told(ready, 2999 + OVERHEAD + 2) is not None

    def test_one_scope_counts_once_however_many_listens_it_is_for(
        self, tmp_path: Path, certificate: str
    ) -> None:
        ready = prepared(tmp_path, certificate, "")
        assert self.told(ready, 16_000 + OVERHEAD + 2) is None

    @pytest.mark.parametrize("scopes", [("max_sessions = 0", ""), ("max_sessions = 9", "max_sessions = 0")])
    def test_without_a_limit_there_is_nothing_to_compare(
        self, tmp_path: Path, certificate: str, scopes: tuple[str, str]
    ) -> None:
        assert self.told(prepared(tmp_path, certificate, *scopes), 0) is None

    def test_too_few_for_any_session_are_enough_for_none(self, tmp_path: Path, certificate: str) -> None:
        message = self.told(prepared(tmp_path, certificate, "max_sessions = 1"), 10)
        assert message is not None
        assert "enough for 0 sessions" in message


class TestSoftLimit:
    @pytest.fixture
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        state: dict[str, Any] = {"now": (1024, 4096), "refuse": False}

        def setrlimit(which: int, wanted: tuple[int, int]) -> None:
            assert which == resource.RLIMIT_NOFILE
            if state["refuse"]:
                raise ValueError("not allowed to raise maximum limit")
            state["now"] = wanted

        monkeypatch.setattr("resource.getrlimit", lambda _: state["now"])
        monkeypatch.setattr("resource.setrlimit", setrlimit)
        return state

    def test_it_is_raised_to_the_hard_one(self, limits: dict[str, Any]) -> None:
        assert raise_soft_limit() == 4096
        assert limits["now"] == (4096, 4096)
        assert raise_soft_limit() == 4096

    def test_where_it_can_t_be_it_stays(self, limits: dict[str, Any]) -> None:
        limits["refuse"] = True
        assert raise_soft_limit() == 1024


class Accepted:
    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


class Port:
    """As much of a port as is used."""

    def __init__(self) -> None:
        self.reading = True
        self.connected = True
        self.made: list[int] = []
        self.numberAccepts = 100

    def transport(self, accepted: Accepted, *_: object) -> str:
        self.made.append(accepted.number)
        return "transport"

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class Watched:
    def __init__(self, limit: int = 200) -> None:
        self.clock = Clock()
        self.notes: list[Note] = []
        self.next = 10
        self.watch = DescriptorWatch(
            limit, clock=self.clock, notify=self.notes.append, next_descriptor=lambda: self.next
        )
        self.few = limit - RESERVE
        self.ports = [Port(), Port()]
        for port in self.ports:
            self.watch.guard(port)

    def accepts(self, number: int) -> None:
        assert self.ports[0].transport(Accepted(number), "protocol") == "transport"
        self.next = number + 1

    @property
    def accepting(self) -> list[bool]:
        return [port.reading for port in self.ports]


class TestWatch:
    def test_with_enough_left_nothing_happens(self) -> None:
        watched = Watched()
        watched.accepts(watched.few - 1)
        assert watched.accepting == [True, True]
        assert watched.ports[0].made == [watched.few - 1]
        assert watched.notes == []

    def test_when_few_are_left_every_port_stops_and_it_is_noted_once(self) -> None:
        watched = Watched()
        watched.accepts(watched.few)
        watched.accepts(watched.few + 1)
        assert watched.accepting == [False, False]
        assert watched.notes == [DescriptorsScarce(limit=200)]
        assert watched.ports[0].made == [watched.few, watched.few + 1]

    def test_it_goes_on_when_there_are_some(self) -> None:
        watched = Watched()
        watched.accepts(watched.few)
        watched.clock.pump([PAUSE] * 5)
        assert watched.accepting == [False, False]
        watched.next = 20
        watched.clock.advance(PAUSE)
        assert watched.accepting == [True, True]
        assert watched.clock.getDelayedCalls() == []

    def test_a_shortage_is_told_once_however_often_it_stops(self) -> None:
        watched = Watched()
        for _ in range(10):
            watched.accepts(watched.few)
            watched.next = 20
            watched.clock.advance(PAUSE)
        assert len(watched.notes) == 1
        watched.clock.advance(QUIET)
        watched.accepts(watched.few)
        assert len(watched.notes) == 2

    def test_of_many_a_share_is_left(self) -> None:
        watched = Watched(16_000)
        watched.accepts(14_999)
        assert watched.notes == []
        watched.accepts(15_000)
        assert watched.accepting == [False, False]

    def test_of_few_the_half_is_left(self) -> None:
        """Or a process whose own are as many as the reserve would accept nobody."""
        watched = Watched(40)
        watched.accepts(24)
        assert watched.accepting == [True, True]
        watched.accepts(25)
        assert watched.accepting == [False, False]

    def test_a_turn_accepts_a_burst_at_most(self) -> None:
        """Twisted's port goes on from where a turn leaves it: what was accepted if that is another number, else 20 more."""
        watched = Watched()
        assert watched.ports[0].numberAccepts == BURST
        watched.accepts(11)
        assert watched.ports[0].numberAccepts == 1 == BURST - 20

    def test_where_few_can_be_had_it_takes_no_more_than_can_be_served(self) -> None:
        watched = Watched(40)
        assert watched.ports[0].numberAccepts == 7
        watched.accepts(11)
        assert watched.ports[0].numberAccepts == 0

    def test_a_port_that_was_closed_meanwhile_stays_closed(self) -> None:
        watched = Watched()
        watched.accepts(watched.few)
        watched.ports[1].connected = False
        watched.next = 20
        watched.clock.advance(PAUSE)
        assert watched.accepting == [True, False]

    def test_stopped_it_touches_nothing_more(self) -> None:
        watched = Watched()
        watched.accepts(watched.few)
        watched.watch.stop()
        watched.watch.stop()
        watched.clock.advance(PAUSE)
        assert watched.accepting == [False, False]
        assert watched.clock.getDelayedCalls() == []

    def test_the_next_descriptor_is_the_lowest_that_is_free(self) -> None:
        with socket.socket() as first:
            number = first.fileno()
        assert descriptors._next_descriptor() == number

    def test_where_there_is_none_it_is_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none_left(*_: object) -> int:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr("os.open", none_left)
        assert descriptors._next_descriptor() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
