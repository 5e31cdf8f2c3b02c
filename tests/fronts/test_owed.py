"""Tests for :mod:`tlsproxy.fronts.owed`."""

from functools import partial

from tlsproxy.fronts.owed import OWED_LIMIT, Owed
from tlsproxy.fronts.verbs import Awaited


def test_an_action_waits_for_the_replies_before_it() -> None:
    owed, done = Owed(), list[str]()
    owed.act(partial(done.append, "at once"))
    owed.expect(Awaited.MAIL)
    owed.act(partial(done.append, "behind MAIL"))
    owed.act(partial(done.append, "too"))
    owed.expect(Awaited.QUIT)
    owed.act(partial(done.append, "behind QUIT"))
    owed.settle()
    assert done == ["at once"]
    assert owed.replied() is Awaited.MAIL
    assert owed.replied() is None  # a reply that came out of turn doesn't overtake
    owed.settle()
    assert done == ["at once", "behind MAIL", "too"]
    assert owed.replied() is Awaited.QUIT
    owed.settle()
    assert done[-1] == "behind QUIT"
    assert owed.replied() is None


def test_a_command_that_ends_its_group_blocks_until_all_replies_have_come() -> None:
    owed = Owed()
    assert not owed.blocks(pipelining=True)
    owed.expect(Awaited.MAIL, pipelined=True)
    assert not owed.blocks(pipelining=True)
    owed.expect(Awaited.DATA)
    assert owed.blocks(pipelining=True)
    owed.replied()
    owed.settle()
    assert owed.blocks(pipelining=True)
    owed.replied()
    owed.settle()
    owed.expect(Awaited.MAIL, pipelined=True)
    assert not owed.blocks(pipelining=True)


def test_an_action_can_end_its_group() -> None:
    owed = Owed()
    owed.expect(Awaited.MAIL, pipelined=True)
    owed.act(owed.clear, pipelined=False)
    assert owed.blocks(pipelining=True)
    owed.replied()
    owed.settle()
    assert not owed.blocks(pipelining=True)


def test_a_backend_without_pipelining_gets_one_command_at_a_time() -> None:
    owed = Owed()
    owed.expect(Awaited.MAIL, pipelined=True)
    assert owed.blocks(pipelining=False)


def test_a_group_has_a_limit() -> None:
    owed = Owed()
    for _ in range(OWED_LIMIT - 1):
        owed.expect(Awaited.OTHER, pipelined=True)
    assert not owed.blocks(pipelining=True)
    owed.expect(Awaited.OTHER, pipelined=True)
    assert owed.blocks(pipelining=True)


def test_it_knows_what_it_awaits() -> None:
    owed = Owed()
    owed.expect(Awaited.QUIT)
    assert owed.awaits_only(Awaited.QUIT)
    assert not owed.awaits_only(Awaited.MAIL)
    owed.expect(Awaited.MAIL)
    assert not owed.awaits_only(Awaited.QUIT)
    assert owed.awaits_any({Awaited.MAIL, Awaited.DATA})
    assert not owed.awaits_any({Awaited.DATA})
    owed.clear()
    assert not owed.awaits_any(set(Awaited))


def test_what_needs_another_reply_is_put_back() -> None:
    owed = Owed()
    owed.expect(Awaited.GREETING)
    owed.put_back(Awaited.GREETING if owed.replied() else Awaited.OTHER)
    owed.settle()
    assert owed.blocks(pipelining=True)
    assert owed.replied() is Awaited.GREETING
