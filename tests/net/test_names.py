"""Addresses of host names, and how long they are believed."""

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tlsproxy.net.names import RETRY, RememberingResolver

ONE, TWO = IPv4Address("TCP", "192.0.2.1", 25), IPv6Address("TCP", "2001:db8::1", 25)


@implementer(IHostnameResolver)
class NameServer:
    """Answers when told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._receivers: list[IResolutionReceiver] = []

    def resolveHostName(self, *question: Any) -> Any:
        receiver, host, port = question
        self.asked.append(f"{host}:{port}")
        self._receivers.append(receiver)

    def answer(self, *addresses: Any) -> None:
        receiver = self._receivers.pop(0)
        for address in addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()


@implementer(IResolutionReceiver)
class Receiver:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.begun: Any = None
        self.addresses: list[Any] = []
        self.complete = False

    def resolutionBegan(self, *resolution: Any) -> None:
        (self.begun,) = resolution

    def addressResolved(self, address: Any) -> None:
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        assert not self.complete
        self.complete = True


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.server = NameServer()
        self.resolver = RememberingResolver(self.server, self.clock, 60)

    def ask(self, host: str = "mail.example") -> Receiver:
        receiver = Receiver()
        self.resolver.resolveHostName(receiver, host, 25)
        return receiver

    def known(self) -> list[Any] | None:
        """What is given at once; None: it has to be waited for."""
        receiver = self.ask()
        return receiver.addresses if receiver.complete else None


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_a_resolver_of_twisted_s(world: World) -> None:
    verifyObject(IHostnameResolver, world.resolver)
    assert world.ask().begun.name == "mail.example"


def test_a_name_is_looked_up_once_for_all_who_wait(world: World) -> None:
    receivers = [world.ask() for _ in range(3)]
    assert world.server.asked == ["mail.example:25"]
    world.server.answer(ONE, TWO)
    assert [(each.addresses, each.complete) for each in receivers] == [([ONE, TWO], True)] * 3


def test_a_resolution_that_nobody_waits_for_any_more_goes_on(world: World) -> None:
    world.ask().begun.cancel()
    world.server.answer(ONE)
    assert world.known() == [ONE]


def test_each_name_is_by_itself(world: World) -> None:
    world.ask()
    world.server.answer(ONE)
    assert not world.ask("other.example").complete


def test_addresses_are_remembered_for_the_interval(world: World) -> None:
    world.ask()
    world.server.answer(ONE)
    world.clock.advance(59)
    assert world.known() == [ONE]
    assert len(world.server.asked) == 1


def test_they_are_looked_up_again_while_nobody_waits(world: World) -> None:
    world.ask()
    world.server.answer(ONE)
    world.clock.advance(60)
    assert world.known() == [ONE]
    assert world.known() == [ONE]
    assert len(world.server.asked) == 2
    world.server.answer(TWO)
    assert world.known() == [TWO]


def test_those_of_long_ago_are_waited_for(world: World) -> None:
    world.ask()
    world.server.answer(ONE)
    world.clock.advance(120)
    receiver = world.ask()
    assert not receiver.complete
    world.server.answer(TWO)
    assert receiver.addresses == [TWO]


def test_the_last_known_stay_while_look_ups_find_nothing(world: World) -> None:
    world.ask()
    world.server.answer(ONE)
    world.clock.advance(1000)
    receiver = world.ask()
    world.server.answer()
    assert receiver.addresses == [ONE]
    assert world.known() == [ONE]
    assert len(world.server.asked) == 2
    world.clock.advance(RETRY)
    assert world.known() == [ONE]
    assert len(world.server.asked) == 3


def test_a_name_without_addresses_is_asked_for_again_by_the_next(world: World) -> None:
    first = world.ask()
    world.server.answer()
    assert (first.addresses, first.complete) == ([], True)
    assert world.known() == []
    assert len(world.server.asked) == 1
    world.clock.advance(RETRY)
    second = world.ask()
    world.server.answer(ONE)
    assert second.addresses == [ONE]


def test_an_address_is_given_once(world: World) -> None:
    receiver = world.ask()
    world.server.answer(ONE, TWO, ONE)
    assert receiver.addresses == [ONE, TWO]


def test_one_that_took_a_connection_comes_first_until_the_next_look_up(world: World) -> None:
    world.ask()
    world.server.answer(ONE, TWO)
    world.resolver.prefer("mail.example", 25, TWO)
    assert world.known() == [TWO, ONE]
    world.resolver.prefer("mail.example", 25, IPv4Address("TCP", "192.0.2.99", 25))
    world.resolver.prefer("other.example", 25, TWO)
    assert world.known() == [TWO, ONE]
