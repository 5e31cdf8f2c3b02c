"""The sockets of the configuration in force, and how they change with it.

A reload keeps the socket of an address that both configurations have: its queue stays, and nobody is refused. What is
missing is opened before anything changes, what is superfluous is closed after. Sockets may also come from elsewhere: from
systemd, or from a process whose place this one takes.
"""

import ipaddress
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from tlsproxy.config.addresses import ListenAddress, SystemdAddress, TcpAddress, UnixAddress
from tlsproxy.config.model import Listen
from tlsproxy.net.sockets import ListenError, needs_ipv6_only, open_tcp, open_tcp_copies, open_unix
from tlsproxy.service.sockets import ListeningSocket

_UNIX: Final = "unix:"
_SYSTEMD: Final = "systemd:"

ListenSockets = list[ListeningSocket]
"""Those of one listen, in order."""


@frozen
class HandedOver:
    """A listening socket from another process."""

    address: str
    """Of the listen, as configured: ``127.0.0.1:0``, ``systemd:smtps``."""
    name: str
    """For logs; with the real port. Sockets of one listen have the same."""
    opened: socket.socket


def from_systemd(activated: Mapping[str, Sequence[socket.socket]]) -> list[HandedOver]:
    """What :func:`~tlsproxy.service.activation.activated_sockets` found."""
    return [
        HandedOver(address, address, opened)
        for address, group in ((str(SystemdAddress(name)), group) for name, group in activated.items())
        for opened in group
    ]


@define(eq=False)
class SocketSet:
    """Sockets that listen, by the address of their listen.

    :ivar sockets: For each listen of the configuration, in order, its own.
    """

    sockets: list[ListenSockets] = field(factory=list, init=False)
    _addresses: list[str] = field(factory=list, init=False)
    """For each of ``sockets``."""
    _spare: dict[str, list[ListenSockets]] = field(factory=dict, init=False)
    """Handed over, and not in use: systemd's may come to be after a reload."""

    def take(self, handed_over: Sequence[HandedOver]) -> None:
        """Have sockets at hand that another process opened. What no configuration wants stays open, unused."""
        by_name: dict[tuple[str, str], ListenSockets] = {}
        for each in handed_over:
            path = Path(each.address.removeprefix(_UNIX)) if each.address.startswith(_UNIX) else None
            group = by_name.setdefault((each.address, each.name), [])
            group.append(ListeningSocket(each.opened, each.name, path))
        for (address, _), group in by_name.items():
            self._spare.setdefault(address, []).append(group)

    def hand_over(self) -> list[HandedOver]:
        """All sockets, for another process: they stay open here."""
        groups = [*zip(self._addresses, self.sockets, strict=True), *self._spares()]
        return [HandedOver(address, each.name, each.opened) for address, group in groups for each in group]

    def prepare(self, listens: Sequence[Listen], *, copies: int = 1) -> "SocketChange":
        """Open what ``listens`` need and isn't there.

        :param copies: TCP sockets for each listen. One that had more keeps them: each has a queue of its own.
        :raises ListenError: One can't be opened. Those that were opened are closed again.
        """
        change = SocketChange(self, [str(listen.address) for listen in listens], self._by_address())
        addresses = [listen.address for listen in listens]
        try:
            for listen in listens:
                change.add(listen, addresses, copies)
        except ListenError:
            change.abandon()
            raise
        return change

    def close(self, *, keep_paths: bool = False) -> None:
        """Stop listening on all.

        :param keep_paths: Another process listens on them: don't remove the files of Unix sockets.
        """
        for group in [*self.sockets, *(group for _, group in self._spares())]:
            _close(group, keep_paths=keep_paths)
        self.sockets, self._addresses, self._spare = [], [], {}

    def replace(
        self, addresses: list[str], sockets: list[ListenSockets], left: Mapping[str, list[ListenSockets]]
    ) -> None:
        """Have ``sockets`` in use, and close what is ``left``; systemd's are kept, since they can't be opened again."""
        self._addresses, self.sockets, self._spare = addresses, sockets, {}
        for address, groups in left.items():
            if address.startswith(_SYSTEMD):
                self._spare[address] = groups
                continue
            for group in groups:
                _close(group, keep_paths=False)

    def _by_address(self) -> dict[str, list[ListenSockets]]:
        found: dict[str, list[ListenSockets]] = {}
        for address, group in [*zip(self._addresses, self.sockets, strict=True), *self._spares()]:
            found.setdefault(address, []).append(group)
        return found

    def _spares(self) -> Iterator[tuple[str, ListenSockets]]:
        for address, groups in self._spare.items():
            for group in groups:
                yield address, group


