"""Pictures of counts, as SVG: bars beside their figures, and one bar divided into shares.

A picture never tells more than the text beside it: who can't see it loses nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

from tlsproxy.ops.status.html import Markup, element
from tlsproxy.ops.status.words import count, share

MAX_BARS: Final = 8
"""Bars of one picture: of ciphers in use there are a handful. Those that come after are one bar together."""

_GAP: Final = 0.5
"""Percent of the width between two shares: neighbours are told apart without their colours, too."""

_LEAST: Final = 0.6
"""Percent of the width that a share has at least, to be seen."""


@frozen
class Part:
    """A share of a whole."""

    name: str
    value: float
    look: str
    """Class of the style sheet."""


def bar(value: float, greatest: float, look: str = "plain") -> Markup:
    """One bar, as long as ``value`` is of ``greatest``. Stands beside the figure, and so says nothing by itself."""
    width = 100 * value / greatest if greatest > 0 else 0.0
    return element(
        "svg",
        element("rect", class_="track", width=100, height=10),
        element(
            "rect", class_=look, width=f"{min(100.0, max(_LEAST, width)) if value else 0:.2f}", height=10
        ),
        class_="bar",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def bars(counts: Mapping[str, float], look: str = "plain") -> Markup:
    """A list of names with a figure and a bar each, in the order of ``counts``."""
    shown = _shortened(counts)
    total, greatest = sum(shown.values()), max(shown.values(), default=0)
    lines = [
        element(
            "li",
            element("span", name, class_="name"),
            element("span", share(value, total), class_="number"),
            element("span", count(value), class_="number quiet"),
            bar(value, greatest, look),
        )
        for name, value in shown.items()
    ]
    return element("ul", lines, class_="bars")


def _shortened(counts: Mapping[str, float]) -> dict[str, float]:
    ranked = list(counts.items())
    shown, rest = dict(ranked[:MAX_BARS]), ranked[MAX_BARS:]
    if rest:
        shown[f"{len(rest)} others"] = sum(value for _, value in rest)
    return shown


def shares(label: str, parts: Iterable[Part]) -> Markup:
    """One bar divided into parts, with a legend below it."""
    shown = [part for part in parts if part.value]
    total = sum(part.value for part in shown)
    legend = [
        element(
            "li",
            element("span", class_=f"key {part.look}"),
            element("span", part.name, class_="name"),
            element("span", share(part.value, total), class_="number"),
            element("span", count(part.value), class_="number quiet"),
        )
        for part in shown
    ]
    spoken = ", ".join(f"{part.name} {share(part.value, total)}" for part in shown)
    picture = element(
        "svg",
        _divided(shown, total),
        class_="shares",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{label}: {spoken}",
    )
    return element("div", picture, element("ul", legend, class_="legend"), class_="chart")


def _divided(parts: list[Part], total: float) -> Iterable[Markup]:
    room = 100 - _GAP * (len(parts) - 1)
    widths = [max(_LEAST, room * part.value / total) for part in parts]
    scale, at = room / sum(widths) if widths else 1.0, 0.0
    for part, width in zip(parts, widths, strict=True):
        yield element("rect", class_=part.look, x=f"{at:.2f}", width=f"{width * scale:.2f}", height=10)
        at += width * scale + _GAP
