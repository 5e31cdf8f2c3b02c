"""Charts as SVG files: bars, and lines over a logarithmic axis. They bring a background along, light or dark."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil, log10

from attrs import frozen

WIDTH = 760
MARGIN = 24
LABEL = 150
"""Room left of bars for names."""
VALUE = 80
"""Room right of bars for figures."""
ROW, BAR = 22, 14
HEAD = 64
GROUP = 30

_STYLE = """\
<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: #1f2937; }
.title { font-size: 17px; font-weight: 600; }
.note, .axis { fill: #6b7280; }
.group { font-weight: 600; }
.back { fill: #ffffff; stroke: #e5e7eb; }
.grid { stroke: #e5e7eb; fill: none; }
.ours { fill: #2563eb; }
.theirs { fill: #b6bfcc; }
.line { fill: none; stroke-width: 2.5; }
.line.ours { stroke: #2563eb; fill: none; }
.line.theirs { stroke: #9aa5b4; fill: none; }
.value { font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb; }
  .note, .axis { fill: #9ca3af; }
  .back { fill: #16181d; stroke: #2d323b; }
  .grid { stroke: #2d323b; }
  .ours { fill: #6ea0ff; }
  .theirs { fill: #5b6573; }
  .line.ours { stroke: #6ea0ff; }
  .line.theirs { stroke: #8a95a5; }
}
</style>"""


@frozen
class Group:
    """Bars under a heading; a value of None is left out."""

    title: str
    values: Mapping[str, float | None]


def bars(title: str, note: str, groups: Sequence[Group], ours: str) -> str:
    """Horizontal bars. Each group has its own scale: units differ."""
    y = HEAD
    body: list[str] = []
    for group in groups:
        values = {name: value for name, value in group.values.items() if value is not None}
        if not values:
            continue
        body.append(_text(MARGIN, y + 16, group.title, "group"))
        y += GROUP
        for name, value in values.items():
            body += _bar(y, name, value, max(values.values()), ours)
            y += ROW
        y += 10
    return _picture(y + MARGIN // 2, title, note, body)


def _bar(y: int, name: str, value: float, most: float, ours: str) -> Iterator[str]:
    room = WIDTH - 2 * MARGIN - LABEL - VALUE
    width = max(2.0, value / most * room)
    kind = "ours" if name == ours else "theirs"
    yield _text(MARGIN + LABEL - 10, y + 12, name, "", "end")
    yield f'<rect class="{kind}" x="{MARGIN + LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" rx="3"/>'
    yield _text(round(MARGIN + LABEL + width + 8), y + 12, short(value), "value")


@frozen
class Line:
    """Points of one name: x and value."""

    name: str
    points: Sequence[tuple[int, float]]


PANEL = 210


def lines(title: str, note: str, panels: Mapping[str, Sequence[Line]], ours: str) -> str:
    """Lines from zero up, over x on a logarithmic axis; a panel for each title."""
    y = HEAD
    body: list[str] = []
    for heading, drawn in panels.items():
        if any(line.points for line in drawn):
            body += _panel(y, heading, [line for line in drawn if line.points], ours)
            y += PANEL + 20
    return _picture(y, title, note, body)


def _panel(top: int, heading: str, drawn: Sequence[Line], ours: str) -> Iterator[str]:
    left, right, floor, ceiling = MARGIN + 50, WIDTH - MARGIN - 90, top + PANEL - 24, top + 36
    places = sorted({x for line in drawn for x, _ in line.points})
    low, high = log10(places[0]), max(log10(places[-1]), log10(places[0]) + 0.1)
    most = _round_up(max(value for line in drawn for _, value in line.points))

    def at(x: int, value: float) -> tuple[float, float]:
        return (
            left + (log10(x) - low) / (high - low) * (right - left),
            floor - value / most * (floor - ceiling),
        )

    yield _text(MARGIN, top + 16, heading, "group")
    for part in (0, 0.5, 1):
        y = at(places[0], most * part)[1]
        yield f'<path class="grid" d="M{left} {y:.1f}H{right}"/>'
        yield _text(left - 8, round(y) + 4, short(most * part), "axis", "end")
    for x in places:
        yield _text(round(at(x, 0)[0]), floor + 18, f"{x:,}".replace(",", " "), "axis", "middle")
    labels: list[float] = []
    for line in drawn:
        spots = [at(*point) for point in line.points]
        kind = "ours" if line.name == ours else "theirs"
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        yield f'<path class="line {kind}" d="M{path}"/>'
        yield from (f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in spots)
        label = spots[-1][1]
        while any(abs(label - other) < 15 for other in labels):
            label += 15
        labels.append(label)
        yield _text(round(spots[-1][0]) + 10, round(label) + 4, line.name, "")


def _round_up(value: float) -> float:
    step = 10 ** (ceil(log10(value)) - 1)
    return float(ceil(value / step) * step)


def short(value: float) -> str:
    """Three digits or so."""
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def _text(x: int, y: int, content: str, kind: str, anchor: str = "start") -> str:
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x}" y="{y}"{attributes}>{escape(content)}</text>'


def _picture(height: int, title: str, note: str, body: Sequence[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">',
            _STYLE,
            f'<rect class="back" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
            _text(MARGIN, 32, title, "title"),
            _text(MARGIN, 52, note, "note"),
            *body,
            "</svg>\n",
        ]
    )
