"""From a student to a bundle: convert, gate, write; a failed gate leaves no bundle unless that is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mstedge.errors import CheckFailedError, InconclusiveError, MstedgeError, UsageError
from mstedge.export.bundle_writer import BundleContent, check_place, recordings_travel, write_bundle
from mstedge.export.candidate import Candidate, candidate_from_graph, loaded
from mstedge.export.gate_rows import gate_rows
from mstedge.export.golden import golden_rows
from mstedge.export.quantise.half import last_layer
from mstedge.export.quantise.overflow import overflowing_tensors
from mstedge.runtime.bundle import check_onnx
from mstedge.runtime.parity.gate import GateSetup, run_gate
from mstedge.verdicts import equals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mstedge.export.student import Student
    from mstedge.export.wish import ExportWish
    from mstedge.parity import ParityReport
    from mstedge.runtime.parity.rows import GateRows
    from mstedge.verdicts import Check, Verdict

_EXIT_CODES: dict[Verdict, int] = {
    "fail": CheckFailedError.exit_code,
    "inconclusive": InconclusiveError.exit_code,
    "invalid": UsageError.exit_code,
}


class GateRefusedError(MstedgeError):
    """The gate did not say `pass`, so no bundle was written.

    Args:
        report: What it found.
    """

    def __init__(self, report: ParityReport) -> None:
        super().__init__(
            f"parity {report.verdict}: {'; '.join(report.reasons)}; no bundle was written",
            hint="docs/export.md explains how to read a failed gate; --allow-parity-failure writes it all the same",
        )
        self.report = report

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """Exit code of the command: the verdict decides."""
        return _EXIT_CODES[self.report.verdict]


def export_student(
    student: Student, bundle: Path, wish: ExportWish, *, note: Callable[[str], None]
) -> tuple[ParityReport, Candidate, bytes]:
    """Convert a student, gate it, and write the bundle.

    Args:
        student: What shall ship.
        bundle: Where the bundle shall stand; an old bundle there is replaced.
        wish: Target, precision and everything else that was asked for.
        note: Told what is being done.

    Returns:
        The gate's report, the candidate, and the fp32 graph that it was made from.

    Raises:
        GateRefusedError: The gate did not pass and that was not allowed; nothing was written.
        UsageError: Something else stands where the bundle shall go, or recordings may not travel.
        MachineError: The target's engine is not on this machine.
    """
    check_place(bundle)
    recordings_travel(student, wish)
    note("converting to ONNX")
    graph = student.graph()
    check_onnx(graph)
    note("reading held-out rows as a device would")
    rows = gate_rows(student)
    candidate, report = _gated(graph, student, rows, wish, note)
    if report.verdict != "pass" and not wish.allow_failure:
        raise GateRefusedError(report)
    golden = golden_rows(student, loaded(candidate, student, wish))
    write_bundle(bundle, BundleContent(student, candidate, report, rows, golden, wish))
    return report, candidate, graph


def _gated(
    graph: bytes, student: Student, rows: GateRows, wish: ExportWish, note: Callable[[str], None]
) -> tuple[Candidate, ParityReport]:
    """Make a candidate and judge it; fp16 gets a second chance with its last layer in fp32."""
    candidate = candidate_from_graph(graph, student, wish, note=note)
    report = _judged(candidate, student, rows, wish, note)
    if wish.precision != "fp16" or report.verdict == "pass":
        return candidate, report
    kept = last_layer(graph)
    note(f"parity {report.verdict} in fp16: trying again with the last layer, {kept}, in fp32")
    second = candidate_from_graph(graph, student, wish, keep=(kept,), note=note)
    again = _judged(second, student, rows, wish, note)
    if again.verdict != "pass":
        return candidate, report
    remark = f"second attempt: all of fp16 did not pass ({'; '.join(report.reasons)}), with {kept} in fp32 it does"
    return second, msgspec.structs.replace(again, notes=(*again.notes, remark))


def _further_checks(candidate: Candidate, rows: GateRows, wish: ExportWish) -> tuple[Check, ...]:
    """Check what engines on a CPU hide: they compute fp16 graphs in fp32, where nothing overflows."""
    if wish.precision != "fp16":
        return ()
    features = np.concatenate([rows.features, rows.edges.features])
    beyond = overflowing_tensors(candidate.onnx, features)
    named = f" (first: {beyond[0]})" if beyond else ""
    return (equals("L0", f"tensors that float16 cannot hold{named}", len(beyond), 0),)


def _judged(
    candidate: Candidate, student: Student, rows: GateRows, wish: ExportWish, note: Callable[[str], None]
) -> ParityReport:
    note(f"gating {wish.precision} for {wish.target} on {len(rows)} held-out rows")
    setup = GateSetup(
        target=wish.target,
        scope="graph" if wish.target == "trt" else "engine",
        labels=student.labels,
        model_sha256=candidate.sha256,
        graph=check_onnx(candidate.onnx),
        margin=wish.margin,
        calibration=candidate.calibration,
        kept=candidate.kept,
        further=_further_checks(candidate, rows, wish),
    )
    return run_gate(loaded(candidate, student, wish), rows, setup)
