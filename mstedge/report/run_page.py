"""The page of a training run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mstedge.report.check_pages import comparison_values
from mstedge.report.metrics import Epoch, curves_of, of_stage, read_metrics
from mstedge.report.page import Page
from mstedge.report.plots import bar_chart, line_chart, matrix_chart, share_chart
from mstedge.run_card import CARD_NAME, COMPARISON_NAME, METRICS_NAME, RECIPE_NAME, Comparison, Metrics, RunCard
from mstedge.schema import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mstedge.report.svg import Chart

STUDENT_STAGES = ("distill", "labels-only")


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
        "seconds": sum(card.seconds.values()),
        "comparison": None,
        "recipe": None,
        "sections": (),
    }
    if beside is not None:
        values |= _values_beside(beside)
    return Page("run", f"Run {card.name}, seed {card.seed}", values)


def _values_beside(folder: Path) -> dict[str, Any]:
    recipe = folder / RECIPE_NAME
    comparison = folder / COMPARISON_NAME
    return {
        "sections": sections_of(read_metrics(folder / METRICS_NAME)),
        "recipe": recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else None,
        "comparison": comparison_values(read_json(comparison, Comparison)) if comparison.is_file() else None,
    }


def _headline(metrics: Sequence[Metrics]) -> Metrics | None:
    """Pick the result that counts: on test rows, or on validation rows where there are no others."""
    return next((one for part in ("test", "validation") for one in metrics if one.part == part), None)


def sections_of(epochs: Sequence[Epoch]) -> tuple[tuple[str, tuple[Chart, ...]], ...]:
    """Draw what the epochs hold, stage by stage; charts and sections without data are left out."""
    sections = (
        ("Stage 1: collaborative", _collaborative(of_stage(epochs, "collaborative"))),
        ("Stage 2: specialise", _specialise(of_stage(epochs, "specialise"))),
        ("Stage 3: distill", _student(of_stage(epochs, "distill"))),
        ("Labels only", _student(of_stage(epochs, "labels-only"))),
    )
    drawn = ((title, tuple(chart for chart in charts if chart is not None)) for title, charts in sections)
    return tuple((title, charts) for title, charts in drawn if charts)


def _collaborative(epochs: Sequence[Epoch]) -> tuple[Chart | None, ...]:
    losses = curves_of(epochs, {"loss": "loss", "cross_entropy": "cross-entropy", "kl": "KL between members"})
    return (
        line_chart(
            "Validation accuracy of the members",
            curves_of(epochs, {"validation_accuracy": ""}),
            x_label="epoch",
            y_label="accuracy",
            shares=True,
        ),
        line_chart("Losses", losses, x_label="epoch", y_label="nats"),
        _gradient_flow(epochs),
    )


def _gradient_flow(epochs: Sequence[Epoch]) -> Chart | None:
    flows = [epoch for epoch in epochs if epoch.gradient_flow]
    if not flows or flows[-1].gradient_flow is None:
        return None
    pairs = {tuple(name.split("<-", 1)): norm for name, norm in flows[-1].gradient_flow.items() if "<-" in name}
    cells = {(pair[0], pair[-1]): math.nan if norm is None else norm for pair, norm in pairs.items()}
    if not cells:
        return None
    return matrix_chart(
        "Gradient flow between members",
        cells,
        labels=("learner", "learns from"),
        caption="Norm of the gradient that a member gets from its KL pair with another, "
        f"in the first batch of epoch {flows[-1].epoch + 1}.",
    )


def _specialise(epochs: Sequence[Epoch]) -> tuple[Chart | None, ...]:
    groups = {
        epoch.teacher or "teacher": {"without mask": epoch.kl_before, "with best mask": epoch.kl_after}
        for epoch in epochs
        if epoch.kl_before is not None and epoch.kl_after is not None
    }
    curves: dict[str, list[tuple[float, float]]] = {}
    for epoch in epochs:
        if epoch.validation_kl is not None:
            curves.setdefault(epoch.teacher or "teacher", []).append((epoch.epoch + 1, epoch.validation_kl))
    return (
        bar_chart(
            "What the MaskNets bring",
            groups,
            x_label="KL to the student on validation rows, in nats",
            caption="Lower is closer to what the student can follow.",
        ),
        line_chart(
            "KL to the student while the MaskNets train", curves, x_label="epoch", y_label="validation KL, nats"
        ),
    )


def _student(epochs: Sequence[Epoch]) -> tuple[Chart | None, ...]:
    losses = {
        "loss": "loss",
        "cross_entropy": "cross-entropy",
        "kl": "KL to the teachers",
        "balance": "load balance",
        "validation_cross_entropy": "cross-entropy, validation",
    }
    return (
        line_chart(
            "Validation accuracy of the student",
            curves_of(epochs, {"validation_accuracy": "student"}),
            x_label="epoch",
            y_label="accuracy",
            shares=True,
        ),
        line_chart("Losses", curves_of(epochs, losses), x_label="epoch", y_label="nats"),
        _routing(epochs),
    )


def _routing(epochs: Sequence[Epoch]) -> Chart | None:
    routed = [epoch for epoch in epochs if epoch.routing]
    names = list(dict.fromkeys(name for epoch in routed for name in epoch.routing or {}))
    shares = {name: [(epoch.routing or {}).get(name) or 0.0 for epoch in routed] for name in names}
    caption = "How often each specialised teacher is among those that the router chooses."
    entropy = routed[-1].routing_entropy if routed else None
    if entropy is not None:
        caption += (
            f" Entropy of the shares in the last epoch: {entropy:.2f} nats;"
            f" {math.log(len(names)):.2f} would be an even choice."
        )
    return share_chart("Routing", [float(epoch.epoch + 1) for epoch in routed], shares, caption)
