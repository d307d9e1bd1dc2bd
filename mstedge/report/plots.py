"""The kinds of chart that reports draw; each returns none where there is nothing to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mstedge.report.formats import figure
from mstedge.report.svg import (
    INK,
    Chart,
    area_key,
    colour_of,
    dashes_of,
    drawn,
    line_key,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes

Curve: TypeAlias = "Sequence[tuple[float, float]]"
FEW_POINTS = 40
CHARACTERS_ABREAST = 44


@dataclass(frozen=True, slots=True)
class Guides:
    """What is drawn around the lines of a chart to read them by.

    Attributes:
        marks: Words that stand above an x.
        level: A y to compare with, and its name.
        spans: Stretches of x, both ends included, that a bar above the chart points out.
        bottom: Where the y-axis begins; none leaves it to the values.
    """

    marks: Mapping[float, str] = field(default_factory=dict)
    level: tuple[float, str] | None = None
    spans: Sequence[tuple[float, float]] = ()
    bottom: float | None = None


def line_chart(
    title: str,
    curves: Mapping[str, Curve],
    *,
    x_label: str,
    y_label: str,
    shares: bool = False,
    caption: str = "",
    names: Sequence[str] = (),
    guides: Guides | None = None,
    height_inches: float = 2.8,
) -> Chart | None:
    """Draw one line per name.

    Args:
        title: What it shows.
        curves: Points (x, y) of every line.
        x_label: Name of the x-axis.
        y_label: Name of the y-axis.
        shares: Whether y is a share, shown in per cent.
        caption: Text below.
        names: Lines that charts beside this one have, in order: each name then has one colour in all of them.
        guides: What to read the lines by.
        height_inches: Height of the drawing.
    """
    filled = {name: points for name, points in curves.items() if points}
    if not filled:
        return None
    places = {name: index for index, name in enumerate(dict.fromkeys((*names, *filled)))}

    def paint(axes: Axes) -> None:
        for name, points in filled.items():
            paint_line(axes, points, places[name])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        whole_ticks(axes)
        if shares:
            percent_ticks(axes)
        if guides is not None:
            _paint_guides(axes, guides)

    keys = tuple(line_key(name, places[name]) for name in filled) if len(filled) > 1 else ()
    return Chart(title, drawn(paint, title=title, height_inches=height_inches), keys, caption)


def paint_line(axes: Axes, points: Curve, place: int) -> None:
    """Draw a line in the colour of its place; single points stay visible where there are few."""
    xs, ys = zip(*points, strict=True)
    marker = "o" if len(points) <= FEW_POINTS else ""
    line = axes.plot(xs, ys, color=colour_of(place), linewidth=1.6, marker=marker, markersize=3.2)[0]
    if dashes_of(place):
        line.set_dashes(dashes_of(place))


def paint_spans(axes: Axes, spans: Sequence[tuple[float, float]]) -> None:
    """Draw a bar above the axes along stretches of x; half a step belongs to each end."""
    left, right = axes.get_xlim()
    place = axes.get_xaxis_transform()
    for first, last in spans:
        ends = [max(left, first - 0.5), min(right, last + 0.5)]
        axes.plot(ends, [1.04, 1.04], color=INK, linewidth=4, transform=place, clip_on=False, solid_capstyle="butt")
    axes.set_xlim(left, right)


def _paint_guides(axes: Axes, guides: Guides) -> None:
    if guides.bottom is not None:
        axes.set_ylim(bottom=guides.bottom)
    if guides.level is not None:
        height, words = guides.level
        axes.axhline(height, color=INK, linewidth=0.9, alpha=0.7).set_dashes(dashes_of(1))
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, max(top, height + 0.15 * (height - bottom)))
        place = axes.get_yaxis_transform()
        axes.annotate(
            words, (0.01, height), (0, 3), xycoords=place, textcoords="offset points", fontsize=9.5, va="bottom"
        )
    left, right = axes.get_xlim()
    for x, words in guides.marks.items():
        axes.axvline(x, color=INK, linewidth=0.9, alpha=0.7)
        side = min(max((x - left) / (right - left), 0.0), 1.0)
        anchor = "left" if side < 0.2 else "right" if side > 0.8 else "center"
        axes.text(x, 1.03, words, transform=axes.get_xaxis_transform(), ha=anchor, va="bottom", fontsize=9.5)
    axes.set_xlim(left, right)
    paint_spans(axes, guides.spans)


def bar_chart(
    title: str,
    groups: Mapping[str, Mapping[str, float]],
    *,
    x_label: str,
    caption: str = "",
) -> Chart | None:
    """Draw horizontal bars with their values written at their ends.

    Args:
        title: What it shows.
        groups: Bars by group (a place on the y-axis), then by series (a colour).
        x_label: Name of the x-axis.
        caption: Text below.
    """
    if not groups:
        return None
    series = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    thickness = 0.78 / len(series)

    def paint(axes: Axes) -> None:
        for index, name in enumerate(series):
            places = [row + (index - (len(series) - 1) / 2) * thickness for row in range(len(groups))]
            values = [bars.get(name, 0.0) for bars in groups.values()]
            drawn_bars = axes.barh(places, values, height=thickness * 0.9, color=colour_of(index), alpha=0.85)
            axes.bar_label(drawn_bars, labels=[figure(value) for value in values], padding=3)
        axes.set_yticks(range(len(groups)), [shown(name) for name in groups])
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.set_xlabel(x_label)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)

    height = 0.85 + len(groups) * max(0.34, 0.26 * len(series))
    keys = tuple(area_key(name, index) for index, name in enumerate(series)) if len(series) > 1 else ()
    return Chart(title, drawn(paint, title=title, height_inches=height), keys, caption)


def matrix_chart(
    title: str,
    cells: Mapping[tuple[str, str], float],
    *,
    labels: tuple[str, str],
    caption: str,
    written: Callable[[float], str] = figure,
    order: Sequence[str] = (),
) -> Chart:
    """Draw a heat map with its numbers written in the cells.

    Args:
        title: What it shows.
        cells: Value of each (row, column); pairs that are not there stay empty.
        labels: Names of the y-axis and of the x-axis.
        caption: Text below.
        written: Makes the text of a number.
        order: Names that come first, if they occur.
    """
    occurring = list(dict.fromkeys(name for pair in cells for name in pair))
    names = sorted(occurring, key=lambda name: order.index(name) if name in order else len(order))
    top = max((value for value in cells.values() if math.isfinite(value)), default=0.0) or 1.0
    size = 10.5 if len(names) <= 5 else 9.0

    def paint(axes: Axes) -> None:
        from matplotlib.patches import Rectangle  # noqa: PLC0415  optional

        for (row, column), value in cells.items():
            x, y = names.index(column), names.index(row)
            strength = 0.08 + 0.5 * value / top if math.isfinite(value) else 0.0
            axes.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, color=colour_of(0), alpha=strength, linewidth=0))
            axes.text(x, y, written(value), ha="center", va="center", color=INK, fontsize=size)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xticks(range(len(names)), [shown(name) for name in names], **_slant(names))
        axes.set_yticks(range(len(names)), [shown(name) for name in names])
        axes.set_ylabel(labels[0])
        axes.set_xlabel(labels[1])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)

    return Chart(title, drawn(paint, title=title, height_inches=0.9 + 0.55 * len(names)), (), caption)


def dot_chart(
    title: str,
    rows: Mapping[str, tuple[Sequence[float], float, tuple[float, float] | None]],
    *,
    x_label: str,
    caption: str,
) -> Chart:
    """Draw single results as rings and their mean with its interval.

    Args:
        title: What it shows.
        rows: Single results, mean and the mean's interval, if there is one, of every name.
        x_label: Name of the x-axis; values are shares.
        caption: Text below.
    """

    def paint(axes: Axes) -> None:
        for row, (singles, mean, interval) in enumerate(rows.values()):
            colour = colour_of(row)
            if interval is not None:
                axes.plot(interval, [row, row], color=colour, linewidth=3, alpha=0.55, solid_capstyle="butt")
            axes.plot([mean], [row], color=colour, marker="D", markersize=7, linestyle="")
            rings = [row - 0.27] * len(singles)
            axes.plot(singles, rings, color=colour, marker="o", markersize=5, linestyle="", fillstyle="none")
        axes.set_yticks(range(len(rows)), [shown(name) for name in rows])
        axes.set_ylim(len(rows) - 0.5, -0.6)
        axes.margins(x=0.08)
        axes.set_xlabel(x_label)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        percent_ticks(axes, of="x")

    return Chart(title, drawn(paint, title=title, height_inches=0.8 + 0.55 * len(rows)), (), caption)


def _slant(names: Sequence[str]) -> dict[str, Any]:
    """Turn the labels below a matrix where they would run into each other."""
    crowded = sum(map(len, names)) > CHARACTERS_ABREAST
    return {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if crowded else {}


def whole_ticks(axes: Axes, *, most: int = 8) -> None:
    """Mark whole numbers alone on the x-axis."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  optional

    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def percent_ticks(axes: Axes, of: str = "y") -> None:
    """Write shares on an axis in per cent."""
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415  optional

    axis = axes.yaxis if of == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(_percent_tick))


def _percent_tick(share: float, _position: int | None) -> str:
    return f"{100 * share:.4g} %"
