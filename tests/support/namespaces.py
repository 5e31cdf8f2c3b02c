"""Network namespaces: machines with interfaces and routes of their own, inside this one."""

import ctypes
import itertools
import os
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.support.programs import require, require_root, unavailable

_NEWNET = 0x40000000  # CLONE_NEWNET, setns(2)
_numbers = itertools.count(1)

T = TypeVar("T")


class Namespace:
    """A network namespace of its own, by ``ip netns``; gone with what is in it when it is left."""

    def __init__(self, purpose: str) -> None:
        require_root("network namespaces")
        self._ip = require("ip", package="iproute2")
        self.name = f"tlsproxy-{os.getpid()}-{next(_numbers)}-{purpose}"

    def __enter__(self) -> Self:
        made = subprocess.run([self._ip, "netns", "add", self.name], capture_output=True, text=True)
        if made.returncode:
            unavailable(f"no network namespace: {made.stderr.strip()}")
        self.ip("link set lo up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([self._ip, "netns", "del", self.name], check=True)

    def ip(self, *commands: str) -> None:
        """Carry out ``ip`` commands in it."""
        for command in commands:
            arguments = [self._ip, "-n", self.name, *command.removeprefix("ip ").split()]
            subprocess.run(arguments, check=True, timeout=10)

    def connect_to(self, other: "Namespace", interface: str, interface_of_other: str) -> None:
        """A cable between the two."""
        self.ip(
            f"link add {interface} type veth peer name {interface_of_other} netns {other.name}",
            f"link set {interface} up",
        )
        other.ip(f"link set {interface_of_other} up")

    def inside(self, action: Callable[[], T]) -> T:
        """Do something in it: sockets that are opened and processes that are started are there for good."""
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(self._enter_and, action).result()

    def _enter_and(self, action: Callable[[], T]) -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", self.name).open("rb") as namespace:
            if libc.setns(namespace.fileno(), _NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return action()

    def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket in it."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return self.inside(lambda: socket.create_server((address, port), family=family))

    def connect(self, address: str, port: int, *, timeout: float = 10) -> socket.socket:
        """A connection from it."""
        return self.inside(lambda: socket.create_connection((address, port), timeout))
