"""From a run to a bundle: convert, gate, write; a failed gate leaves no bundle."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np

from mstedge.errors import CheckFailedError, UsageError
from mstedge.export.gate import run_gate
from mstedge.export.golden import golden_rows, write_golden
from mstedge.export.onnx_graph import onnx_from_network
from mstedge.export.student import TrainedStudent, load_student
from mstedge.files import folder_written_atomically
from mstedge.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    PARITY_REPORT_NAME,
    Lineage,
    Manifest,
    ParitySummary,
    Tensor,
)
from mstedge.runtime.backends import EngineOptions, backend_named
from mstedge.runtime.bundle import check_onnx, open_bundle, write_sums
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mstedge.verdicts import ParityReport

Golden = Literal["auto", "raw", "features"]
OUTPUT_NAME = "logits"


def export_run(
    run: Path, bundle: Path, *, golden: Golden = "auto", allow_code: bool = False, note: Callable[[str], None]
) -> ParityReport:
    """Convert the student of a run, gate it, and write the bundle.

    Args:
        run: A complete run.
        bundle: Where the bundle shall stand; an old bundle there is replaced.
        golden: Whether golden cases carry recordings; `auto` follows what the data declare.
        allow_code: Whether the run may name a user's own network.
        note: Told what is being done.

    Returns:
        The gate's report; its verdict is `pass`.

    Raises:
        CheckFailedError: The gate said no; nothing was written.
        UsageError: The run is not complete, or something else stands where the bundle shall go.
    """
    _check_place(bundle)
    note("building the student and its rows again")
    student = load_student(run, allow_code=allow_code)
    with_recordings = _with_recordings(student, golden)
    modality = student.card.student.modality
    tensors = _tensors(student)
    note("converting to ONNX")
    model = onnx_from_network(student.network, tensors[0].shape, input_name=modality, output_name=OUTPUT_NAME)
    check_onnx(model)
    note("gating on held-out rows")
    report = _gated(student, model, tensors)
    if report.verdict != "pass":
        raise CheckFailedError(
            f"parity {report.verdict}: {'; '.join(report.reasons)}; no bundle was written",
            hint="docs/export.md explains how to read a failed gate",
        )
    with _bundle_folder(bundle) as folder:
        _write(student, model, report, tensors, folder, raw=with_recordings)
        open_bundle(folder)
    return report


def _gated(student: TrainedStudent, model: bytes, tensors: tuple[Tensor, Tensor]) -> ParityReport:
    backend = backend_named("onnxruntime")
    session = backend.load(
        model, input=tensors[0], output=tensors[1], precision="fp32", options=EngineOptions(threads=None)
    )
    modality = student.card.student.modality
    held_out = [student.dataset.parts["validation"], student.dataset.parts["test"]]
    features = np.concatenate([part.features[modality] for part in held_out])
    labels = np.concatenate([part.labels for part in held_out])
    return run_gate(session, features, student.reference_logits(features), labels, precision="fp32")


def _write(
    student: TrainedStudent,
    model: bytes,
    report: ParityReport,
    tensors: tuple[Tensor, Tensor],
    folder: Path,
    *,
    raw: bool,
) -> None:
    (folder / MODEL_NAME).write_bytes(model)
    write_golden(student, golden_rows(student), folder, raw=raw)
    (folder / "parity").mkdir()
    (folder / PARITY_REPORT_NAME).write_bytes(encode_json(report))
    (folder / MANIFEST_NAME).write_bytes(encode_json(_manifest(student, report, tensors)))
    write_sums(folder)


def _manifest(student: TrainedStudent, report: ParityReport, tensors: tuple[Tensor, Tensor]) -> Manifest:
    card = student.card
    lineage = Lineage(
        recipe=card.name,
        recipe_sha256=card.lineage.recipe_sha256,
        data_sha256=card.lineage.data_sha256,
        weights_sha256=student.weights_sha256,
        seed=card.seed,
        network=card.student.network,
        parameters=card.student.parameters,
        modalities=tuple(student.recipe.modalities),
        versions=card.lineage.versions,
        git_commit=card.lineage.git_commit,
    )
    return Manifest(
        name=card.name,
        labels=card.labels,
        modality=card.student.modality,
        spec=card.specs[card.student.modality],
        input=tensors[0],
        output=tensors[1],
        parity=ParitySummary(verdict=report.verdict, scope=report.scope, rows=report.rows),
        lineage=lineage,
    )


def _tensors(student: TrainedStudent) -> tuple[Tensor, Tensor]:
    card = student.card
    shape = card.specs[card.student.modality].feature_shape
    return Tensor(name=card.student.modality, shape=shape), Tensor(name=OUTPUT_NAME, shape=(len(card.labels),))


def _with_recordings(student: TrainedStudent, golden: Golden) -> bool:
    shareable = student.dataset.source.shareable
    if golden == "raw" and not shareable:
        raise UsageError(
            "the data are not declared shareable, so recordings may not travel in a bundle",
            hint="set data.shareable in the recipe if they may, or use --golden features",
        )
    return shareable if golden == "auto" else golden == "raw"


def _check_place(bundle: Path) -> None:
    """Replace an old bundle, never anything else."""
    if not bundle.exists() or (bundle / MANIFEST_NAME).is_file():
        return
    if bundle.is_dir() and not any(bundle.iterdir()):
        return
    raise UsageError(f"{bundle} exists and is not a bundle", hint="choose another place with -o")


@contextmanager
def _bundle_folder(bundle: Path) -> Iterator[Path]:
    """Make files with the same rights everywhere, whatever the user's mask says."""
    old = os.umask(0o022)
    try:
        with folder_written_atomically(bundle) as folder:
            yield folder
    finally:
        os.umask(old)
