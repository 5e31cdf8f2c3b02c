"""Logging switched off, for ``twistd --logger``: the peers are measured without theirs."""

import sys

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from zope.interface import implementer


@implementer(ILogObserver)
class _OnlyFailures:
    def __call__(self, event: LogEvent) -> None:
        """Write what explains why the proxy isn't there, and nothing else."""
        if event.get("log_level", LogLevel.info) >= LogLevel.critical:
            print(eventAsText(event), file=sys.stderr)


def observer() -> ILogObserver:
    """Make an observer that drops everything but failures of the program."""
    return _OnlyFailures()
