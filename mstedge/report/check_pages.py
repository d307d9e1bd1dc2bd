"""Pages of what was checked: parity, verification, and the comparison with a baseline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mstedge.report.formats import points
from mstedge.report.page import Page
from mstedge.report.plots import dot_chart
from mstedge.run_card import Comparison
from mstedge.schema import read_json
from mstedge.verdicts import ParityReport
from mstedge.verification import VerifyReport

if TYPE_CHECKING:
    from pathlib import Path


def parity_page(path: Path) -> Page:
    """Show a run of the parity gate."""
    report = read_json(path, ParityReport)
    return Page("parity", f"Parity gate: {path.name}", {"parity": report})


def verify_page(path: Path) -> Page:
    """Show how a bundle's golden cases came out on a machine."""
    report = read_json(path, VerifyReport)
    wrong = sum(case.first_difference is not None for case in report.cases)
    return Page("verify", f"Verification of {report.bundle}", {"report": report, "wrong": wrong})


def comparison_page(path: Path) -> Page:
    """Show a student against a baseline."""
    comparison = read_json(path, Comparison)
    values = {"comparison": comparison_values(comparison)}
    return Page("comparison", f"Comparison for {comparison.recipe}", values)


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """Prepare a comparison for the section that run pages and comparison pages share."""
    bounded = len(comparison.seeds) > 1 and math.isfinite(comparison.low) and math.isfinite(comparison.high)
    badge, kind = _outcome(comparison) if bounded else ("Cannot tell", "unsure")
    rows = {
        method.method: (method.accuracies, method.mean, (method.low, method.high) if bounded else None)
        for method in comparison.methods
    }
    return {
        "result": comparison,
        "badge": badge,
        "kind": kind,
        "seeds": tuple(zip(comparison.seeds, *(method.accuracies for method in comparison.methods), strict=False)),
        "bounded": bounded,
        "bounds": f"{points(comparison.low)} to {points(comparison.high)}" if bounded else "",
        "chart": dot_chart(
            "Test accuracy by method",
            rows,
            x_label="test accuracy",
            caption="Rings are single seeds and the diamond is their mean"
            + (", the bar its 95 % interval over seeds." if bounded else "; one seed bounds nothing."),
        ),
    }


def _outcome(comparison: Comparison) -> tuple[str, str]:
    """Say in two words what the interval of a difference shows, and how that is coloured."""
    if comparison.low > 0:
        return "Gain", "pass"
    return ("Worse", "fail") if comparison.high < 0 else ("No gain shown", "unsure")
