"""Running programs in tests: each in its own process group, its output kept, every wait bounded, always stopped."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

TICK = 0.01
"""Seconds between two looks at what can't be waited for otherwise: a socket that another process opens."""

OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of output kept; a test that makes more has run wild."""


class ProgramError(AssertionError):
    """A program didn't do in time what the test waited for."""


def free_ports(count: int) -> list[int]:
    """``count`` different loopback TCP ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def free_port() -> int:
    """A loopback TCP port that nobody listens on."""
    return free_ports(1)[0]


def is_listening(port: int) -> bool:
    """Whether a TCP socket on this machine listens on ``port``, without connecting to it."""
    return any(f":{port:04X}" == local[-5:] for local in _listening_sockets())


def _listening_sockets() -> list[str]:
    listening = "0A"  # TCP_LISTEN, include/net/tcp_states.h
    rows = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(FileNotFoundError):
            rows += [line.split() for line in table.read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == listening]


class Program:
    """A running program. Standard output and error are one text; standard input is a pipe."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self.process = subprocess.Popen(
            self.arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            process_group=0,
        )
        self._output = bytearray()
        self._changed = threading.Condition()
        self._finished = False
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while data := os.read(descriptor, 65536):
            with self._changed:
                self._output += data[: OUTPUT_LIMIT - len(self._output)]
                self._changed.notify_all()
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything written so far."""
        with self._changed:
            return self._output.decode(errors="replace")

    def wait_for_output(self, pattern: str, timeout: float = 10) -> re.Match[str]:
        """Wait until the output matches ``pattern`` (searched, multi-line)."""
        regex = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                match = regex.search(self._output.decode(errors="replace"))
                if match is not None:
                    return match
                if self._finished or not self._changed.wait(deadline - time.monotonic()):
                    raise self._failure(f"no {pattern!r} in the output")

    def wait_for_port(self, *ports: int, timeout: float = 10) -> None:
        """Wait until each of ``ports`` is listened on."""
        wanted = set(ports)
        self.wait_until(lambda: all(map(is_listening, wanted)), f"not listening on {sorted(wanted)}", timeout)

    def wait_for_path(self, path: Path, timeout: float = 10) -> None:
        """Wait until ``path`` (a Unix socket, say) is there."""
        self.wait_until(path.exists, f"{path} isn't there", timeout)

    def wait_until(self, happened: Callable[[], bool], failure: str, timeout: float = 10) -> None:
        """Wait until ``happened`` is true; ``failure`` says what is the matter if that doesn't come."""
        deadline = time.monotonic() + timeout
        while not happened():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(TICK)
                raise self._failure(f"{failure}: the program ended")
            if time.monotonic() > deadline:
                raise self._failure(failure)

    def send(self, data: bytes) -> None:
        """Write to the program's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close_input(self) -> None:
        """End the program's standard input."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def wait(self, timeout: float = 10) -> int:
        """Wait for the end; the exit status. All output is there afterwards."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._failure("still running") from None
        self._reader.join(timeout)
        return status

    def stop(self, timeout: float = 5) -> None:
        """End the program and what it started: SIGTERM to it, then, once it ended or time is up, SIGKILL to the group."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout)
        self.close_input()
        self._reader.join(timeout)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _failure(self, what: str) -> ProgramError:
        status = self.process.poll()
        state = "running" if status is None else f"ended with {status}"
        output = self._output.decode(errors="replace")
        return ProgramError(f"{what}; {' '.join(self.arguments)} ({state}) wrote:\n{output}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run(
    arguments: Sequence[str | Path],
    *,
    input: bytes = b"",  # noqa: A002 (subprocess.run's word)
    env: Mapping[str, str] | None = None,
    timeout: float = 10,
) -> tuple[int, str]:
    """Run a program to its end: exit status, and output with errors."""
    with Program(arguments, env=env) as program:
        with contextlib.suppress(BrokenPipeError):
            program.send(input)
        program.close_input()
        return program.wait(timeout), program.output
