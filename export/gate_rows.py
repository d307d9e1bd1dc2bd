"""The rows that the gate compares: everything the student has never seen, read as a device would read it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mstedge.runtime.parity.edges import edge_features
from mstedge.runtime.parity.rows import Edges, GateRows, digests_of_rows, fair_order
from mstedge.runtime.preprocess import decode_file, features_from_decoded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.export.student import Rows, Student


def gate_rows(student: Student) -> GateRows:
    """Collect held-out rows with the reference's answers.

    The candidate is given features that are computed again from the raw files; the reference those of training.

    Args:
        student: Where they come from.

    Raises:
        SampleError: A recording cannot be read.
    """
    rows = student.held_out
    distinct = distinct_rows(rows)
    distinct = [distinct[position] for position in fair_order([rows.ids[row] for row in distinct])]
    features = rows.features[distinct]
    from_files = _features_from_files(student, distinct)
    names, edges = edge_features(student.spec)
    return GateRows(
        ids=tuple(rows.ids[row] for row in distinct),
        clusters=tuple(rows.clusters[row] for row in distinct),
        labels=rows.labels[distinct],
        features=from_files,
        reference=student.reference_logits(features),
        edges=Edges(names, edges, student.reference_logits(edges)),
        differing_features=int((from_files != features).reshape(len(features), -1).any(axis=1).sum()),
    )


def distinct_rows(rows: Rows) -> list[int]:
    """Give the first of all rows that are the same to the student: a recording that stands in several pairs."""
    first: dict[tuple[str, int], int] = {}
    for row, digest in enumerate(digests_of_rows(rows.features)):
        first.setdefault((digest, int(rows.labels[row])), row)
    return sorted(first.values())


def _features_from_files(student: Student, rows: list[int]) -> NDArray[np.float32]:
    features = np.empty((len(rows), *student.spec.feature_shape), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="mstedge-gate-") as folder:
        for position, row in enumerate(rows):
            recording = student.recording(row)
            path = Path(folder) / f"row{recording.suffix}"
            path.write_bytes(recording.content)
            features[position] = features_from_decoded(decode_file(path, student.spec), student.spec)
    return features
