"""The kinds of chart that reports draw; each returns none where there is nothing to draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

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
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

Curve: TypeAlias = "Sequence[tuple[float, float]]"
FEW_POINTS = 40


def line_chart(
    title: str, curves: Mapping[str, Curve], *, x_label: str, y_label: str, shares: bool = False, caption: str = ""
) -> Chart | None:
    """Draw one line per name.

    Args:
        title: What it shows.
        curves: Points (x, y) of every line.
        x_label: Name of the x-axis.
        y_label: Name of the y-axis.
        shares: Whether y is a share, shown in per cent.
        caption: Text below.
    """
    filled = {name: points for name, points in curves.items() if points}
    if not filled:
        return None

    def paint(axes: Axes) -> None:
        for index, points in enumerate(filled.values()):
            xs, ys = zip(*points, strict=True)
            marker = "o" if len(points) <= FEW_POINTS else ""
            line = axes.plot(xs, ys, color=colour_of(index), linewidth=1.6, marker=marker, markersize=3.2)[0]
            if dashes_of(index):
                line.set_dashes(dashes_of(index))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _whole_ticks(axes)
        if shares:
            _percent_ticks(axes)

    keys = tuple(line_key(name, index) for index, name in enumerate(filled)) if len(filled) > 1 else ()
    return Chart(title, drawn(paint, title=title), keys, caption)


def share_chart(title: str, xs: Sequence[float], shares: Mapping[str, Sequence[float]], caption: str) -> Chart | None:
    """Stack shares that sum to one over epochs.

    Args:
        title: What it shows.
        xs: Epochs.
        shares: One value per epoch for every name.
        caption: Text below.
    """
    if not xs or not shares:
        return None
    # One epoch has no extent: it is drawn as a block around itself.
    spread = list(xs) if len(xs) > 1 else [xs[0] - 0.5, xs[0] + 0.5]

    def paint(axes: Axes) -> None:
        stacks = [list(values) * (len(spread) // len(values)) for values in shares.values()]
        colours = [colour_of(index) for index in range(len(stacks))]
        axes.stackplot(spread, stacks, colors=colours, alpha=0.8, linewidth=0)
        axes.set_xlim(spread[0], spread[-1])
        axes.set_ylim(0, 1)
        axes.set_xlabel("epoch")
        axes.set_ylabel("share of the choices")
        axes.grid(visible=False)
        _whole_ticks(axes)
        _percent_ticks(axes)

    keys = tuple(area_key(name, index) for index, name in enumerate(shares))
    return Chart(title, drawn(paint, title=title), keys, caption)


def bar_chart(
    title: str, groups: Mapping[str, Mapping[str, float]], *, x_label: str, caption: str = ""
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


def matrix_chart(title: str, cells: Mapping[tuple[str, str], float], *, labels: tuple[str, str], caption: str) -> Chart:
    """Draw a heat map with its numbers written in the cells.

    Args:
        title: What it shows.
        cells: Value of each (row, column); pairs that are not there stay empty.
        labels: Names of the y-axis and of the x-axis.
        caption: Text below.
    """
    names = list(dict.fromkeys(name for pair in cells for name in pair))
    top = max((value for value in cells.values() if math.isfinite(value)), default=0.0) or 1.0

    def paint(axes: Axes) -> None:
        from matplotlib.patches import Rectangle  # noqa: PLC0415  optional

        for (row, column), value in cells.items():
            x, y = names.index(column), names.index(row)
            strength = 0.08 + 0.5 * value / top if math.isfinite(value) else 0.0
            axes.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, color=colour_of(0), alpha=strength, linewidth=0))
            axes.text(x, y, figure(value), ha="center", va="center", color=INK)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xticks(range(len(names)), [shown(name) for name in names])
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
        _percent_ticks(axes, of="x")

    return Chart(title, drawn(paint, title=title, height_inches=0.8 + 0.55 * len(rows)), (), caption)


def _whole_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  optional

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _percent_ticks(axes: Axes, of: str = "y") -> None:
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415  optional

    axis = axes.yaxis if of == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(_percent_tick))


def _percent_tick(share: float, _position: int | None) -> str:
    return f"{100 * share:.4g} %"
