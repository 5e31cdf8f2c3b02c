"""How the process ends: asked by a signal, with a status that tells whether sessions were cut.

Left to itself, Twisted answers SIGTERM by stopping, and twistd then dies of the signal all the same: whatever happened, the
status says "killed". So the signals are taken here, once the reactor has taken them.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final

from attrs import define, field

CUT: Final = 3
"""Exit status where the stop cut sessions. 1 is a start that failed, 2 a wrong command line."""


@define(eq=False)
class SignalHandlers:
    """What this process does when it is sent a signal."""

    _reactor: Any
    _handlers: Mapping[signal.Signals, Callable[[], None]]

    def install(self) -> None:
        """Take the signals. Handlers run in the reactor, where nothing is half done."""
        for number, handler in self._handlers.items():
            signal.signal(number, self._caller(handler))

    def _caller(self, handler: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        return lambda _number, _frame: self._reactor.callFromThread(handler)


@define(eq=False)
class ExitStatus:
    """The status that the process is to exit with. twistd knows none but 0 and its own failures.

    :ivar value: The status.
    """

    value: int = field(default=0, init=False)

    def register(self) -> None:
        """Have it taken at exit: after the pid file is removed, and after what was registered later than this."""
        atexit.register(self._exit)

    def _exit(self) -> None:
        if self.value:
            sys.stdout.flush()
            sys.stderr.flush()
            # A handler can't change the status otherwise: SystemExit is swallowed here.
            os._exit(self.value)
