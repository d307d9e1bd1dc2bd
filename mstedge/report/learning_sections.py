"""How student, members and masks learnt: sections of a run's page, in charts and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.report.formats import figure, percent
from mstedge.report.metrics import curves_of
from mstedge.report.monitor_plots import dumbbell_chart, epoch_chart, flow_chart
from mstedge.report.plots import Guides, matrix_chart

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mstedge.report.metrics import Epoch
    from mstedge.report.svg import Chart


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a run's page.

    Attributes:
        title: Its heading.
        about: What is shown, and how to read it.
        charts: Its drawings.
        findings: What the numbers come to.
        alarm: What is wrong, if anything.
    """

    title: str
    about: str
    charts: tuple[Chart, ...]
    findings: tuple[str, ...] = ()
    alarm: str = ""


def section(
    title: str, about: str, charts: Iterable[Chart | None], findings: Iterable[str] = (), alarm: str = ""
) -> Section | None:
    """Put a section together; one without any drawing is left out."""
    there = tuple(chart for chart in charts if chart is not None)
    # A line break between a number and its unit is hard to read.
    said = tuple(finding.replace(" %", "\N{NO-BREAK SPACE}%") for finding in findings if finding)
    return Section(title, about, there, said, alarm) if there else None


def chosen_epoch(epochs: Iterable[Epoch]) -> Epoch | None:
    """Pick the epoch whose student is kept: the first of the lowest cross-entropy on validation rows."""
    scored = [(one.validation_cross_entropy, one) for one in epochs if isinstance(one.validation_cross_entropy, float)]
    return min(scored, key=lambda pair: pair[0])[1] if scored else None


def student_section(epochs: Sequence[Epoch], *, about: str, complete: bool) -> Section | None:
    """Show how the student came to be what it is.

    Args:
        epochs: Those of the stage in which it is trained last.
        about: What it learnt from.
        complete: Whether the run has ended.
    """
    chosen = chosen_epoch(epochs)
    word = "ships" if complete else "is best so far"
    guides = Guides(marks={chosen.epoch + 1: f"epoch {chosen.epoch + 1} {word}"} if chosen else {})
    entropies = {"validation_cross_entropy": "validation", "cross_entropy": "training, labelled rows"}
    terms = {"loss": "loss", "kl": "KL to the teachers", "balance": "load balance"}
    weights = {"kl_weight": "mu1, of the KL", "balance_weight": "mu2, of the load balance"}
    routed = any(one.kl is not None for one in epochs)
    charts = (
        epoch_chart(
            "Validation accuracy of the student",
            curves_of(epochs, {"validation_accuracy": "student"}),
            y_label="accuracy",
            shares=True,
            guides=guides,
        ),
        epoch_chart("Cross-entropy of the student", curves_of(epochs, entropies), y_label="nats", guides=guides),
        epoch_chart(
            "Loss and its terms" if routed else "Loss",
            curves_of(epochs, terms),
            y_label="nats",
            caption="Terms as they are, before they are weighted." if routed else "",
        ),
        epoch_chart(
            "Weights of the terms",
            curves_of(epochs, weights),
            y_label="weight",
            guides=Guides(bottom=0.0),
            height_inches=1.9,
        ),
    )
    findings = _student_findings(epochs, chosen, word) if chosen else ()
    return section("How the student learnt", about, charts, findings)


def _student_findings(epochs: Sequence[Epoch], chosen: Epoch, word: str) -> tuple[str, ...]:
    """Say which epoch counts, and what the others would have been."""
    accuracies = [(one.validation_accuracy, one) for one in epochs if isinstance(one.validation_accuracy, float)]
    known = next((value for value, one in accuracies if one is chosen), None)
    score = chosen.validation_cross_entropy if isinstance(chosen.validation_cross_entropy, float) else math.nan
    lowest = "the lowest, " if len(epochs) > 1 else ""
    said = f"Epoch {chosen.epoch + 1} of {len(epochs)} {word}: its cross-entropy on validation rows is {lowest}"
    said += f"{figure(score)} nats"
    said += f", at an accuracy of {percent(known)}." if known is not None else "."
    value, best = max(accuracies, key=lambda pair: pair[0], default=(0.0, chosen))
    if known is not None and percent(value) != percent(known):
        said += f" The highest accuracy, {percent(value)}, was that of epoch {best.epoch + 1}."
    last = len(epochs) > 1 and chosen is epochs[-1]
    return (said, "It is the last epoch: further ones may lower the cross-entropy yet." if last else "")


def members_section(epochs: Sequence[Epoch]) -> Section | None:
    """Show stage 1: what each member learnt, and what it got from every other."""
    names = list(dict.fromkeys(name for epoch in epochs for name in _by_member(epoch.validation_accuracy)))
    charts = (
        epoch_chart(
            "Validation accuracy of the members",
            curves_of(epochs, {"validation_accuracy": ""}),
            y_label="accuracy",
            shares=True,
            names=names,
        ),
        epoch_chart(
            "Cross-entropy of the members",
            curves_of(epochs, {"cross_entropy": ""}),
            y_label="nats",
            names=names,
            caption="On training rows with a label.",
        ),
        epoch_chart(
            "KL between members",
            curves_of(epochs, {"kl": "KL of all pairs", "loss": "loss of all members"}),
            y_label="nats",
            caption="The KL of every pair, both ways; the loss adds every cross-entropy to it.",
        ),
        _flow(epochs, names),
    )
    return section(
        "How the members taught each other",
        "Stage 1: all members learn together, each from the labels and from what every other member answers.",
        charts,
        _flow_findings(epochs),
    )


