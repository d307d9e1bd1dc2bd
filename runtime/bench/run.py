"""The benchmark of a bundle: single-stream latency of the whole predictor and of the engine alone."""

from __future__ import annotations

import math
import os
import re
import resource
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Literal

import numpy as np

from mstedge.bench_result import BenchResult
from mstedge.errors import UsageError
from mstedge.parity_words import alarm
from mstedge.prediction import StageTimes
from mstedge.runtime.bench.figures import notes_on_machine, notes_on_series, series_from_timed
from mstedge.runtime.bench.timing import Plan, Target, time_targets
from mstedge.runtime.environment import read_environment
from mstedge.runtime.predictor import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mstedge.bench_result import Series
    from mstedge.runtime.bench.timing import Clock, Progress, Timed
    from mstedge.runtime.predictor import Predictor

MOST_SECONDS = 3600.0
_WARMUP_SHARE = 0.1
_STAGES = ("decode", "features", "engine", "after")
_STAGES_FROM_FEATURES = _STAGES[2:]
_FEATURES_NOTE = "the bundle holds no raw inputs: decoding and the front end are not in these figures"


def run_bench(
    folder: Path,
    *,
    seconds: float = 10.0,
    threads: int | None = None,
    clock: Clock = perf_counter_ns,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure a bundle on this machine, one input at a time.

    The whole predictor runs from the raw golden files where the bundle has some (the files are in the page cache after
    the first round), and from the golden features otherwise; the engine alone runs from the golden features.

    Args:
        folder: The bundle.
        seconds: Time for everything, from opening the bundle on.
        threads: Threads of the engine; none for all cores that this process may use.
        clock: Nanoseconds that never go back.
        progress: Told the phase and the share of the time that is done, outside everything that is timed.

    Raises:
        UsageError: The time is not above 0 and at most an hour.
        BundleError: The bundle is damaged.
        MachineError: The engine cannot be used on this machine.
        SampleError: A golden input cannot be used.
    """
    if not (math.isfinite(seconds) and 0 < seconds <= MOST_SECONDS):
        raise UsageError(f"seconds is {seconds:g}: expected above 0 and at most {MOST_SECONDS:g}")
    begin = clock()
    load_before = os.getloadavg()[0]
    predictor = load(folder, threads=threads)
    total_ns = max(1, int(seconds * 1e9) - (clock() - begin))
    stages: list[StageTimes] = []
    whole, fed = _predictor_target(predictor, stages, clock)
    plan = Plan(total_ns=total_ns, warmup_ns=int(total_ns * _WARMUP_SHARE))
    timed = time_targets((whole, _engine_target(predictor)), plan, clock=clock, progress=progress)
    peak_memory_bytes = _peak_memory_bytes()
    environment = read_environment()
    series = tuple(series_from_timed(each) for each in timed)
    session, manifest = predictor.session, predictor.manifest
    return BenchResult(
        bundle=manifest.name,
        model_sha256=predictor.bundle.digests[manifest.model],
        backend=session.backend,
        device=session.device,
        precision=session.precision,
        threads=session.threads,
        batch=1,
        input=fed,
        series=series,
        stages_ms=_stage_medians(stages, _STAGES if fed == "golden raw" else _STAGES_FROM_FEATURES),
        peak_memory_bytes=peak_memory_bytes,
        load_ms=predictor.load_ms,
        environment=environment,
        notes=tuple(_notes(fed, timed, series, notes_on_machine(environment, load_before), alarm(manifest.parity))),
    )


def _notes(
    fed: str, timed: Sequence[Timed], series: Sequence[Series], on_machine: Sequence[str], warning: str | None
) -> Iterator[str]:
    """Collect what limits these figures, the nearest to them first."""
    if warning is not None:
        yield warning
    if fed == "golden features":
        yield _FEATURES_NOTE
    for course, figures in zip(timed, series, strict=True):
        yield from notes_on_series(figures, steady=course.steady)
    yield from on_machine


def _predictor_target(
    predictor: Predictor, stages: list[StageTimes], clock: Clock
) -> tuple[Target, Literal["golden raw", "golden features"]]:
    """Time the whole way to an answer; the stages of every measured answer are kept beside."""
    bundle = predictor.bundle
    files = [bundle.path_of(case.file) for case in bundle.golden_cases().cases if case.file is not None]
    if files:
        whole = Target("predictor", lambda number: predictor.predict(files[number % len(files)]).times, stages.append)
        return whole, "golden raw"
    rows = bundle.golden_features()

    def answered(number: int) -> StageTimes:
        started_ns = clock()
        logits = predictor.logits(rows[number % len(rows)])
        logits_ns = clock()
        predictor.answer(logits)
        engine_ms, after_ms = (logits_ns - started_ns) / 1e6, (clock() - logits_ns) / 1e6
        return StageTimes(decode_ms=0.0, features_ms=0.0, engine_ms=engine_ms, after_ms=after_ms)

    return Target("predictor", answered, stages.append), "golden features"


def _engine_target(predictor: Predictor) -> Target:
    """Time the network alone, on batches of one that lie ready in memory."""
    features = np.ascontiguousarray(predictor.bundle.golden_features())
    batches = [features[row : row + 1] for row in range(len(features))]
    return Target("engine", lambda number: predictor.session.run(batches[number % len(batches)]))


def _stage_medians(stages: Sequence[StageTimes], names: Sequence[str]) -> dict[str, float]:
    return {name: median(getattr(times, f"{name}_ms") for times in stages) for name in names}


def _peak_memory_bytes() -> int:
    """Read the largest resident size of this process.

    The kernel's own high-water mark first: unlike that of getrusage, it does not begin with the parent's size at fork.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        found = None
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024
