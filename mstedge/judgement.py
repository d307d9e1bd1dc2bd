"""The verdict of the parity gate: what follows from all checks and the cost in accuracy, with the reasons in words."""

from __future__ import annotations

from mstedge.parity import ClassDrop, TaskResult
from mstedge.verdicts import Check, Verdict, broken, sentence

LEAST_CLASS_ROWS = 30
CLASS_SIGNIFICANCE = 0.05
CLASS_MARGINS = 3


def judged(
    checks: tuple[Check, ...], task: TaskResult | None, *, invalid: tuple[str, ...] = ()
) -> tuple[Verdict, tuple[str, ...]]:
    """Decide, in this order: invalid, fail, pass, inconclusive.

    Args:
        checks: The measurements of levels 0 to 2, and any of level 3 beside the metric.
        task: Level 3; none without labels.
        invalid: Why the comparison itself is worthless: leaked rows, data that cannot be compared.

    Returns:
        The verdict, and why it is not `pass`: every reason that refuses the candidate, not only the first.
    """
    worthless = (*invalid, *_missing(checks, task))
    refusals = (*(sentence(check) for check in broken(checks, "fail")), *(_losses(task) if task else ()))
    if worthless:
        return "invalid", (*worthless, *refusals)
    if refusals:
        return "fail", refusals
    if task is None or _within_margin(task):
        return "pass", ()
    return "inconclusive", (_doubt(task),)


def _missing(checks: tuple[Check, ...], task: TaskResult | None) -> tuple[str, ...]:
    if not checks:
        return ("nothing was compared",)
    if task is None:
        return ("no held-out row has a label: what the conversion costs in accuracy cannot be measured",)
    return ()


def _within_margin(task: TaskResult) -> bool:
    return task.stands_in or (task.low is not None and task.low > -task.margin)


def _losses(task: TaskResult) -> tuple[str, ...]:
    """Say what level 3 refuses: the metric as a whole, then single classes."""
    classes = tuple(_class_loss(drop, task.margin) for drop in task.classes if _is_lost(drop, task.margin))
    margin = f"the margin is {_points(task.margin)}"
    # Negated, so that a difference that is not a number is refused as well.
    if not task.difference > -task.margin:
        values = f"{_percent(task.candidate)} against {_percent(task.reference)}"
        return (f"L3: {task.metric} is {_worse(task.difference)} ({values}): {margin}", *classes)
    if task.high is not None and task.high < -task.margin:
        bound = f"upper bound {_signed(task.high)}"
        return (f"L3: {task.metric} is at least {_worse(task.high)} ({bound}): {margin}", *classes)
    return classes


def _is_lost(drop: ClassDrop, margin: float) -> bool:
    loss = drop.reference_recall - drop.candidate_recall
    return drop.rows >= LEAST_CLASS_ROWS and drop.p_value < CLASS_SIGNIFICANCE and loss > CLASS_MARGINS * margin


def _class_loss(drop: ClassDrop, margin: float) -> str:
    loss = drop.candidate_recall - drop.reference_recall
    recalls = f"{_percent(drop.candidate_recall)} against {_percent(drop.reference_recall)}"
    evidence = f"{drop.rows} rows, adjusted p {drop.p_value:.2g}"
    allowed = f"one class may lose {_points(CLASS_MARGINS * margin)}"
    return f"L3: recall of class {drop.label} is {_worse(loss)} ({recalls}; {evidence}): {allowed}"


def _doubt(task: TaskResult) -> str:
    """Say why level 3 decides nothing, and how many rows would."""
    rows = f"{task.rows} rows" if task.method == "tango" else f"{task.rows} rows in {task.clusters} clusters"
    margin = f"the margin is {_points(task.margin)}"
    if task.low is None:
        return f"L3: {rows} bound no loss of {task.metric}: {margin}{_advice(task)}"
    bound = f"lower bound {_signed(task.low)}"
    return f"L3: {task.metric} may be {_worse(task.low)} ({bound}): {margin}{_advice(task)}"


def _advice(task: TaskResult) -> str:
    if task.needed_rows is None:
        return ""
    if task.needed_rows > task.rows:
        return f"; about {task.needed_rows} rows would decide, there are {task.rows}"
    # The estimate is that of a candidate without a loss: one that loses a little needs more.
    return f"; about {task.needed_rows} rows would clear a candidate that loses nothing, and there are {task.rows}"


def _worse(difference: float) -> str:
    return f"{_points(abs(difference))} worse"


def _points(share: float) -> str:
    return f"{100 * share:.2f} points"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
