"""One reload at a time."""

from datetime import UTC, datetime

import pytest
from twisted.internet.defer import Deferred

from tlsproxy.errors import Problem
from tlsproxy.service.reload import Reloader, ReloadResult


class World:
    def __init__(self) -> None:
        self.running: list[tuple[str, Deferred[ReloadResult]]] = []
        self.told: list[str] = []
        self.reloader = Reloader(self.run)

    def run(self, trigger: str) -> Deferred[ReloadResult]:
        self.running.append((trigger, Deferred()))
        return self.running[-1][1]

    def ask(self, trigger: str, name: str) -> None:
        self.reloader.request(trigger).addCallback(
            lambda result: self.told.append(f"{name}: {result.trigger}")
        )

    def finish(self) -> None:
        trigger, deferred = self.running[-1]
        deferred.callback(result(trigger))


def result(trigger: str, *problems: Problem) -> ReloadResult:
    return ReloadResult(
        trigger=trigger, when=datetime.now(UTC), duration=0.0, problems=problems, generation=2
    )


@pytest.fixture
def world() -> World:
    return World()


def test_requests_wait_for_the_start_and_are_then_one(world: World) -> None:
    world.ask("SIGHUP", "a")
    world.ask("command", "b")
    assert world.running == []
    world.reloader.start()
    assert [trigger for trigger, _ in world.running] == ["SIGHUP"]
    world.finish()
    assert world.told == ["a: SIGHUP", "b: SIGHUP"]


def test_requests_during_a_reload_are_carried_out_together_after_it(world: World) -> None:
    world.reloader.start()
    world.ask("SIGHUP", "a")
    world.ask("certificate", "b")
    world.ask("command", "c")
    assert len(world.running) == 1
    world.finish()
    assert world.told == ["a: SIGHUP"]
    assert [trigger for trigger, _ in world.running] == ["SIGHUP", "certificate"]
    world.finish()
    assert world.told[1:] == ["b: certificate", "c: certificate"]
    assert len(world.running) == 2


def test_who_asks_again_when_told_gets_another(world: World) -> None:
    world.reloader.start()
    world.reloader.request("SIGHUP").addCallback(lambda _: world.ask("command", "again"))
    world.finish()
    assert [trigger for trigger, _ in world.running] == ["SIGHUP", "command"]
    world.finish()
    assert world.told == ["again: command"]


def test_a_result_with_problems_is_not_ok() -> None:
    assert result("SIGHUP").ok
    assert not result("SIGHUP", Problem("x", "y")).ok
