"""Tests for :mod:`tlsproxy.net.transparent`, from loopback addresses, which need no privilege.

That the address may be another machine's is for :mod:`tests.interop.test_transparent`.
"""

import errno
import select
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IResolutionReceiver, IWriteDescriptor
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.identity.facts import UNIX, end
from tests.support.processes import free_port
from tlsproxy.identity.client import ClientAddress
from tlsproxy.net import transparent
from tlsproxy.net.transparent import TransparencyError, TransparentReactor, why_unavailable

CLIENT = end("127.0.0.9", 51234)
TIMEOUT = 5.0


class Names:
    """A resolver that knows these addresses of any name."""

    def __init__(self, *addresses: Any) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int, Any]] = []

    def resolveHostName(
        self, receiver: Any, name: str, port: int = 0, types: Any = None, semantics: str = "TCP"
    ) -> Any:
        self.asked.append((name, port, types))
        receiver.resolutionBegan(None)
        for address in self.addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()


class Reactor(Clock):
    """Watches sockets when asked to, and adopts connections."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver: Any = Names()
        self.writers: set[Any] = set()
        self.adopted: list[socket.socket] = []
        self.lost_at_once = False

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        if self.lost_at_once:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        self.adopted.append(socket.fromfd(descriptor, family, socket.SOCK_STREAM))

    def run(self) -> None:
        """Until nothing is to be done any more."""
        self.advance(0)
        while self.writers:
            _, writable, _ = select.select([], list(self.writers), [], 10)
            assert writable
            for writer in writable:
                writer.doWrite()


class Factory(ClientFactory):
    """Remembers why no connection came about."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.failures.append(reason)


class World:
    """A client's connection."""

    def __init__(self, client: ClientAddress = CLIENT) -> None:
        self.reactor = Reactor()
        self.factory = Factory()
        self.transparent = TransparentReactor(self.reactor, client)

    def connect(self, host: str, port: int) -> Any:
        connecting = self.transparent.connectTCP(host, port, self.factory, timeout=TIMEOUT)
        assert self.factory.failures == []
        return connecting

    def connected(self, host: str, port: int) -> socket.socket:
        self.connect(host, port)
        self.reactor.run()
        assert self.factory.failures == []
        (adopted,) = self.reactor.adopted
        return adopted

    def failure(self, host: str, port: int) -> Failure:
        self.connect(host, port)
        self.reactor.run()
        return self.only_failure()

    def only_failure(self) -> Failure:
        (failure,) = self.factory.failures
        assert self.reactor.writers == set()
        assert self.reactor.getDelayedCalls() == []
        assert self.reactor.adopted == []
        return failure


