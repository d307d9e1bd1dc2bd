"""Where training computes: Lightning Fabric decides device and precision, this module the order of rows."""

from __future__ import annotations

import importlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.errors import DivergedError, MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mstedge.recipe_stages import Engine as EngineConfig
    from mstedge.training.data.dataset import Part

_PRECISIONS = {"fp32": "32-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}


@dataclass(frozen=True, slots=True)
class Rows:
    """One part of the data on the training device.

    Attributes:
        features: float32 [rows, *feature_shape] per modality.
        labels: int64 [rows], `UNLABELLED` where the label may not be used.
    """

    features: dict[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Rows:
        """Select rows."""
        return Rows({name: values[index] for name, values in self.features.items()}, self.labels[index])


@dataclass(frozen=True, slots=True)
class Engine:
    """A device, its arithmetic, and the steps taken on it.

    Attributes:
        fabric: Lightning Fabric, set up.
        threads: CPU threads in use.
    """

    fabric: Any
    threads: int

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return self.fabric.device  # type: ignore[no-any-return]

    def rows(self, part: Part) -> Rows:
        """Move a part of the data to the device."""
        features = {name: torch.from_numpy(values).to(self.device) for name, values in part.features.items()}
        return Rows(features, torch.from_numpy(part.labels).to(self.device))

    def optimiser(self, network: nn.Module, learning_rate: float) -> Any:
        """Move a network to the device and make its Adam."""
        adam = torch.optim.Adam(network.parameters(), lr=learning_rate)
        _network, optimiser = self.fabric.setup(network, adam, move_to_device=True)
        return optimiser

    def step(self, loss: Tensor, optimiser: Any, *, where: str) -> float:
        """Take one step down a loss.

        Args:
            loss: A scalar.
            optimiser: From `optimiser`.
            where: Stage and step, for the error.

        Returns:
            The loss before the step.

        Raises:
            DivergedError: The loss is not finite; nothing was changed.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"{where}: the loss is {value}", hint="lower optimiser.learning_rate, or check the data for outliers"
            )
        optimiser.zero_grad()
        self.fabric.backward(loss)
        optimiser.step()
        return value


def make_engine(config: EngineConfig) -> Engine:
    """Set up device, precision and threads.

    Raises:
        MachineError: A GPU was asked for and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise MachineError(
            f"engine.device is 'cuda', but torch {torch.__version__} finds no GPU here",
            hint="leave engine.device at auto, or install a CUDA build of torch (see docs/install.md)",
        )
    threads = config.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    accelerator = config.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = _fabric_class()(accelerator=accelerator, devices=1, precision=_PRECISIONS[config.precision])
    return Engine(fabric, threads)


def shuffled_batches(rows: int, batch_rows: int, *, key: tuple[int, ...], device: torch.device) -> Iterator[Tensor]:
    """Yield row indices of one epoch in random order; a last batch of a single row is left out (BatchNorm needs two).

    Args:
        rows: How many there are.
        batch_rows: How many go into a step.
        key: Seed, stage and epoch: the order depends on nothing else, so that a resumed run repeats it.
        device: Where the indices are needed.
    """
    generator = torch.Generator().manual_seed(seed_from_key(key))
    order = torch.randperm(rows, generator=generator).to(device)
    for start in range(0, rows, batch_rows):
        batch = order[start : start + batch_rows]
        if len(batch) > 1:
            yield batch


def seed_from_key(key: tuple[int, ...]) -> int:
    """Mix small whole numbers into one 63-bit seed."""
    mixed = 0xCBF29CE484222325
    for part in key:
        mixed = ((mixed ^ (part + 1)) * 0x100000001B3) % (1 << 64)
    return mixed >> 1


def _fabric_class() -> Any:
    """Import Fabric from its own package, or from the large one that some machines have instead."""
    try:
        from lightning_fabric import Fabric  # noqa: PLC0415  seconds to import
    except ImportError:
        return importlib.import_module("lightning.fabric").Fabric
    return Fabric
