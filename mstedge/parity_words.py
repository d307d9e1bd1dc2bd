"""What a run of the parity gate means, in words that the card and the report share."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Literal, TypeAlias

from mstedge.manifest import ParitySummary
from mstedge.parity import ParityReport, Scope, TaskResult
from mstedge.verdicts import Check, Verdict

Outcome: TypeAlias = Literal["ok", "warning", "FAILED", "cannot tell"]
_METHODS = {
    "tango": "Tango's score interval over independent rows",
    "cluster-bca": "a BCa bootstrap over clusters",
}
_ALARMS: dict[Verdict, str] = {
    "fail": "This bundle FAILED its parity gate and was exported all the same (--allow-parity-failure): "
    "do not expect the answers of the student that was trained.",
    "inconclusive": "This bundle is NOT PROVED: its parity gate could not tell, and it was exported all the same "
    "(--allow-parity-failure).",
    "invalid": "This bundle is NOT PROVED: the comparison of its parity gate is worthless, and it was exported all the "
    "same (--allow-parity-failure).",
}


def alarm(summary: ParitySummary) -> str | None:
    """Say that a bundle ships although its gate did not pass; none where it passed."""
    return _ALARMS.get(summary.verdict)


def basis(rows_compared: int, task: TaskResult | None) -> str:
    """Say what a verdict rests on: rows, clusters, margin with its origin, and method.

    Args:
        rows_compared: Number of rows that the gate compared.
        task: Its level 3, if there is one.
    """
    if task is None:
        return f"Rests on {rows_compared:,} held-out rows without labels: what is lost in accuracy was not measured."
    rows = f"{task.rows:,} labelled held-out rows"
    units = f" from {task.clusters:,} independent clusters" if task.clusters != task.rows else ""
    margin = f"{task.metric} may fall by at most {points(task.margin)} points ({task.margin_origin})"
    return f"Rests on {rows}{units}; {margin}, {_method(task)}."


def pending(scope: Scope) -> str | None:
    """Say what a gate on the portable graph leaves open; none where the engine itself was measured."""
    if scope == "engine":
        return None
    return "Measured on the portable graph: the engine that will run on the device has not been compared yet."


def outcome(check: Check) -> Outcome:
    """Say in a word how a check came out."""
    if check.passed:
        return "ok"
    return "FAILED" if check.severity == "fail" else "warning"


def task_outcome(report: ParityReport, task: TaskResult) -> Outcome:
    """Say in a word how level 3 came out."""
    if report.verdict in {"fail", "invalid"} and any(reason.startswith("L3:") for reason in report.reasons):
        return "FAILED"
    proved = task.stands_in or (task.low is not None and task.low > -task.margin)
    return "ok" if proved else "cannot tell"


def advice(check: Check) -> str:
    """Name the limit with which a broken check would have passed, rounded to its side; empty for one that passed."""
    if check.passed:
        return ""
    if check.value is None:
        return "no limit would have passed: not a finite number"
    if check.relation == "==":
        return f"must be exactly {check.limit:.3g}"
    return f"a limit of {_rounded(check.value, up=check.relation == '<='):.3g} would have passed"


def task_advice(task: TaskResult) -> str:
    """Name the margin with which level 3 would have passed; empty where there is none, or where it passed."""
    if task.stands_in or task.low is None or task.low > -task.margin:
        return ""
    return f"a margin above {-100 * _rounded(task.low, up=False):.3g} points would have passed"


def points(share: float) -> str:
    """Write a share in percentage points, without a sign of its own where it is positive."""
    return f"{100 * share:.2f}"


def _method(task: TaskResult) -> str:
    if task.stands_in:
        return "which too few rows can bound: the limits of level 2 stand in"
    if task.low is None:
        return "and the clusters are too few for a bound"
    return f"bounded by {_METHODS[task.method]}, each bound at {100 * task.confidence:.0f} %"


def _rounded(value: float, *, up: bool) -> float:
    """Round to three significant digits, never past the value."""
    context = Context(prec=3, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    return float(context.create_decimal(Decimal(repr(value))))
