"""A student of made-up numbers, trained in a second, for tests of everything that export does with one."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mstedge.export.onnx_graph import onnx_from_network
from mstedge.export.student import OUTPUT_NAME, Rows
from mstedge.manifest import Lineage, Postprocess
from mstedge.specs import ArraySpec, Scaling
from mstedge.training.data.source import RawFile
from mstedge.training.models.networks import Mlp

Floats = NDArray[np.float32]
LABELS = ("left", "middle", "right")
WIDTH = 8
TRAINING_ROWS, HELD_OUT_ROWS = 400, 640
SPEC = ArraySpec(shape=(WIDTH,), scaling=Scaling(mean=(0.5,), std=(2.0,)))


@dataclass(frozen=True)
class MadeStudent:
    """Three classes seen by a noisy vector."""

    network: nn.Module
    training: Rows
    held_out: Rows
    raw: Floats
    spec: ArraySpec = SPEC
    name: str = "made"
    labels: tuple[str, ...] = LABELS
    modality: str = "sense"
    licence: str = "CC0-1.0"
    shareable: bool = True
    postprocess: Postprocess = field(default_factory=Postprocess)

    @property
    def lineage(self) -> Lineage:
        return Lineage(
            data_sha256="1" * 64,
            weights_sha256="2" * 64,
            network="mlp",
            parameters=sum(each.numel() for each in self.network.parameters()),
            modalities=("sense",),
            versions={"torch": str(torch.__version__)},
            recipe="made",
            recipe_sha256="0" * 64,
            seed=0,
        )

    def graph(self) -> bytes:
        return _graph(self.network)

    def reference_logits(self, features: Floats) -> Floats:
        with torch.no_grad():
            return self.network(torch.from_numpy(features)).numpy()

    def recording(self, row: int) -> RawFile:
        stream = io.BytesIO()
        np.save(stream, self.raw[row])
        return RawFile(".npy", stream.getvalue())

    def but(self, **changes: object) -> MadeStudent:
        """Give the same student with some things changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


@cache
def made_student() -> MadeStudent:
    """Train a small network on made-up rows; about nine of ten held-out rows come out right."""
    raw, labels = _rows(TRAINING_ROWS + HELD_OUT_ROWS)
    features = ((raw - np.float32(0.5)) / np.float32(2.0)).astype(np.float32)
    torch.manual_seed(3)
    network = Mlp([(WIDTH,)], len(LABELS), widths=(48, 32))
    _train(network, torch.from_numpy(features[:TRAINING_ROWS]), torch.from_numpy(labels[:TRAINING_ROWS]))
    return MadeStudent(
        network.eval(),
        _part("train", features[:TRAINING_ROWS], labels[:TRAINING_ROWS]),
        _part("test", features[TRAINING_ROWS:], labels[TRAINING_ROWS:]),
        raw[TRAINING_ROWS:],
    )


@cache
def _graph(network: nn.Module) -> bytes:
    """Convert a network once: torch takes seconds for it."""
    return onnx_from_network(network, (WIDTH,), input_name=MadeStudent.modality, output_name=OUTPUT_NAME)


def _rows(count: int) -> tuple[Floats, NDArray[np.int64]]:
    generator = np.random.default_rng(11)
    labels = (np.arange(count) % len(LABELS)).astype(np.int64)
    values = 3 * np.eye(len(LABELS), WIDTH)[labels] + generator.normal(size=(count, WIDTH))
    return values.astype(np.float32), labels


def _part(name: str, features: Floats, labels: NDArray[np.int64]) -> Rows:
    ids = tuple(f"{name}{row}" for row in range(len(features)))
    return Rows(ids, ids, labels, features)


def _train(network: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> None:
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(features), labels).backward()
        optimiser.step()
