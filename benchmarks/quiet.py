"""Logging switched off, for ``twistd --logger``: the peers are measured without theirs."""

from twisted.logger import ILogObserver, LogEvent
from zope.interface import provider


def observer() -> ILogObserver:
    """Make an observer that drops everything."""

    @provider(ILogObserver)
    def drop(event: LogEvent) -> None:
        del event

    return drop
