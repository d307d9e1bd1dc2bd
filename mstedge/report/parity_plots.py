"""The two charts of a parity report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mstedge.report.svg import INK, Chart, colour_of, dashes_of, drawn, line_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mstedge.parity import Histogram, TaskResult


def interval_chart(task: TaskResult) -> Chart:
    """Draw the difference of level 3 with its bounds, against zero and the margin."""
    title = f"Candidate minus reference: {task.metric}"
    bounded = task.low is not None and task.high is not None

    def paint(axes: Axes) -> None:
        if task.low is not None and task.high is not None:
            axes.plot([100 * task.low, 100 * task.high], [0, 0], color=colour_of(0), linewidth=7, alpha=0.45)
            axes.plot([100 * task.low] * 2, [-0.28, 0.28], color=colour_of(0), linewidth=2)
        axes.plot([100 * task.difference], [0], color=colour_of(0), marker="D", markersize=8, linestyle="")
        axes.axvline(0, color=INK, linewidth=0.8)
        margin = axes.axvline(-100 * task.margin, color=colour_of(1), linewidth=2)
        margin.set_dashes(dashes_of(1))
        axes.set_ylim(-1, 1)
        axes.set_yticks([])
        axes.margins(x=0.12)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("percentage points; left of zero is worse")

    caption = "There are too few independent clusters for bounds."
    if bounded:
        caption = (
            f"Bar: from the lower to the upper bound, each one-sided at {100 * task.confidence:.0f} %. The candidate "
            "passes where the whole bar stands to the right of the margin."
        )
    keys = (line_key("difference and its bounds" if bounded else "difference", 0), line_key("margin", 1))
    return Chart(title, drawn(paint, title=title, height_inches=1.55), keys, caption)


def histogram_chart(histogram: Histogram, limit: float | None) -> Chart | None:
    """Draw how often |p - p'| was how large.

    Args:
        histogram: The counts.
        limit: Largest |p - p'| that the precision allows, if there is one.
    """
    if not any(histogram.counts):
        return None
    title = "How far probabilities moved"
    names = [f"below {_power(histogram.edges[0])}", *(f"from {_power(edge)}" for edge in histogram.edges)]

    def paint(axes: Axes) -> None:
        places = range(len(histogram.counts))
        bars = axes.bar(places, histogram.counts, width=0.86, color=colour_of(0), alpha=0.85)
        axes.bar_label(bars, labels=[f"{count:,}" if count else "" for count in histogram.counts], padding=2)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, 4 * max(histogram.counts))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xticks(places, names, rotation=35, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False)
        axes.set_xlabel("|p \N{MINUS SIGN} p'|")

    caption = "Number of probabilities, over all rows and classes; heights are logarithmic."
    if limit is not None:
        caption += f" The largest that this precision allows is {limit:g}."
    return Chart(title, drawn(paint, title=title, height_inches=3.0), (), caption)


def _power(edge: float) -> str:
    exponent = round(math.log10(edge)) if edge > 0 else 0
    return f"1e{exponent}" if exponent < -3 else f"{edge:g}"
