"""Writing a bundle: every file, then the sums, then the bundle opened as a stranger would open it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.errors import UsageError
from mstedge.export.golden import write_golden
from mstedge.export.student import tensors_of
from mstedge.files import folder_written_atomically
from mstedge.manifest import (
    CALIBRATION_NAME,
    IR_NAME,
    IR_WEIGHTS_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    PARITY_REPORT_NAME,
    IrFiles,
    Manifest,
    ParitySummary,
)
from mstedge.runtime.bundle import open_bundle, write_sums
from mstedge.runtime.parity.stored import write_parity_rows
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mstedge.export.candidate import Candidate
    from mstedge.export.golden import GoldenRows
    from mstedge.export.student import Student
    from mstedge.export.wish import ExportWish
    from mstedge.parity import ParityReport
    from mstedge.runtime.parity.rows import GateRows


def check_place(bundle: Path) -> None:
    """Replace an old bundle, never anything else.

    Raises:
        UsageError: Something else stands where the bundle shall go.
    """
    if not bundle.exists() or (bundle / MANIFEST_NAME).is_file():
        return
    if bundle.is_dir() and not any(bundle.iterdir()):
        return
    raise UsageError(f"{bundle} exists and is not a bundle", hint="choose another place with -o")


@dataclass(frozen=True, slots=True)
class BundleContent:
    """Everything that a bundle is made of.

    Attributes:
        student: What was exported.
        candidate: Its model files.
        report: What the gate said about them.
        rows: What the gate compared; as many as fit travel along.
        golden: The golden cases.
        wish: What was asked for.
    """

    student: Student
    candidate: Candidate
    report: ParityReport
    rows: GateRows
    golden: GoldenRows
    wish: ExportWish


def write_bundle(bundle: Path, content: BundleContent) -> None:
    """Write a bundle whole or not at all; an old one in its place is kept until the new one stands.

    Args:
        bundle: Where it shall stand.
        content: What goes in.

    Raises:
        UsageError: Recordings shall travel that may not, or the place cannot be written.
        BundleError: What was written is no bundle: a bug of ours.
    """
    raw = recordings_travel(content.student, content.wish)
    with _bundle_folder(bundle) as folder:
        _write_model(folder, content.candidate)
        write_golden(content.student, content.golden, folder, raw=raw)
        (folder / "parity").mkdir()
        (folder / PARITY_REPORT_NAME).write_bytes(encode_json(content.report))
        if content.candidate.calibration is not None:
            (folder / CALIBRATION_NAME).write_bytes(encode_json(content.candidate.calibration))
        write_parity_rows(folder, content.rows)
        (folder / MANIFEST_NAME).write_bytes(encode_json(_manifest(content)))
        write_sums(folder)
        open_bundle(folder)


def recordings_travel(student: Student, wish: ExportWish) -> bool:
    """Decide whether golden cases carry recordings.

    Raises:
        UsageError: They shall, and the data are not declared shareable.
    """
    if wish.golden == "raw" and not student.shareable:
        raise UsageError(
            "the data are not declared shareable, so recordings may not travel in a bundle",
            hint="set data.shareable in the recipe if they may, or use --golden features",
        )
    return student.shareable if wish.golden == "auto" else wish.golden == "raw"


def _write_model(folder: Path, candidate: Candidate) -> None:
    (folder / MODEL_NAME).write_bytes(candidate.onnx)
    if candidate.ir is not None:
        model, weights = candidate.ir
        (folder / IR_NAME).write_bytes(model)
        (folder / IR_WEIGHTS_NAME).write_bytes(weights)


def _manifest(content: BundleContent) -> Manifest:
    student, candidate, report, wish = content.student, content.candidate, content.report, content.wish
    source, sink = tensors_of(student)
    return Manifest(
        name=student.name,
        labels=student.labels,
        modality=student.modality,
        spec=student.spec,
        input=source,
        output=sink,
        parity=ParitySummary(
            verdict=report.verdict,
            scope=report.scope,
            rows=report.rows,
            failure_allowed=report.verdict != "pass",
        ),
        lineage=student.lineage,
        postprocess=student.postprocess,
        target=wish.target,
        precision=wish.precision,
        ir=IrFiles() if candidate.ir is not None else None,
        engine=wish.engine if wish.target == "trt" else None,
        quantisation=wish.quantisation(),
        kept=candidate.kept,
    )


@contextmanager
def _bundle_folder(bundle: Path) -> Iterator[Path]:
    """Make files with the same rights everywhere, whatever the user's mask says."""
    old = os.umask(0o022)
    try:
        with folder_written_atomically(bundle) as folder:
            yield folder
    finally:
        os.umask(old)
