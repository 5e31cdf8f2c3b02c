"""The sockets that a configuration asks for, opened or taken over."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from tlsproxy.config.addresses import ListenAddress, SystemdAddress, TcpAddress, UnixAddress
from tlsproxy.config.model import Listen
from tlsproxy.net.sockets import ListenError, needs_ipv6_only, open_tcp, open_unix


@frozen(eq=False)
class ListeningSocket:
    """A socket that listens for one listen of the configuration."""

    opened: socket.socket
    name: str
    """The address for logs and ``--listen``: as configured, with the real port where port 0 was asked for."""
    unix_path: Path | None = None
    """A socket file that we made, and remove again."""

    def close(self) -> None:
        """Stop listening."""
        self.opened.close()
        if self.unix_path is not None:
            self.unix_path.unlink(missing_ok=True)


def open_sockets(
    listens: Sequence[Listen], activated: Mapping[str, Sequence[socket.socket]]
) -> list[list[ListeningSocket]]:
    """Open all the sockets of a configuration, or none.

    :param activated: What systemd handed over, by name (:func:`~tlsproxy.service.activation.activated_sockets`).
    :returns: For each listen its sockets, in order: one, unless systemd gave several under one name.
    :raises ListenError: One can't be opened; those that were opened are closed again.
    """
    addresses = [listen.address for listen in listens]
    result: list[list[ListeningSocket]] = []
    try:
        for listen in listens:
            result.append(_open(listen, addresses, activated))  # noqa: PERF401 - what was opened so far has to be known
    except ListenError:
        for opened in result:
            for each in opened:
                each.close()
        raise
    return result


def _open(
    listen: Listen, addresses: Sequence[ListenAddress], activated: Mapping[str, Sequence[socket.socket]]
) -> list[ListeningSocket]:
    address = listen.address
    if isinstance(address, SystemdAddress):
        return [ListeningSocket(opened, str(address)) for opened in _activated(address, activated)]
    if isinstance(address, UnixAddress):
        return [ListeningSocket(open_unix(address, mode=listen.unix_mode), str(address), Path(address.path))]
    opened = open_tcp(address, ipv6_only=needs_ipv6_only(address, addresses))
    return [ListeningSocket(opened, str(TcpAddress(address.host, opened.getsockname()[1])))]


def _activated(
    address: SystemdAddress, activated: Mapping[str, Sequence[socket.socket]]
) -> Sequence[socket.socket]:
    found = activated.get(address.name)
    if not found:
        names = ", ".join(sorted(activated)) or "none at all"
        raise ListenError(
            f"can't listen on {address}: systemd handed over no socket of that name, but {names}. "
            f"Set FileDescriptorName={address.name} in the socket unit and start that"
        )
    return found
