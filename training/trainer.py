"""Runs the stages of a method one after the other, so that a killed run goes on where it was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

import torch

from mstedge.training.checkpoint import (
    Checkpoint,
    Cursor,
    load_modules,
    load_optimisers,
    module_tensors,
    optimiser_tensors,
    write_checkpoint,
)
from mstedge.training.engine import seed_from_key
from mstedge.training.method.collaborative import CollaborativePhase
from mstedge.training.method.distill import DistillPhase
from mstedge.training.method.labels_only import LabelsOnlyPhase
from mstedge.training.method.specialise import SpecialisePhase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from mstedge.training.method.phase import Phase
    from mstedge.training.method.setup import Setup
    from mstedge.training.recorder import NoRecorder, Recorder

CHECKPOINT_NAME = "checkpoint.safetensors"
_SECONDS_BETWEEN_CHECKPOINTS = 5.0
_NOISE_STREAM = 6

METHODS: dict[str, tuple[Callable[[Setup], Phase], ...]] = {
    "mst": (CollaborativePhase, SpecialisePhase, DistillPhase),
    "labels-only": (LabelsOnlyPhase,),
}


# Hears of every finished epoch: stage, finished epochs, epochs in all.
EpochListener: TypeAlias = "Callable[[str, int, int], None]"


class Trainer:
    """Trains one setup with one method in one folder.

    Args:
        setup: Networks and rows.
        method: Key of `METHODS`.
        folder: The run folder; the first process writes checkpoints there.
        recorder: Takes metrics.
        listener: Hears of every epoch.
    """

    def __init__(
        self, setup: Setup, method: str, folder: Path, recorder: Recorder | NoRecorder, listener: EpochListener
    ) -> None:
        self._setup = setup
        self._phases = METHODS[method]
        self._path = folder / CHECKPOINT_NAME
        self._recorder = recorder
        self._listener = listener
        self.seconds: dict[str, float] = {}

    def train(self, checkpoint: Checkpoint | None = None) -> None:
        """Run all stages, or what is left of them.

        Args:
            checkpoint: Where an earlier process stopped.

        Raises:
            DivergedError: A loss is not finite; the last checkpoint stays.
        """
        first = 0
        if checkpoint is not None:
            first = checkpoint.cursor.phase
            self.seconds = dict(checkpoint.cursor.seconds)
            load_modules(self._setup.modules(), checkpoint.below("modules"))
        for position in range(first, len(self._phases)):
            self._run(position, checkpoint if position == first else None)

    def _run(self, position: int, checkpoint: Checkpoint | None) -> None:
        phase = self._phases[position](self._setup)
        best_score: float | None = None
        best: dict[str, Tensor] = {}
        done = 0
        if checkpoint is not None and checkpoint.cursor.epochs_done:
            done, best_score = checkpoint.cursor.epochs_done, checkpoint.cursor.best
            best = checkpoint.below("best")
            load_optimisers(phase.optimisers, checkpoint.below("optimisers"))
        written = started = time.monotonic()
        before = self.seconds.get(phase.stage, 0.0)
        for epoch in range(done, phase.epochs):
            torch.manual_seed(self._noise_seed(position, epoch))
            result = phase.run_epoch(epoch)
            if result.score is not None and (best_score is None or result.score < best_score):
                best_score = result.score
                best = {name: value.clone() for name, value in module_tensors(phase.learning).items()}
            self._recorder.record(phase.stage, epoch, result.rows)
            self.seconds[phase.stage] = before + time.monotonic() - started
            self._listener(phase.stage, epoch + 1, phase.epochs)
            if epoch + 1 < phase.epochs and time.monotonic() - written > _SECONDS_BETWEEN_CHECKPOINTS:
                self._write(position, epoch + 1, best_score, best, phase)
                written = time.monotonic()
        if best:
            load_modules(phase.learning, best)
        self._recorder.record(phase.stage, phase.epochs, phase.closing_rows())
        self._write(position + 1, 0, None, {}, None)

    def _noise_seed(self, position: int, epoch: int) -> int:
        """Let what networks draw themselves (dropout) depend on epoch and process alone: a resumed run repeats it."""
        rank = self._setup.engine.rank
        own = (rank,) if rank else ()
        return seed_from_key((self._setup.recipe.seed, _NOISE_STREAM, position, epoch, *own))

    def _write(
        self, position: int, done: int, score: float | None, best: dict[str, Tensor], phase: Phase | None
    ) -> None:
        if self._setup.engine.rank:
            return
        cursor = Cursor(
            phase=position, epochs_done=done, best=score, metric_rows=self._recorder.rows, seconds=self.seconds
        )
        tensors = {f"modules/{name}": value for name, value in module_tensors(self._setup.modules()).items()}
        tensors |= {f"best/{name}": value for name, value in best.items()}
        if phase is not None:
            tensors |= optimiser_tensors(phase.optimisers)
        write_checkpoint(self._path, cursor, tensors)
