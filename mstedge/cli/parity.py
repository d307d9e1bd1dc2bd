"""`mstedge parity`: does this bundle answer on this machine as the student that was trained?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mstedge.parity import ParityReport
    from mstedge.runtime.parity.rows import GateRows
    from mstedge.runtime.predictor import Predictor
    from mstedge.verdicts import Verdict

EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "invalid": 2, "inconclusive": 4}


def command(
    bundle: Path = typer.Argument(..., help="Folder of the bundle."),
    data: Path | None = typer.Option(
        None, "--data", help="Manifest or folder with the raw files  [default: the features that travel in the bundle]."
    ),
    backend: str | None = typer.Option(None, help="Engine that runs the network  [default: the bundle's target]."),
    threads: int | None = typer.Option(None, min=1, help="Threads of one inference  [default: all usable cores]."),
    margin: float | None = typer.Option(
        None, "--margin", help="Accuracy that may be lost, in percentage points  [default: the precision's]."
    ),
    explain: bool = typer.Option(False, "--explain", help="Compare node by node with the student, on the worst rows."),
    against: Path | None = typer.Option(
        None,
        "--against",
        help="With --explain: a run, ONNX file or bundle [default: the run that the bundle stands in].",
    ),
    allow_code: bool = typer.Option(False, "--allow-code", help="Let that run name a network of your own."),
    json: bool = typer.Option(False, "--json", help="Print the report as JSON; with --explain, the comparison."),
) -> None:
    """Run the parity gate again on this machine: contract, numbers, decisions, accuracy. Exit 0, 1, 2 or 4."""
    from mstedge.cli.bundle_notes import note_engine_pending, note_parity
    from mstedge.cli.console import say_json
    from mstedge.cli.parity_explain import explained, say_explanation
    from mstedge.cli.parity_text import say_parity
    from mstedge.runtime.predictor import open_predictor

    _check_against(against, explain=explain)
    share = margin_share(margin)
    predictor = open_predictor(bundle, backend=backend, threads=threads)
    note_parity(predictor.manifest.parity)
    rows = _rows(predictor, data)
    report = _gated(predictor, rows, share)
    explanation = explained(predictor, rows, against, allow_code=allow_code) if explain else None
    if json:
        say_json(explanation or report)
    else:
        say_parity(report, predictor.manifest.labels)
        if explanation:
            say_explanation(explanation)
    note_engine_pending(predictor.manifest, bundle)
    if report.verdict != "pass":
        raise typer.Exit(EXIT_CODES[report.verdict])


def margin_share(points: float | None) -> float | None:
    """Turn percentage points from the command line into a share.

    Raises:
        UsageError: It is not above 0 and below 100.
    """
    from mstedge.errors import UsageError

    if points is None:
        return None
    if not 0 < points < 100:
        raise UsageError(f"--margin {points:g}: expected percentage points above 0 and below 100, as in --margin 0.5")
    return points / 100


def _check_against(against: Path | None, *, explain: bool) -> None:
    from mstedge.errors import UsageError

    if against is not None and not explain:
        raise UsageError(
            f"--against {against} says what to compare with, and nothing is compared", hint="add --explain"
        )


def _rows(predictor: Predictor, data: Path | None) -> GateRows:
    from mstedge.cli.bundle_notes import note_skipped
    from mstedge.cli.console import note
    from mstedge.runtime.labelled_files import read_labelled
    from mstedge.runtime.parity.from_files import rows_from_files
    from mstedge.runtime.parity.stored import stored_rows
    from mstedge.runtime.predictor import require_matching_spec

    total = predictor.manifest.parity.rows
    if data is None:
        rows = stored_rows(predictor.bundle)
        if len(rows) < total:
            note(f"note: the features of {len(rows)} of {total} rows travel in the bundle; --data DATA reads all")
        return rows
    require_matching_spec(predictor.manifest)
    files = read_labelled(data, predictor.manifest)
    note_skipped(files.skipped)
    found = rows_from_files(predictor.bundle, files)
    if found.unmatched:
        note(f"note: {found.unmatched} of {len(files)} rows left out: the bundle has no reference logits for them")
    if found.missing:
        note(f"note: {found.missing} of the {total} rows that were compared at export are not among these")
    return found.rows


def _gated(predictor: Predictor, rows: GateRows, margin: float | None) -> ParityReport:
    from mstedge.runtime.bundle import check_onnx
    from mstedge.runtime.parity.gate import GateSetup, run_gate

    bundle, manifest = predictor.bundle, predictor.manifest
    setup = GateSetup(
        target=manifest.target,
        scope="graph" if manifest.target == "trt" else "engine",
        labels=manifest.labels,
        model_sha256=bundle.digests[manifest.model],
        graph=check_onnx(bundle.read(manifest.model)),
        margin=margin,
        calibration=bundle.calibration(),
        kept=manifest.kept,
    )
    return run_gate(predictor.session, rows, setup)
