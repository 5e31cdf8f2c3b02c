"""What the process itself listens on, beside the listens of the configuration: for those who watch it and command it."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from tlsproxy.config.addresses import TcpAddress, UnixAddress
from tlsproxy.config.model import Configuration
from tlsproxy.net.adoption import adopt
from tlsproxy.net.sockets import ListenError, open_tcp, open_unix
from tlsproxy.service.socket_set import HandedOver

Address = TcpAddress | UnixAddress

CONTROL: Final = "control_socket"
_MODE: Final = 0o600
_NEXT: Final = ".next"
"""Ending of the control socket's path until its process is the one to be commanded."""


def own_addresses(configuration: Configuration) -> dict[str, Address]:
    """Where the process itself is to listen, by the option that says so."""
    wanted: dict[str, Address | None] = {
        "metrics_listen": configuration.metrics_listen,
        "status_listen": configuration.status_listen,
        CONTROL: UnixAddress(configuration.control_socket) if configuration.control_socket else None,
    }
    return {option: address for option, address in wanted.items() if address is not None}


@define(eq=False)
class _Own:
    """One of them."""

    address: Address
    opened: socket.socket
    path: Path | None = None
    """Of the control socket: where it is at the moment."""
    port: IListeningPort | None = None

    def place(self) -> None:
        """Have the control socket at its own path, even if another process listens there still."""
        if self.path is not None and isinstance(self.address, UnixAddress):
            self.path = self.path.rename(self.address.path)

    def close(self) -> Deferred[Any] | None:
        stopped: Deferred[Any] | None = self.port.stopListening() if self.port is not None else None
        if self.path is not None and self._is_ours(self.path):
            with suppress(OSError):  # a directory of root's: the next start finds it stale, and replaces it
                self.path.unlink()
        self.opened.close()
        return stopped

    def _is_ours(self, path: Path) -> bool:
        """Who took over has a socket of its own at the same path. A listening socket's name is the path it was bound to."""
        try:
            return path.stat().st_ino == self._inode
        except OSError:
            return False

    _inode: int = field(init=False, default=-1)

    def __attrs_post_init__(self) -> None:
        if self.path is not None:
            self._inode = self.path.stat().st_ino


@frozen(eq=False)
class OwnChange:
    """What the next configuration needs, opened and not yet listened on."""

    opened: dict[str, _Own]
    gone: tuple[str, ...]

    def abandon(self) -> None:
        """Close it."""
        for each in self.opened.values():
            each.close()


@define(eq=False)
class OwnPorts:
    """Those that are open, by option."""

    _reactor: Any
    _factories: Mapping[str, Callable[[], IProtocolFactory]]
    """What serves each."""
    _owner: tuple[int, int] | None = None
    """User and group that the control socket is for; None: those of the process."""
    _ports: dict[str, _Own] = field(factory=dict, init=False)

    def prepare(
        self, configuration: Configuration, *, handed_over: Sequence[HandedOver] = (), take_over: bool = False
    ) -> OwnChange:
        """Open what ``configuration`` needs and isn't there.

        :param take_over: Another process listens on the control socket still.
        :raises ListenError: One can't be opened; the message names the option. Nothing is left open.
        """
        wanted = own_addresses(configuration)
        passed = {each.address: each.opened for each in handed_over}
        opened: dict[str, _Own] = {}
        change = OwnChange(
            opened, tuple(each for each in self._ports if self._is_other(each, wanted.get(each)))
        )
        for option, address in wanted.items():
            if not self._is_other(option, address):
                continue
            taken = passed.get(_handed_over_as(option, address))
            try:
                opened[option] = (
                    _Own(address, taken) if taken is not None else self._open(address, take_over=take_over)
                )
            except ListenError as error:
                change.abandon()
                raise ListenError(f"{option}: {error}") from error
        return change

    def commit(self, change: OwnChange) -> None:
        """Listen on what was opened, and no longer on what isn't wanted."""
        for option in change.gone:
            self._ports.pop(option).close()
        for option, own in change.opened.items():
            own.place()
            own.port = adopt(self._reactor, own.opened, self._factories[option]())
            self._ports[option] = own

    def hand_over(self) -> list[HandedOver]:
        """The TCP sockets, for another process. It has a control socket of its own."""
        return [
            HandedOver(_handed_over_as(option, own.address), str(own.address), own.opened)
            for option, own in self._ports.items()
            if isinstance(own.address, TcpAddress)
        ]

    def close(self) -> Deferred[Any]:
        """Stop listening."""
        ports, self._ports = self._ports, {}
        return DeferredList([stopped for own in ports.values() if (stopped := own.close()) is not None])

    def _is_other(self, option: str, address: Address | None) -> bool:
        there = self._ports.get(option)
        return (there.address if there is not None else None) != address

    def _open(self, address: Address, *, take_over: bool) -> _Own:
        if isinstance(address, TcpAddress):
            return _Own(address, open_tcp(address, ipv6_only=False))
        path = Path(address.path + _NEXT * take_over)
        own = _Own(address, open_unix(UnixAddress(str(path)), mode=_MODE), path)
        if self._owner is not None:
            os.chown(path, *self._owner)
        return own


def _handed_over_as(option: str, address: Address) -> str:
    return f"{option}={address}"
