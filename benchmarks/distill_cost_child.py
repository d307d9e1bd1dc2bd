"""One measurement of `distill_cost.py`, in a process of its own: one side, one stage, one shape; one JSON line.

    python benchmarks/distill_cost_child.py SHAPE oracle|product STAGE '{"engine": {"precision": "bf16-mixed"}}'

Times are CPU-seconds of one thread per batch. Extra peak memory is the highest resident size while the stage ran, less
the resident size just before (networks, masks and rows are there already; optimiser states, gradients, graphs and
tables are not).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_shapes import SHAPES, Shape

from mstedge.recipe import Recipe
from mstedge.schema import convert
from mstedge.training.data.dataset import Dataset, Part
from mstedge.training.data.source import PARTS
from mstedge.training.engine import make_engine
from mstedge.training.method.collaborative import CollaborativePhase
from mstedge.training.method.distill import DistillPhase
from mstedge.training.method.losses import cross_entropy
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.method.specialise import SpecialisePhase
from mstedge.training.rows import ResidentRows, Rows

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from oracle_training import Oracle

VALIDATION_ROWS = 2
NARROW_FACTOR = 20


def recipe_of(shape: Shape, changes: dict[str, Any]) -> Recipe:
    """Write the published configuration as a recipe of one epoch each; the benchmark extrapolates."""
    values: dict[str, Any] = {
        "name": "cost",
        "data": {"kind": "manifest", "path": "made-up.csv"},
        "modalities": {name: {"kind": "array", "shape": list(sizes)} for name, sizes in shape.modalities.items()},
        "student": {"modality": shape.student[0], "network": shape.student[1]},
        "teachers": [
            {"name": each.name, "modalities": each.modalities, "network": each.network, "taps": each.taps}
            for each in shape.teachers
        ],
        "stages": {
            "collaborative": {"epochs": 1},
            "specialise": {"epochs": 1, "hidden_dim_factor": shape.hidden_dim_factor},
            "distill": {"epochs": 1},
        },
        "optimiser": {"learning_rate": shape.learning_rate, "batch_rows": shape.batch_rows},
        "engine": {"device": "cpu", "threads": 1},
    }
    return convert(merged(values, changes), Recipe, source="benchmark")


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change some keys, also of inner mappings."""
    inner = {key: merged(values[key], new) for key, new in changes.items() if isinstance(values.get(key), dict)}
    return values | changes | inner


def setup_of(shape: Shape, recipe: Recipe, batches: int) -> Setup:
    """Make networks, masks and random rows of the published shapes."""
    generator = np.random.default_rng(0)
    parts: dict[Any, Part] = {}
    for name in PARTS:
        rows = batches * shape.batch_rows if name == "train" else VALIDATION_ROWS
        features = {
            modality: generator.standard_normal((rows, *sizes), dtype=np.float32)
            for modality, sizes in shape.modalities.items()
        }
        ids = tuple(f"{name}{row}" for row in range(rows))
        parts[name] = Part(features, np.arange(rows) % shape.classes, ids, ids)
    names = tuple(f"class{number}" for number in range(shape.classes))
    nothing: Any = None
    dataset = Dataset(nothing, names, dict(recipe.modalities), parts, sha256="0" * 64)
    return make_setup(recipe, dataset, make_engine(recipe.engine))


def oracle_stage(setup: Setup, shape: Shape, stage: str) -> dict[str, float]:
    """Time the oracle's steps; the first is left out: it makes optimiser states, and has no graphs before it."""
    rows = shape.batch_rows
    orders = [torch.arange(rows) + step * rows for step in range(shape.repeats + 1)]
    oracle = Oracle.copied_from(setup, lambda *_which: orders)
    masks_at_once = len(setup.specialised) if stage == "specialise" else 1
    del setup
    baseline = memory_before()
    seconds: list[float] = []
    before = time.process_time()
    for _where, _loss in getattr(oracle, stage)():
        seconds.append(time.process_time() - before)
        mib = memory_since(baseline)
        before = time.process_time()
    batches = [sum(seconds[start : start + masks_at_once]) for start in range(0, len(seconds), masks_at_once)]
    return {"seconds": statistics.median(batches[1:]), "mib": mib}


def product_learning(setup: Setup, shape: Shape, make_phase: Callable[[Setup], Any]) -> dict[str, float]:
    """Time fresh phases of one epoch over few and over more batches: what they differ by is the cost of a batch.

    Whatever a phase does once per row (features that it keeps, the student's answers) is in that difference; what it
    does once per run is not.
    """

    def seconds(batches: int) -> float:
        gc.collect()
        fewer = part_of(setup, batches * shape.batch_rows)
        return timed(lambda: make_phase(fewer).run_epoch(0))

    few, more = 1, shape.learning_batches
    baseline = memory_before()
    seconds(few)
    longer = [seconds(more) - seconds(few) for _ in range(shape.repeats)]
    return {"seconds": statistics.median(longer) / (more - few), "mib": memory_since(baseline)}


