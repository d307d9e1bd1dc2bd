"""Golden cases: inputs with everything that must come out of them, replayed by `mstedge verify` on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import CheckFailedError
from mstedge.manifest import GOLDEN_CASES_NAME, GOLDEN_FEATURES_NAME, GOLDEN_LOGITS_NAME, GoldenCase, GoldenCases
from mstedge.runtime.preprocess import decode_file, digest_of_decoded, features_from_decoded
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mstedge.export.student import TrainedStudent

LEAST_CASES = 8


@dataclass(frozen=True, slots=True)
class GoldenRows:
    """The rows of the test part that become golden cases.

    Attributes:
        rows: Their positions in the test part.
        features: float32 [cases, *feature_shape].
        logits: float32 [cases, classes], the torch student's.
    """

    rows: tuple[int, ...]
    features: NDArray[np.float32]
    logits: NDArray[np.float32]


def golden_rows(student: TrainedStudent) -> GoldenRows:
    """Choose one test row per class, and further ones up to eight: always the first, so that a run gives the same.

    Raises:
        CheckFailedError: The test part has no row.
    """
    part = student.dataset.parts["test"]
    firsts = [int(np.flatnonzero(part.labels == label)[0]) for label in np.unique(part.labels[part.labels >= 0])]
    others = [row for row in range(part.rows) if row not in set(firsts)]
    rows = tuple(sorted(firsts + others[: max(0, LEAST_CASES - len(firsts))]))
    if not rows:
        raise CheckFailedError("the test part has no row for a golden case")
    features = part.features[student.card.student.modality][list(rows)]
    return GoldenRows(rows, features, student.reference_logits(features))


def write_golden(student: TrainedStudent, golden: GoldenRows, folder: Path, *, raw: bool) -> None:
    """Write golden cases into a bundle that is being made.

    Args:
        student: Where they come from.
        golden: Which they are.
        folder: The bundle's folder.
        raw: Whether recordings travel; features alone otherwise.

    Raises:
        CheckFailedError: A recording, decoded from its file, does not give the features that training saw.
    """
    (folder / "golden").mkdir()
    np.save(folder / GOLDEN_FEATURES_NAME, np.ascontiguousarray(golden.features))
    np.save(folder / GOLDEN_LOGITS_NAME, golden.logits)
    cases = tuple(_case(student, golden, index, folder, raw=raw) for index in range(len(golden.rows)))
    (folder / GOLDEN_CASES_NAME).write_bytes(encode_json(GoldenCases(cases=cases)))


def _case(student: TrainedStudent, golden: GoldenRows, index: int, folder: Path, *, raw: bool) -> GoldenCase:
    row = golden.rows[index]
    name, digest = _raw_file(student, golden, index, folder) if raw else (None, None)
    return GoldenCase(
        id=student.dataset.parts["test"].ids[row],
        index=index,
        label=int(golden.logits[index].argmax()),
        licence=student.dataset.source.licence,
        file=name,
        decoded_sha256=digest,
    )


def _raw_file(student: TrainedStudent, golden: GoldenRows, index: int, folder: Path) -> tuple[str, str]:
    """Write the recording and prove that the file alone leads to the training features, bit for bit."""
    modality = student.card.student.modality
    spec = student.dataset.specs[modality]
    recording = student.dataset.source.raw_file("test", modality, golden.rows[index])
    name = f"golden/{index:03d}{recording.suffix}"
    (folder / name).write_bytes(recording.content)
    decoded = decode_file(folder / name, spec)
    if not np.array_equal(features_from_decoded(decoded, spec), golden.features[index]):
        raise CheckFailedError(f"{name}: decoded from its file, the recording does not give the features of training")
    return name, digest_of_decoded(decoded)
