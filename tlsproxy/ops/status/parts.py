"""What the sections of the status page are made of, and made with."""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from attrs import field, frozen

from tlsproxy.ops.merge import merged_families
from tlsproxy.ops.status.figures import Figures
from tlsproxy.ops.status.html import Content, Markup, element, join
from tlsproxy.ops.status.model import ServiceStatus, ShadowReport
from tlsproxy.ops.status.words import machine_time, moment, plural

MAX_ROWS: Final = 100
"""Rows of one table: a page stays below a megabyte whatever the configuration holds. The rest is in ``/status.json``."""

LONG: Final = 36
"""Characters of a name that a table has room for; the rest shows when it is pointed at."""

LOOK_OF_VERSION: Final = {
    "TLSv1.3": "tls13",
    "TLSv1.2": "tls12",
    "TLSv1.1": "tls11",
    "TLSv1": "tls10",
}
"""Each version's look, the best first: old ones are to be seen."""

_T = TypeVar("_T")


@frozen
class View:
    """What sections are made of."""

    status: ServiceStatus
    now: float
    report: ShadowReport | None
    figures: Figures = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "figures", Figures(merged_families(self.status)))


def pill(word: str, look: str) -> Markup:
    """A word with a colour behind it. The word alone says it."""
    return element("span", word, class_=f"pill {look}")


def code(value: str) -> Markup:
    """An address, a name, a path."""
    return element("code", value, title=value if len(value) > LONG else None)


def beneath(value: Content) -> Markup:
    """A second line in a cell."""
    return element("div", value, class_="beneath")


def when(moment_: float) -> Markup:
    """A point in time."""
    return element("time", moment(moment_), datetime=machine_time(moment_))


def section(identifier: str, title: str, *content: Content, note: str = "") -> Markup:
    """A part of the page under a heading."""
    heading = element("h2", title, id=f"{identifier}-title")
    about = element("p", note, class_="about") if note else None
    inside = (element("div", heading, about, class_="heading"), *content)
    return element("section", *inside, id=identifier, aria_labelledby=f"{identifier}-title")


def card(title: str, *content: Content) -> Markup:
    """A picture under a small heading."""
    return element("div", element("h3", title), *content, class_="card")


def empty(message: str) -> Markup:
    """Says that there is nothing to show."""
    return element("p", message, class_="empty")


def table(caption: str, heads: Sequence[str], rows: Iterable[Markup], *, more: int = 0) -> Markup:
    """A table that scrolls by itself where it is too wide.

    :param heads: A head that begins with ``#`` is of a column of numbers.
    :param more: Rows left out.
    """
    columns = [
        element("th", head.lstrip("#"), scope="col", class_="number" if head.startswith("#") else None)
        for head in heads
    ]
    inside = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", columns)),
        element("tbody", rows),
    )
    left = element("p", f"{plural(more, 'more row')}: see /status.json", class_="about") if more else None
    return join(element("div", inside, class_="scroll", tabindex=0, role="region", aria_label=caption), left)


def number(value: Content) -> Markup:
    """A cell with a figure."""
    return element("td", value, class_="number")


def first(rows: Sequence[_T], limit: int = MAX_ROWS) -> tuple[Sequence[_T], int]:
    """As many of ``rows`` as a table has room for, and how many are left out."""
    return rows[:limit], max(0, len(rows) - limit)
