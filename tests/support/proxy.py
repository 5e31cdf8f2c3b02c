"""The proxy as an operator runs it: a twistd process of its own, its log read as JSON."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.processes import Program


def _reactor() -> list[str]:
    """``$TLSPROXY_REACTOR`` runs the proxies of all tests on that one of Twisted's reactors."""
    name = os.environ.get("TLSPROXY_REACTOR")
    return ["--reactor", name] if name else []


_SETTLED = 0.15
"""Seconds without a line after which none is on its way: several times what one may wait for others, in a worker and in
its supervisor."""


class Proxy(Program):
    """A running proxy. ``notes`` are its log lines."""

    def __init__(
        self,
        config: Path,
        *,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> None:
        """
        :param prefix: A command that runs the one behind it.
        :param options: More of the plugin's.
        """
        twistd = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", *_reactor()]
        super().__init__([*prefix, *twistd, "tlsproxy", "--config", config, *options], env=env)

    @classmethod
    def start(cls, directory: Path, toml: str, *, env: Mapping[str, str] | None = None) -> Self:
        """Start with the configuration ``toml`` and wait until it listens. It stops at once, unless ``toml`` says else."""
        config = directory / "tlsproxy.toml"
        hurry = "" if "drain_timeout" in toml else "drain_timeout = 0\n"
        config.write_text('log_format = "json"\n' + hurry + toml)
        proxy = cls(config, env=env)
        try:
            proxy.wait_for_output(r'"event": ?"listening"', timeout=30)
        except BaseException:
            proxy.stop()
            raise
        return proxy

    @property
    def notes(self) -> list[dict[str, Any]]:
        """Everything logged so far, and what was on its way to the log."""
        deadline = time.monotonic() + 5
        with self._changed:
            while not self._finished and time.monotonic() < deadline and self._changed.wait(_SETTLED):
                pass
        return list(self._parsed())

    def _parsed(self) -> Iterator[dict[str, Any]]:
        for line in self.output.splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def ports(self) -> list[int]:
        """The TCP ports listened on, in the order of the configuration."""
        return [
            int(note["listen"].rpartition(":")[2])
            for note in self.notes
            if note["event"] == "listening" and not note["listen"].startswith(("unix:", "systemd:"))
        ]

    def wait_for_note(
        self, event: str, *, after: int = 0, timeout: float = 10, **fields: Any
    ) -> dict[str, Any]:
        """Wait for a log line of ``event`` with these ``fields``, behind the first ``after`` lines of the log."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for note in list(self._parsed())[after:]:
                    if note["event"] == event and fields.items() <= note.items():
                        return note
                if self._finished or not self._changed.wait(deadline - time.monotonic()):
                    raise self._failure(f"no {event} with {fields} in the log")

    def rss_kib(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
