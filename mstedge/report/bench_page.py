"""The page of a benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstedge.bench_result import BenchResult, Series
from mstedge.report.formats import count, latency
from mstedge.report.page import Page
from mstedge.report.plots import bar_chart, line_chart
from mstedge.schema import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mstedge.report.svg import Chart

DRAWN_STRETCHES = 400
ECDF_POINTS = 400
ECDF_END = 0.995


def bench_page(path: Path) -> Page:
    """Show a benchmark."""
    result = read_json(path, BenchResult)
    charts = [_ecdf(result.series), *(_time_series(one) for one in result.series), _stages(result.stages_ms)]
    values = {"bench": result, "charts": tuple(chart for chart in charts if chart is not None)}
    return Page("bench", f"Benchmark of {result.bundle}", values)


def thinned(samples: Sequence[int]) -> list[tuple[float, float]]:
    """Pick the points of a time series that show its shape: the fastest and the slowest sample of each stretch.

    Args:
        samples: Latencies in nanoseconds, in order.

    Returns:
        (position from 1, milliseconds), all of them where they are few.
    """
    if len(samples) <= 2 * DRAWN_STRETCHES:
        return [(position, sample / 1e6) for position, sample in enumerate(samples, start=1)]
    kept: list[int] = []
    for stretch in np.array_split(np.arange(len(samples)), DRAWN_STRETCHES):
        part = np.asarray(samples[stretch[0] : stretch[-1] + 1])
        kept += sorted({int(stretch[0] + part.argmin()), int(stretch[0] + part.argmax())})
    return [(position + 1, samples[position] / 1e6) for position in kept]


def distribution(samples: Sequence[int]) -> list[tuple[float, float]]:
    """Give points of the cumulative distribution, up to `ECDF_END`.

    Args:
        samples: Latencies in nanoseconds.

    Returns:
        (milliseconds, share of samples that took no longer).
    """
    if not samples:
        return []
    ordered = sorted(samples)
    last = max(1, round(ECDF_END * len(ordered))) - 1
    positions = np.unique(np.linspace(0, last, ECDF_POINTS).round().astype(int)).tolist()
    return [(ordered[position] / 1e6, (position + 1) / len(ordered)) for position in positions]


def _ecdf(series: Sequence[Series]) -> Chart | None:
    total = max((len(one.samples_ns) for one in series), default=0)
    caption = f"Drawn up to the {100 * ECDF_END:.1f}th percentile"
    caption += f", at {ECDF_POINTS} points of each series." if total > ECDF_POINTS else "."
    caption += "".join(
        f" Slowest {one.name} sample: {latency(max(one.samples_ns))}." for one in series if one.samples_ns
    )
    return line_chart(
        "Distribution of latency",
        {one.name: distribution(one.samples_ns) for one in series},
        x_label="latency, ms",
        y_label="samples that took no longer",
        shares=True,
        caption=caption,
    )


def _time_series(series: Series) -> Chart | None:
    points = thinned(series.samples_ns)
    caption = f"All {count(len(points))} samples."
    if len(points) < len(series.samples_ns):
        caption = (
            f"{count(len(points))} of {count(len(series.samples_ns))} samples are drawn: "
            f"the fastest and the slowest of each of {DRAWN_STRETCHES} stretches."
        )
    return line_chart(
        f"Latency over time: {series.name}",
        {series.name: points},
        x_label="sample",
        y_label="latency, ms",
        caption=caption,
    )


def _stages(stages_ms: dict[str, float]) -> Chart | None:
    groups = {stage.removesuffix("_ms"): {"median": value} for stage, value in stages_ms.items()}
    return bar_chart("Where the time goes", groups, x_label="median, ms")
