"""Where training computes: Lightning Fabric decides device, precision and processes, this module takes the steps."""

from __future__ import annotations

import importlib
import logging
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError, DivergedError, MachineError
from mstedge.training.adam import factored_layers, make_adam
from mstedge.training.process_group import started_with
from mstedge.training.shares import SumOfShares, add_up_gradients, check_agreement, gathered, lists_of_all

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

    @property
    def memory_bytes(self) -> int:
        """What the device has in all, used or not."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_properties(self.device).total_memory
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device."""
        network = network.to(self.device)
        if self.channels_last:  # `Module.to` would refuse the weights of volumes
            for each in network.parameters():
                if each.ndim == _PICTURE_AXES:
                    each.data = each.data.contiguous(memory_format=torch.channels_last)
        return network

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
        layers = factored_layers(network) if self.processes == 1 else []
        adam = make_adam(network.parameters(), learning_rate, fused=self.fused_adam, layers=layers)
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
        parameters = [each for group in optimiser.param_groups for each in group["params"]]
        total = add_up_gradients(loss, parameters)
        self._check(total, where)
        optimiser.step()
        return total

    def check_agreement(self, facts: Mapping[str, str]) -> None:
        """Check that all processes hold the same, and wait until all have come this far.

        Args:
            facts: What shall be equal, by its name.

        Raises:
            DataError: Something differs; every process raises it.
        """
        if self.processes > 1:
            check_agreement(facts, self.processes)

    def sum_of_shares(self, share: Tensor) -> Tensor:
        """Add up what each process has; gradients flow back into every share."""
        if self.processes == 1:
            return share
        return SumOfShares.apply(share)  # type: ignore[no-any-return,no-untyped-call]

    def gathered(self, share: Tensor, rows: int) -> Tensor:
        """Put together what each process has worked out for its rows, as `own_rows` shares them out."""
        if self.processes == 1:
            return share
        most = -(-rows // self.processes)
        padded = torch.cat([share, share.new_zeros((most - len(share), *share.shape[1:]))])
        return gathered(padded, self.processes)[:rows]

    def rows_of_all(self, index: Tensor) -> list[int]:
        """List the rows of a batch that all processes have together."""
        own: list[int] = index.tolist()
        return own if self.processes == 1 else lists_of_all(own, self.processes)

    def own_rows(self, rows: int) -> range:
        """Say which of so many rows this process works out: each has one stretch of them."""
        most = -(-rows // self.processes)
        return range(min(rows, self.rank * most), min(rows, (self.rank + 1) * most))

    def _check(self, loss: Tensor, where: str) -> None:
        if self.device.type == "cpu" and not math.isfinite(value := float(loss.detach())):
            raise DivergedError(f"{where}: the loss is {value}", hint=DIVERGED_HINT)


DIVERGED_HINT = "lower optimiser.learning_rate, or check the data for outliers; the last good checkpoint stays"


def make_engine(config: EngineConfig) -> Engine:
    """Set up device, precision and threads, and meet the processes that were started with this one.

    Args:
        config: The recipe's engine; `threads` counts for each process, none shares the cores out among them.

    Raises:
        ConfigError: So many processes are not there, or a CPU has no such arithmetic.
        MachineError: A GPU was asked for and there is none, or there are fewer than `devices`.
    """
    accelerator = accelerator_of(config)
    _check_processes(config)
    threads = config.threads or max(1, len(os.sched_getaffinity(0)) // config.devices)
    torch.set_num_threads(threads)
    fabric = _launched_fabric(config, accelerator)
    return Engine(fabric, threads, fused_adam=config.fused_adam, channels_last=config.channels_last)


def accelerator_of(config: EngineConfig) -> str:
    """Say whether a recipe computes on `cpu` or `cuda` here.

    Raises:
        ConfigError: A CPU has no such arithmetic.
        MachineError: A GPU was asked for and there is none, or there are fewer than `devices`.
    """
    accelerator: str = config.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cpu":
        if config.precision == "fp16-mixed":
            raise ConfigError(
                "engine.precision is 'fp16-mixed': torch has it on GPUs alone, and this run is on a CPU",
                hint="take bf16-mixed or fp32",
            )
    elif not torch.cuda.is_available():
        raise MachineError(
            f"engine.device is 'cuda', but torch {torch.__version__} finds no GPU here",
            hint="leave engine.device at auto, or install a CUDA build of torch (see docs/install.md)",
        )
    elif config.devices > torch.cuda.device_count():
        raise MachineError(
            f"engine.devices is {config.devices}: torch finds {torch.cuda.device_count()} here",
            hint="each process needs a GPU of its own; with engine.device=cpu they share the cores",
        )
    return accelerator


def _check_processes(config: EngineConfig) -> None:
    started = started_with()
    there = (1, 1) if started is None else (started.devices, started.nodes)
    if (config.devices, config.nodes) != there:
        raise ConfigError(
            f"engine.devices is {config.devices} and engine.nodes {config.nodes}: "
            f"this process was started as one of {there[0]} on each of {there[1]} machines",
            hint="mstedge distill and torchrun start as many as it takes",
        )


def _launched_fabric(config: EngineConfig, accelerator: str) -> Any:
    """Make Fabric, joined to the other processes where there are any."""
    package = _fabric_package()
    precision = _PRECISIONS[config.precision]
    if config.devices * config.nodes == 1:
        return package.Fabric(accelerator=accelerator, devices=1, precision=precision)
    environments = importlib.import_module(f"{package.__name__}.plugins.environments")
    fabric = package.Fabric(
        accelerator=accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp",  # for its process group: gradients are added up in `Engine.step`
        plugins=[environments.TorchElasticEnvironment()],
        precision=precision,
    )
    with _stdout_kept_clean():
        fabric.launch()
    return fabric


@contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Send to stderr what libraries print on stdout, where results stand."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


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


def _fabric_package() -> Any:
    """Import Fabric's own package, or the large one that some machines have instead, and let it speak when it warns."""
    try:
        package = importlib.import_module("lightning_fabric")  # seconds
    except ImportError:
        package = importlib.import_module("lightning.fabric")
    logging.getLogger(package.__name__).setLevel(logging.WARNING)
    return package
