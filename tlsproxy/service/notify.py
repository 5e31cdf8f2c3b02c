"""Telling systemd how the service is: the protocol of sd_notify(3), one datagram of ``NAME=value`` lines.

Without ``$NOTIFY_SOCKET`` nothing happens, and a message that can't be sent is no reason to stop serving mail.
"""

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

STATUS_LIMIT: Final = 512
"""Characters of a status: it is one line of ``systemctl status``."""

SEND_TIMEOUT: Final = 1.0
"""Seconds that a full queue of the manager's may hold the process up. A blocking send would have no bound, and one that
doesn't block would lose READY=1, without which the start fails."""


def notify(
    *,
    ready: bool = False,
    reloading: bool = False,
    stopping: bool = False,
    watchdog: bool = False,
    status: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> bool:
    """Send what is set, in one message.

    :param ready: The service is up; after a reload: it is done.
    :param reloading: A reload began. Carries the time, as ``Type=notify-reload`` asks.
    :param stopping: The service is going down.
    :param watchdog: It is alive (``WatchdogSec=``).
    :param status: A line for ``systemctl status``.
    :returns: Whether the message was sent. False outside systemd.
    """
    lines = ["READY=1"] * ready + ["STOPPING=1"] * stopping + ["WATCHDOG=1"] * watchdog
    if reloading:
        lines += ["RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"]
    if status is not None:
        lines.append(f"STATUS={_one_line(status)}")
    address = environ.get("NOTIFY_SOCKET")
    return bool(lines and address) and _send(address or "", "\n".join(lines))


def watchdog_interval(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Seconds between two ``watchdog`` messages: half of what the manager waits for (sd_watchdog_enabled(3)).

    :return: None where it doesn't wait for any of this process.
    """
    try:
        wanted_from = int(environ.get("WATCHDOG_PID") or os.getpid())
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    if wanted_from != (os.getpid() if pid is None else pid) or microseconds <= 0:
        return None
    return microseconds / 2_000_000


def _one_line(text: str) -> str:
    """A line break would begin another assignment: a status can't say READY=1."""
    return "".join(character if character.isprintable() else " " for character in text[:STATUS_LIMIT])


def _send(address: str, message: str) -> bool:
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract namespace, unix(7)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
            sending.settimeout(SEND_TIMEOUT)
            sending.sendto(message.encode(errors="replace"), address)
    except (OSError, ValueError):
        return False
    return True
