"""`mstedge bench`: how fast a bundle answers on this machine."""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mstedge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mstedge.bench_result import BenchResult, Quantile, Series

_BAR_CELLS = 24


def command(
    bundle: Path = typer.Argument(..., help="The bundle."),
    seconds: float = typer.Option(10.0, help="Time for everything; p99 needs 1,000 samples."),
    threads: int | None = typer.Option(None, min=1, help="Threads of the engine.  [default: all usable cores]"),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON, every sample included."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Where the JSON result is written.  [default: <bundle>.bench.json beside it]"
    ),
) -> None:
    """Measure how fast a bundle answers here, one input at a time: the whole predictor, and the engine alone."""
    from mstedge.cli.console import note, say_json
    from mstedge.cli.reports import write_report_where_possible
    from mstedge.files import write_atomically
    from mstedge.runtime.bench.run import run_bench
    from mstedge.schema import encode_json

    target = output_for(bundle, output)
    with _progress_on_terminal() as progress:
        result = run_bench(bundle, seconds=seconds, threads=threads, progress=progress)
    write_atomically(target, encode_json(result))
    if as_json:
        say_json(result)
    else:
        say_result(result)
    note(f"written to {target}")
    page = write_report_where_possible(target)
    if page is not None:
        note(f"report: {page}")


def output_for(bundle: Path, output: Path | None) -> Path:
    """Find where the result goes, and refuse before anything is measured where it cannot be written.

    Args:
        bundle: The bundle's folder.
        output: What the user asked for; none for beside the bundle.

    Raises:
        UsageError: The folder does not exist or cannot be written, or lies inside the bundle.
    """
    folder = bundle.resolve()
    target = output or folder.parent / f"{folder.name.removesuffix('.bundle')}.bench.json"
    parent = target.resolve().parent
    if folder == parent or folder in parent.parents:
        raise UsageError(
            f"{target}: lies inside the bundle, and its SHA256SUMS allow no further file",
            hint="leave -o away to write beside the bundle",
        )
    if target.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{target}: cannot be written there", hint="name a file in a writable folder with -o FILE")
    return target


def say_result(result: BenchResult) -> None:
    """Print a result on one screen."""
    from mstedge.cli.console import say, say_table
    from mstedge.cli.text import printable

    machine = result.environment
    place = " · ".join(part for part in (machine.board, machine.cpu, machine.operating_system) if part)
    memory = f"{result.peak_memory_bytes / 2**20:.0f} MiB"
    threads = f"{result.threads} thread{'' if result.threads == 1 else 's'}"
    say(f"{printable(result.bundle, limit=60)} · {result.backend} · {result.device} · {result.precision} · {threads}")
    say(f"{place} · {machine.cores} cores")
    source = "the bundle's golden files" if result.input == "golden raw" else "the bundle's golden features"
    say(f"one input at a time, from {source}; intervals are 95 %")
    say()
    header = ("series", "p50 [interval]", "p90 [interval]", "p99 [interval]", "mean", "per second", "samples")
    say_table(header, [_row(series) for series in result.series], right=range(1, len(header)))
    say()
    say("median per stage: " + " · ".join(f"{name} {duration_text(ms * 1e6)}" for name, ms in result.stages_ms.items()))
    first = duration_text(result.series[0].warmup_ns[0])
    say(f"load {duration_text(result.load_ms * 1e6)} · first answer {first} · peak memory {memory}")
    for each in result.notes:
        say(f"note: {each}")


def duration_text(duration_ns: float) -> str:
    """Write a duration with three significant digits, in µs, ms or s by its size."""
    unit_ns, unit = _unit_of(duration_ns)
    return f"{significant_text(duration_ns / unit_ns)} {unit}"


def quantile_text(quantile: Quantile) -> str:
    """Write a quantile with its interval in the same unit; `[too few]` where the samples cannot bound it."""
    unit_ns, unit = _unit_of(quantile.value_ns)
    value = f"{significant_text(quantile.value_ns / unit_ns)} {unit}"
    if quantile.low_ns is None or quantile.high_ns is None:
        return f"{value} [too few]"
    return f"{value} [{significant_text(quantile.low_ns / unit_ns)}, {significant_text(quantile.high_ns / unit_ns)}]"


def significant_text(value: float) -> str:
    """Write a number that is not negative with three significant digits and no exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = round(value, 2 - math.floor(math.log10(value)))
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(rounded)))}f}"


def _unit_of(duration_ns: float) -> tuple[float, str]:
    # A value that three digits round up to the next unit belongs to it: 999.9 µs is 1.00 ms.
    for unit_ns, unit in ((1e9, "s"), (1e6, "ms")):
        if duration_ns >= 0.9995 * unit_ns:
            return unit_ns, unit
    return 1e3, "µs"


def _row(series: Series) -> tuple[str, ...]:
    by_share = {quantile.share: quantile_text(quantile) for quantile in series.quantiles}
    return (
        series.name,
        *(by_share.get(share, "-") for share in (0.5, 0.9, 0.99)),
        duration_text(series.mean_ns),
        significant_text(series.throughput_hz),
        str(len(series.samples_ns)),
    )


@contextmanager
def _progress_on_terminal() -> Iterator[Callable[[str, float], None] | None]:
    """Give a function that draws a bar with the time left, where someone watches; wipe the bar at the end.

    It draws between timed blocks only: a bar that redraws itself from a thread would be part of what is timed.
    """
    if not sys.stderr.isatty():
        yield None
        return
    started = time.monotonic()

    def draw(phase: str, share: float) -> None:
        cells = round(share * _BAR_CELLS)
        left = (time.monotonic() - started) * (1 - share) / share if share > 0 else None
        ending = "" if left is None else f"{left:.0f} s left"
        sys.stderr.write(f"\r\x1b[K{phase:<10} [{'█' * cells}{'·' * (_BAR_CELLS - cells)}] {ending}")
        sys.stderr.flush()

    try:
        yield draw
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
