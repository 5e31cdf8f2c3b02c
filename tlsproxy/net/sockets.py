"""Listening sockets, opened from the addresses of the configuration."""

import errno
import socket
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tlsproxy.config.addresses import ListenAddress, TcpAddress, UnixAddress
from tlsproxy.errors import TlsproxyError

BACKLOG: Final = 4096
"""Connections that the kernel keeps until they are accepted; it lowers this to ``net.core.somaxconn``."""


class ListenError(TlsproxyError):
    """A listening socket can't be opened."""


def needs_ipv6_only(address: ListenAddress, others: Iterable[ListenAddress]) -> bool:
    """Whether an IPv6 wildcard must leave IPv4 alone, because another listen has the same port there.

    Otherwise ``[::]:25`` accepts IPv4 as well (RFC 3493 §5.3), its clients appearing as the IPv4 addresses they are.
    """
    return (
        isinstance(address, TcpAddress)
        and ":" in address.host
        and address.port != 0  # the kernel chooses one that is free
        and any(
            isinstance(other, TcpAddress) and other.port == address.port and ":" not in other.host
            for other in others
        )
    )


def open_tcp(address: TcpAddress, *, ipv6_only: bool, reuse_port: bool = False) -> socket.socket:
    """Open a listening TCP socket.

    :param reuse_port: Others of this user may listen there as well; the kernel shares the connections out among them.
    :raises ListenError: It can't be; the message names the address and the cause.
    """
    opened = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        _bind(opened, address, ipv6_only=ipv6_only, reuse_port=reuse_port)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise _listen_error(address, error) from error
    return opened


def open_tcp_copies(address: TcpAddress, copies: int, *, ipv6_only: bool) -> list[socket.socket]:
    """Open several listening sockets on one address, each with a queue of its own (``SO_REUSEPORT``, socket(7)).

    :raises ListenError: As :func:`open_tcp`, all are closed again; also where another process has such sockets there, with
        which the connections would be shared.
    """
    if copies == 1:
        return [open_tcp(address, ipv6_only=ipv6_only)]
    _refuse_shared(address, ipv6_only=ipv6_only)
    opened = [open_tcp(address, ipv6_only=ipv6_only, reuse_port=True)]
    same = TcpAddress(address.host, opened[0].getsockname()[1])
    try:
        while len(opened) < copies:
            opened.append(open_tcp(same, ipv6_only=ipv6_only, reuse_port=True))
    except ListenError:
        for each in opened:
            each.close()
        raise
    return opened


def _refuse_shared(address: TcpAddress, *, ipv6_only: bool) -> None:
    with socket.socket(_family(address), socket.SOCK_STREAM) as probe:
        try:
            _bind(probe, address, ipv6_only=ipv6_only, reuse_port=False)
        except OSError as error:
            raise _listen_error(address, error) from error


def _family(address: TcpAddress) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _bind(opened: socket.socket, address: TcpAddress, *, ipv6_only: bool, reuse_port: bool) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ipv6_only)
    opened.bind((address.host, address.port))


def open_unix(address: UnixAddress, *, mode: int) -> socket.socket:
    """Open a listening Unix socket with the permissions ``mode``; one left behind by a process that is gone is replaced.

    :raises ListenError: It can't be; the message names the path and the cause.
    """
    path = Path(address.path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        opened.bind(address.path)
        # Between bind and chmod nobody can connect: the socket doesn't listen yet.
        path.chmod(mode)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise _listen_error(address, error) from error
    return opened


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on. Any other file is left, and makes the bind fail."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A full backlog must not block the start: without waiting it answers EAGAIN, which says that somebody listens.
        probe.setblocking(False)
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()


_CAUSES: Final = {
    errno.EADDRINUSE: "the address is in use by another process",
    errno.EADDRNOTAVAIL: "this machine doesn't have the address",
    errno.EACCES: "not permitted (a port below 1024 needs root or CAP_NET_BIND_SERVICE; a socket, a writable directory)",
}


def _listen_error(address: ListenAddress, error: OSError) -> ListenError:
    cause = _CAUSES.get(error.errno or 0, error.strerror or str(error))
    return ListenError(f"can't listen on {address}: {cause}")
