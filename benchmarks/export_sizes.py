"""Every kind of student, every target and precision: size, accuracy, latency at batch 1, and the gate's verdict.

    python benchmarks/export_sizes.py [--students cnn-image mlp-image] [--output docs/results/export_sizes.md]

Students are trained with labels on the built-in digits (a minute or two in all), then converted and gated as
`mstedge export` does it. Latency is that of the engine alone on one thread; fp32 and the candidate take turns in one
run.
The exit status is 1 where a bar is missed: an int8 graph of a digits student at least 3.3 times smaller and through the
gate, and for a student of a million parameters or more, int8 at most 0.9 of fp32's latency on at least one engine.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mstedge.export.candidate import Candidate
from mstedge.export.onnx_graph import onnx_from_network
from mstedge.export.openvino_ir import ir_from_onnx
from mstedge.export.quantise.calibration import CalibrationWish, calibration_rows
from mstedge.export.quantise.half import half_from_graph
from mstedge.export.quantise.int8 import int8_from_graph, prepared
from mstedge.export.quantise.ranges import ranges_of
from mstedge.export.student import Rows
from mstedge.limits import PRECISIONS, Precision
from mstedge.manifest import TARGETS, Target, Tensor
from mstedge.runtime.backends import BACKEND_OF_TARGET, EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.bench import timing
from mstedge.runtime.bundle import check_onnx
from mstedge.runtime.environment import read_environment
from mstedge.runtime.parity.gate import GateSetup, run_gate
from mstedge.runtime.parity.rows import Edges, GateRows
from mstedge.training.models.attention import AttentionNet
from mstedge.training.models.dense import Segmenter
from mstedge.training.models.networks import Cnn, Mlp, TemporalCnn
from mstedge.training.models.volume import VolumeCnn
from mstedge.training.recipe_files import load_recipe
from mstedge.training.sources import load_dataset

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mstedge.parity import ParityReport

    Floats = NDArray[np.float32]

SMALLER_BAR, FASTER_BAR = 3.3, 0.9
DIGITS_STUDENTS = ("temporal-audio", "cnn-image")
LARGE_PARAMETERS = 1_000_000
PLAN = timing.Plan(total_ns=1_500_000_000, warmup_ns=300_000_000, block_ns=50_000_000)
EPOCHS, BATCH_ROWS = 12, 64
INK = 0.5


@dataclass(frozen=True)
class Case:
    """A trained student with its rows."""

    name: str
    network: nn.Module
    classes: int
    train: Rows
    held_out: Rows

    @property
    def parameters(self) -> int:
        """Number of trainable values."""
        return sum(each.numel() for each in self.network.parameters())

    def answers(self, features: Floats) -> Floats:
        """Run the network: [rows, ...] to logits."""
        with torch.no_grad():
            parts = [self.network(torch.from_numpy(part)).numpy() for part in np.array_split(features, 8)]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    student: str
    parameters: int
    target: Target
    precision: Precision
    size_bytes: int
    smaller: float
    latency_ms: float | None
    latency_ratio: float | None
    report: ParityReport


def digits(modality: str) -> tuple[Rows, Rows]:
    """Give training and held-out rows of the built-in digits, all labels known."""
    dataset = load_dataset(load_recipe(f"digits-{modality}", ["labels.fraction=1.0"]))

    def rows(*names: Any) -> Rows:
        parts = [dataset.parts[name] for name in names]
        return Rows(
            tuple(each for part in parts for each in part.ids),
            tuple(each for part in parts for each in part.clusters),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.features[modality] for part in parts]),
        )

    return rows("train"), rows("test", "validation")


def clips_from_images(rows: Rows) -> Rows:
    """Make clips [1, 8, 16, 16] of a digit that drifts to the right by one pixel a frame: real digits, made motion."""
    images = rows.features
    count, channels, height, width = images.shape
    clips = np.full((count, channels, 8, 2 * height, 2 * width), images.min(), dtype=np.float32)
    for frame in range(8):
        clips[:, :, frame, 4 : 4 + height, frame : frame + width] = images
    return Rows(rows.ids, rows.clusters, rows.labels, clips)


def pixels_from_images(rows: Rows) -> Rows:
    """Label every pixel: the digit's class where there is ink, class 10 elsewhere."""
    ink = rows.features[:, 0] > np.quantile(rows.features, INK)
    labels = np.where(ink, rows.labels[:, None, None], 10).astype(np.int64)
    return Rows(rows.ids, rows.clusters, labels, rows.features)


