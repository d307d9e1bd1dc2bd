"""Rows of one part where training can take them: on its device, or in mapped files that threads read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from mstedge.training.data.source import UNLABELLED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mstedge.recipe_stages import Engine as EngineConfig
    from mstedge.training.data.dataset import Part
    from mstedge.training.engine import Engine


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows on the training device.

    Attributes:
        features: float32 [rows, *feature_shape] per modality.
        labels: int64 [rows, *places], `UNLABELLED` where the label may not be used.
    """

    features: Mapping[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class TakenFeatures(Mapping[str, Tensor]):
    """Features of some rows; those of a modality are put together when somebody asks for them.

    Stage 3 asks for those of the student alone, which may be a hundredth of all.

    Args:
        features: [all rows, *feature_shape] per modality.
        index: The rows, on the device of the features.
    """

    def __init__(self, features: Mapping[str, Tensor], index: Tensor) -> None:
        self._features = features
        self._index = index
        self._taken: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._taken:
            self._taken[name] = self._features[name][self._index]
        return self._taken[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)


class PartRows(Protocol):
    """All rows of a part.

    Attributes:
        labelled: Number of labelled places of each row, int64 [rows], on the CPU.
        dense: Whether every place has a label of its own.
        row_bytes: What the features of one row take.
    """

    labelled: Tensor
    dense: bool
    row_bytes: int

    def __len__(self) -> int:
        """Count the rows."""

    def take(self, index: Tensor) -> Rows:
        """Give some rows, by their indices on the CPU."""

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Rows]:
        """Give one batch after the other, by their indices on the CPU."""


class ResidentRows:
    """A part that is on the device as a whole: no worker, no copy per batch.

    Args:
        part: The rows.
        engine: Has the device.
    """

    def __init__(self, part: Part, engine: Engine) -> None:
        self._all = Rows(
            engine.placed({name: torch.from_numpy(values) for name, values in part.features.items()}),
            torch.from_numpy(part.labels).to(engine.device),
        )
        self.labelled = labelled_places(part.labels)
        self.dense = part.labels.ndim > 1
        self.row_bytes = _row_bytes(part)

    def __len__(self) -> int:
        return len(self._all)

    def take(self, index: Tensor) -> Rows:
        """Give some rows, by their indices on the CPU."""
        index = index.to(self._all.labels.device, non_blocking=True)
        return Rows(TakenFeatures(self._all.features, index), self._all.labels[index].long())

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Rows]:
        """Give one batch after the other, by their indices on the CPU."""
        return map(self.take, moved_together(indices, self._all.labels.device))


class MappedRows:
    """A part that stays in mapped files; threads read the next batches while one is learnt from.

    Args:
        part: The rows, arrays or mapped files.
        engine: Has the device.
        workers: Threads that read ahead.
    """

    def __init__(self, part: Part, engine: Engine, workers: int) -> None:
        self._part = part
        self._engine = engine
        self._workers = workers
        self.labelled = labelled_places(part.labels)
        self.dense = part.labels.ndim > 1
        self.row_bytes = _row_bytes(part)

    def __len__(self) -> int:
        return self._part.rows

    def take(self, index: Tensor) -> Rows:
        """Give some rows, by their indices on the CPU."""
        return self._placed(self._read(index))

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Rows]:
        """Give one batch after the other, by their indices on the CPU; two for each thread are read meanwhile."""
        waiting: deque[Future[Rows]] = deque()
        coming = iter(indices)
        with ThreadPoolExecutor(self._workers, thread_name_prefix="rows") as pool:
            for index in coming:
                waiting.append(pool.submit(self._read, index))
                if len(waiting) > 2 * self._workers:
                    yield self._placed(waiting.popleft().result())
            while waiting:
                yield self._placed(waiting.popleft().result())

    def _read(self, index: Tensor) -> Rows:
        rows = index.numpy()
        features = {name: torch.from_numpy(values[rows]) for name, values in self._part.features.items()}
        return Rows(features, torch.from_numpy(self._part.labels[rows]).long())

    def _placed(self, rows: Rows) -> Rows:
        return Rows(self._engine.placed(rows.features), rows.labels.to(self._engine.device, non_blocking=True))


def part_rows(part: Part, engine: Engine, config: EngineConfig) -> PartRows:
    """Put rows on the device where they fit, as `engine.data` of the recipe says."""
    mapped = any(isinstance(values, np.memmap) for values in part.features.values())
    wanted = config.data
    if wanted == "auto":
        fits = engine.device.type == "cpu" or _row_bytes(part) * part.rows < torch.cuda.mem_get_info()[0] // 2
        wanted = "device" if fits and not mapped else "mapped"
    return ResidentRows(part, engine) if wanted == "device" else MappedRows(part, engine, config.workers)


def moved_together(indices: Sequence[Tensor], device: torch.device) -> tuple[Tensor, ...]:
    """Move the rows of all batches in one copy: one for each batch would have a GPU wait for it."""
    if not indices:
        return ()
    together = torch.cat(list(indices)).to(device, non_blocking=True)
    return torch.split(together, [len(each) for each in indices])


def labelled_places(labels: NDArray[np.integer]) -> Tensor:
    """Count the labelled places of each row: int64 [rows]."""
    places = int(np.prod(labels.shape[1:]))
    together = max(1, (1 << 24) // places)
    counts = [
        (labels[start : start + together].reshape(-1, places) != UNLABELLED).sum(axis=1)
        for start in range(0, len(labels), together)
    ]
    return torch.from_numpy(np.concatenate(counts).astype(np.int64))


def _row_bytes(part: Part) -> int:
    return sum(values[:1].nbytes for values in part.features.values())
