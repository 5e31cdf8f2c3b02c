"""Opening a connection to one server."""

from errno import EADDRNOTAVAIL, EMFILE
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.net.test_names import NameServer
from tlsproxy.config.addresses import parse_server_address
from tlsproxy.net.dialing import SHORTAGE, Dialer, Dialing, _NamingReactor
from tlsproxy.net.names import RememberingResolver

V4, V6 = IPv4Address("TCP", "192.0.2.1", 25), IPv6Address("TCP", "2001:db8::1", 25)


class World:
    """A dialer on a reactor in memory, and what came of its calls."""

    def __init__(self, server: str, **options: Any) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.names = NameServer()
        resolver = RememberingResolver(self.names, self.reactor, 60)
        self.dialer = Dialer(
            parse_server_address(server), self.reactor, timeout=5, resolver=resolver, **options
        )
        self.protocol = Protocol()
        self.failures: list[str] = []

    def dial(self, reactor: Any = None) -> Dialing:
        return self.dialer.dial(self.protocol, self.failures.append, reactor)

    @property
    def attempts(self) -> list[tuple[str, int]]:
        return [(host, port) for host, port, *_ in self.reactor.tcpClients]

    def connect(self, attempt: int, peer: Any) -> StringTransport:
        """Let an attempt succeed, as Twisted's transport does."""
        transport: Any = StringTransport(peerAddress=peer)
        transport.protocol = self.reactor.tcpClients[attempt][2].buildProtocol(peer)
        transport.protocol.makeConnection(transport)
        return transport

    def fail(self, attempt: int, reason: Exception) -> None:
        connector = self.reactor.connectors[attempt]
        self.reactor.tcpClients[attempt][2].clientConnectionFailed(connector, Failure(reason))


class TestAddresses:
    @pytest.mark.parametrize(
        ("server", "host"), [("192.0.2.1:25", "192.0.2.1"), ("[2001:db8::1]:25", "2001:db8::1")]
    )
    def test_an_address_is_connected_to_directly(self, server: str, host: str) -> None:
        world = World(server, source_address="192.0.2.9")
        world.dial()
        ((to, port, _, timeout, bind),) = world.reactor.tcpClients
        assert (to, port, timeout, bind) == (host, 25, 5, ("192.0.2.9", 0))
        assert world.names.asked == []
        transport = world.connect(0, V4)
        assert world.protocol.transport is transport

    def test_a_socket_file_too(self) -> None:
        world = World("unix:/run/x")
        world.dial()
        ((path, factory, timeout, _),) = world.reactor.unixClients
        assert (path, timeout) == ("/run/x", 5)
        assert factory.buildProtocol(None) is world.protocol

    def test_another_reactor_can_open_one_connection_names_and_all(self) -> None:
        world, other = World("mail.example:25"), MemoryReactorClock()
        world.dial(other)
        assert [host for host, *_ in other.tcpClients] == ["mail.example"]
        assert world.attempts == []

    @pytest.mark.parametrize(
        ("reason", "words"),
        [
            (error.ConnectionRefusedError(), "connection refused"),
            (error.TimeoutError(), "no connection within 5 s"),
            (error.NoRouteError(), "no route to host"),
            (error.ConnectBindError(EMFILE, "Too many open files"), SHORTAGE),
            (
                error.ConnectBindError(EADDRNOTAVAIL, "Cannot assign requested address"),
                "Cannot assign requested",
            ),
            (error.ConnectError(string="odd"), "odd"),
        ],
    )
    def test_a_failure_is_told_in_words(self, reason: Exception, words: str) -> None:
        world = World("192.0.2.1:25")
        world.dial()
        world.fail(0, reason)
        assert len(world.failures) == 1
        assert words in world.failures[0]

    def test_nothing_is_told_of_what_was_given_up(self) -> None:
        world = World("192.0.2.1:25")
        world.dial().cancel()
        world.fail(0, error.UserError())
        assert world.failures == []
        assert world.reactor.connectors[0]._disconnected


class TestNames:
    def dialled(self, *addresses: Any) -> tuple[World, Dialing]:
        world = World("mail.example:25")
        dialing = world.dial()
        assert world.names.asked == ["mail.example:25"]
        world.names.answer(*addresses)
        return world, dialing

    def test_addresses_are_tried_one_after_the_other_and_side_by_side(self) -> None:
        """RFC 8305 §5: the next begins soon, and the first that is up is taken."""
        world, _ = self.dialled(V6, V4)
        assert world.attempts == [("2001:db8::1", 25)]
        world.reactor.advance(0.3)
        assert world.attempts == [("2001:db8::1", 25), ("192.0.2.1", 25)]
        world.connect(1, V4)
        assert world.protocol.transport is not None
        assert world.reactor.connectors[0].stoppedConnecting
        assert world.reactor.getDelayedCalls() == []

    def test_nothing_stands_between_the_transport_and_its_protocol(self) -> None:
        world, _ = self.dialled(V4)
        transport: Any = world.connect(0, V4)
        assert transport.protocol is world.protocol

    def test_the_address_that_worked_is_first_the_next_time(self) -> None:
        world, _ = self.dialled(V6, V4)
        world.fail(0, error.ConnectionRefusedError())
        world.reactor.advance(0.3)
        world.connect(1, V4)
        world.dial()
        assert world.attempts[-1] == ("192.0.2.1", 25)

    def test_all_addresses_together_have_the_time_of_one(self) -> None:
        world, _ = self.dialled(V6, V4)
        world.reactor.pump([0.3, 0.3, 4.4])
        assert world.failures == ["no connection within 5 s"]
        assert all(connector.stoppedConnecting for connector in world.reactor.connectors)
        assert world.reactor.getDelayedCalls() == []

    def test_a_look_up_is_part_of_that_time(self) -> None:
        world = World("mail.example:25")
        world.dial()
        world.reactor.advance(5)
        assert world.failures == ["no connection within 5 s"]
        world.names.answer(V4)
        assert world.attempts == []

    @pytest.mark.parametrize("addresses", [(V4,), (V6, V4)])
    def test_a_failure_is_told_once_all_have_failed(self, addresses: tuple[Any, ...]) -> None:
        world, _ = self.dialled(*addresses)
        for attempt in range(len(addresses)):
            assert world.failures == []
            world.fail(attempt, error.ConnectionRefusedError())
            world.reactor.advance(0.3)
        assert world.failures == ["connection refused"]
        assert world.reactor.getDelayedCalls() == []

    def test_a_name_without_an_address_fails(self) -> None:
        world, _ = self.dialled()
        assert world.failures == ["host name not found"]
        assert world.reactor.getDelayedCalls() == []

    @pytest.mark.parametrize("answer", [True, False])
    def test_nothing_is_told_of_what_was_given_up(self, answer: bool) -> None:
        world = World("mail.example:25")
        dialing = world.dial()
        if answer:
            world.names.answer(V6, V4)
        dialing.cancel()
        assert world.failures == []
        assert world.reactor.getDelayedCalls() == []


def test_the_endpoint_s_reactor_is_as_twisted_wants_it() -> None:
    reactor: Any = MemoryReactorClock()
    first, second = NameServer(), NameServer()
    naming = _NamingReactor(reactor, first)
    verifyObject(IReactorPluggableNameResolver, naming)
    assert naming.installNameResolver(second) is first
    assert naming.nameResolver is second