def _flow(epochs: Sequence[Epoch], names: Sequence[str]) -> Chart | None:
    """Draw the gradient flow over epochs; that of one epoch alone reads better as numbers."""
    title = "Gradient flow between members"
    meaning = "A {} would mean that nothing flows: the learner is cut off from the other, or both already answer alike."
    caption = "Norm of the gradient that a member gets on its logits from its KL pair with another, in the first batch"
    flows: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for epoch in epochs:
        for (learner, source), norm in _links(epoch).items():
            if math.isfinite(norm):
                flows.setdefault(learner, {}).setdefault(source, []).append((epoch.epoch + 1, norm))
    measured = [epoch for epoch in epochs if _links(epoch)]
    if len(measured) == 1:
        caption += f" of epoch {measured[0].epoch + 1}. {meaning.format('0')}"
        return matrix_chart(title, _links(measured[0]), labels=("learner", "learns from"), caption=caption, order=names)
    everyone = list(dict.fromkeys((*names, *flows, *(source for sources in flows.values() for source in sources))))
    caption += f" of each epoch. {meaning.format('line at 0')}"
    return flow_chart(title, flows, names=everyone, y_label="norm of the gradient", caption=caption)


def _flow_findings(epochs: Sequence[Epoch]) -> tuple[str, ...]:
    """Say whether anything ever stood still, and which link was the weakest at the end."""
    links = [(norm, pair, epoch.epoch + 1) for epoch in epochs for pair, norm in _links(epoch).items()]
    known = [link for link in links if math.isfinite(link[0])]
    if not known:
        return ()
    still = [link for link in known if link[0] == 0]
    if still:
        norm, (learner, source), number = still[-1]
        return (f"In epoch {number} nothing flowed from {source} to {learner}: the gradient was 0.",)
    norm, (learner, source), number = min((link for link in known if link[2] == known[-1][2]), key=lambda link: link[0])
    said = "Every member that learns got a gradient from every other in every epoch"
    return (f"{said}; in epoch {number} the weakest was {source} to {learner}, {figure(norm)}.",)


def masks_section(epochs: Sequence[Epoch]) -> Section | None:
    """Show stage 2: how near each MaskNet brought its teacher to the student."""
    distances = {
        epoch.teacher or "teacher": (epoch.kl_before, epoch.kl_after)
        for epoch in epochs
        if epoch.kl_before is not None and epoch.kl_after is not None
    }
    curves: dict[str, list[tuple[float, float]]] = {}
    for epoch in epochs:
        if epoch.validation_kl is not None:
            curves.setdefault(epoch.teacher or "teacher", []).append((epoch.epoch + 1, epoch.validation_kl))
    names = list(distances or curves)
    kept = _kept_masks(curves)
    charts = (
        dumbbell_chart(
            "KL to the student, before and after",
            distances,
            series=("without mask", "with the mask that was kept"),
            x_label="KL on validation rows, nats",
            caption="Further left is closer to what the student can follow. The change stands at the right.",
        ),
        epoch_chart(
            "KL to the student while the MaskNets train",
            # One epoch has no course, and what it came to stands in the other chart.
            {} if distances and len({point[0] for points in curves.values() for point in points}) == 1 else curves,
            y_label="KL on validation rows, nats",
            names=names,
            guides=Guides(marks={kept: f"masks of epoch {kept:g}"} if kept is not None else {}),
            caption="Kept are the masks of the epoch whose mean over all teachers is the lowest.",
        ),
    )
    return section(
        "What the masks did",
        "Stage 2: everything is frozen but one MaskNet per tapped layer, which learns to bring its teacher near the "
        "student.",
        charts,
        _mask_findings(distances),
    )


def _kept_masks(curves: Mapping[str, Sequence[tuple[float, float]]]) -> float | None:
    """Find the epoch with the lowest mean over all teachers, among those that all have."""
    values: dict[float, list[float]] = {}
    for epoch, value in (point for points in curves.values() for point in points):
        values.setdefault(epoch, []).append(value)
    means = {epoch: sum(some) / len(some) for epoch, some in values.items() if len(some) == len(curves)}
    return min(means, key=lambda epoch: means[epoch]) if means else None


def _mask_findings(distances: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    if not distances:
        return ()
    nearer = [name for name, (before, after) in distances.items() if after < before]
    if len(distances) == 1:
        return (f"The one mask {'brought' if nearer else 'did not bring'} its teacher nearer to the student.",)
    said = f"{len(nearer)} of {len(distances)} masks brought their teacher nearer to the student"
    if nearer:
        name = min(nearer, key=lambda each: distances[each][1] / distances[each][0])
        before, after = distances[name]
        said += f"; most of all {name}, from {figure(before)} to {figure(after)} nats"
    others = [name for name in distances if name not in nearer]
    return (f"{said}.", f"Not nearer: {', '.join(others)}." if others else "")


def _links(epoch: Epoch) -> dict[tuple[str, str], float]:
    """Read `learner<-source` names; what was no number stays visible as such."""
    flows = {name: norm for name, norm in (epoch.gradient_flow or {}).items() if "<-" in name}
    split = {name: name.partition("<-") for name in flows}
    return {(split[name][0], split[name][2]): math.nan if norm is None else norm for name, norm in flows.items()}


def _by_member(value: object) -> Iterable[str]:
    return value if isinstance(value, dict) else ()
