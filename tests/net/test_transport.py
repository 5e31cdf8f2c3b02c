"""Tests for :mod:`tlsproxy.net.transport`: what a real peer has taken."""

import socket
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactor

from tlsproxy.net.transport import untaken


class Nobody:
    """A port, for the name."""

    _realPortNumber = 0  # noqa: N815 - Twisted's name


@pytest.fixture
def pair() -> Any:
    """A transport of Twisted's, and its peer's socket. No reactor runs: the test writes for it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        near, address = listening.accept()
    near.setblocking(False)
    transport: Any = Server(near, Protocol(), address, Nobody(), 0, MemoryReactor())  # type: ignore[arg-type]
    yield transport, far
    transport.stopReading()
    transport.stopWriting()
    near.close()
    far.close()


def test_nothing_written_is_nothing_untaken(pair: Any) -> None:
    assert untaken(pair[0]) == 0


def test_what_the_transport_keeps_and_what_the_kernel_queues_are_both_untaken(pair: Any) -> None:
    transport, far = pair
    total = 16 * 1024 * 1024
    transport.write(bytes(total // 2))
    assert untaken(transport) == total // 2
    transport.doWrite()
    transport.write(bytes(total // 2))
    transport.doWrite()
    taken = total - untaken(transport)
    assert 0 < taken < total  # what the peer's kernel holds is taken
    got = 0
    while got < taken + 100_000:
        got += len(far.recv(1 << 20))
        transport.doWrite()
    assert total - untaken(transport) > taken


def test_all_that_was_read_is_taken(pair: Any) -> None:
    transport, far = pair
    transport.write(b"hello")
    transport.doWrite()
    assert far.recv(5) == b"hello"
    assert untaken(transport) == 0


def test_a_transport_may_say_itself_what_it_keeps() -> None:
    near, far = socket.socketpair()

    class Lean:
        unsent = 7
        fileno = near.fileno

    with near, far:
        assert untaken(Lean()) == 7
