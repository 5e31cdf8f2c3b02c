"""Tests for :mod:`tlsproxy.fronts.transfer`."""

from tlsproxy.fronts.content import Chunk, Message
from tlsproxy.fronts.options import BareNewline
from tlsproxy.fronts.transfer import SWALLOW_LIMIT, Transfer, Verdict
from tlsproxy.fronts.verbs import Awaited

VERDICT = Verdict(b"421 4.3.2 x\r\n", "backend_lost")


def test_content_passes_to_its_end() -> None:
    transfer = Transfer(Message(BareNewline.REJECT), Awaited.END_OF_DATA)
    assert transfer.receive(b"a\r\n.\r\nQUIT") == b"a\r\n.\r\n"
    assert (transfer.rest, transfer.refused) == (b"QUIT", None)


def test_with_a_verdict_nothing_passes_and_the_end_is_found() -> None:
    transfer = Transfer(Message(BareNewline.REJECT), Awaited.END_OF_DATA)
    assert transfer.receive(b"a") == b"a"
    transfer.verdict = VERDICT
    assert transfer.receive(b"b\nc") == b""
    assert transfer.rest is None
    assert transfer.receive(b"\r\n.\r\n") == b""
    assert transfer.rest == b""


def test_what_is_thrown_away_has_a_limit() -> None:
    transfer = Transfer(Chunk(SWALLOW_LIMIT * 2), Awaited.END_OF_DATA, VERDICT)
    piece = bytes(SWALLOW_LIMIT // 4)
    for _ in range(4):
        transfer.receive(piece)
        assert transfer.rest is None
    transfer.receive(b"x")
    assert transfer.rest == b""


def test_what_passes_has_none() -> None:
    transfer = Transfer(Chunk(SWALLOW_LIMIT * 2), Awaited.END_OF_DATA)
    piece = bytes(SWALLOW_LIMIT)
    transfer.receive(piece)
    transfer.receive(b"x")
    assert transfer.rest is None
