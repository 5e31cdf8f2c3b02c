"""What the protocol machines that read their client have in common: an event is taken, then the bytes that are there.

A machine's state says what the next bytes are. While there are some that can be dealt with, its reader of that state takes
them; that may change the state. Only when nothing more can be read does it look at what follows: that the client has sent
its last byte, that it has to be paused.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar

from tlsproxy.fronts.commands import Command
from tlsproxy.fronts.events import Event
from tlsproxy.fronts.output import Output


class Machine(ABC):
    """A protocol machine as a table of events and one of readers."""

    __slots__ = ()

    EVENTS: ClassVar[Mapping[type[Event], Callable[[Any, Any], None]]]
    """What it does about each kind of event that it can be told."""
    READERS: ClassVar[Mapping[Any, Callable[[Any], bool]]]
    """By state: each takes what it can, and says whether it took anything."""

    _ended: bool
    _reading: Enum
    _out: Output

    def handle(self, event: Event) -> Sequence[Command]:
        """Take an event; what is to be done, in order. Nothing, once the machine has ended."""
        if self._ended:
            return ()
        self.EVENTS[type(event)](self, event)
        while not self._ended and self.READERS[self._reading](self):
            pass
        if not self._ended:
            self._after_event()
        return self._out.take()

    @abstractmethod
    def _after_event(self) -> None:
        """Do what follows once nothing more can be read."""
