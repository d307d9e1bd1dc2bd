"""Charts that only a training run has: shares of routing, who learns from whom, and what masks change."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from mstedge.report.formats import figure
from mstedge.report.plots import bar_chart, line_chart, paint_line, paint_spans, percent_ticks, whole_ticks
from mstedge.report.svg import INK, Chart, area_key, colour_of, drawn, line_key, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from matplotlib.axes import Axes

    from mstedge.report.plots import Curve, Guides

Flows: TypeAlias = "Mapping[str, Mapping[str, Curve]]"
MOST_PANELS_ABREAST = 3


def epoch_chart(
    title: str,
    curves: Mapping[str, Curve],
    *,
    y_label: str,
    shares: bool = False,
    caption: str = "",
    names: Sequence[str] = (),
    guides: Guides | None = None,
    height_inches: float = 2.8,
) -> Chart | None:
    """Draw one line per name over epochs; one epoch alone has no course, and is drawn as bars with their values.

    Args:
        title: What it shows.
        curves: Points (epoch, y) of every line.
        y_label: What the values are.
        shares: Whether these are shares, shown in per cent.
        caption: Text below.
        names: Lines that charts beside this one have, in the order of their colours.
        guides: What to read the lines by.
        height_inches: Height of the drawing where there are lines.
    """
    filled = {name: points for name, points in curves.items() if points}
    epochs = {epoch for points in filled.values() for epoch, _ in points}
    if len(epochs) == 1:
        values = {name: {"": 100 * points[0][1] if shares else points[0][1]} for name, points in filled.items()}
        label = f"{y_label}{' in %' if shares else ''}, epoch {epochs.pop():g}"
        return bar_chart(title, values, x_label=label, caption=caption)
    return line_chart(
        title,
        filled,
        x_label="epoch",
        y_label=y_label,
        shares=shares,
        caption=caption,
        names=names,
        guides=guides,
        height_inches=height_inches,
    )


def share_chart(
    title: str,
    xs: Sequence[float],
    shares: Mapping[str, Sequence[float]],
    *,
    spans: Sequence[tuple[float, float]] = (),
    caption: str,
) -> Chart | None:
    """Stack shares that sum to one over epochs, with the borders that equal shares would have.

    Args:
        title: What it shows.
        xs: Epochs.
        shares: One value per epoch for every name.
        spans: First and last epoch of what a bar above the chart points out.
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
        for border in range(1, len(stacks)):
            axes.axhline(border / len(stacks), color=INK, linewidth=0.9, alpha=0.65).set_dashes((5, 4))
        axes.set_xlim(spread[0], spread[-1])
        axes.set_ylim(0, 1)
        axes.set_xlabel("epoch")
        axes.set_ylabel("share of the teaching")
        axes.grid(visible=False)
        whole_ticks(axes)
        percent_ticks(axes)
        paint_spans(axes, spans)

    keys = tuple(area_key(name, index) for index, name in enumerate(shares))
    return Chart(title, drawn(paint, title=title), keys, caption)


def flow_chart(title: str, flows: Flows, *, names: Sequence[str], y_label: str, caption: str) -> Chart | None:
    """Draw who learns how much from whom: one small chart per learner, all on the same scale.

    Args:
        title: What it shows.
        flows: Points (epoch, norm) by learner, then by the one it learns from.
        names: All members, in the order that gives them their colours.
        y_label: Name of the y-axis.
        caption: Text below.
    """
    if not flows:
        return None
    # Four stand in a square; other numbers fill rows of three.
    columns = 2 if len(flows) == 4 else min(len(flows), MOST_PANELS_ABREAST)
    rows = -(-len(flows) // columns)

    def paint(whole: Axes) -> None:
        grid: Any = whole.figure
        whole.remove()
        panels = grid.subplots(rows, columns, sharey=True, squeeze=False).flatten()
        for panel, (learner, sources) in zip(panels, flows.items(), strict=False):
            for source, points in sources.items():
                paint_line(panel, points, names.index(source))
            panel.set_title(f"{shown(learner)} learns", loc="left", fontsize=10.5)
            whole_ticks(panel, most=10 // columns)
        panels[0].set_ylim(bottom=0)
        for panel in panels[len(flows) :]:
            panel.set_visible(False)
        grid.supxlabel("epoch", fontsize=10.5)
        grid.supylabel(y_label, fontsize=10.5)

    sources = {source for points in flows.values() for source in points}
    keys = tuple(line_key(f"from {name}", index) for index, name in enumerate(names) if name in sources)
    return Chart(title, drawn(paint, title=title, height_inches=0.7 + 2.0 * rows), keys, caption)


def dumbbell_chart(
    title: str, rows: Mapping[str, tuple[float, float]], *, series: tuple[str, str], x_label: str, caption: str
) -> Chart | None:
    """Draw two values of each name, joined by a line and written beside them.

    Args:
        title: What it shows.
        rows: Value before and value after by name.
        series: What the first and the second value are called.
        x_label: Name of the x-axis.
        caption: Text below.
    """
    if not rows:
        return None

    def paint(axes: Axes) -> None:
        for row, (before, after) in enumerate(rows.values()):
            axes.plot([before, after], [row, row], color=INK, linewidth=1.6, alpha=0.45)
            axes.plot([before], [row], color=colour_of(7), marker="o", markersize=9, linestyle="")
            axes.plot([after], [row], color=colour_of(0), marker="o", markersize=9, linestyle="")
            axes.text(1.03, row, _change(before, after), transform=axes.get_yaxis_transform(), va="center")
        axes.set_yticks(range(len(rows)), [shown(name) for name in rows])
        axes.set_ylim(len(rows) - 0.5, -0.6)
        axes.set_xlim(0, 1.06 * max(max(pair) for pair in rows.values()) or 1.0)
        axes.set_xlabel(x_label)
        axes.tick_params(axis="y", length=0)

    keys = (area_key(series[0], 7), area_key(series[1], 0))
    return Chart(title, drawn(paint, title=title, height_inches=0.8 + 0.5 * len(rows)), keys, caption)


def _change(before: float, after: float) -> str:
    """Write two values and how far they are apart."""
    relative = f"  {100 * (after - before) / before:+.0f} %" if before > 0 else ""
    return f"{figure(before)} \N{RIGHTWARDS ARROW} {figure(after)}{relative}".replace("-", "\N{MINUS SIGN}")
