"""Pages of what was checked: parity, verification, and the comparison with a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mstedge.parity import ParityReport
from mstedge.report.formats import points
from mstedge.report.page import Page
from mstedge.report.parity_view import parity_view
from mstedge.report.plots import dot_chart
from mstedge.run_card import Comparison
from mstedge.schema import read_json
from mstedge.verification import VerifyReport

if TYPE_CHECKING:
    from pathlib import Path


_KINDS = {"gain": "pass", "loss": "fail", "no gain shown": "unsure", "cannot tell": "unsure"}


def parity_page(path: Path) -> Page:
    """Show a run of the parity gate."""
    report = read_json(path, ParityReport)
    return Page("parity", f"Parity gate: {path.name}", {"view": parity_view(report)})


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
    bounded = comparison.low is not None
    rows = {
        method.method: (method.accuracies, method.mean, _interval(method.low, method.high))
        for method in comparison.methods
    }
    bounds = _interval(comparison.low, comparison.high)
    return {
        "result": comparison,
        "badge": comparison.outcome.capitalize(),
        "kind": _KINDS[comparison.outcome],
        "seeds": tuple(zip(comparison.seeds, *(method.accuracies for method in comparison.methods), strict=False)),
        "bounded": bounded,
        "bounds": f"{points(bounds[0])} to {points(bounds[1])}" if bounds else "",
        "chart": dot_chart(
            "Test accuracy by method",
            rows,
            x_label="test accuracy",
            caption="Rings are single seeds and the diamond is their mean"
            + (", the bar its 95 % interval over seeds." if bounded else "; one seed bounds nothing."),
        ),
    }


def _interval(low: float | None, high: float | None) -> tuple[float, float] | None:
    """Pair two bounds where there are any."""
    return None if low is None or high is None else (low, high)
