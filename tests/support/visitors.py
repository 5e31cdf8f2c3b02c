"""Clients that come one after the other, without a pause, and notice when one isn't served."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

TIMEOUT = 20.0
"""Seconds that one socket operation may take."""


class Visitors:
    """Each connects, verifies the certificate, has a line echoed, and leaves. Use it as a context manager.

    :ivar failures: What went wrong, one for each visit that failed.
    :ivar served: Visits that went well.
    """

    def __init__(
        self, port: int, context: ssl.SSLContext, *, at_once: int = 2, name: str = "localhost"
    ) -> None:
        self.failures: list[str] = []
        self.served = 0
        self.certificates: dict[bytes, float] = {}
        """Each that was served, in DER, with the time when it first was."""
        self._port = port
        self._context = context
        self._name = name
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(at_once)]

    def wait_until(self, happened: Callable[[], bool], timeout: float = 20) -> None:
        """Wait until ``happened`` is true; it is looked at after every visit."""
        with self._changed:
            assert self._changed.wait_for(happened, timeout), (
                f"{self.served} served, failures: {self.failures[:3]}"
            )

    def wait_for_more(self, count: int = 20) -> None:
        """Wait for as many visits more."""
        wanted = self.served + count
        self.wait_until(lambda: self.served >= wanted)

    def _visit(self) -> None:
        while not self._stopped:
            try:
                certificate = self._once()
            except (OSError, AssertionError) as error:
                with self._changed:
                    self.failures.append(f"{type(error).__name__}: {error}")
                    self._changed.notify_all()
                continue
            with self._changed:
                self.served += 1
                self.certificates.setdefault(certificate, time.monotonic())
                self._changed.notify_all()

    def _once(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port), TIMEOUT) as plain:
            with self._context.wrap_socket(plain, server_hostname=self._name) as client:
                client.sendall(b"hello\n")
                assert client.recv(100) == b"hello\n"
                certificate = client.getpeercert(binary_form=True)
                assert certificate is not None
                return certificate

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let no more come, and wait for those on the way."""
        self._stopped = True
        for thread in self._threads:
            thread.join(TIMEOUT)
