"""The measurements of `gpu_acceptance.py`; each is called in a process of its own."""

from __future__ import annotations

import importlib
import json
import platform
import statistics
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from device_meter import Meter, hand_back, rounded
from distill_cost_child import setup_of
from made_task import STAGES, Case, case_recipe, made_dataset
from oracle_training import Oracle
from safetensors.torch import load_file, save_file

from mstedge.training.checkpoint import load_modules, module_tensors
from mstedge.training.engine import make_engine
from mstedge.training.method.distill import DistillPhase
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.runs import train_run
from mstedge.training.trainer import METHODS

if TYPE_CHECKING:
    from mstedge.training.method.phase import EpochResult, Phase


# What the product imports when it comes to it. Fabric has a package of its own, or is in a larger one.
SLOW_IMPORTS = ("lightning_fabric", "lightning.fabric", "torchmetrics.classification", "torch.utils.tensorboard")


@dataclass(frozen=True)
class Job:
    """What one process measures.

    Attributes:
        kind: `facts`, `product`, `oracle` or `option`.
        device: `cuda` or `cpu`.
        case: Networks, shapes and sizes.
        epochs: Of each stage; an `option` learns for the last of them.
        engine: Settings of the recipe's `engine`.
        stage: What an `oracle` runs.
        batches: What it runs of that stage.
        weights: Where a `product` leaves the weights that stage 3 begins with, and an `option` finds them.
        torch_settings: What an `option` sets in torch itself.
    """

    kind: str
    device: str
    case: Case
    epochs: tuple[int, int, int] = (1, 1, 100)
    engine: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    batches: int = 3
    weights: Path | None = None
    torch_settings: dict[str, Any] = field(default_factory=dict)


