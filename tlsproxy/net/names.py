"""Addresses of host names, remembered for a while: not every session waits for a look-up.

A name is looked up when it is first asked for, and again when ``interval`` is over; meanwhile, and for as long again, the
addresses known are given at once. One look-up serves all who wait for it. When it finds nothing, the addresses known stay:
a name server that is down is no reason to stop serving mail.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorTime,
    IResolutionReceiver,
)
from zope.interface import implementer

RETRY: Final = 5.0
"""Seconds until a look-up that found nothing is tried again: a name server gets as many (resolv.conf(5))."""

Address = Any
"""``IPv4Address`` or ``IPv6Address`` of Twisted."""

_Key = tuple[str, int]


@define(eq=False)
class _Name:
    """What is known of a name."""

    addresses: tuple[Address, ...] = ()
    stale_at: float = 0.0
    useless_at: float = 0.0
    looking: bool = False
    waiting: list[Callable[[Sequence[Address]], None]] = field(factory=list)


@implementer(IHostResolution)
@frozen
class _Resolution:
    """Can't be cancelled: others may wait for it."""

    name: str

    def cancel(self) -> None:
        """See ``IHostResolution``."""


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects a look-up's addresses."""

    def __init__(self, done: Callable[[Sequence[Address]], None]) -> None:
        self._addresses: list[Address] = []
        self._done = done

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See ``IResolutionReceiver``, as for all methods here."""

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        # getaddrinfo(3) may name an address more than once.
        self._done(tuple(dict.fromkeys(self._addresses)))


@implementer(IHostnameResolver)
class RememberingResolver:
    """Stands before a reactor's own resolver, for the names of one backend's servers."""

    def __init__(self, resolver: IHostnameResolver, clock: IReactorTime, interval: float) -> None:
        """:param interval: Seconds after which addresses are looked up again."""
        self._resolver = resolver
        self._clock = clock
        self._interval = interval
        self._names: dict[_Key, _Name] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: ARG002 - connections take any
        transportSemantics: str = "TCP",  # noqa: ARG002 - there are no others here
    ) -> IHostResolution:
        """See ``IHostnameResolver``."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        key = hostName, portNumber
        name = self._names.setdefault(key, _Name())
        now = self._clock.seconds()
        if now < name.stale_at or (name.addresses and now < name.useless_at):
            _give(resolutionReceiver, name.addresses)
        else:
            name.waiting.append(lambda addresses: _give(resolutionReceiver, addresses))
        if now >= name.stale_at and not name.looking:
            self._look_up(key, name)
        return resolution

    def prefer(self, host: str, port: int, address: Address) -> None:
        """Put an address first until the next look-up: it took a connection, after those before it didn't."""
        name = self._names.get((host, port))
        if name is not None and address in name.addresses and name.addresses[0] != address:
            name.addresses = (address, *(each for each in name.addresses if each != address))

    def _look_up(self, key: _Key, name: _Name) -> None:
        name.looking = True
        host, port = key
        self._resolver.resolveHostName(_Receiver(lambda found: self._found(name, found)), host, port)

    def _found(self, name: _Name, addresses: Sequence[Address]) -> None:
        name.looking = False
        now = self._clock.seconds()
        if addresses:
            name.addresses = tuple(addresses)
        lifetime = self._interval if addresses else min(RETRY, self._interval)
        name.stale_at = now + lifetime
        name.useless_at = name.stale_at + self._interval
        waiting, name.waiting = name.waiting, []
        for give in waiting:
            give(name.addresses)


def _give(receiver: IResolutionReceiver, addresses: Iterable[Address]) -> None:
    for address in addresses:
        receiver.addressResolved(address)
    receiver.resolutionComplete()
