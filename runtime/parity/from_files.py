"""The gate's rows read again from somebody's files, as a device would read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import DataError
from mstedge.runtime.parity.rows import UNLABELLED, GateRows, digests_of_rows
from mstedge.runtime.parity.stored import edges_of
from mstedge.runtime.preprocess import decode_file, features_from_decoded
from mstedge.verification import FEATURE_TOLERANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.parity import ParityRows
    from mstedge.runtime.bundle import Bundle
    from mstedge.runtime.labelled_files import LabelledFiles


@dataclass(frozen=True, slots=True)
class FoundRows:
    """The gate's rows that stand among somebody's files.

    Attributes:
        rows: Those rows, features from the files and reference logits from the bundle.
        unmatched: Files that the bundle has no reference logits for.
        missing: Rows of the bundle that no file was given for.
    """

    rows: GateRows
    unmatched: int
    missing: int


def rows_from_files(bundle: Bundle, files: LabelledFiles) -> FoundRows:
    """Compute features from files and match them by name with the bundle's reference logits.

    A row's features are compared with those of the export: value by value where these travel in the bundle, by their
    digest otherwise. Labels are those of the files, and the bundle's where a file has none.

    Args:
        bundle: From `open_bundle`; its front end makes what its network takes.
        files: From `read_labelled`.

    Raises:
        DataError: The bundle knows none of the files.
        SampleError: A file cannot be read.
    """
    described = bundle.parity_rows()
    position_of = {name: position for position, name in enumerate(described.ids)}
    given = [row for row, name in enumerate(files.ids) if name in position_of]
    if not given:
        raise DataError(
            f"{files.name}: none of its {len(files)} rows is among the {len(described.ids)} of the export's gate",
            hint="rows are matched by name: give the manifest or folder that the student learnt from",
        )
    positions = [position_of[files.ids[row]] for row in given]
    spec = bundle.manifest.spec
    features = np.stack([features_from_decoded(decode_file(files.paths[row], spec), spec) for row in given])
    labels = files.labels[given]
    carried, logits = bundle.parity_features(), bundle.parity_logits()
    kept = [described.labels[position] for position in positions]
    rows = GateRows(
        ids=tuple(files.ids[row] for row in given),
        clusters=tuple(described.clusters[position] for position in positions),
        labels=np.where(labels >= 0, labels, [UNLABELLED if label is None else label for label in kept]),
        features=features,
        reference=logits[positions],
        edges=edges_of(described, carried, logits),
    )
    differing = _differing(features, positions, described, carried)
    return FoundRows(
        rows=replace(rows, differing_features=differing),
        unmatched=len(files) - len(given),
        missing=len(described.ids) - len(given),
    )


def _differing(
    features: NDArray[np.float32], positions: list[int], described: ParityRows, carried: NDArray[np.float32]
) -> int:
    """Count the rows whose features are not those of the export."""
    digests = digests_of_rows(features)
    count = 0
    for row, position in enumerate(positions):
        if digests[row] == described.features_sha256[position]:
            continue
        # Machines may round differently: what travels is compared within the tolerance of golden cases.
        travels = position < described.carried
        count += not (travels and np.abs(features[row] - carried[position]).max() <= FEATURE_TOLERANCE)
    return count
