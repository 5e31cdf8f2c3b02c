"""Listening sockets that systemd opened for us: sd_listen_fds(3).

Twisted's ``ListenFDs`` reads the same variables, but keeps one descriptor for each name; a socket unit with several
``ListenStream=`` gives all of its sockets the one ``FileDescriptorName=``.
"""

import os
import socket
from collections.abc import Mapping, MutableMapping
from typing import Final

from tlsproxy.errors import TlsproxyError

FIRST: Final = 3
"""The first descriptor handed over, ``SD_LISTEN_FDS_START``."""

LIMIT: Final = 1024
"""Sockets taken over at most: far more than a configuration has, and below every limit on open files."""


class ActivationError(TlsproxyError):
    """What systemd is said to have handed over isn't there, or isn't something to accept connections on."""


def _taken_from(environ: MutableMapping[str, str]) -> dict[str, str]:
    return {name: environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}


# Twisted takes the variables away as soon as anything imports its endpoints: the package imports this module first.
_handed_over: Final[dict[str, str]] = _taken_from(os.environ)


def activated_sockets(
    environ: MutableMapping[str, str] = _handed_over, *, first: int = FIRST
) -> Mapping[str, list[socket.socket]]:
    """The sockets that systemd handed over to this process, by name, in the order of the socket unit.

    They no longer pass to child processes, don't block, and the variables are removed from ``environ``: the caller owns
    the sockets, once.

    :param environ: The variables; those that the process was started with, unless told otherwise.
    :raises ActivationError: The variables contradict each other or the descriptors.
    """
    variables = _taken_from(environ)
    if variables["LISTEN_PID"] != str(os.getpid()):
        return {}
    count = _count(variables["LISTEN_FDS"])
    names = _names(variables["LISTEN_FDNAMES"], count)
    sockets: dict[str, list[socket.socket]] = {}
    for number, name in enumerate(names, start=first):
        sockets.setdefault(name, []).append(_listening(number, name))
    return sockets


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > LIMIT:
        raise ActivationError(f'LISTEN_FDS is "{text}"; valid is a number from 0 to {LIMIT}')
    return int(text)


def _names(text: str, count: int) -> list[str]:
    if not text:
        return ["unknown"] * count  # as sd_listen_fds_with_names(3) has it
    names = text.split(":")
    if len(names) != count:
        raise ActivationError(
            f'LISTEN_FDNAMES is "{text}", {len(names)} names for {count} sockets (LISTEN_FDS)'
        )
    return names


def _listening(number: int, name: str) -> socket.socket:
    try:
        taken = socket.socket(fileno=number)
    except OSError as error:
        raise ActivationError(f'descriptor {number} ("{name}") is no socket: {error.strerror}') from error
    if taken.type != socket.SOCK_STREAM or not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        taken.detach()
        raise ActivationError(
            f'descriptor {number} ("{name}") is no listening stream socket: '
            "the socket unit needs ListenStream= and Accept=no"
        )
    taken.set_inheritable(False)
    taken.setblocking(False)
    return taken
