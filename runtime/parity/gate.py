"""The parity gate: a candidate in its engine against the reference's recorded answers, on four levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mstedge.judgement import judged
from mstedge.limits import LIMITS
from mstedge.noninferiority import rows_without_discordance
from mstedge.parity import Histogram, ParityReport
from mstedge.runtime.parity.contract import BATCHES, Contract, contract_of, precision_check
from mstedge.runtime.parity.levels import decisions_of, edge_checks, number_checks
from mstedge.runtime.parity.numbers import HISTOGRAM_EDGES, histogram, probability_differences
from mstedge.runtime.parity.rows import digest_of_array, digests_of_rows
from mstedge.runtime.parity.task import task_result
from mstedge.verdicts import Check, at_most, broken, equals, sentence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.parity import Calibration, Scope, TaskResult
    from mstedge.runtime.backends.protocol import EngineSession
    from mstedge.runtime.bundle import OnnxSummary
    from mstedge.runtime.parity.levels import Decisions
    from mstedge.runtime.parity.rows import GateRows
    from mstedge.verdicts import Verdict

    Floats: TypeAlias = NDArray[np.float32]

MAX_CALIBRATION_ERROR_CHANGE = 0.01


@dataclass(frozen=True, slots=True)
class GateSetup:
    """What the gate must know beside the candidate and the rows.

    Attributes:
        target: What the bundle is for.
        scope: Whether the session runs the portable graph or a device's engine.
        labels: Classes, in the order of the logits.
        model_sha256: Digest of the file that the session runs.
        graph: What the ONNX file is: it proves the precision.
        margin: How much accuracy may be lost, as a share; none for the precision's margin.
        calibration: The rows that int8 ranges were fitted on.
        kept: Nodes that stay in fp32 although the precision is another.
        further: Checks of the graph that export made, because they need more than an engine.
    """

    target: str
    scope: Scope
    labels: tuple[str, ...]
    model_sha256: str
    graph: OnnxSummary
    margin: float | None = None
    calibration: Calibration | None = None
    kept: tuple[str, ...] = ()
    further: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What levels 1 to 3 found.

    Attributes:
        checks: The measurements.
        decisions: Level 2.
        task: Level 3; none without labels.
        histogram: Distribution of |p - p'|.
    """

    checks: tuple[Check, ...]
    decisions: Decisions
    task: TaskResult | None
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What follows.

    Attributes:
        checks: Everything that was measured.
        verdict: What was decided.
        reasons: Why it is not `pass`.
    """

    checks: tuple[Check, ...]
    verdict: Verdict
    reasons: tuple[str, ...]


def run_gate(session: EngineSession, rows: GateRows, setup: GateSetup) -> ParityReport:
    """Run every row and judge what comes out, by the limits of the session's precision.

    A candidate that refuses to run, or gives another shape or a value that is not finite, fails at level 0; the other
    levels are then not measured.

    Args:
        session: The candidate, loaded by a backend.
        rows: Held-out rows with the reference's answers.
        setup: Everything else.
    """
    overlap = _overlap(rows, setup)
    invalid = _worthless(rows, setup, overlap)
    checks = _given_checks(session, rows, setup, overlap)
    contract = contract_of(session, rows, LIMITS[session.precision].max_repeat_difference) if len(rows) else None
    if contract is None or contract.answers is None or not _is_finite(rows):
        found = contract or Contract((), None, None, ())
        checks = (*found.checks, *checks)
        return _report(session, rows, setup, None, _Judgement(checks, *_without_answers(checks, invalid, found)))
    comparison = _compared(session, rows, contract, contract.answers, setup)
    checks = (*contract.checks, *checks, *comparison.checks)
    verdict, reasons = judged(checks, comparison.task, invalid=invalid)
    return _report(session, rows, setup, comparison, _Judgement(checks, verdict, (*reasons, *contract.refusals)))


def _compared(
    session: EngineSession, rows: GateRows, contract: Contract, answers: Floats, setup: GateSetup
) -> _Comparison:
    limits = LIMITS[session.precision]
    decisions = decisions_of(rows, answers, limits)
    task = task_result(rows, answers, session.precision, setup.margin)
    edges = () if contract.edges is None else edge_checks(rows.edges.reference, contract.edges, limits)
    return _Comparison(
        checks=(
            *number_checks(rows.reference, answers, limits),
            *edges,
            *decisions.checks,
            *(_task_checks(task) if task else ()),
        ),
        decisions=decisions,
        task=task,
        histogram=histogram(probability_differences(rows.reference, answers)),
    )


def _task_checks(task: TaskResult) -> tuple[Check, ...]:
    change = abs(task.candidate_ece - task.reference_ece)
    limit = MAX_CALIBRATION_ERROR_CHANGE
    return (at_most("L3", "change of the expected calibration error", change, limit, severity="warn"),)


def _given_checks(session: EngineSession, rows: GateRows, setup: GateSetup, overlap: int) -> tuple[Check, ...]:
    """Check what is known without running anything."""
    checks = [precision_check(setup.graph.weights, session.precision, setup.kept), *setup.further]
    if rows.differing_features is not None:
        checks.append(equals("L0", "rows whose raw file gives other features", rows.differing_features, 0))
    if setup.calibration is not None:
        checks.append(equals("L0", "rows that were calibrated on", overlap, 0))
    return tuple(checks)


def _overlap(rows: GateRows, setup: GateSetup) -> int:
    """Count the rows that int8 ranges were fitted on, by name or by content."""
    if setup.calibration is None:
        return 0
    ids, digests = set(setup.calibration.ids), set(setup.calibration.features_sha256)
    found = zip(rows.ids, digests_of_rows(rows.features), strict=True)
    return sum(name in ids or digest in digests for name, digest in found)


def _worthless(rows: GateRows, setup: GateSetup, overlap: int) -> tuple[str, ...]:
    """Say why the comparison would mean nothing, whatever comes out of it."""
    found = []
    if not len(rows):
        found.append("there are no rows to compare")
    if overlap:
        found.append(f"{overlap} of {len(rows)} rows were calibrated on: the gate needs rows that nobody fitted to")
    if not _is_finite(rows):
        found.append("the reference's own logits are not finite")
    if rows.reference.shape[1] != len(setup.labels):
        found.append(f"the reference answers with {rows.reference.shape[1]} classes, but there are {len(setup.labels)}")
    return tuple(found)


def _is_finite(rows: GateRows) -> bool:
    return bool(np.isfinite(rows.reference).all() and np.isfinite(rows.edges.reference).all())


def _without_answers(
    checks: tuple[Check, ...], invalid: tuple[str, ...], contract: Contract
) -> tuple[Verdict, tuple[str, ...]]:
    """Judge where nothing can be compared: unless the rows are to blame, the candidate is, whatever the labels."""
    failed = (*(sentence(check) for check in broken(checks, "fail")), *contract.refusals)
    return ("invalid", (*invalid, *failed)) if invalid else ("fail", failed)


def _report(
    session: EngineSession,
    rows: GateRows,
    setup: GateSetup,
    comparison: _Comparison | None,
    judgement: _Judgement,
) -> ParityReport:
    decisions = comparison.decisions if comparison else None
    return ParityReport(
        verdict=judgement.verdict,
        scope=setup.scope,
        target=setup.target,
        precision=session.precision,
        rows=len(rows),
        batches=BATCHES,
        checks=tuple(sorted(judgement.checks, key=lambda check: check.level)),
        reasons=judgement.reasons,
        notes=_notes(rows, comparison, setup.kept),
        backend=session.backend,
        device=session.device,
        arithmetic=session.arithmetic,
        threads=session.threads,
        model_sha256=setup.model_sha256,
        reference_sha256=digest_of_array(rows.reference),
        features_sha256=digest_of_array(rows.features),
        calibration_rows=len(setup.calibration.ids) if setup.calibration else 0,
        task=comparison.task if comparison else None,
        flipped=decisions.flipped if decisions else 0,
        hard_flips=decisions.hard if decisions else 0,
        flips=decisions.flips if decisions else (),
        histogram=comparison.histogram if comparison else _no_histogram(),
    )


def _notes(rows: GateRows, comparison: _Comparison | None, kept: tuple[str, ...]) -> tuple[str, ...]:
    labelled = int((rows.labels.reshape(len(rows), -1) >= 0).any(axis=1).sum()) if len(rows) else 0
    notes = [f"{len(rows)} rows ({labelled} labelled) in {len(set(rows.clusters))} independent clusters"]
    if kept:
        notes.append(f"kept in fp32: {', '.join(kept)}")
    if comparison is None:
        return tuple(notes)
    notes.append(comparison.decisions.note)
    task = comparison.task
    if task is not None and task.stands_in:
        units = f"{task.rows} rows" if task.method == "tango" else f"{task.clusters} clusters"
        needed = rows_without_discordance(task.margin)
        notes.append(f"fp32: {units} cannot show {100 * task.margin:.3g} points ({needed} would): level 2 decides")
    return tuple(notes)


def _no_histogram() -> Histogram:
    return Histogram(edges=HISTOGRAM_EDGES, counts=(0,) * (len(HISTOGRAM_EDGES) + 1))
