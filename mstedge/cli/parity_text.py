"""What the parity gate found, on a terminal: every check, level 3 in words, the verdict last."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.parity import ParityReport, TaskResult
    from mstedge.verdicts import Check

_FLIPS_SHOWN = 10
_CLASSES_SHOWN = 3


def say_parity(report: ParityReport, labels: Sequence[str]) -> None:
    """Print a run of the gate.

    Args:
        report: What it found.
        labels: Classes, in the order of the logits.
    """
    from mstedge.cli.console import say
    from mstedge.cli.text import printable

    say(f"{report.target} · {report.precision} · {_where(report)}")
    say()
    _say_checks(report.checks)
    if report.task is not None:
        say()
        _say_task(report.task, labels)
    _say_flips(report, labels)
    say()
    for note in report.notes:
        say(f"note: {printable(note)}")
    for reason in report.reasons:
        say(f"reason: {printable(reason)}")
    say(verdict_line(report))


def verdict_line(report: ParityReport) -> str:
    """Sum a run up in one line."""
    what = f"{report.precision} for {report.target} ({report.scope})"
    task = report.task
    margin = f", margin {_points(task.margin)} ({task.margin_origin})" if task else ""
    return f"{report.verdict.upper()}: {what} on {report.rows} rows{margin}"


def _points(share: float) -> str:
    points = f"{100 * share:.3g}"
    return f"{points} point" if points == "1" else f"{points} points"


def _where(report: ParityReport) -> str:
    threads = f"{report.threads} thread{'' if report.threads == 1 else 's'}"
    return f"{report.backend} · {report.device} · {report.arithmetic} · {threads}"


def _say_checks(checks: Sequence[Check]) -> None:
    """Print all levels as one table; a broken check is followed by the limit that would have passed."""
    from itertools import groupby

    from mstedge.cli.console import say_table
    from mstedge.verdicts import LEVELS

    rows = []
    for level, members in groupby(checks, key=lambda check: check.level):
        names = [f"{level} {LEVELS[level]}"]
        rows += [(names.pop() if names else "", *_cells(check)) for check in members]
    if rows:
        say_table(("level", "check", "value", "allowed", "result"), rows, right=(2,))


def _cells(check: Check) -> tuple[str, str, str, str]:
    from mstedge.cli.text import measured_text
    from mstedge.parity_words import advice, outcome

    result = ": ".join(word for word in (outcome(check), advice(check)) if word)
    return check.name, measured_text(check.value), f"{check.relation} {check.limit:.3g}", result


def _say_task(task: TaskResult, labels: Sequence[str]) -> None:
    from mstedge.cli.console import say
    from mstedge.cli.text import printable
    from mstedge.parity_words import task_advice

    rows = f"{task.rows} labelled rows in {task.clusters} clusters"
    say(f"{task.metric} {task.candidate:.2%}, reference {task.reference:.2%}, over {rows}")
    say(f"difference {100 * task.difference:+.2f} points, {_bounds_in_words(task)}")
    advice = task_advice(task)
    say(f"allowed loss {_points(task.margin)} ({task.margin_origin})" + (f"; {advice}" if advice else ""))
    say(f"rows lost {task.lost}, gained {task.gained} (McNemar p {task.mcnemar_p:.2g})")
    drops = [drop for drop in task.classes if drop.candidate_recall < drop.reference_recall]
    for drop in drops[:_CLASSES_SHOWN]:
        name = printable(labels[drop.label], limit=30)
        recalls = f"recall {drop.candidate_recall:.2%}, reference {drop.reference_recall:.2%}"
        say(f"class {name}: {recalls}, {drop.rows} rows, adjusted p {drop.p_value:.2g}")


def _bounds_in_words(task: TaskResult) -> str:
    method = "Tango" if task.method == "tango" else "bootstrap over clusters, BCa"
    if task.low is None or task.high is None:
        return f"no bounds from {task.clusters} clusters"
    each = f"each at {100 * task.confidence:.0f} %"
    return f"bounds {100 * task.low:+.2f} to {100 * task.high:+.2f} ({method}, {each})"


def _say_flips(report: ParityReport, labels: Sequence[str]) -> None:
    """List the changed answers of which the reference was surest."""
    from mstedge.cli.console import say, say_table
    from mstedge.cli.text import printable

    if not report.flips:
        return
    rows = [
        (
            printable(flip.id, limit=50),
            "-" if flip.label is None else printable(labels[flip.label], limit=20),
            printable(labels[flip.reference], limit=20),
            printable(labels[flip.candidate], limit=20),
            f"{flip.margin:.3f}",
            "hard" if flip.hard else "",
        )
        for flip in report.flips[:_FLIPS_SHOWN]
    ]
    say()
    say(f"changed answers: {report.flipped}, of which {report.hard_flips} hard")
    say_table(("row", "label", "reference", "candidate", "margin", ""), rows, right=(4,))
    if report.flipped > len(rows):
        say(f"… and {report.flipped - len(rows)} more")
