"""The page of a comparison of two graphs, tensor by tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.explanation import Explanation, TensorDifference
from mstedge.report.page import Page
from mstedge.report.svg import INK, Chart, area_key, colour_of, drawn, shortened
from mstedge.schema import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

MAX_BARS = 60


def explanation_page(path: Path) -> Page:
    """Show where a candidate leaves its reference."""
    found = read_json(path, Explanation)
    beyond = sum(one.beyond for one in found.tensors)
    values = {"found": found, "beyond": beyond, "chart": _chart(found)}
    return Page("explanation", f"{found.candidate} against {found.reference}", values)


def kept_of(tensors: Sequence[TensorDifference]) -> list[TensorDifference]:
    """Pick the tensors that a chart can hold: the furthest ones, in the order of computation."""
    furthest = sorted(range(len(tensors)), key=lambda index: tensors[index].median_sqnr_db)[:MAX_BARS]
    return [tensors[index] for index in sorted(furthest)]


def _chart(found: Explanation) -> Chart | None:
    kept = kept_of(found.tensors)
    if not kept:
        return None
    title = "Signal to quantisation noise, node by node"

    def paint(axes: Axes) -> None:
        values = [one.median_sqnr_db for one in kept]
        axes.barh(range(len(kept)), values, height=0.74, color=[colour_of(int(one.beyond)) for one in kept])
        for place, value in enumerate(values):  # in a column of their own, where no line runs through them
            axes.text(1.09, place, f"{value:.1f}", transform=axes.get_yaxis_transform(), ha="right", va="center")
        axes.axvline(found.tolerance_db, color=INK, linewidth=1.2, linestyle="--", zorder=0.5)
        axes.set_yticks(range(len(kept)), [shortened(one.node) for one in kept])
        axes.set_ylim(len(kept) - 0.5, -0.5)
        axes.set_xlabel("median SQNR, dB; dashed: the tolerance")
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")

    keys = (area_key("within tolerance", 0), area_key("beyond tolerance", 1))
    left = len(found.tensors) - len(kept)
    caption = "From the input to the logits." + (f" {left:,} tensors with less noise are not drawn." if left else "")
    return Chart(title, drawn(paint, title=title, height_inches=0.9 + 0.27 * len(kept)), keys, caption)
