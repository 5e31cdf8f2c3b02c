"""Logging switched off, for ``twistd --logger``: the peers are measured without theirs."""

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer


@implementer(ILogObserver)
class _Drop:
    def __call__(self, event: LogEvent) -> None:
        """Log nothing."""


def observer() -> ILogObserver:
    """Make an observer that drops everything."""

    return _Drop()
