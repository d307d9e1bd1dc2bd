"""Which rows int8 ranges are fitted on: rows of the training part, as many as asked, the same ones each time."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from mstedge.errors import DataError, UsageError, nearest
from mstedge.parity import Calibration
from mstedge.runtime.parity.rows import digests_of_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.export.student import Rows

CalibrationMethod: TypeAlias = Literal["minmax", "entropy", "percentile"]
METHODS: tuple[CalibrationMethod, ...] = get_args(CalibrationMethod)


@dataclass(frozen=True, slots=True)
class CalibrationWish:
    """How int8 ranges shall be fitted.

    Attributes:
        rows: How many rows of the training part.
        method: How ranges follow from what is seen.
    """

    rows: int = 300
    method: CalibrationMethod = "minmax"

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise UsageError(f"calibration asks for {self.rows} rows: expected 1 or more")
        if self.method not in METHODS:
            raise UsageError(f"there is no calibration method {self.method!r}", hint=nearest(self.method, METHODS))


def calibration_rows(training: Rows, wish: CalibrationWish) -> tuple[NDArray[np.float32], Calibration]:
    """Draw the rows that ranges are fitted on.

    The draw depends on the names of the rows alone, not on their order: no cluster gives a second row before every
    cluster has given one, and the labels take turns.

    Args:
        training: The training part.
        wish: How many rows, and for which method.

    Returns:
        float32 [rows, *feature_shape], and what the bundle records of them.

    Raises:
        DataError: The training part has fewer rows than asked.
    """
    have = len(training)
    if have < wish.rows:
        raise DataError(
            f"calibration asks for {wish.rows} rows: the training part has {have}",
            hint=f"ask for at most {have} rows with --calibration-rows, or add data",
        )
    chosen = _drawn(training)[: wish.rows]
    features = np.ascontiguousarray(training.features[chosen], dtype=np.float32)
    record = Calibration(
        method=wish.method,
        ids=tuple(training.ids[row] for row in chosen),
        features_sha256=digests_of_rows(features),
    )
    return features, record


def _drawn(training: Rows) -> list[int]:
    """Put all rows into the order in which they are taken."""
    whole = training.labels.ndim == 1
    strata = [int(label) if whole else 0 for label in training.labels]
    by_name = sorted(range(len(training)), key=lambda row: _digest(training.ids[row]))
    of_cluster: Counter[str] = Counter()
    of_stratum: Counter[tuple[int, int]] = Counter()
    turns: dict[int, tuple[int, int, int]] = {}
    for row in by_name:
        cluster, stratum = training.clusters[row], strata[row]
        earlier = of_cluster[cluster]
        turns[row] = (earlier, of_stratum[earlier, stratum], stratum)
        of_cluster[cluster] += 1
        of_stratum[earlier, stratum] += 1
    return sorted(by_name, key=turns.__getitem__)


def _digest(name: str) -> bytes:
    return hashlib.sha256(b"mstedge calibration\0" + name.encode()).digest()
