"""How soon a process that died is started again."""

from typing import Final

from attrs import define, field

SHORTEST: Final = 1.0
"""Seconds before the second attempt in a row; each further one waits twice as long as the one before."""

LONGEST: Final = 30.0
"""Seconds between attempts at most: a cause that went away, a full disk say, isn't held against the service for long."""

HEALTHY: Final = 60.0
"""Seconds after which a process counts as sound: its death is then the first again."""


@define
class Backoff:
    """The waits before starts of one process: none at first, since a single crash shouldn't be felt."""

    _failures: int = field(default=0, init=False)

    def died(self, lived: float) -> float:
        """Seconds to wait before the next start.

        :param lived: Seconds for which the process ran.
        """
        self._failures = 1 if lived >= HEALTHY else self._failures + 1
        if self._failures == 1:
            return 0.0
        # The exponent is bounded as well: a float doesn't hold two to the power of a year of failures.
        return float(min(SHORTEST * 2 ** min(self._failures - 2, 16), LONGEST))
