"""The page of a benchmark, and how many samples become few points."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_inputs import bench_result

from mstedge.report import write_report
from mstedge.report.bench_page import distribution, thinned
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = st.lists(st.integers(min_value=1, max_value=10**10), min_size=1, max_size=3000)


def page_of(tmp_path: Path, samples: tuple[int, ...]) -> str:
    path = tmp_path / "bench.json"
    path.write_bytes(encode_json(bench_result(samples)))
    return write_report(path).read_text(encoding="utf-8")


def test_figures_come_with_their_intervals(tmp_path: Path) -> None:
    page = page_of(tmp_path, (500_000, 512_000, 2_340_000))
    assert re.search(r"<td>p50</td>.*512 µs.*500 µs to 530 µs", page)
    assert re.search(r"<td>p99</td>.*2\.34 ms.*too few samples", page)
    for words in ("1,667 /s", "9.00 ms", "clocks were not fixed", "64.0 MiB", "12.5 ms", "A processor"):
        assert words in page


def test_distribution_time_series_and_stages_are_drawn(tmp_path: Path) -> None:
    page = page_of(tmp_path, (500_000, 512_000, 2_340_000))
    titles = re.findall(r'<svg class="chart" role="img" aria-label="(.*?)"', page)
    assert titles == ["Distribution of latency", "Latency over time: engine", "Where the time goes"]
    assert "All 3 samples." in page


def test_thinning_is_said(tmp_path: Path) -> None:
    samples = tuple(500_000 + position % 7 for position in range(5000))
    assert "800 of 5,000 samples are drawn" in page_of(tmp_path, samples)


@given(SAMPLES)
def test_thinning_keeps_order_and_extremes(samples: list[int]) -> None:
    points = thinned(samples)
    positions = [position for position, _ in points]
    assert positions == sorted(set(positions))
    assert len(points) <= 800
    values = [value for _, value in points]
    assert (min(values), max(values)) == (min(samples) / 1e6, max(samples) / 1e6)
    assert all(value == samples[int(position) - 1] / 1e6 for position, value in points)


@given(SAMPLES)
def test_distribution_is_true_at_every_point(samples: list[int]) -> None:
    distinct = sorted(set(samples))
    for value, share in distribution(distinct):
        assert share == pytest.approx(sum(sample / 1e6 <= value for sample in distinct) / len(distinct))
