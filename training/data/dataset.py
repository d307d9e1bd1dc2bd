"""Paired features in memory: the front end run once, scaling fitted on the training part, labels partly hidden."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mstedge.errors import DataError
from mstedge.runtime.preprocess import features_from_decoded, scaled
from mstedge.specs import Scaling, Spec
from mstedge.training.data.source import PARTS, UNLABELLED, PartIndex, PartName, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_SMALLEST_STD = 1e-6


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the split, ready for a network.

    Attributes:
        features: float32 [rows, *feature_shape] per modality.
        labels: int64 [rows]; in the training part `UNLABELLED` where the label may not be used.
        ids: One name per row.
        clusters: The independent unit that each row comes from.
    """

    features: dict[str, NDArray[np.float32]]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    clusters: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Dataset:
    """All parts, with the front end that made them.

    Attributes:
        source: Where raw recordings can be had again.
        class_names: Names of the classes.
        specs: Front end per modality, scaling fitted on the training part.
        parts: Features and labels of each part.
        sha256: Digest of all features and labels.
    """

    source: Source
    class_names: tuple[str, ...]
    specs: dict[str, Spec]
    parts: dict[PartName, Part]
    sha256: str


def build_dataset(
    source: Source,
    specs: Mapping[str, Spec],
    *,
    labelled_fraction: float,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Run the front end over every row of a source.

    Args:
        source: Paired recordings.
        specs: Front end per modality; scaling is fitted where it is none.
        labelled_fraction: Share of the labelled training clusters whose labels are kept, stratified by class.
        seed: Decides which labels are kept.
        progress: Called with recordings read and recordings in all.

    Raises:
        DataError: A part is empty, no label is left, or there are fewer than two classes.
        SampleError: A recording cannot be read.
    """
    _check_parts(source)
    kept = labelled_rows(source.parts["train"], labelled_fraction, seed)
    features: dict[PartName, dict[str, NDArray[np.float32]]] = {name: {} for name in PARTS}
    fitted: dict[str, Spec] = {}
    read = _Counter(progress, total=len(specs) * sum(len(source.parts[name].labels) for name in PARTS))
    for modality, spec in specs.items():
        bare = msgspec.structs.replace(spec, scaling=None)
        raw = {part: _features(source, part, modality, bare, read) for part in PARTS}
        scaling = spec.scaling or fitted_scaling(raw["train"], spec)
        fitted[modality] = msgspec.structs.replace(spec, scaling=scaling)
        for part in PARTS:
            features[part][modality] = scaled(raw[part], fitted[modality])
    parts = {name: _part(source.parts[name], features[name], kept if name == "train" else None) for name in PARTS}
    return Dataset(source, source.class_names, fitted, parts, _digest(parts))


def labelled_rows(index: PartIndex, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose which training rows keep their labels; rows of one cluster stay together.

    Args:
        index: The training part.
        fraction: Share of the labelled clusters of each class; at least one cluster of each is kept.
        seed: Decides the choice.

    Returns:
        bool [rows].
    """
    generator = np.random.default_rng([seed, 0x1AB])
    label_of = {cluster: int(label) for cluster, label in zip(index.clusters, index.labels, strict=True) if label >= 0}
    kept: set[str] = set()
    for label in sorted(set(label_of.values())):
        members = sorted(cluster for cluster, each in label_of.items() if each == label)
        count = max(1, round(fraction * len(members)))
        kept.update(members[position] for position in generator.permutation(len(members))[:count])
    chosen = np.array([cluster in kept for cluster in index.clusters], dtype=np.bool_)
    labelled: NDArray[np.bool_] = chosen & (index.labels != UNLABELLED)
    return labelled


def fitted_scaling(features: NDArray[np.float32], spec: Spec) -> Scaling:
    """Measure mean and standard deviation of the training part.

    Args:
        features: float32 [rows, *feature_shape], unscaled.
        spec: Decides what a feature is: a band (sound), a channel (image) or an element of the last axis (array).
    """
    axis = 1 if type(spec).__name__ == "ImageSpec" else features.ndim - 1
    others = tuple(each for each in range(features.ndim) if each != axis)
    mean = features.mean(axis=others, dtype=np.float64)
    std = np.maximum(features.std(axis=others, dtype=np.float64), _SMALLEST_STD)
    return Scaling(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


class _Counter:
    """Counts recordings and tells whoever listens."""

    def __init__(self, listener: Callable[[int, int], None] | None, *, total: int) -> None:
        self._listener = listener
        self._total = total
        self._done = 0

    def add_one(self) -> None:
        self._done += 1
        if self._listener is not None:
            self._listener(self._done, self._total)


def _features(source: Source, part: PartName, modality: str, spec: Spec, read: _Counter) -> NDArray[np.float32]:
    rows = len(source.parts[part].labels)
    features = np.empty((rows, *spec.feature_shape), dtype=np.float32)
    for row in range(rows):
        features[row] = features_from_decoded(source.decoded(part, modality, row), spec)
        read.add_one()
    return features


def _part(index: PartIndex, features: dict[str, NDArray[np.float32]], kept: NDArray[np.bool_] | None) -> Part:
    labels = index.labels if kept is None else np.where(kept, index.labels, UNLABELLED)
    return Part(features, labels.astype(np.int64), index.ids, index.clusters)


def _check_parts(source: Source) -> None:
    for name in PARTS:
        labels = source.parts[name].labels
        if len(labels) < 2:
            raise DataError(f"the {name} part has {len(labels)} rows: expected at least 2")
        if not (labels >= 0).any():
            raise DataError(
                f"the {name} part has no labelled row", hint="label some rows, or give the split another way"
            )
    if len(source.class_names) < 2:
        raise DataError(f"the data have the classes {list(source.class_names)}: expected at least two")


def _digest(parts: Mapping[PartName, Part]) -> str:
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {part.rows}\n".encode())
        digest.update(part.labels.tobytes())
        for modality, values in sorted(part.features.items()):
            digest.update(f"{modality} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
