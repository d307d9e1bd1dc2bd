"""Values that are not finite end a run before they reach a checkpoint, and say where they were met."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from mstedge.errors import DivergedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from mstedge.training.method.setup import Setup

_LISTED_ROWS = 128


def take_step(setup: Setup, loss: Tensor, optimiser: Any, *, index: Tensor, where: str) -> float:
    """Take one step down a loss.

    Args:
        setup: The run.
        loss: A scalar.
        optimiser: From the engine.
        index: The training rows of the batch.
        where: Stage and step, for the error.

    Returns:
        The loss before the step.

    Raises:
        DivergedError: The loss is not finite; the message names the rows of the batch, and nothing was changed.
    """
    try:
        return setup.engine.step(loss, optimiser, where=where)
    except DivergedError as problem:
        rows = [setup.train_ids[row] for row in index.tolist()]
        listed = ", ".join(rows[:_LISTED_ROWS])
        more = f" and {len(rows) - _LISTED_ROWS} more" if len(rows) > _LISTED_ROWS else ""
        raise DivergedError(f"{problem.message} on the rows {listed}{more}", hint=problem.hint) from None


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
            if value.is_floating_point() and not math.isfinite(float(value.sum(dtype=torch.float64))):
                raise DivergedError(f"{where}: {name} holds {_first_bad(value)} in {key}", hint=_HINT)
    if score is not None and not math.isfinite(score):
        raise DivergedError(f"{where}: the validation score is {score}", hint=_HINT)


_HINT = "lower the learning rate; the last good checkpoint stays"


def _first_bad(value: Tensor) -> float:
    return float(value[~torch.isfinite(value)][0])
