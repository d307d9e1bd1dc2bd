"""The student of a run, built again for export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mstedge.errors import UsageError
from mstedge.files import sha256_of_file
from mstedge.run_card import WEIGHTS_NAME, RunCard
from mstedge.training.models.registry import build_network
from mstedge.training.runs import read_card, stored_recipe
from mstedge.training.sources import load_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from mstedge.recipe import Recipe
    from mstedge.training.data.dataset import Dataset

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """A student with everything that its export needs.

    Attributes:
        card: The run's card.
        recipe: The run's recipe.
        network: The student, weights loaded, in evaluation mode on the CPU.
        dataset: The run's rows, proved to be the same.
        weights_sha256: Digest of student.safetensors.
    """

    card: RunCard
    recipe: Recipe
    network: nn.Module
    dataset: Dataset
    weights_sha256: str

    def reference_logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the torch student.

        Args:
            features: float32 [rows, *feature_shape].

        Returns:
            float32 [rows, classes].
        """
        with torch.no_grad():
            chunks = [
                self.network(torch.from_numpy(features[start : start + _ROWS_AT_ONCE])).numpy()
                for start in range(0, len(features), _ROWS_AT_ONCE)
            ]
        return np.concatenate(chunks)


def load_student(folder: Path, *, allow_code: bool = False) -> TrainedStudent:
    """Build the student of a complete run again.

    Args:
        folder: The run folder.
        allow_code: Whether the run may name a user's own network.

    Raises:
        UsageError: The folder is not a complete run, its weights do not fit, or its data have changed.
    """
    card = read_card(folder)
    if card.status != "complete":
        raise UsageError(f"{folder}: the run is not complete", hint=f"mstedge distill --resume {folder}")
    recipe = stored_recipe(folder)
    dataset = load_dataset(recipe)
    if dataset.sha256 != card.lineage.data_sha256:
        raise UsageError(
            f"{folder}: the data are not those that the student learnt from "
            f"({dataset.sha256[:12]}, then {card.lineage.data_sha256[:12]})",
            hint="parity and golden cases need the same rows: restore them, or distil again",
        )
    weights = folder / WEIGHTS_NAME
    network = _network(card, weights, allow_code=allow_code)
    return TrainedStudent(card, recipe, network, dataset, sha256_of_file(weights))


def _network(card: RunCard, weights: Path, *, allow_code: bool) -> nn.Module:
    shape = card.specs[card.student.modality].feature_shape
    network = build_network(
        card.student.network, [shape], len(card.labels), card.student.options, allow_code=allow_code
    )
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, OSError, RuntimeError) as problem:
        raise UsageError(f"{weights}: these are not the student's weights: {problem}") from problem
    return network.eval()
