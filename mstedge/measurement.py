"""What an export measured beside parity: size and latency of the candidate and of its fp32 original."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mstedge.limits import Precision
from mstedge.manifest import Target
from mstedge.schema import Record


class PairedLatency(Record, frozen=True, kw_only=True):
    """Candidate and fp32 original on one engine at batch 1, their inferences taking turns in one run.

    Attributes:
        backend: Engine that ran both, with its version.
        device: Device that it ran on.
        threads: Threads of one inference.
        samples: Timed inferences of each.
        fp32_p50_ns: Median of the original.
        fp32_p99_ns: Its 99th percentile; none where the samples are too few to tell.
        candidate_p50_ns: Median of the candidate.
        candidate_p99_ns: Its 99th percentile; none where the samples are too few to tell.
    """

    backend: str
    device: str
    threads: int
    samples: int
    fp32_p50_ns: int
    fp32_p99_ns: int | None
    candidate_p50_ns: int
    candidate_p99_ns: int | None

    @property
    def ratio(self) -> float:
        """Median of the candidate over that of the original; below 1 is faster."""
        return self.candidate_p50_ns / self.fp32_p50_ns


class ExportMeasurement(Record, frozen=True, kw_only=True):
    """Figures of the machine that exported; they stand beside a bundle, for another machine has others.

    Attributes:
        schema: Version of this format.
        model_sha256: Digest of the candidate's ONNX file, which tells whose figures these are.
        target: What the bundle is for.
        precision: Arithmetic that its graph carries.
        engine: What the candidate was gated on, with its version.
        candidate_bytes: Size of the file that the target runs.
        fp32_bytes: Size of the same file at fp32.
        latencies: One per engine that ran both; empty where none was measured.
        seconds: Time of the whole export.
        environment: Processor, cores and system, in words.
    """

    schema: Literal["mstedge.export-measurement/1"] = "mstedge.export-measurement/1"
    model_sha256: str
    target: Target
    precision: Precision
    engine: str
    candidate_bytes: int
    fp32_bytes: int
    latencies: tuple[PairedLatency, ...] = ()
    seconds: float
    environment: str

    @property
    def shrinkage(self) -> float:
        """How many times smaller than fp32 the candidate is."""
        return self.fp32_bytes / self.candidate_bytes


def measurement_path(bundle: Path) -> Path:
    """Say where the measurement of a bundle stands: beside it, for SHA256SUMS allow no further file inside."""
    folder = bundle.resolve()
    return folder.with_name(f"{folder.name}.measured.json")