def product_table(setup: Setup, shape: Shape) -> dict[str, float]:
    """Time the making of the table, per batch of rows; the memory for half the rows shows if the peak is reached."""
    half = part_of(setup, len(setup.train) // 2)
    baseline = memory_before()
    DistillPhase(half)
    mib_of_half = memory_since(baseline)
    baseline = memory_before()
    seconds = [timed(lambda: DistillPhase(setup)) for _ in range(shape.repeats)]
    return {
        "seconds": statistics.median(seconds) * shape.batch_rows / len(setup.train),
        "mib": memory_since(baseline),
        "mib_of_half": mib_of_half,
    }


def product_distill(setup: Setup, shape: Shape) -> dict[str, float]:
    """Time epochs of stage 3, and the student's own forward and backward over the same batches."""
    phase = DistillPhase(setup)
    baseline = memory_before()
    phase.run_epoch(0)
    batches = len(setup.train) // shape.batch_rows
    epochs = [timed(lambda epoch=epoch: phase.run_epoch(epoch)) / batches for epoch in range(1, shape.repeats + 1)]
    extra = memory_since(baseline)
    orders = torch.randperm(len(setup.train)).split(shape.batch_rows)
    alone = [
        timed(lambda: student_alone(setup, (setup.train.take(each) for each in orders))) for _ in range(shape.repeats)
    ]
    return {
        "seconds": statistics.median(epochs),
        "mib": extra,
        "student_seconds": statistics.median(alone) / batches,
        "table_bytes_per_row": 4.0 * len(setup.specialised) * shape.classes,
    }


def student_alone(setup: Setup, batches: Iterable[Rows]) -> None:
    """The floor: nothing but the student's forward, cross-entropy and backward."""
    network = setup.student.network
    for batch in batches:
        network.zero_grad()
        with setup.engine.fabric.autocast():
            logits = setup.student.logits(batch.features)
        cross_entropy(logits, batch.labels).backward()


def adam_alone(setup: Setup, repeats: int) -> dict[str, float]:
    """The floor of stage 2 at small batches: Adam over every mask, nothing computed."""
    optimisers = [setup.engine.optimiser(each.mask, 1e-4) for each in setup.specialised]
    for teacher in setup.specialised:
        for parameter in teacher.mask.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)

    def step() -> None:
        for each in optimisers:
            each.step()

    step()
    return {"seconds": statistics.median(timed(step) for _ in range(repeats)), "mib": 0.0}


def part_of(setup: Setup, rows: int) -> Setup:
    """Take the first training rows."""
    taken = setup.train.take(torch.arange(rows))
    features: Any = {name: values.numpy() for name, values in taken.features.items()}
    ids = setup.train_ids[:rows]
    return replace(
        setup, train=ResidentRows(Part(features, taken.labels.numpy(), ids, ids), setup.engine), train_ids=ids
    )


def timed(work: Callable[[], Any]) -> float:
    """Give the CPU-seconds that it took."""
    before = time.process_time()
    work()
    return time.process_time() - before


def memory_before() -> int:
    """Give freed memory back, forget the highest resident size so far, and give the resident size in KiB."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return kibibytes("VmRSS")


def memory_since(baseline_kib: int) -> float:
    """Give the highest resident size since `memory_before`, in MiB above what it was then."""
    return (kibibytes("VmHWM") - baseline_kib) / 1024


def kibibytes(name: str) -> int:
    """Read a size of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measure(shape: Shape, side: str, stage: str, changes: dict[str, Any]) -> dict[str, float]:
    """Set up and measure."""
    recipe = recipe_of(shape, changes)
    if side == "oracle":
        return oracle_stage(setup_of(shape, recipe, shape.repeats + 1), shape, stage)
    if stage in {"collaborative", "specialise"}:
        phase = CollaborativePhase if stage == "collaborative" else SpecialisePhase
        return product_learning(setup_of(shape, recipe, shape.learning_batches), shape, phase)
    if stage == "adam":
        return adam_alone(setup_of(shape, recipe, 1), shape.repeats)
    if stage == "table":
        return product_table(setup_of(shape, recipe, shape.table_batches), shape)
    # An epoch does not care how wide the masks were that made the table: narrow ones make it sooner.
    narrow = {"stages": {"specialise": {"hidden_dim_factor": NARROW_FACTOR}}}
    return product_distill(setup_of(shape, recipe_of(shape, merged(changes, narrow)), shape.distill_batches), shape)


def main() -> None:
    """Measure once and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("side", choices=["oracle", "product"])
    parser.add_argument("stage", choices=["collaborative", "specialise", "distill", "table", "adam"])
    parser.add_argument("changes", nargs="?", default="{}", help="keys of the recipe, as JSON")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    shape = SHAPES[arguments.shape]
    print(json.dumps(measure(shape, arguments.side, arguments.stage, json.loads(arguments.changes))))


if __name__ == "__main__":
    main()
