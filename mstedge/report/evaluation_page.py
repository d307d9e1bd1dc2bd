"""The page of an evaluation on labelled files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.evaluation import Evaluation, Score
from mstedge.parity_words import alarm
from mstedge.report.page import Page
from mstedge.schema import read_json

if TYPE_CHECKING:
    from pathlib import Path

MAX_LABELS_IN_MATRIX = 40
MAX_MISTAKES_SHOWN = 20
MAX_FAILED_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the confusion matrix.

    Attributes:
        count: Number of rows.
        heat: Share of the true class, 0 to 1.
        right: Whether it is on the diagonal.
    """

    count: int
    heat: float
    right: bool

    @property
    def strength(self) -> int:
        """How much of its colour the cell gets, in per cent: mistakes are few, and shown the stronger."""
        return round(55 * self.heat) if self.right else min(70, round(250 * self.heat))


def evaluation_page(path: Path) -> Page:
    """Show how good a bundle's answers are on labelled files."""
    found = read_json(path, Evaluation)
    values = {
        "found": found,
        "alarm": alarm(found.parity),
        "matrix": None if found.score is None else matrix_of(found.labels, found.score),
        "mistakes": () if found.score is None else mistakes_of(found.labels, found.score)[:MAX_MISTAKES_SHOWN],
        "failed": found.failed[:MAX_FAILED_SHOWN],
    }
    return Page("evaluation", f"Evaluation of {found.bundle} on {found.data}", values)


def matrix_of(labels: tuple[str, ...], score: Score) -> tuple[tuple[str, tuple[Cell, ...]], ...] | None:
    """Colour the confusion matrix; none where there are too many labels to look at."""
    if len(labels) > MAX_LABELS_IN_MATRIX:
        return None
    return tuple(
        (
            label,
            tuple(Cell(count, count / max(1, sum(row)), truth == answer) for answer, count in enumerate(row)),
        )
        for truth, (label, row) in enumerate(zip(labels, score.confusion, strict=False))
    )


def mistakes_of(labels: tuple[str, ...], score: Score) -> tuple[tuple[str, str, int], ...]:
    """List what was taken for what, the most frequent first.

    Returns:
        (truth, answer, rows).
    """
    found = [
        (labels[truth], labels[answer], count)
        for truth, row in enumerate(score.confusion[: len(labels)])
        for answer, count in enumerate(row[: len(labels)])
        if count and truth != answer
    ]
    return tuple(sorted(found, key=lambda one: -one[2]))
