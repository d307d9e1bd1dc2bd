"""What networks need before several processes may share out their batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from mstedge.errors import ConfigError
from mstedge.training.shares import make_equal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mstedge.training.method.setup import Setup

_CONVERTED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def share_out(setup: Setup, method: str) -> None:
    """Make a run ready for several processes: statistics over whole batches, and equal first weights.

    BatchNorm that learns becomes SyncBatchNorm, which has the same keys in `state_dict`.

    Args:
        setup: The run, not begun.
        method: What trains it: of `labels-only`, the student alone.

    Raises:
        ConfigError: A batch has fewer rows than there are processes; a network has a BatchNorm that would see a part of
            each batch alone; or a table of targets in a file is asked for, which one process alone can have.
    """
    _check_recipe(setup)
    for owner, network in _learning(setup, method):
        for path, module in network.named_modules():
            if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
                _check_norm(owner, path, module, on_gpu=setup.engine.device.type == "cuda")
        converted = SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        if converted is not network:
            raise ConfigError(f"{owner} is a single {type(network).__name__}: expected a network around it")
    make_equal(setup.modules().values())


def _learning(setup: Setup, method: str) -> Iterator[tuple[str, nn.Module]]:
    """Name the networks that some stage trains; BatchNorm of the others never looks at a batch."""
    stages = setup.recipe.stages
    yield f"the student ({setup.recipe.student.network})", setup.student.network
    if method != "mst":
        return
    for declared, teacher in zip(setup.recipe.teachers, setup.teachers, strict=True):
        if stages.collaborative.epochs and not teacher.frozen:
            yield f"teacher {teacher.name!r} ({declared.network})", teacher.network
    if stages.specialise.epochs and stages.distill.routing != "unmasked":
        for each in setup.specialised:
            yield f"the MaskNet at {each.name!r}", each.mask


def _check_norm(owner: str, path: str, module: nn.Module, *, on_gpu: bool) -> None:
    kind = type(module).__name__
    if not on_gpu:
        raise ConfigError(
            f"{owner} has a {kind} at {path!r}, which would see a part of each batch alone: "
            "torch has SyncBatchNorm on GPUs only, and this run is on a CPU",
            hint="engine.devices: 1, GPUs, networks without BatchNorm, or taps at vectors instead of maps",
        )
    if type(module) not in _CONVERTED:
        raise ConfigError(
            f"{owner} has a {kind} at {path!r}: expected torch's own BatchNorm, which can become SyncBatchNorm",
            hint="engine.devices: 1, or another network",
        )


def _check_recipe(setup: Setup) -> None:
    processes, recipe = setup.engine.processes, setup.recipe
    if recipe.optimiser.batch_rows < processes:
        raise ConfigError(
            f"optimiser.batch_rows is {recipe.optimiser.batch_rows}: expected a row for each of {processes} processes",
            hint="raise optimiser.batch_rows, or lower engine.devices",
        )
    if recipe.cache.targets == "file":
        raise ConfigError(
            f"cache.targets is 'file': {processes} processes cannot share such a table",
            hint="leave cache.targets at auto",
        )
