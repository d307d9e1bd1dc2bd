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

    from mstedge.export.student import Student
    from mstedge.runtime.backends import EngineSession

LEAST_CASES = 8


@dataclass(frozen=True, slots=True)
class GoldenRows:
    """The held-out rows that become golden cases.

    Attributes:
        rows: Their positions among the held-out rows.
        ids: Their names.
        features: float32 [cases, *feature_shape].
        logits: float32 [cases, classes], the exported model's in the engine that the gate measured.
    """

    rows: tuple[int, ...]
    ids: tuple[str, ...]
    features: NDArray[np.float32]
    logits: NDArray[np.float32]


def golden_rows(student: Student, session: EngineSession) -> GoldenRows:
    """Choose one held-out row per class, and further ones up to eight: always the first, so that a run gives the same.

    Args:
        student: Where they come from.
        session: The exported model: a device must give what it gives.

    Raises:
        CheckFailedError: There is no held-out row, or the model gives values that are not finite.
    """
    held_out = student.held_out
    labels = held_out.labels
    firsts = [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels[labels >= 0])]
    others = [row for row in range(min(len(held_out), LEAST_CASES + len(firsts))) if row not in set(firsts)]
    rows = tuple(sorted(firsts + others[: max(0, LEAST_CASES - len(firsts))]))
    if not rows:
        raise CheckFailedError("there is no held-out row for a golden case")
    features = held_out.features[list(rows)]
    logits = np.concatenate([session.run(row[np.newaxis]) for row in features])
    if not np.isfinite(logits).all():
        raise CheckFailedError("the model gives values that are not finite: no bundle can carry it")
    return GoldenRows(rows, tuple(held_out.ids[row] for row in rows), features, logits)


def write_golden(student: Student, golden: GoldenRows, folder: Path, *, raw: bool) -> None:
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


def _case(student: Student, golden: GoldenRows, index: int, folder: Path, *, raw: bool) -> GoldenCase:
    name, digest = _raw_file(student, golden, index, folder) if raw else (None, None)
    return GoldenCase(
        id=golden.ids[index],
        index=index,
        label=int(golden.logits[index].argmax()),
        licence=student.licence,
        file=name,
        decoded_sha256=digest,
    )


def _raw_file(student: Student, golden: GoldenRows, index: int, folder: Path) -> tuple[str, str]:
    """Write the recording and prove that the file alone leads to the training features, bit for bit."""
    spec = student.spec
    recording = student.recording(golden.rows[index])
    name = f"golden/{index:03d}{recording.suffix}"
    (folder / name).write_bytes(recording.content)
    decoded = decode_file(folder / name, spec)
    if not np.array_equal(features_from_decoded(decoded, spec), golden.features[index]):
        raise CheckFailedError(f"{name}: decoded from its file, the recording does not give the features of training")
    return name, digest_of_decoded(decoded)
