"""One network of every kind that mstedge exports: small, and taught to tell ten made-up classes apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mstedge.export.onnx_graph import onnx_from_network
from mstedge.training.models.attention import AttentionNet
from mstedge.training.models.dense import Segmenter
from mstedge.training.models.networks import Cnn, Mlp, TemporalCnn
from mstedge.training.models.volume import VolumeCnn

CLASSES = 10
LONGEST = 128  # frames that patterns are made for


@dataclass(frozen=True)
class StudentCase:
    """A network and its shapes, without the batch; where `frames_may_vary`, axis 1 is time and weights fit any."""

    name: str
    network: Callable[[Sequence[tuple[int, ...]], int], nn.Module]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...] = (CLASSES,)
    frames_may_vary: bool = False

    def make(self, frames: int | None = None) -> nn.Module:
        """Give the network in evaluation mode; the same weights each time, also for another number of frames."""
        taught = deepcopy(_taught(self))
        if frames is None:
            return taught
        network = self.network([self.shape_of(frames)], CLASSES)
        network.load_state_dict(taught.state_dict())
        return network.eval()

    def shape_of(self, frames: int) -> tuple[int, ...]:
        """Give the input shape for another number of frames."""
        return (self.input_shape[0], frames, *self.input_shape[2:])

    def rows(self, count: int, *, seed: int = 0, frames: int | None = None) -> NDArray[np.float32]:
        """Make up inputs: float32 [count, *input_shape]."""
        return self.labelled_rows(count, seed=seed, frames=frames)[0]

    def labelled_rows(
        self, count: int, *, seed: int = 0, frames: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Make up inputs with their classes: the pattern of a class in noise, neither centred nor of unit size.

        Returns:
            float32 [count, *input_shape], and int64 [count], or [count, height, width] where every pixel has a class.
        """
        generator = np.random.default_rng(1000 + seed)
        dense = len(self.output_shape) > 1
        blocks = (count, *(side // 4 for side in self.output_shape[1:]))
        labels = generator.integers(0, CLASSES, size=blocks if dense else count)
        if dense:
            labels = labels.repeat(4, axis=1).repeat(4, axis=2)
            clean = _patterns(self.input_shape[:1])[labels].transpose(0, 3, 1, 2)
        else:
            patterns = _patterns(self.shape_of(LONGEST) if self.frames_may_vary else self.input_shape)
            clean = patterns[labels]
            if self.frames_may_vary:
                clean = clean[:, :, : frames or self.input_shape[1]]
        clean_share, noise_share = (5.0, 0.5) if dense else (2.0, 3.0)
        noisy = clean_share * clean + noise_share * generator.normal(size=clean.shape) + 1.0
        return noisy.astype(np.float32), labels.astype(np.int64)


def _patterns(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Give one pattern per class, [classes, *shape]; those of one axis vary along it, others along the last one."""
    generator = np.random.default_rng(7)
    fine = generator.normal(size=(CLASSES, *shape))
    coarse = generator.normal(size=(CLASSES, *([1] * (len(shape) - 1)), shape[-1]))
    return 0.5 * fine + coarse


@cache
def graph_of(name: str, frames: int | None = None) -> bytes:
    """Give a student's fp32 graph: input `sense`, output `logits`."""
    case = STUDENTS[name]
    shape = case.input_shape if frames is None else case.shape_of(frames)
    return onnx_from_network(case.make(frames), shape, input_name="sense")


@cache
def _taught(case: StudentCase) -> nn.Module:
    with _reproducible():
        network = case.network([case.input_shape], CLASSES)
        steps, batch, rate = (100, 16, 1e-2) if len(case.output_shape) > 1 else (40, 20, 5e-3)
        optimiser = torch.optim.Adam(network.parameters(), lr=rate)
        for step in range(steps):
            features, labels = case.labelled_rows(batch, seed=1 + step)
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(torch.from_numpy(features)), torch.from_numpy(labels)).backward()
            optimiser.step()
    return network.eval()


@contextmanager
def _reproducible() -> Iterator[None]:
    threads = torch.get_num_threads()
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(20)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


_CASES = (
    StudentCase("cnn-image", Cnn, (1, 28, 28)),
    StudentCase("cnn-audio", Cnn, (1, 31, 32), frames_may_vary=True),
    StudentCase("temporal", TemporalCnn, (1, 31, 32), frames_may_vary=True),
    StudentCase("mlp", Mlp, (5, 7)),
    StudentCase("attention", AttentionNet, (1, 31, 32), frames_may_vary=True),
    StudentCase("volume", VolumeCnn, (3, 8, 16, 16)),
    StudentCase("segmenter", partial(Segmenter, channels=(12, 16)), (3, 16, 24), (CLASSES, 16, 24)),
)
STUDENTS: dict[str, StudentCase] = {case.name: case for case in _CASES}