def trained(network: nn.Module, rows: Rows) -> nn.Module:
    """Fit a network to labels: Adam, 12 epochs."""
    torch.manual_seed(0)
    features, labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(features)).split(BATCH_ROWS):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(features[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
    return network.eval()


def cases(wanted: list[str]) -> list[Case]:
    """Train what was asked for."""
    audio, image = digits("audio"), digits("image")
    clips = (clips_from_images(image[0]), clips_from_images(image[1]))
    pixels = (pixels_from_images(image[0]), pixels_from_images(image[1]))
    kinds: dict[str, tuple[Callable[[Any], nn.Module], int, tuple[Rows, Rows]]] = {
        "temporal-audio": (lambda shape: TemporalCnn([shape], 10, channels=(32, 48, 64)), 10, audio),
        "cnn-image": (lambda shape: Cnn([shape], 10), 10, image),
        "cnn-audio": (lambda shape: Cnn([shape], 10), 10, audio),
        "cnn-audio-large": (lambda shape: Cnn([shape], 10, channels=(64, 128, 384, 192), hidden=192), 10, audio),
        "mlp-image": (lambda shape: Mlp([shape], 10), 10, image),
        "attention-audio": (lambda shape: AttentionNet([shape], 10), 10, audio),
        "volume-clips": (lambda shape: VolumeCnn([shape], 10), 10, clips),
        "segmenter-image": (lambda shape: Segmenter([shape], 11), 11, pixels),
    }
    found = []
    for name, (make, classes, (train, held_out)) in kinds.items():
        if wanted and name not in wanted:
            continue
        started = time.monotonic()
        torch.manual_seed(1)
        network = trained(make(train.features.shape[1:]), train)
        found.append(Case(name, network, classes, train, held_out))
        print(f"{name}: trained in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return found


def candidate(case: Case, graph: bytes, target: Target, precision: Precision) -> Candidate:
    """Convert as `mstedge export` does."""
    calibration = None
    if precision == "fp16":
        graph = half_from_graph(graph)
    elif precision == "int8":
        features, calibration = calibration_rows(case.train, CalibrationWish())
        form = "uint8" if target == "onnx" else "symmetric"
        ready = prepared(graph)
        ranges = ranges_of(ready, features, "minmax", symmetric=form == "symmetric")
        graph = int8_from_graph(ready, ranges, form=form)  # type: ignore[arg-type]
    return Candidate(graph, ir_from_onnx(graph) if target == "openvino" else None, calibration)


def loaded(case: Case, made: Candidate, target: Target, precision: Precision) -> EngineSession:
    """Load a candidate on one thread of its target's engine."""
    shape = case.held_out.features.shape[1:]
    places = case.held_out.labels.shape[1:]
    network = Network(
        made.onnx,
        Tensor(name="sense", shape=shape),
        Tensor(name="logits", shape=(case.classes, *places)),
        precision,
        made.ir,
    )
    return backend_named(BACKEND_OF_TARGET[target]).load(network, EngineOptions(threads=1))


def gated(case: Case, made: Candidate, session: EngineSession, target: Target) -> ParityReport:
    """Judge a candidate on the held-out rows."""
    rows = case.held_out
    features = rows.features
    extremes = np.stack([np.zeros_like(features[0]), np.full_like(features[0], features.max())])
    gate = GateRows(
        rows.ids,
        rows.clusters,
        rows.labels,
        features,
        case.answers(features),
        Edges(("zeros", "largest"), extremes, case.answers(extremes)),
    )
    setup = GateSetup(
        target=target,
        scope="graph" if target == "trt" else "engine",
        labels=tuple(str(label) for label in range(case.classes)),
        model_sha256=made.sha256,
        graph=check_onnx(made.onnx),
        calibration=made.calibration,
    )
    return run_gate(session, gate, setup)


def size_of(made: Candidate) -> int:
    """Count the bytes that the engine reads."""
    return len(made.onnx) if made.ir is None else sum(map(len, made.ir))


def lines_of(case: Case) -> list[Line]:
    """Measure one student in every way."""
    graph = onnx_from_network(case.network, case.held_out.features.shape[1:], input_name="sense")
    lines = []
    for target in TARGETS:
        original = candidate(case, graph, target, "fp32")
        reference = loaded(case, original, target, "fp32")
        for precision in PRECISIONS:
            made = candidate(case, graph, target, precision)
            session = loaded(case, made, target, precision)
            milliseconds, ratio = (None, None) if target == "trt" else latency(case, reference, session)
            report = gated(case, made, session, target)
            smaller = size_of(original) / size_of(made)
            line = Line(
                case.name, case.parameters, target, precision, size_of(made), smaller, milliseconds, ratio, report
            )
            print(row_of(line), file=sys.stderr)
            lines.append(line)
    return lines


def latency(case: Case, reference: EngineSession, session: EngineSession) -> tuple[float, float]:
    """Give the median of the candidate in ms, and over that of fp32."""
    features = case.held_out.features

    def runner(one: EngineSession) -> Callable[[int], Floats]:
        return lambda call: one.run(features[call % len(features)][None])

    targets = [timing.Target("fp32", runner(reference)), timing.Target("candidate", runner(session))]
    fp32, other = (float(np.median(timed.samples_ns)) for timed in timing.time_targets(targets, PLAN))
    return other / 1e6, other / fp32


HEADER = (
    "| student | parameters | target | precision | size | times smaller | ms | of fp32's time | metric fp32 → this "
    "| lower bound, margin | verdict |\n|---|--:|---|---|--:|--:|--:|--:|--:|--:|---|"
)


def row_of(line: Line) -> str:
    """Write a line as Markdown."""
    task = line.report.task
    metric = "-" if task is None else f"{100 * task.reference:.2f} → {100 * task.candidate:.2f} %"
    bound = "-" if task is None or task.low is None else f"{100 * task.low:+.2f}, {100 * task.margin:.2f}"
    if task is not None and task.stands_in:
        bound = "L2 stands in"
    milliseconds = "-" if line.latency_ms is None else f"{line.latency_ms:.3f}"
    ratio = "-" if line.latency_ratio is None else f"{line.latency_ratio:.2f}"
    return (
        f"| {line.student} | {line.parameters:,} | {line.target} | {line.precision} | {line.size_bytes / 1000:,.1f} kB "
        f"| {line.smaller:.2f} | {milliseconds} | {ratio} | {metric} | {bound} | {line.report.verdict.upper()} |"
    )


def missed_bars(lines: list[Line]) -> list[str]:
    """Say which bars were missed."""
    missed = []
    for line in lines:
        if line.student in DIGITS_STUDENTS and line.precision == "int8" and line.target == "onnx":
            if line.smaller < SMALLER_BAR:
                missed.append(f"{line.student}: int8 is {line.smaller:.2f} times smaller, the bar is {SMALLER_BAR}")
            if line.report.verdict != "pass":
                missed.append(f"{line.student}: int8 {line.report.verdict}: {'; '.join(line.report.reasons)}")
    large = {line.student for line in lines if line.parameters >= LARGE_PARAMETERS}
    for name in sorted(large):
        ratios = [
            each.latency_ratio
            for each in lines
            if each.student == name and each.precision == "int8" and each.latency_ratio
        ]
        if min(ratios) > FASTER_BAR:
            missed.append(f"{name}: int8 takes {min(ratios):.2f} of fp32's time, the bar is {FASTER_BAR}")
    return missed


_INTRODUCTION = (
    "# Sizes, latencies and verdicts",
    "",
    "Every kind of student, trained with labels on the built-in digits, at every target and precision.",
)
_BARS = (
    "Bars (int8 of the digits students 3.3 times smaller and through the gate; int8 of a student of a million "
    "parameters at most 0.9 of fp32's time): "
)


def _explained(rows: str) -> tuple[str, ...]:
    text = (
        "Size is what the engine reads: the ONNX file, or OpenVINO's `.xml` and `.bin`. ms is the median of the engine "
        "alone at batch 1 on one thread; fp32 and the candidate took turns in one run. The gate compared "
        f"{rows} held-out rows; bounds and margins are in percentage points. The metric is accuracy; of the segmenter, "
        "mean IoU over pixels, on maps of 8 x 8. Clips are real digits with made motion. `trt` graphs were gated in "
        "ONNX Runtime. The segmenter does not pass in fp16: where float16 cannot tell the largest of a pooling window "
        "from the next, unpooling puts the value into the other place."
    )
    return ("", text, "")


def document(lines: list[Line], missed: list[str]) -> str:
    """Write the page of docs/results/."""
    machine = read_environment()
    engines = ("onnxruntime", "openvino")
    versions = ", ".join(f"{name} {machine.packages[name]}" for name in engines)
    rows = " or ".join(map(str, sorted({line.report.rows for line in lines})))
    made_by = (
        f"Made by `python benchmarks/export_sizes.py` on {datetime.now(tz=timezone.utc):%Y-%m-%d}: {machine.cpu}, "
        f"{machine.cores} cores, {machine.operating_system}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {versions}."
    )
    outcome = "met." if not missed else "missed:" + "".join(f"\n\n* {text}" for text in missed)
    return "\n".join([*_INTRODUCTION, made_by, *_explained(rows), HEADER, *map(row_of, lines), "", _BARS + outcome, ""])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", nargs="*", default=[])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    lines = [line for case in cases(arguments.students) for line in lines_of(case)]
    missed = missed_bars(lines)
    text = document(lines, missed)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    print(text)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
