"""A parity report prepared for its page: levels, charts, and the rows whose answer changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.limits import LIMITS
from mstedge.parity_words import (
    Outcome,
    advice,
    basis,
    outcome,
    pending,
    points,
    task_advice,
    task_outcome,
)
from mstedge.report.formats import number
from mstedge.report.parity_plots import histogram_chart, interval_chart
from mstedge.report.samples import drawing_of
from mstedge.verdicts import LEVELS, Check, Level

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from mstedge.parity import Flip, ParityReport, TaskResult
    from mstedge.report.svg import Chart
    from mstedge.runtime.bundle import Bundle

MAX_FLIPS_SHOWN = 24
MAX_CLASSES_SHOWN = 20
_RELATIONS = {"<=": "\N{LESS-THAN OR EQUAL TO}", ">=": "\N{GREATER-THAN OR EQUAL TO}", "==": "="}
_KINDS: dict[Outcome, str] = {"ok": "pass", "warning": "unsure", "FAILED": "fail", "cannot tell": "unsure"}
_MEANINGS: dict[Level, str] = {
    "L0": "Names, shapes and types; every answer finite, repeatable, and the same at every batch size.",
    "L1": "How far logits and probabilities moved.",
    "L2": "Whether answers changed. A change is hard where the reference was sure.",
    "L3": "What the conversion costs in the unit that users care about.",
}


@dataclass(frozen=True, slots=True)
class CheckLine:
    """A row of a level's table.

    Attributes:
        name: What was measured.
        measured: The measurement.
        allowed: Relation and limit.
        kind: Colour of the badge.
        word: What the badge says.
        advice: Which limit would have passed.
    """

    name: str
    measured: str
    allowed: str
    kind: str
    word: Outcome
    advice: str


@dataclass(frozen=True, slots=True)
class LevelTable:
    """One level.

    Attributes:
        title: Its number and name.
        meaning: What it looks for.
        lines: Its checks; none where nothing was measured.
    """

    title: str
    meaning: str
    lines: tuple[CheckLine, ...]


@dataclass(frozen=True, slots=True)
class FlipView:
    """A row whose answer changed.

    Attributes:
        flip: The row.
        reference: The reference's answer.
        candidate: The candidate's answer.
        label: The right answer, where it is known.
        drawing: Its features, where they are in the bundle.
    """

    flip: Flip
    reference: str
    candidate: str
    label: str | None
    drawing: Markup | None = None


@dataclass(frozen=True, slots=True)
class ParityView:
    """A parity report as a page shows it.

    Attributes:
        report: The report.
        basis: What the verdict rests on.
        pending: What the gate leaves open.
        levels: Tables of all levels.
        charts: Interval and histogram.
        classes: Names and figures of the classes with the largest drops.
        classes_left: Number of classes that are not listed.
        drawn: Changed rows with their features.
        listed: The other changed rows.
        flips_left: Number of changed rows that the report does not list.
    """

    report: ParityReport
    basis: str
    pending: str | None
    levels: tuple[LevelTable, ...]
    charts: tuple[Chart, ...]
    classes: tuple[tuple[str, object], ...]
    classes_left: int
    drawn: tuple[FlipView, ...]
    listed: tuple[FlipView, ...]
    flips_left: int


def parity_view(
    report: ParityReport, *, labels: Sequence[str] = (), drawings: Mapping[str, Markup] | None = None
) -> ParityView:
    """Prepare a parity report.

    Args:
        report: The report.
        labels: Names of the classes; numbers stand in where they are not known.
        drawings: Features of changed rows by the row's id.
    """
    task = report.task
    flips = tuple(_flip(flip, labels, drawings or {}) for flip in report.flips)
    charts = (
        interval_chart(task) if task is not None else None,
        histogram_chart(report.histogram, LIMITS[report.precision].max_probability_difference),
    )
    classes = tuple((_named(one.label, labels), one) for one in (task.classes if task is not None else ()))
    return ParityView(
        report=report,
        basis=basis(report.rows, task),
        pending=pending(report.scope),
        levels=tuple(_level(level, report) for level in LEVELS),
        charts=tuple(chart for chart in charts if chart is not None),
        classes=classes[:MAX_CLASSES_SHOWN],
        classes_left=max(0, len(classes) - MAX_CLASSES_SHOWN),
        drawn=tuple(one for one in flips if one.drawing is not None),
        listed=tuple(one for one in flips if one.drawing is None),
        flips_left=report.flipped - len(report.flips),
    )


def drawings_of(bundle: Bundle, report: ParityReport) -> dict[str, Markup]:
    """Draw the changed rows that travel in a bundle with their features, the hardest first, as many as a page shows.

    Raises:
        BundleError: A file changed since the bundle was opened.
    """
    if not report.flips:
        return {}
    rows = bundle.parity_rows()
    places = {name: index for index, name in enumerate(rows.ids[: rows.carried])}
    shown = [flip.id for flip in report.flips if flip.id in places][:MAX_FLIPS_SHOWN]
    features = bundle.parity_features()
    return {
        name: drawing_of(features[places[name]], bundle.manifest.spec, words=f"features of {name}") for name in shown
    }


def _level(level: Level, report: ParityReport) -> LevelTable:
    lines = [_line(check) for check in report.checks if check.level == level]
    if level == "L3" and report.task is not None:
        lines.insert(0, _task_line(report, report.task))
    return LevelTable(f"{level}: {LEVELS[level]}", _MEANINGS[level], tuple(lines))


def _line(check: Check) -> CheckLine:
    word = outcome(check)
    measured = "not finite" if check.value is None else number(check.value)
    allowed = f"{_RELATIONS[check.relation]} {number(check.limit)}"
    return CheckLine(check.name, measured, allowed, _KINDS[word], word, advice(check))


def _task_line(report: ParityReport, task: TaskResult) -> CheckLine:
    word = task_outcome(report, task)
    measured = "no bound" if task.low is None else f"{100 * task.low:+.2f} points".replace("-", "\N{MINUS SIGN}")
    allowed = f"> \N{MINUS SIGN}{points(task.margin)} points"
    return CheckLine(f"{task.metric}, lower bound", measured, allowed, _KINDS[word], word, task_advice(task))


def _flip(flip: Flip, labels: Sequence[str], drawings: Mapping[str, Markup]) -> FlipView:
    label = None if flip.label is None else _named(flip.label, labels)
    reference, candidate = _named(flip.reference, labels), _named(flip.candidate, labels)
    return FlipView(flip, reference, candidate, label, drawings.get(flip.id))


def _named(index: int, labels: Sequence[str]) -> str:
    return labels[index] if 0 <= index < len(labels) else f"class {index}"
