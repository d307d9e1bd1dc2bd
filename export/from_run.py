"""The student of a run, built again for export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mstedge.errors import UsageError
from mstedge.export.onnx_graph import onnx_from_network
from mstedge.export.student import OUTPUT_NAME, Rows
from mstedge.files import sha256_of_file
from mstedge.manifest import Lineage, Postprocess
from mstedge.run_card import WEIGHTS_NAME, RunCard
from mstedge.training.models.registry import build_network
from mstedge.training.runs import read_card, stored_recipe
from mstedge.training.sources import load_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from mstedge.recipe import Recipe
    from mstedge.specs import Spec
    from mstedge.training.data.dataset import Dataset
    from mstedge.training.data.source import PartName, RawFile

_ROWS_AT_ONCE = 256
_HELD_OUT: tuple[PartName, ...] = ("test", "validation")


@dataclass(frozen=True, slots=True)
class RunStudent:
    """The student of a complete run.

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

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.card.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes, in the order of the logits."""
        return self.card.labels

    @property
    def modality(self) -> str:
        """What the device senses."""
        return self.card.student.modality

    @property
    def spec(self) -> Spec:
        """Its complete front end."""
        return self.card.specs[self.modality]

    @property
    def postprocess(self) -> Postprocess:
        """The most probable class."""
        return Postprocess()

    @property
    def lineage(self) -> Lineage:
        """How it came to be."""
        card = self.card
        return Lineage(
            recipe=card.name,
            recipe_sha256=card.lineage.recipe_sha256,
            data_sha256=card.lineage.data_sha256,
            weights_sha256=self.weights_sha256,
            seed=card.seed,
            network=card.student.network,
            parameters=card.student.parameters,
            modalities=tuple(self.recipe.modalities),
            versions=card.lineage.versions,
            git_commit=card.lineage.git_commit,
        )

    @property
    def licence(self) -> str:
        """Terms of the recordings."""
        return self.dataset.source.licence

    @property
    def shareable(self) -> bool:
        """Whether recordings may travel in a bundle."""
        return self.dataset.source.shareable

    @property
    def training(self) -> Rows:
        """The training part."""
        return self._rows("train")

    @property
    def held_out(self) -> Rows:
        """The test part, then the validation part."""
        return self._rows(*_HELD_OUT)

    def graph(self) -> bytes:
        """Convert the network; see the protocol."""
        return onnx_from_network(
            self.network, self.spec.feature_shape, input_name=self.modality, output_name=OUTPUT_NAME
        )

    def reference_logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the torch student; see the protocol."""
        with torch.no_grad():
            chunks = [
                self.network(torch.from_numpy(features[start : start + _ROWS_AT_ONCE])).numpy()
                for start in range(0, len(features), _ROWS_AT_ONCE)
            ]
        return np.concatenate(chunks)

    def recording(self, row: int) -> RawFile:
        """Give a held-out row as a file; see the protocol."""
        for part in _HELD_OUT:
            rows = self.dataset.parts[part].rows
            if row < rows:
                return self.dataset.source.raw_file(part, self.modality, row)
            row -= rows
        raise IndexError(row)

    def _rows(self, *names: PartName) -> Rows:
        parts = [self.dataset.parts[name] for name in names]
        return Rows(
            ids=tuple(each for part in parts for each in part.ids),
            clusters=tuple(each for part in parts for each in part.clusters),
            labels=np.concatenate([part.labels for part in parts]),
            features=np.concatenate([part.features[self.modality] for part in parts]),
        )


def student_from_run(folder: Path, *, allow_code: bool = False) -> RunStudent:
    """Build the student of a complete run again.

    Args:
        folder: The run folder.
        allow_code: Whether the run may name a user's own network.

    Raises:
        UsageError: The folder is not a complete run, its weights do not fit, or its data have changed; or the student
            answers for every place of a map.
    """
    card = read_card(folder)
    if card.status != "complete":
        raise UsageError(f"{folder}: the run is not complete", hint=f"mstedge distill --resume {folder}")
    if card.dense:
        raise UsageError(
            f"{folder}: the student answers for every place of a map, and bundles hold classifiers so far",
            hint=f"its weights are in {folder / WEIGHTS_NAME}",
        )
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
    return RunStudent(card, recipe, network, dataset, sha256_of_file(weights))


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
