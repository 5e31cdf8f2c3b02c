"""From samples to figures."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Self

from attrs import frozen


@frozen
class Figures:
    """Medians over the rounds of one case."""

    cpu: float
    """CPU of the proxy per unit, us."""
    spread: float
    """Half of the distance between the quartiles, as a part of the median."""
    rate: float
    p50: float
    p99: float
    proxy_busy: float
    client_busy: float

    @classmethod
    def of(cls, samples: Sequence[dict[str, Any]]) -> Self | None:
        """None if any round had an error: what is left is no figure."""
        if not samples or any(each["errors"] or each["cpu_us"] is None for each in samples):
            return None

        def middle(key: str) -> float:
            return float(median(each[key] for each in samples))

        costs = sorted(each["cpu_us"] for each in samples)
        quarter = len(costs) // 4
        spread = (costs[-1 - quarter] - costs[quarter]) / 2 / median(costs)
        return cls(
            median(costs),
            spread,
            middle("rate"),
            middle("p50_us"),
            middle("p99_us"),
            middle("proxy_busy"),
            middle("client_busy"),
        )
