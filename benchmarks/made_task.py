"""Shapes of `gpu_acceptance.py`, and random rows of these shapes that a network can learn from.

A row is noise of unit deviation plus the faint pattern of its class, smooth over stretches of four values along the
last two axes, since networks that average over places see nothing else. Patterns lie so far apart that someone who
knew them would name the class of the student's rows in nine cases out of ten or so, and nearly always with the help of
the other modality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from distill_cost_child import recipe_of
from published_shapes import SHAPES, Bars, Shape, Teacher

from mstedge.training.data.dataset import Dataset, Part
from mstedge.training.data.source import PARTS

if TYPE_CHECKING:
    from torch import Tensor

    from mstedge.recipe import Recipe

STAGES = ("collaborative", "specialise", "distill")
# Distance between two patterns, in deviations of the noise: of the student's modality and of every other.
STUDENT_DISTANCE, OTHER_DISTANCE = 4.5, 9.0
_SMOOTH_OVER = 4
_MADE_BYTES = 256 << 20  # made at a time


@dataclass(frozen=True)
class Case:
    """One published configuration at its published size.

    Attributes:
        shape: Networks, modalities and published batch.
        train_rows: Rows of the training part, 60 % of all; validation and test have 20 % each.
    """

    shape: Shape
    train_rows: int

    def rows(self) -> dict[str, int]:
        """Count the rows of each part."""
        held_out = max(2, self.train_rows // 3)
        return {"train": self.train_rows, "validation": held_out, "test": held_out}


CASES = {
    # 70,000 rows in all.
    "avmnist": Case(replace(SHAPES["avmnist"], batch_rows=512), 42_000),
    # 1,440 recordings of speech in all.
    "ravdess-visual": Case(replace(SHAPES["ravdess-visual"], batch_rows=32), 864),
    "ravdess-audio": Case(replace(SHAPES["ravdess-audio"], batch_rows=32), 864),
    # For trials: nobody published it.
    "tiny": Case(
        Shape(
            modalities={"image": (1, 8, 8), "vector": (12,)},
            classes=4,
            student=("image", "cnn"),
            teachers=(
                Teacher("both", ("image", "vector"), "fusion", ("fused", "hidden")),
                Teacher("vector", ("vector",), "mlp", ("hidden",)),
            ),
            batch_rows=16,
            learning_rate=1e-3,
            bars=Bars(),
        ),
        64,
    ),
}


def sized(case: Case, train_rows: int | None, batch_rows: int | None) -> Case:
    """Change how many training rows there are, and how many go into a step; none leaves them as published."""
    shape = replace(case.shape, batch_rows=batch_rows or case.shape.batch_rows)
    return Case(shape, train_rows or case.train_rows)


def case_recipe(case: Case, epochs: tuple[int, int, int], engine: dict[str, Any], *, masks: str = "isolated") -> Recipe:
    """Write a case as a recipe.

    Args:
        case: The case.
        epochs: Of each stage.
        engine: Settings of the recipe's `engine`.
        masks: As in the recipe's stage 2.
    """
    stages: dict[str, dict[str, Any]] = {name: {"epochs": each} for name, each in zip(STAGES, epochs, strict=True)}
    stages["specialise"]["masks"] = masks
    return recipe_of(
        case.shape, {"stages": stages, "engine": {"threads": None if engine.get("device") == "cuda" else 1} | engine}
    )


def made_dataset(case: Case, recipe: Recipe, device: torch.device) -> Dataset:
    """Make the rows of all parts on a device, and give them as arrays of this machine's memory."""
    generator = torch.Generator(device).manual_seed(recipe.seed)
    shape = case.shape
    labels = {name: torch.arange(rows, device=device) % shape.classes for name, rows in case.rows().items()}
    features: dict[str, dict[str, Any]] = {name: {} for name in PARTS}
    for modality, sizes in shape.modalities.items():
        distance = STUDENT_DISTANCE if modality == shape.student[0] else OTHER_DISTANCE
        patterns = _patterns(shape.classes, sizes, distance, generator)
        for name in PARTS:
            features[name][modality] = _rows(patterns, labels[name], generator).numpy()
    parts: dict[Any, Part] = {}
    for name in PARTS:
        ids = tuple(f"{name}{row}" for row in range(len(labels[name])))
        parts[name] = Part(features[name], labels[name].cpu().numpy(), ids, ids)
    nothing: Any = None
    names = tuple(f"class{number}" for number in range(shape.classes))
    return Dataset(nothing, names, dict(recipe.modalities), parts, sha256="0" * 64)


def _patterns(classes: int, sizes: tuple[int, ...], distance: float, generator: torch.Generator) -> Tensor:
    """Draw one pattern for each class: [classes, *sizes]."""
    axes = range(max(0, len(sizes) - 2), len(sizes))
    coarse = [-(-size // _SMOOTH_OVER) if axis in axes else size for axis, size in enumerate(sizes)]
    pattern = torch.randn((classes, *coarse), generator=generator, device=generator.device)
    for axis in axes:
        pattern = pattern.repeat_interleave(_SMOOTH_OVER, dim=axis + 1).narrow(axis + 1, 0, sizes[axis])
    # Two random patterns of unit deviation are sqrt(2 n) apart.
    return pattern * (distance / math.sqrt(2 * math.prod(sizes)))


def _rows(patterns: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise to the patterns of some labels, some rows at a time: [rows, *sizes], on the CPU."""
    together = max(1, _MADE_BYTES // (4 * patterns[0].numel()))
    made = torch.empty((len(labels), *patterns.shape[1:]))
    for start in range(0, len(labels), together):
        some = labels[start : start + together]
        noise = torch.randn((len(some), *patterns.shape[1:]), generator=generator, device=patterns.device)
        made[start : start + together] = noise + patterns[some]
    return made
