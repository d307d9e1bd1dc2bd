"""Print what `make quickstart` found, read from the files that its commands left."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from mstedge.bench_result import BenchResult
from mstedge.cli.text import interval_text
from mstedge.manifest import MANIFEST_NAME, PARITY_REPORT_NAME, Manifest
from mstedge.parity import ParityReport
from mstedge.run_card import CARD_NAME, COMPARISON_NAME, Comparison, MethodResult, RunCard
from mstedge.schema import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = tuple[str, str]


def accuracy_rows(run: Path) -> Iterator[Row]:
    """Say how good the student is, and how good the same network is with labels only."""
    card = read_json(run / CARD_NAME, RunCard)
    for each in card.metrics:
        if each.part == "test":
            interval = interval_text(each.low, each.high)
            yield "test accuracy, this student", f"{each.accuracy:.1%} [{interval}], {each.clusters} recordings"
    comparison = read_json(run / COMPARISON_NAME, Comparison)
    for method in comparison.methods:
        yield f"test accuracy, {method.method}", _method(method)
    yield "conclusion", comparison.conclusion


def bundle_rows(bundle: Path) -> Iterator[Row]:
    """Say what ships and whether anything was lost on the way."""
    manifest = read_json(bundle / MANIFEST_NAME, Manifest)
    parity = read_json(bundle / PARITY_REPORT_NAME, ParityReport)
    yield "parity", f"{parity.verdict} ({parity.rows} rows, {parity.scope}, {parity.precision}, {parity.backend})"
    size_kb = (bundle / manifest.model).stat().st_size / 1000
    yield "model", f"{manifest.lineage.parameters:,} parameters, {size_kb:,.1f} kB"


def latency_rows(result: Path) -> Iterator[Row]:
    """Say how quick it is on this machine."""
    bench = read_json(result, BenchResult)
    for series in bench.series:
        figures = [
            f"p{100 * each.share:g} {each.value_ns / 1e6:.3f} ms"
            for each in series.quantiles
            if each.share in {0.5, 0.99}
        ]
        yield (
            f"latency, {series.name}",
            f"{', '.join(figures)} ({len(series.samples_ns)} samples, {bench.threads} threads)",
        )


def time_rows(table: Path) -> Iterator[Row]:
    """Say what each step took."""
    seconds: dict[str, float] = defaultdict(float)
    for line in table.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("\t")
        seconds[name] += float(value)
    for name, total in seconds.items():
        yield f"seconds, {name}", f"{total:.1f}"
    yield "seconds, all", f"{sum(seconds.values()):.1f}"


def report_rows(folder: Path) -> Iterator[Row]:
    """Say where the reports stand."""
    for path in sorted(folder.rglob("*report.html")):
        yield "report", str(path)


def main() -> int:
    """Print the table of one quickstart folder."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart")
    rows = [
        *accuracy_rows(folder / "run"),
        *bundle_rows(folder / "digits.bundle"),
        *latency_rows(folder / "digits.bench.json"),
        *time_rows(folder / "seconds.tsv"),
        *report_rows(folder),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0


def _method(method: MethodResult) -> str:
    return f"{method.mean:.1%} [{interval_text(method.low, method.high)}], mean of {len(method.accuracies)} seeds"


if __name__ == "__main__":
    sys.exit(main())
