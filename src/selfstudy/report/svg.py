"""Plots as SVG that belongs into the page: its fonts, its colours in light and dark, and the same bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Colours that nothing else has; the page's variables take their place.
_INK, _MUTED, _GRID = "#010101", "#020202", "#030303"
_SERIES = ("#0a0101", "#0a0202", "#0a0303")
_VARIABLES = {_INK: "ink", _MUTED: "muted", _GRID: "line"} | {c: f"c{n}" for n, c in enumerate(_SERIES, start=1)}
_MARKERS = (("o", "●"), ("s", "■"), ("D", "◆"))
_STYLE: dict[str, object] = {
    "svg.hashsalt": "selfstudy",
    "svg.fonttype": "none",  # text stays text: small, and in the page's font
    "text.parse_math": False,
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.constrained_layout.use": True,
}
_SIZE = (4.6, 2.7)  # inches of 72 points: as wide as a phone's screen
_MOST_POINTS = 150  # of a line; a longer one is averaged over stretches


@dataclass(frozen=True)
class Point:
    """A value with its interval, if there is one."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points that belong together, in order."""

    label: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: What is shown.
        svg: The plot itself, without any title.
        keys: Label, glyph and number of the colour of each series.
        described: The same in words and numbers.
        note: What stands below it.
    """

    title: str
    svg: str
    keys: Sequence[tuple[str, str, int]]
    described: str
    note: str = ""


def by_round(title: str, series: Sequence[Series], *, percent: bool, unit: str = "", note: str = "") -> Panel:
    """Plot values with their intervals over the rounds.

    Args:
        title: What is shown.
        series: Three at most; empty ones are left out.
        percent: Whether values are shares.
        unit: Of the values otherwise.
        note: What stands below.
    """
    series = [one for one in series if one.points]
    scale = 100 if percent else 1

    def draw(axes: Axes) -> None:
        for number, (one, colour, (marker, _)) in enumerate(zip(series, _SERIES, _MARKERS, strict=False)):
            aside = (number - (len(series) - 1) / 2) * 0.09  # intervals beside each other rather than on top
            x, y = [p.x + aside for p in one.points], [scale * p.value for p in one.points]
            axes.plot(x, y, color=colour, marker=marker)
            for place, p in zip(x, one.points, strict=True):
                if p.low is not None and p.high is not None:
                    axes.plot([place] * 2, [scale * p.low, scale * p.high], color=colour, linewidth=1, alpha=0.7)
        rounds = sorted({int(point.x) for one in series for point in one.points})
        axes.set_xticks(range(rounds[0], rounds[-1] + 1))
        axes.set_xlim(rounds[0] - 0.4, rounds[-1] + 0.4)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("round")
        axes.set_ylabel("%" if percent else unit)
        if percent:
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, -2), min(high, 102))

    words = (f"{one.label}: {', '.join(_words(p, scale) for p in one.points)}" for one in series)
    return Panel(title, _svg(title, draw), _keys(series), f"{title}. {'; '.join(words)}", note)


def over_steps(
    title: str, series: Sequence[Series], *, unit: str, used: tuple[int, str] | None = None, note: str = ""
) -> Panel:
    """Plot values over optimizer steps.

    Args:
        title: What is shown.
        series: Three at most.
        unit: Of the values.
        used: A step that is marked, and what stands there.
        note: What stands below.
    """
    dotted = all(len(one.points) < 30 for one in series)

    def draw(axes: Axes) -> None:
        for one, colour, (marker, _) in zip(series, _SERIES, _MARKERS, strict=False):
            points = _averaged(one.points)
            axes.plot([p.x for p in points], [p.value for p in points], color=colour, marker=marker if dotted else None)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(unit)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if used is not None:
            step, said = used
            axes.axvline(step, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
            late = step > sum(axes.get_xlim()) / 2
            axes.annotate(
                said,
                (step, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),  # above the axes, where no line is
                textcoords="offset points",
                ha="right" if late else "left",
            )

    words = (
        f"{one.label}: {first.value:.3g} at step {first.x:g}, {last.value:.3g} at step {last.x:g}"
        for one in series
        for first, last in [(one.points[0], one.points[-1])]
    )
    marked = f"; {used[1]} is step {used[0]}" if used else ""
    return Panel(title, _svg(title, draw), _keys(series), f"{title}. {'; '.join(words)}{marked}", note)


def _keys(series: Sequence[Series]) -> list[tuple[str, str, int]]:
    return [
        (one.label, glyph, number)
        for number, (one, (_, glyph)) in enumerate(zip(series, _MARKERS, strict=False), start=1)
    ]


def _words(point: Point, scale: float) -> str:
    said = f"round {point.x:g} {scale * point.value:.3g}"
    if point.low is None or point.high is None:
        return said
    return f"{said} ({scale * point.low:.3g} to {scale * point.high:.3g})"


def _averaged(points: Sequence[Point]) -> Sequence[Point]:
    """Return the points, or the means of stretches of them where there are too many."""
    width = -(-len(points) // _MOST_POINTS)
    if width <= 1:
        return points
    stretches = [points[start : start + width] for start in range(0, len(points), width)]
    return [Point(part[-1].x, sum(point.value for point in part) / len(part)) for part in stretches]


def _svg(title: str, draw: Callable[[Axes], None]) -> str:
    """Draw a plot; ``title`` keeps its ids apart from those of others on the page."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=_SIZE)
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = re.sub(r"<!--.*?-->|<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"font-family: [^;]*; ", "", text)  # the page's own, then
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    text = re.sub(r"^<svg[^>]*>", f'<svg {view[0]} aria-hidden="true" focusable="false">', text)
    name = re.sub(r"\W+", "-", title)
    referenced = set(re.findall(r'(?:href="|url\()#([^")]*)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in referenced else "", text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", text).strip()
