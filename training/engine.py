"""Where training computes: Lightning Fabric decides device, precision and processes, this module takes the steps."""

from __future__ import annotations

import importlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.errors import DivergedError, MachineError
from mstedge.training.adam import make_adam

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mstedge.recipe_stages import Engine as EngineConfig

_PRECISIONS = {"fp32": "32-true", "bf16-mixed": "bf16-mixed", "fp16-mixed": "16-mixed"}
_PICTURE_AXES = 4


@dataclass(frozen=True, slots=True)
class Engine:
    """A device, its arithmetic, and the steps taken on it; one of several that share out each batch, or the only one.

    Attributes:
        fabric: Lightning Fabric, set up.
        threads: CPU threads in use.
        fused_adam: As in the recipe.
        channels_last: Whether images are kept with their channels last.
    """

    fabric: Any
    threads: int
    fused_adam: bool | None = None
    channels_last: bool = False

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return self.fabric.device  # type: ignore[no-any-return]

    @property
    def rank(self) -> int:
        """Which of the processes this is; the first one writes."""
        return self.fabric.global_rank  # type: ignore[no-any-return]

    @property
    def processes(self) -> int:
        """How many share out a batch."""
        return self.fabric.world_size  # type: ignore[no-any-return]

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device."""
        if self.channels_last:
            return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
        return network.to(self.device)

    def placed(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Move features to the device, images in the layout of the networks."""
        moved = {name: values.to(self.device, non_blocking=True) for name, values in features.items()}
        if not self.channels_last:
            return moved
        return {
            name: values.contiguous(memory_format=torch.channels_last) if values.ndim == _PICTURE_AXES else values
            for name, values in moved.items()
        }

    def optimiser(self, network: nn.Module, learning_rate: float) -> Any:
        """Make the Adam of a network that is on the device."""
        adam = make_adam(network.parameters(), learning_rate, fused=self.fused_adam)
        return self.fabric.setup_optimizers(adam)

    def step(self, loss: Tensor, optimiser: Any, *, where: str) -> Tensor:
        """Take one step down a loss.

        Args:
            loss: A scalar; with several processes each has its share, and the shares add up.
            optimiser: From `optimiser`.
            where: Stage and step, for the error.

        Returns:
            The loss before the step, detached.

        Raises:
            DivergedError: The loss is not finite; nothing was changed. On a GPU, where the answer would have to be
                waited for, `divergence.LossWatch` looks later.
        """
        optimiser.zero_grad()
        if self.processes == 1:
            self._check(loss, where)
            self.fabric.backward(loss)
            optimiser.step()
            return loss.detach()
        self.fabric.backward(loss)
        total = self._sum_up(loss, optimiser)
        self._check(total, where)
        optimiser.step()
        return total

    def sum_of_shares(self, share: Tensor) -> Tensor:
        """Add up what each process has; gradients flow back into every share."""
        if self.processes == 1:
            return share
        from torch.distributed.nn.functional import all_reduce  # noqa: PLC0415  not in every build of torch

        return all_reduce(share)  # type: ignore[no-any-return,no-untyped-call]

    def gathered(self, share: Tensor, rows: int) -> Tensor:
        """Put together what each process has worked out for its rows, as `own_rows` shares them out."""
        if self.processes == 1:
            return share
        most = -(-rows // self.processes)
        padded = torch.cat([share, share.new_zeros((most - len(share), *share.shape[1:]))])
        together: Tensor = self.fabric.all_gather(padded)
        return together.flatten(0, 1)[:rows]

    def own_rows(self, rows: int) -> range:
        """Say which of so many rows this process works out: each has one stretch of them."""
        most = -(-rows // self.processes)
        return range(min(rows, self.rank * most), min(rows, (self.rank + 1) * most))

    def _sum_up(self, loss: Tensor, optimiser: Any) -> Tensor:
        """Add up loss and gradients over all processes, in one message."""
        parameters = [each for group in optimiser.param_groups for each in group["params"]]
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        message = torch.cat([loss.detach().reshape(1), *(each.reshape(-1) for each in gradients)])
        torch.distributed.all_reduce(message)
        pieces = torch.split(message[1:], [each.numel() for each in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)
        return message[0]

    def _check(self, loss: Tensor, where: str) -> None:
        if self.device.type == "cpu" and not math.isfinite(value := float(loss.detach())):
            raise DivergedError(f"{where}: the loss is {value}", hint=DIVERGED_HINT)


DIVERGED_HINT = "lower optimiser.learning_rate, or check the data for outliers; the last good checkpoint stays"


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
    return Engine(fabric, threads, fused_adam=config.fused_adam, channels_last=config.channels_last)


def shuffled_batches(rows: int, batch_rows: int, *, key: tuple[int, ...], least: int = 2) -> Iterator[Tensor]:
    """Yield row indices of one epoch in random order; a last batch of a single row is left out (BatchNorm needs two).

    Args:
        rows: How many there are.
        batch_rows: How many go into a step.
        key: Seed, stage and epoch: the order depends on nothing else, so that a resumed run repeats it.
        least: The smallest batch that is not left out.
    """
    generator = torch.Generator().manual_seed(seed_from_key(key))
    order = torch.randperm(rows, generator=generator)
    for start in range(0, rows, batch_rows):
        batch = order[start : start + batch_rows]
        if len(batch) >= least:
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
