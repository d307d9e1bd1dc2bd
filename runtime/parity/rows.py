"""The rows that a gate compares, with what the reference answers for them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class Edges:
    """Made-up extreme inputs: silence, full scale, black, white, zeros.

    Attributes:
        names: What each is.
        features: float32 [edges, *feature_shape].
        reference: The reference's logits, float32 [edges, classes, ...].
    """

    names: tuple[str, ...]
    features: NDArray[np.float32]
    reference: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GateRows:
    """Held-out rows, never seen in training or calibration.

    Attributes:
        ids: One name per row.
        clusters: The independent unit that each row comes from.
        labels: int64 [rows], or [rows, *places] for dense answers; negative for rows or places without one.
        features: What the candidate is given, float32 [rows, *feature_shape]; computed from raw files where there are
            some.
        reference: What the reference answers, float32 [rows, classes] or [rows, classes, *places].
        edges: Extreme inputs, compared but not counted.
        differing_features: Number of rows whose features, computed from the raw file, are not those of training; none
            where there are no raw files.
    """

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    labels: NDArray[np.int64]
    features: NDArray[np.float32]
    reference: NDArray[np.float32]
    edges: Edges
    differing_features: int | None = None

    def __len__(self) -> int:
        return len(self.ids)


def fair_order(ids: Sequence[str]) -> list[int]:
    """Order rows by the digests of their names: the same each time, and the first so many are a fair sample."""
    return sorted(range(len(ids)), key=lambda row: (hashlib.sha256(ids[row].encode()).digest(), row))


def digests_of_rows(features: NDArray[np.float32]) -> tuple[str, ...]:
    """Digest the features of each row: sha256 of the float32 values in C order, lower-case hex."""
    return tuple(hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest() for row in features)


def digest_of_array(values: NDArray[np.float32]) -> str:
    """Digest a whole array, shape included."""
    header = f"{values.dtype.str} {values.shape}\n".encode()
    return hashlib.sha256(header + np.ascontiguousarray(values).tobytes()).hexdigest()
