"""The gate's rows as they travel in a bundle, so that any device can run the gate again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import BundleError, CheckFailedError
from mstedge.manifest import PARITY_FEATURES_NAME, PARITY_LOGITS_NAME, PARITY_ROWS_NAME
from mstedge.parity import ParityRows
from mstedge.runtime.bundle.inventory import DAMAGED, MIB
from mstedge.runtime.parity.rows import UNLABELLED, Edges, GateRows, digests_of_rows, fair_order
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mstedge.runtime.bundle import Bundle

MAX_FEATURES_BYTES = 16 * MIB


def write_parity_rows(folder: Path, rows: GateRows, *, max_features_bytes: int = MAX_FEATURES_BYTES) -> None:
    """Write parity/rows.json, features.npy and logits.npy into a bundle that is being made.

    Rows stand in the order of their ids' digests: the first so many of them are a fair sample. Features travel for as
    many as fit, reference logits for all; the made-up extremes always travel and stand behind the rows.

    Args:
        folder: The bundle's folder.
        rows: The gate's rows: one label per row, names of their own.
        max_features_bytes: Size that the features may have together; at least one row travels.

    Raises:
        CheckFailedError: The answers are dense; a bundle carries those of classification only.
    """
    if rows.labels.ndim != 1 or rows.reference.ndim != 2:
        raise CheckFailedError(f"the reference has shape {list(rows.reference.shape)}: expected [rows, classes]")
    order = fair_order(rows.ids)
    carried = _carried(rows, max_features_bytes)
    labels = rows.labels.tolist()
    digests = digests_of_rows(rows.features)
    described = ParityRows(
        ids=tuple(rows.ids[row] for row in order),
        clusters=tuple(rows.clusters[row] for row in order),
        labels=tuple(labels[row] if labels[row] >= 0 else None for row in order),
        features_sha256=tuple(digests[row] for row in order),
        carried=carried,
        edges=rows.edges.names,
    )
    (folder / PARITY_ROWS_NAME).parent.mkdir(exist_ok=True)
    (folder / PARITY_ROWS_NAME).write_bytes(encode_json(described))
    _save(folder / PARITY_FEATURES_NAME, rows.features[order[:carried]], rows.edges.features)
    _save(folder / PARITY_LOGITS_NAME, rows.reference[order], rows.edges.reference)


def stored_rows(bundle: Bundle) -> GateRows:
    """Give the rows that a bundle carries with their features.

    Args:
        bundle: From `open_bundle`.

    Raises:
        BundleError: A file changed since the bundle was opened, or features are not those that rows.json names.
    """
    described = bundle.parity_rows()
    features, logits = bundle.parity_features(), bundle.parity_logits()
    kept = described.carried
    if digests_of_rows(features[:kept]) != described.features_sha256[:kept]:
        raise BundleError(
            f"{bundle.folder / PARITY_FEATURES_NAME}: not the features that {PARITY_ROWS_NAME} names", hint=DAMAGED
        )
    return GateRows(
        ids=described.ids[:kept],
        clusters=described.clusters[:kept],
        labels=np.array([UNLABELLED if label is None else label for label in described.labels[:kept]], np.int64),
        features=features[:kept],
        reference=logits[:kept],
        edges=edges_of(described, features, logits),
    )


def edges_of(described: ParityRows, features: NDArray[np.float32], logits: NDArray[np.float32]) -> Edges:
    """Take the made-up extremes out of a bundle's arrays.

    Args:
        described: What rows.json says.
        features: All of features.npy.
        logits: All of logits.npy.
    """
    return Edges(described.edges, features[described.carried :], logits[len(described.ids) :])


def _carried(rows: GateRows, max_features_bytes: int) -> int:
    if not len(rows):
        return 0
    bytes_left = max_features_bytes - rows.edges.features.nbytes
    return min(len(rows), max(1, bytes_left // int(rows.features[0].nbytes)))


def _save(path: Path, *parts: NDArray[np.float32]) -> None:
    np.save(path, np.ascontiguousarray(np.concatenate(parts), dtype="<f4"), allow_pickle=False)
