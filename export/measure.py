"""Size and latency of a candidate beside its fp32 original, taking turns in one run: figures of this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mstedge.export.candidate import Candidate, candidate_from_graph, loaded
from mstedge.export.student import Student
from mstedge.export.wish import ExportWish
from mstedge.measurement import ExportMeasurement, PairedLatency
from mstedge.runtime.backends import EngineSession
from mstedge.runtime.bench.timing import Plan, Target, Timed, time_targets
from mstedge.runtime.environment import read_environment
from mstedge.statistics import quantile_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

_PLAN = Plan(total_ns=1_500_000_000, warmup_ns=300_000_000, block_ns=50_000_000)
_LEAST_SAMPLES_FOR_P99 = 1000


def measured(
    student: Student, candidate: Candidate, graph: bytes, wish: ExportWish, *, started: float
) -> ExportMeasurement:
    """Time one inference of the candidate and of fp32 on the target's engine, with all cores.

    Args:
        student: Whose held-out rows are the inputs.
        candidate: What ships.
        graph: The fp32 graph that it was made from.
        wish: Target and precision.
        started: When the export began, on `time.monotonic`.

    Returns:
        Sizes and paired latencies; of an fp32 candidate there is nothing to pair, so its size alone.
    """
    fp32 = ExportWish(target=wish.target)
    original = candidate_from_graph(graph, student, fp32, note=_silent)
    sessions = [loaded(original, student, fp32, threads=None), loaded(candidate, student, wish, threads=None)]
    paired = () if wish.precision == "fp32" else (_latency(sessions, student.held_out.features),)
    environment = read_environment()
    return ExportMeasurement(
        model_sha256=candidate.sha256,
        target=wish.target,
        precision=wish.precision,
        engine=sessions[1].backend,
        candidate_bytes=_size(candidate),
        fp32_bytes=_size(original),
        latencies=paired,
        seconds=time.monotonic() - started,
        environment=f"{environment.cpu}, {environment.cores} cores, {environment.operating_system}",
    )


def _latency(sessions: list[EngineSession], features: NDArray[np.float32]) -> PairedLatency:
    def target(name: str, session: EngineSession) -> Target:
        return Target(name, lambda call: session.run(features[call % len(features)][None]))

    original, candidate = time_targets([target("fp32", sessions[0]), target("candidate", sessions[1])], _PLAN)
    return PairedLatency(
        backend=sessions[1].backend,
        device=sessions[1].device,
        threads=sessions[1].threads,
        samples=min(len(original.samples_ns), len(candidate.samples_ns)),
        fp32_p50_ns=_quantile(original, 0.5),
        fp32_p99_ns=_tail(original),
        candidate_p50_ns=_quantile(candidate, 0.5),
        candidate_p99_ns=_tail(candidate),
    )


def _quantile(timed: Timed, share: float) -> int:
    samples: Sequence[int] = sorted(timed.samples_ns)
    return samples[quantile_rank(len(samples), share)]


def _tail(timed: Timed) -> int | None:
    return _quantile(timed, 0.99) if len(timed.samples_ns) >= _LEAST_SAMPLES_FOR_P99 else None


def _size(candidate: Candidate) -> int:
    """Count the bytes that the target's engine reads."""
    return len(candidate.onnx) if candidate.ir is None else sum(len(part) for part in candidate.ir)


def _silent(_text: str) -> None:
    """Say nothing."""
