"""What a benchmark leaves: every raw sample, the figures drawn from them, and enough of the machine to repeat it."""

from __future__ import annotations

from typing import Literal

from mstedge.schema import Record


class Quantile(Record, frozen=True, kw_only=True):
    """A quantile of latency with its 95 % order-statistic interval.

    Attributes:
        share: Which quantile, between 0 and 1.
        value_ns: Its estimate.
        low_ns: Lower end; none where there are too few samples to bound it.
        high_ns: Upper end.
    """

    share: float
    value_ns: int
    low_ns: int | None
    high_ns: int | None


class Series(Record, frozen=True, kw_only=True):
    """One thing that was timed again and again.

    Attributes:
        name: `predictor` (whole, from decoded input) or `engine` (the network alone).
        samples_ns: Every sample, in order; nothing is dropped.
        warmup_ns: Samples before, first inference first; not part of the figures.
        quantiles: Figures; p99 only from 1,000 samples.
        mean_ns: Mean of the samples.
        throughput_hz: Samples per second, one at a time.
    """

    name: str
    samples_ns: tuple[int, ...]
    warmup_ns: tuple[int, ...]
    quantiles: tuple[Quantile, ...]
    mean_ns: float
    throughput_hz: float


class Environment(Record, frozen=True, kw_only=True):
    """The machine, as far as results depend on it.

    Attributes:
        cpu: Model name of the processor.
        cores: Cores that this process may use.
        memory_bytes: Physical memory.
        architecture: Instruction set.
        board: Board name from the device tree; none where there is none.
        l4t: NVIDIA Jetson Linux release; none elsewhere.
        kernel: Kernel release.
        operating_system: Its pretty name.
        governor: CPU frequency governor; none where it is not told.
        python: Interpreter version.
        packages: Versions of the packages that run.
    """

    cpu: str
    cores: int
    memory_bytes: int
    architecture: str
    kernel: str
    operating_system: str
    python: str
    packages: dict[str, str]
    board: str | None = None
    l4t: str | None = None
    governor: str | None = None


class BenchResult(Record, frozen=True, kw_only=True):
    """One benchmark.

    Attributes:
        schema: Version of this format.
        scenario: How inputs arrive; `single-stream`: the next one when the last is answered.
        bundle: Name in the manifest.
        model_sha256: Digest of the model file.
        backend: Engine that ran it, with its version.
        device: Device that it really used.
        precision: Precision that it really used.
        threads: Threads of the engine.
        batch: Rows per inference.
        input: What was fed: golden raw inputs of the bundle, or its golden features.
        series: Whole predictor and engine alone.
        stages_ms: Median of each stage of the predictor, in milliseconds.
        peak_memory_bytes: Largest resident size of the process.
        load_ms: Time from opening the bundle to a ready predictor, in milliseconds.
        environment: The machine.
        notes: What limits these figures, in words.
    """

    schema: Literal["mstedge.bench/1"] = "mstedge.bench/1"
    bundle: str
    model_sha256: str
    backend: str
    device: str
    precision: str
    threads: int
    batch: int
    input: Literal["golden raw", "golden features"]
    series: tuple[Series, ...]
    stages_ms: dict[str, float]
    peak_memory_bytes: int
    load_ms: float
    environment: Environment
    notes: tuple[str, ...]
    scenario: Literal["single-stream"] = "single-stream"