@define(eq=False)
class SocketChange:
    """Sockets for the next configuration, opened and not yet in use.

    :ivar sockets: For each listen, in order, its own.
    """

    _of: SocketSet
    _addresses: list[str]
    _kept: dict[str, list[ListenSockets]]
    """What is there, by address; :meth:`add` takes from it."""
    sockets: list[ListenSockets] = field(factory=list, init=False)
    _opened: ListenSockets = field(factory=list, init=False)
    _modes: list[tuple[Path, int]] = field(factory=list, init=False)

    def add(self, listen: Listen, addresses: Sequence[ListenAddress], copies: int) -> None:
        """Find or open the sockets of one more listen.

        :raises ListenError: One can't be opened.
        """
        address = listen.address
        groups = self._kept.get(str(address))
        group = list(groups.pop(0)) if groups else []
        if isinstance(address, SystemdAddress):
            self.sockets.append(group or self._missing(address))
        elif isinstance(address, UnixAddress):
            if group:
                self._modes.append((Path(address.path), listen.unix_mode))
            else:
                group = [
                    self._note(open_unix(address, mode=listen.unix_mode), str(address), Path(address.path))
                ]
            self.sockets.append(group)
        else:
            ipv6_only = needs_ipv6_only(address, addresses)
            for each in group:
                _check_family(each.opened, address, ipv6_only=ipv6_only)
            self._open_tcp(address, group, ipv6_only=ipv6_only, copies=copies)
            self.sockets.append(group)

    def commit(self) -> None:
        """Have these in use, and close what isn't needed any more."""
        for path, mode in self._modes:
            with suppress(
                OSError
            ):  # made while privileged; whoever changed the file's owner sees to its mode, too
                path.chmod(mode)
        self._of.replace(self._addresses, self.sockets, self._kept)

    def abandon(self) -> None:
        """Close what was opened: everything is as it was."""
        _close(self._opened, keep_paths=False)

    def _open_tcp(self, address: TcpAddress, group: ListenSockets, *, ipv6_only: bool, copies: int) -> None:
        if group and not _shares_port(group[0].opened):
            return  # handed over by a process that had one for all
        if not group:
            opened = open_tcp_copies(address, copies, ipv6_only=ipv6_only)
            group += [self._note(each, _name(address, each), None) for each in opened]
        while len(group) < copies:
            same = TcpAddress(address.host, group[0].opened.getsockname()[1])
            more = open_tcp(same, ipv6_only=ipv6_only, reuse_port=True)
            group.append(self._note(more, _name(address, more), None))

    def _note(self, opened: socket.socket, name: str, path: Path | None) -> ListeningSocket:
        listening = ListeningSocket(opened, name, path)
        self._opened.append(listening)
        return listening

    def _missing(self, address: SystemdAddress) -> ListenSockets:
        names = sorted(name.removeprefix(_SYSTEMD) for name in self._kept if name.startswith(_SYSTEMD))
        raise ListenError(
            f"can't listen on {address}: systemd handed over no socket of that name, but "
            f"{', '.join(names) or 'none at all'}. "
            f"Set FileDescriptorName={address.name} in the socket unit and start that"
        )


def _name(address: TcpAddress, opened: socket.socket) -> str:
    return str(TcpAddress(address.host, opened.getsockname()[1]))


def _shares_port(opened: socket.socket) -> bool:
    return bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def _check_family(opened: socket.socket, address: TcpAddress, *, ipv6_only: bool) -> None:
    """
    :raises ListenError: The socket takes, or leaves, IPv4 as it shouldn't any more: that is settled when it is bound.
    """
    if not ipaddress.ip_address(address.host).is_unspecified or opened.family is not socket.AF_INET6:
        return
    if bool(opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) != ipv6_only:
        what = "leaves IPv4 to another listen" if ipv6_only else "accepts IPv4 as well"
        raise ListenError(
            f"can't change {address} to one that {what} while it is listened on: restart instead"
        )


def _close(group: Sequence[ListeningSocket], *, keep_paths: bool) -> None:
    for each in group:
        if each.unix_path is not None and not keep_paths:
            _remove(each.unix_path)
        each.opened.close()


def _remove(path: Path) -> None:
    """Its directory may be root's, and this process no longer root: the next start finds it stale, and replaces it."""
    with suppress(OSError):
        path.unlink()
