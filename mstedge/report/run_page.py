"""The page of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mstedge.report.check_pages import comparison_values
from mstedge.report.formats import figure, percent, percent_range
from mstedge.report.learning_sections import masks_section, members_section, student_section
from mstedge.report.metrics import of_stage, read_metrics
from mstedge.report.page import Page
from mstedge.report.teaching_sections import agreement_section, routing_section
from mstedge.run_card import CARD_NAME, COMPARISON_NAME, METRICS_NAME, RECIPE_NAME, Comparison, Metrics, RunCard
from mstedge.schema import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mstedge.report.learning_sections import Section
    from mstedge.report.metrics import Epoch

_DISTILLED = (
    "Stage 3: the student learns from the labels and from the teachers that the router chooses. The student of the "
    "epoch with the lowest cross-entropy on validation rows is the one that counts."
)
_LABELS_ONLY = (
    "The control: the same student learns from the labels alone. The student of the epoch with the lowest "
    "cross-entropy on validation rows is the one that counts."
)


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One figure of the student.

    Attributes:
        name: What it is called.
        values: Its value in each part, as written.
        meaning: What it says.
    """

    name: str
    values: tuple[str, ...]
    meaning: str


def run_page(path: Path) -> Page:
    """Show a run.

    Args:
        path: Its card. What stands beside it (metrics, comparison, recipe) is shown where the card lies in its run.
    """
    card = read_json(path, RunCard)
    beside = path.parent if path.name == CARD_NAME else None
    values = {
        "card": card,
        "headline": _headline(card.metrics),
        "scores": score_lines(card.metrics),
        "seconds": sum(card.seconds.values()),
        "comparison": None,
        "recipe": None,
        "sections": (),
    }
    if beside is not None:
        values |= _values_beside(beside, complete=card.status == "complete")
    return Page("run", f"Run {card.name}, seed {card.seed}", values)


def _values_beside(folder: Path, *, complete: bool) -> dict[str, Any]:
    recipe = folder / RECIPE_NAME
    comparison = folder / COMPARISON_NAME
    return {
        "sections": sections_of(read_metrics(folder / METRICS_NAME), complete=complete),
        "recipe": recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else None,
        "comparison": comparison_values(read_json(comparison, Comparison)) if comparison.is_file() else None,
    }


def _headline(metrics: Sequence[Metrics]) -> Metrics | None:
    """Pick the result that counts: on test rows, or on validation rows where there are no others."""
    return next((one for part in ("test", "validation") for one in metrics if one.part == part), None)


def score_lines(metrics: Sequence[Metrics]) -> tuple[ScoreLine, ...]:
    """Lay out every figure that was taken in at least one part, with what it says."""
    dense = any(one.mean_iou is not None for one in metrics)
    places = "places of the maps" if dense else "rows"
    lines = (
        _line(metrics, "accuracy", lambda one: one.accuracy, f"right answers among the labelled {places}", percent),
        ScoreLine(
            "95 % interval",
            tuple(percent_range(one.low, one.high) for one in metrics),
            "of the accuracy; its sample size is the number of independent units",
        ),
        _line(
            metrics,
            "mean IoU",
            lambda one: one.mean_iou,
            "overlap of answered and true area over their union, mean over classes",
            percent,
        ),
        _line(
            metrics,
            "average accuracy",
            lambda one: one.average_accuracy,
            "mean recall over classes: each class counts alike, however rare",
            percent,
        ),
        _line(
            metrics,
            "macro F1",
            lambda one: one.macro_f1,
            "balance of precision and recall, mean over classes; 1 is best",
            figure,
        ),
        _line(
            metrics, "weighted F1", lambda one: one.weighted_f1, "the same, each class by its number of rows", figure
        ),
        _line(
            metrics,
            "kappa",
            lambda one: one.kappa,
            "agreement with the labels beyond chance: 0 is chance, 1 is best (Cohen)",
            figure,
        ),
        _line(
            metrics,
            "calibration error",
            lambda one: one.calibration_error,
            "mean gap between confidence and accuracy, in 15 bins; 0 is best",
            figure,
        ),
        _line(
            metrics, "cross-entropy", lambda one: one.cross_entropy, "mean over the same, in nats; 0 is best", figure
        ),
        _line(metrics, "rows", lambda one: one.rows, "rows with a label", _counted),
        _line(metrics, "independent units", lambda one: one.clusters, "recordings that these rows come from", _counted),
    )
    return tuple(line for line in lines if line is not None)


def _line(
    metrics: Sequence[Metrics],
    name: str,
    read: Callable[[Metrics], float | None],
    meaning: str,
    written: Callable[[float], str],
) -> ScoreLine | None:
    values = [read(one) for one in metrics]
    if all(value is None for value in values):
        return None
    return ScoreLine(name, tuple("none" if value is None else written(value) for value in values), meaning)


def _counted(number: float) -> str:
    return f"{number:,.0f}"


def sections_of(epochs: Sequence[Epoch], *, complete: bool = True) -> tuple[Section, ...]:
    """Draw what the epochs hold, stage by stage; charts and sections without data are left out."""
    distill = of_stage(epochs, "distill")
    sections = (
        members_section(of_stage(epochs, "collaborative")),
        masks_section(of_stage(epochs, "specialise")),
        student_section(distill, about=_DISTILLED, complete=complete),
        routing_section(distill),
        agreement_section(distill),
        student_section(of_stage(epochs, "labels-only"), about=_LABELS_ONLY, complete=complete),
    )
    return tuple(each for each in sections if each is not None)
