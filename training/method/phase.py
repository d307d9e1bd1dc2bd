"""What a stage is to the trainer: epochs that can be repeated, weights that can be saved, and a best to go back to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import nn

StageName: TypeAlias = Literal["collaborative", "specialise", "distill", "labels-only"]
MetricRow: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What one epoch gave.

    Attributes:
        rows: Lines for metrics.jsonl, without stage and epoch.
        score: Lower is better; none where the last epoch's weights go on.
    """

    rows: list[MetricRow] = field(default_factory=list)
    score: float | None = None


class Phase(Protocol):
    """One stage of a run.

    Attributes:
        stage: Its name.
        epochs: How many.
        learning: Modules whose weights change, by the name they have in checkpoints.
        optimisers: Their optimisers, in a fixed order.
    """

    stage: StageName
    epochs: int
    learning: dict[str, nn.Module]
    optimisers: tuple[Any, ...]

    def run_epoch(self, epoch: int) -> EpochResult:
        """Train for one epoch, counted from 0; depends on nothing but weights, optimisers, seed and `epoch`."""

    def closing_rows(self) -> list[MetricRow]:
        """Measure once more after the best weights are back in place."""
