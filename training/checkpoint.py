"""Where an interrupted run goes on: weights, optimiser state and a cursor in one safetensors file, no pickle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mstedge.errors import UsageError
from mstedge.files import write_atomically
from mstedge.schema import Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

_CURSOR_KEY = "cursor"


class Cursor(Record, frozen=True, kw_only=True):
    """How far a run has come.

    Attributes:
        phase: Position of the stage in the method's list.
        epochs_done: Finished epochs of that stage.
        best: Lowest score so far; none where the stage keeps the last weights.
        metric_rows: Lines of metrics.jsonl that belong to what is done.
        seconds: Time spent per stage so far, in seconds.
    """

    phase: int
    epochs_done: int
    best: float | None
    metric_rows: int
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `read_checkpoint` gives.

    Attributes:
        cursor: How far the run has come.
        tensors: Weights under `modules/`, optimisers under `optimisers/`, the best weights under `best/`.
    """

    cursor: Cursor
    tensors: dict[str, Tensor]

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Select the tensors under a prefix, the prefix cut off."""
        start = f"{prefix}/"
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}


def write_checkpoint(path: Path, cursor: Cursor, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint whole or not at all."""
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    write_atomically(path, save(plain, metadata={_CURSOR_KEY: msgspec.json.encode(cursor).decode()}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UsageError: There is none, or it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  not a mapping
        cursor = msgspec.json.decode(metadata[_CURSOR_KEY], type=Cursor)
    except FileNotFoundError:
        raise UsageError(f"{path.parent}: there is nothing to resume: no {path.name}") from None
    except (SafetensorError, KeyError, OSError, msgspec.DecodeError) as problem:
        raise UsageError(f"{path}: the checkpoint is damaged: {problem}", hint="start the run afresh") from None
    return Checkpoint(cursor, tensors)


def module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Name every weight and buffer of several modules."""
    return {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def load_modules(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Put weights and buffers back."""
    for name, module in modules.items():
        start = f"{name}/"
        state = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        module.load_state_dict(state)


def optimiser_tensors(optimisers: tuple[Any, ...]) -> dict[str, Tensor]:
    """Name everything that Adam remembers."""
    return {
        f"optimisers/{position}/{index}/{key}": torch.as_tensor(value)
        for position, optimiser in enumerate(optimisers)
        for index, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
    }


def load_optimisers(optimisers: tuple[Any, ...], tensors: Mapping[str, Tensor]) -> None:
    """Give Adam its memory back; settings come from the recipe."""
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimisers]
    for name, value in tensors.items():
        position, index, key = name.split("/")
        states[int(position)].setdefault(int(index), {})[key] = value
    for optimiser, state in zip(optimisers, states, strict=True):
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        for parameter, remembered in optimiser.state.items():
            for key, value in remembered.items():
                if (
                    value.shape == parameter.shape
                ):  # as the weight lies in memory, so that each step gives the same bits
                    remembered[key] = torch.empty_like(parameter).copy_(value)
