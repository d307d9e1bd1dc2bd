"""Values that are not finite end a run before they reach a checkpoint, and say where they were met."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from mstedge.errors import DivergedError
from mstedge.training.engine import DIVERGED_HINT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from mstedge.training.method.batches import Batch
    from mstedge.training.method.setup import Setup

_LISTED_ROWS = 128
_STEPS_BETWEEN_LOOKS = 64


class LossWatch:
    """Takes the steps of an epoch and stops at the first loss that is not finite.

    On a CPU nothing is changed by such a step. On a GPU, which would have to wait for each answer, losses are looked at
    some steps later; what was changed meanwhile reaches no checkpoint.

    Args:
        setup: The run.
        where: Stage and epoch, for the error.
    """

    def __init__(self, setup: Setup, where: str) -> None:
        self._setup = setup
        self._where = where
        self._unseen: list[tuple[int, Tensor, Tensor]] = []

    def take_step(self, loss: Tensor, optimiser: Any, batch: Batch) -> Tensor:
        """Take one step down a loss.

        Args:
            loss: A scalar.
            optimiser: From the engine.
            batch: What it was computed from.

        Returns:
            The loss before the step, of all processes together.

        Raises:
            DivergedError: A loss is not finite; the message names the rows of its batch.
        """
        try:
            value = self._setup.engine.step(loss, optimiser, where=f"{self._where} step {batch.step}")
        except DivergedError as problem:
            raise DivergedError(f"{problem.message} on {self._rows(batch.index)}", hint=problem.hint) from None
        if value.device.type != "cpu":
            self._unseen.append((batch.step, batch.index, value))  # not the batch: its features take memory
            if len(self._unseen) >= _STEPS_BETWEEN_LOOKS:
                self.look()
        return value

    def look(self) -> None:
        """Look at the losses that nobody has looked at.

        Raises:
            DivergedError: One of them is not finite.
        """
        unseen, self._unseen = self._unseen, []
        values = torch.stack([value for _step, _index, value in unseen]).tolist() if unseen else []
        for (step, index, _value), value in zip(unseen, values, strict=True):
            if not math.isfinite(value):
                where = f"{self._where} step {step}"
                raise DivergedError(f"{where}: the loss is {value} on {self._rows(index)}", hint=DIVERGED_HINT)

    def _rows(self, index: Tensor) -> str:
        rows = [self._setup.train_ids[row] for row in self._setup.engine.rows_of_all(index)]
        more = f" and {len(rows) - _LISTED_ROWS} more" if len(rows) > _LISTED_ROWS else ""
        return f"the rows {', '.join(rows[:_LISTED_ROWS])}{more}"


def check_finite(learning: Mapping[str, nn.Module], score: float | None, *, where: str) -> None:
    """Look at what an epoch left, before it is kept.

    Args:
        learning: The modules that learnt.
        score: Their validation score, if there is one.
        where: Stage and epoch.

    Raises:
        DivergedError: A weight or the score is not finite: the last step's gradient was not.
    """
    for name, module in learning.items():
        for key, value in module.state_dict().items():
            if value.is_floating_point() and value.numel() and not _all_finite(value):
                raise DivergedError(f"{where}: {name} holds {_first_bad(value)} in {key}", hint=_HINT)
    if score is not None and not math.isfinite(score):
        raise DivergedError(f"{where}: the validation score is {score}", hint=_HINT)


_HINT = "lower the learning rate; the last good checkpoint stays"


def _all_finite(value: Tensor) -> bool:
    """Look at the least and the largest value, which are NaN if one is: neither makes a copy of a large weight."""
    low, high = value.aminmax()
    return math.isfinite(float(low)) and math.isfinite(float(high))


def _first_bad(value: Tensor) -> float:
    return float(value[~torch.isfinite(value)][0])
