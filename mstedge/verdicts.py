"""Checks of the parity gate and what follows from them. Pure functions over numbers."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from mstedge.limits import Severity
from mstedge.schema import Record

Verdict: TypeAlias = Literal["pass", "fail", "inconclusive", "invalid"]
Level: TypeAlias = Literal["L0", "L1", "L2", "L3"]
LEVELS: dict[Level, str] = {"L0": "contract", "L1": "numbers", "L2": "decisions", "L3": "task"}


class Check(Record, frozen=True, kw_only=True):
    """One measured value against its limit.

    Attributes:
        level: What kind of difference it looks for.
        name: What was measured.
        value: The measurement; none where it is not a finite number, which never passes.
        limit: What it was held against; a limit equal to `value` would just have passed.
        relation: How the value must stand to the limit.
        passed: Whether it does.
        severity: Whether breaking it refuses the candidate or is only said.
    """

    level: Level
    name: str
    value: float | None
    limit: float
    relation: Literal["<=", ">=", "=="]
    passed: bool
    severity: Severity = "fail"


def at_most(level: Level, name: str, value: float, limit: float, *, severity: Severity = "fail") -> Check:
    """Build a check that passes when the value does not exceed the limit."""
    return Check(
        level=level,
        name=name,
        value=_finite(value),
        limit=limit,
        relation="<=",
        passed=value <= limit,
        severity=severity,
    )


def at_least(level: Level, name: str, value: float, limit: float, *, severity: Severity = "fail") -> Check:
    """Build a check that passes when the value reaches the limit."""
    return Check(
        level=level,
        name=name,
        value=_finite(value),
        limit=limit,
        relation=">=",
        passed=value >= limit,
        severity=severity,
    )


def equals(level: Level, name: str, value: float, limit: float) -> Check:
    """Build a check that passes when the value is exactly the limit."""
    return Check(level=level, name=name, value=_finite(value), limit=limit, relation="==", passed=value == limit)


def sentence(check: Check) -> str:
    """Say in words what a check found, and with which limit it would have passed."""
    if check.value is None:
        return f"{check.level}: {check.name} is not a finite number: expected {check.relation} {check.limit:.3g}"
    return f"{check.level}: {check.name} is {check.value:.3g}: expected {check.relation} {check.limit:.3g}"


def _finite(value: float) -> float | None:
    """JSON has no word for infinity and not-a-number."""
    return value if math.isfinite(value) else None


def broken(checks: tuple[Check, ...], severity: Severity) -> tuple[Check, ...]:
    """Pick the checks of a severity that did not pass."""
    return tuple(check for check in checks if not check.passed and check.severity == severity)