@pytest.fixture(autouse=True)
def _unprivileged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets are made with an option that anybody may set."""
    harmless = (socket.SOL_SOCKET, socket.SO_REUSEADDR)
    options = dict.fromkeys((socket.AF_INET, socket.AF_INET6), harmless)
    monkeypatch.setattr(transparent, "_OPTIONS", options)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.settimeout(10)
        yield opened


def port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


class TestConnections:
    def test_a_connection_comes_from_the_client_s_address(self, listening: socket.socket) -> None:
        with World().connected("127.0.0.1", port_of(listening)) as adopted:
            with listening.accept()[0] as accepted:
                assert accepted.getpeername()[0] == "127.0.0.9"
                assert adopted.getpeername() == accepted.getsockname()
                adopted.sendall(b"EHLO")
                assert accepted.recv(10) == b"EHLO"

    def test_nothing_is_left_behind(self, listening: socket.socket) -> None:
        world = World()
        connecting = world.connect("127.0.0.1", port_of(listening))
        world.reactor.run()
        assert world.reactor.getDelayedCalls() == []
        assert connecting.fileno() == -1
        connecting.connectionLost(Failure(error.ConnectionLost()))
        connecting.disconnect()
        assert world.factory.failures == []
        world.reactor.adopted[0].close()

    def test_ipv6(self) -> None:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
            with World(end("::1", 51234)).connected("::1", port_of(listening)) as adopted:
                assert adopted.family == socket.AF_INET6

    def test_twisted_may_call_what_it_watches(self) -> None:
        connecting = World().connect("127.0.0.1", 1)
        assert verifyObject(IWriteDescriptor, connecting)
        assert verifyObject(IResolutionReceiver, connecting)
        assert connecting.logPrefix() == "_Connecting"

    def test_time_and_names_are_the_reactor_s(self) -> None:
        world = World()
        assert world.transparent.nameResolver is world.reactor.nameResolver
        assert world.transparent.seconds() == 0
        assert world.transparent.callLater(1, list) in world.reactor.getDelayedCalls()


class TestNames:
    def test_addresses_of_the_client_s_family_are_asked_for(self, listening: socket.socket) -> None:
        world = World()
        world.reactor.nameResolver = names = Names(IPv4Address("TCP", "127.0.0.1", port_of(listening)))
        world.connected("old.example", 25).close()
        assert names.asked == [("old.example", 25, [IPv4Address])]

    def test_the_next_address_is_tried_when_one_refuses(self, listening: socket.socket) -> None:
        world = World()
        ports = [free_port(), port_of(listening)]
        world.reactor.nameResolver = Names(*(IPv4Address("TCP", "127.0.0.1", port) for port in ports))
        world.connected("old.example", 25).close()

    def test_a_name_without_an_address_of_the_family_is_refused_with_the_reason(self) -> None:
        world = World(end("2001:db8::1", 51234))
        failure = world.failure("old.example", 25)
        assert failure.getErrorMessage() == "old.example has no IPv6 address, for an IPv6 client"
        assert world.reactor.nameResolver.asked[0][2] == [IPv6Address]


class TestFailures:
    def test_a_refused_connection(self) -> None:
        assert World().failure("127.0.0.1", free_port()).check(error.ConnectionRefusedError)

    def test_a_failure_that_the_reactor_tells(self) -> None:
        world = World()
        connecting = world.connect("127.0.0.1", free_port())
        world.reactor.advance(0)
        select.select([], [connecting], [], 10)
        connecting.connectionLost(Failure(error.ConnectionLost()))
        assert world.only_failure().check(error.ConnectionRefusedError)

    def test_a_connection_that_can_t_be_begun(self) -> None:
        """Loopback's addresses don't leave the machine."""
        assert World().failure("192.0.2.1", 25).check(error.ConnectError)

    def test_one_that_is_reset_before_it_is_adopted(self, listening: socket.socket) -> None:
        world = World()
        world.reactor.lost_at_once = True
        assert world.failure("127.0.0.1", port_of(listening)).check(error.ConnectError)

    def test_a_server_that_doesn_t_answer(self) -> None:
        world = World()
        world.connect("127.0.0.1", 25)
        world.reactor.advance(TIMEOUT)
        assert world.only_failure().check(error.TimeoutError)

    def test_a_look_up_that_takes_too_long(self, listening: socket.socket) -> None:
        class Slow(Names):
            def resolveHostName(self, receiver: Any, *_: Any, **__: Any) -> Any:
                self.receiver = receiver

        world = World()
        world.reactor.nameResolver = slow = Slow()
        world.connect("old.example", 25)
        world.reactor.advance(TIMEOUT)
        assert world.only_failure().check(error.TimeoutError)
        slow.receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", port_of(listening)))
        slow.receiver.resolutionComplete()
        world.reactor.run()
        assert world.only_failure().check(error.TimeoutError)

    def test_one_that_is_given_up(self, listening: socket.socket) -> None:
        world = World()
        connecting = world.connect("127.0.0.1", port_of(listening))
        world.reactor.advance(0)
        assert world.reactor.writers == {connecting}
        connecting.disconnect()
        assert world.only_failure().check(error.UserError)

    @pytest.mark.parametrize(
        ("client", "host", "reason"),
        [
            (CLIENT, "::1", "an IPv4 client can't come to ::1 from its own address"),
            (end("::1", 1), "127.0.0.1", "an IPv6 client can't come to 127.0.0.1 from its own address"),
            (UNIX, "127.0.0.1", "a client on a Unix socket has no address to come from"),
            (end("192.0.2.1", 1), "127.0.0.1", "can't come from 192.0.2.1: Cannot assign requested address"),
        ],
    )
    def test_who_has_no_address_for_it(self, client: ClientAddress, host: str, reason: str) -> None:
        failure = World(client).failure(host, 25)
        assert failure.check(TransparencyError)
        assert failure.getErrorMessage() == reason

    def test_whose_fault_it_is(self) -> None:
        """A client without an address for a server is no reason to leave the server out."""
        refused, failed = World(UNIX), World()
        for world in refused, failed:
            world.failure("127.0.0.1", free_port())
        assert refused.transparent.refused
        assert not failed.transparent.refused

    def test_a_unix_socket_is_no_way(self) -> None:
        world = World()
        world.transparent.connectUNIX("/run/s", world.factory, timeout=TIMEOUT)
        assert world.factory.failures == []
        world.reactor.run()
        assert world.only_failure().getErrorMessage() == "a Unix socket has no address to come from"


class Refusing(socket.socket):
    """A socket of a process that may not."""

    number = errno.EPERM

    def setsockopt(self, *arguments: Any) -> None:
        raise OSError(self.number, "Operation not permitted")


class Lacking(Refusing):
    """A socket of a kernel that can't."""

    number = errno.ENOPROTOOPT


class TestPrivilege:
    def test_with_it_there_is_nothing_to_say(self) -> None:
        assert why_unavailable() is None

    @pytest.mark.parametrize(
        ("kind", "words"), [(Refusing, ["CAP_NET_ADMIN", "CAP_NET_RAW"]), (Lacking, ["IP_TRANSPARENT"])]
    )
    def test_without_it_the_operator_is_told(
        self, kind: type[socket.socket], words: Sequence[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transparent.socket, "socket", kind)
        why = why_unavailable()
        assert why is not None
        assert all(word in why for word in words)
        failure = World().failure("127.0.0.1", 25)
        assert failure.getErrorMessage() == why