def measured(job: Job) -> dict[str, Any]:
    """Measure; where the card is too small, say so instead."""
    torch.manual_seed(0)
    device = warm(job.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    for name, value in job.torch_settings.items():
        _TORCH_SETTINGS[name](value)
    try:
        return _KINDS[job.kind](job, device)
    except torch.OutOfMemoryError as problem:
        return {"out_of_memory": str(problem).splitlines()[0]}


def warm(name: str) -> torch.device:
    """Import, make the CUDA context and multiply once, which no figure holds; other first times are in the figures."""
    for package in SLOW_IMPORTS:
        with suppress(ImportError):
            importlib.import_module(package)
    device = torch.device(name)
    some = torch.ones((64, 64), device=device)
    (some @ some).sum().item()
    return device


def facts(_job: Job, device: torch.device) -> dict[str, Any]:
    """Describe the device as torch sees it."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__, "device": device.type}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found |= {
            "name": card.name,
            "compute_capability": f"{card.major}.{card.minor}",
            "memory_bytes": card.total_memory,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "tf32_in_convolutions": torch.backends.cudnn.allow_tf32,
            "tf32_in_matrix_products": torch.backends.cuda.matmul.allow_tf32,
        }
    return found


def product(job: Job, device: torch.device) -> dict[str, Any]:
    """Train as `mstedge distill` does, from rows in memory to the scored student."""
    case = job.case
    recipe = case_recipe(case, job.epochs, {"device": job.device} | job.engine)
    dataset = made_dataset(case, recipe, device)
    hand_back(device)
    with tempfile.TemporaryDirectory(prefix="mstedge-acceptance-") as folder:
        meter = Meter(device)
        METHODS["mst"] = tuple(_watched(make, meter, job.weights) for make in METHODS["mst"])
        card = train_run(recipe, dataset, Path(folder) / "run", method="mst", listener=_silent)
        meter.lap("finish")
        rows = [json.loads(line) for line in (Path(folder) / "run/metrics.jsonl").read_text().splitlines()]
    steps = -(-case.train_rows // case.shape.batch_rows)
    result = {
        "together": rounded(meter.together()),
        "laps": meter.figures(),
        "steps": {stage: steps * epochs for stage, epochs in zip(STAGES, job.epochs, strict=True)},
        "table": next(row["targets"] for row in rows if "targets" in row),
        "accuracy": {each.part: round(each.accuracy, 4) for each in card.metrics},
    }
    return result | ({"card_used_bytes": _used_of_card(device)} if device.type == "cuda" else {})


class _Watched:
    """A phase whose epochs are measured apart from what lies between them."""

    def __init__(self, phase: Phase, meter: Meter) -> None:
        self._phase = phase
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._phase, name)

    def run_epoch(self, epoch: int) -> EpochResult:
        self._meter.lap(f"{self._phase.stage} between epochs")
        result = self._phase.run_epoch(epoch)
        self._meter.lap(f"{self._phase.stage} epochs")
        return result


def _watched(make: Callable[[Setup], Phase], meter: Meter, weights: Path | None) -> Callable[[Setup], Phase]:
    """Measure a phase's making, and keep the weights that stage 3 begins with."""

    def made(setup: Setup) -> Any:
        meter.lap("between stages" if meter.figures() else "setup")
        if make is DistillPhase and weights is not None:
            save_file({name: each.contiguous() for name, each in module_tensors(setup.modules()).items()}, weights)
            meter.skip()
        phase = make(setup)
        meter.lap(f"{phase.stage} preparation")
        return _Watched(phase, meter)

    return made


def oracle(job: Job, device: torch.device) -> dict[str, Any]:
    """Take a few batches the straightforward way; the first is left out of the seconds, not of the memory."""
    case = job.case
    batch_rows = case.shape.batch_rows
    # Masks of earlier taps stay in place, as the public code has it.
    recipe = case_recipe(case, (1, 1, 1), {"device": job.device} | job.engine, masks="cumulative")
    setup = setup_of(case.shape, recipe, job.batches)
    orders = [torch.arange(batch_rows) + step * batch_rows for step in range(job.batches)]
    runner = Oracle.copied_from(setup, lambda *_which: orders)
    for each in runner.specialised:
        each.mask.to(device)
    runner.router.to(device)
    masks_at_once = len(setup.specialised) if job.stage == "specialise" else 1
    del setup
    hand_back(device)
    meter = Meter(device)
    seconds = [meter.lap("batches") for _ in getattr(runner, job.stage)()]
    batches = [sum(seconds[start : start + masks_at_once]) for start in range(0, len(seconds), masks_at_once)]
    return {
        "seconds_per_batch": round(statistics.median(batches[1:] or batches), 5),
        "batches": len(batches),
        "memory": meter.figures()["batches"],
    }


def option(job: Job, device: torch.device) -> dict[str, Any]:
    """Run some epochs of stage 3 from given weights; the first is told apart from the others."""
    if job.weights is None or not job.weights.exists():
        return {"skipped": "no product's run has left its weights"}
    case = job.case
    recipe = case_recipe(case, job.epochs, {"device": job.device} | job.engine)
    setup = make_setup(recipe, made_dataset(case, recipe, device), make_engine(recipe.engine))
    load_modules(setup.modules(), load_file(job.weights))
    hand_back(device)
    meter = Meter(device)
    phase = DistillPhase(setup)
    table_seconds = meter.lap("table")
    seconds, rows = [], []
    for epoch in range(job.epochs[2]):
        rows += phase.run_epoch(epoch).rows
        seconds.append(meter.lap("epochs"))
    return {
        "table_seconds": round(table_seconds, 4),
        "first_epoch_seconds": round(seconds[0], 4),
        "epoch_seconds": round(statistics.median(seconds[1:] or seconds), 4),
        "memory": meter.figures(),
        "validation_accuracy": rows[-1]["validation_accuracy"],
        "validation_cross_entropy": rows[-1]["validation_cross_entropy"],
    }


def _used_of_card(device: torch.device) -> int:
    """Say what of the card is taken, the CUDA context and other programs included."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def _silent(_stage: str, _done: int, _epochs: int) -> None:
    """Hear of epochs and say nothing."""


def _tf32_in_convolutions(allowed: Any) -> None:
    torch.backends.cudnn.allow_tf32 = bool(allowed)


_TORCH_SETTINGS: dict[str, Callable[[Any], None]] = {
    "float32_matmul_precision": torch.set_float32_matmul_precision,
    "tf32_in_convolutions": _tf32_in_convolutions,
}
_KINDS: dict[str, Callable[[Job, torch.device], dict[str, Any]]] = {
    "facts": facts,
    "product": product,
    "oracle": oracle,
    "option": option,
}
