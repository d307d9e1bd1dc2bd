"""Paired features: the front end run once, scaling fitted on the training part, labels partly hidden.

They are kept in memory, or in mapped files that nobody else sees where they would take too much of it.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mstedge.errors import DataError, MachineError, SampleError
from mstedge.runtime.preprocess import features_from_decoded, scaled
from mstedge.specs import Scaling, Spec
from mstedge.training.data.source import PARTS, UNLABELLED, PartIndex, PartName, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

_SMALLEST_STD = 1e-6
_PIECE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the split, ready for a network.

    Attributes:
        features: float32 [rows, *feature_shape] per modality.
        labels: Integers [rows, *places], int64 where there are no places; `UNLABELLED` where the label may not be used.
        ids: One name per row.
        clusters: The independent unit that each row comes from.
    """

    features: dict[str, NDArray[np.float32]]
    labels: NDArray[np.integer]
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
    most_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Run the front end over every row of a source.

    Args:
        source: Paired recordings.
        specs: Front end per modality; scaling is fitted where it is none.
        labelled_fraction: Share of the labelled training clusters whose labels are kept, stratified by class.
        seed: Decides which labels are kept.
        most_bytes: Features that take more stand in mapped files; none allows half of the machine's memory.
        progress: Called with recordings read and recordings in all.

    Raises:
        DataError: A part is empty, no label is left, or there are fewer than two classes.
        SampleError: A recording cannot be read, or its features are not finite.
        MachineError: Features take more than both memory and disk have.
    """
    _check_parts(source)
    kept = labelled_rows(source.parts["train"], labelled_fraction, seed)
    rows = sum(len(source.parts[name].labels) for name in PARTS)
    needed = 4 * rows * sum(math.prod(spec.feature_shape) for spec in specs.values())
    mapped = needed > (half_of_memory() if most_bytes is None else most_bytes)
    if mapped:
        _check_disk(needed)
    read = _Counter(progress, total=len(specs) * rows)
    features: dict[PartName, dict[str, NDArray[np.float32]]] = {name: {} for name in PARTS}
    fitted: dict[str, Spec] = {}
    for modality, spec in specs.items():
        bare = msgspec.structs.replace(spec, scaling=None)
        for part in PARTS:
            features[part][modality] = _features(source, part, modality, bare, read, mapped=mapped)
        scaling = spec.scaling or fitted_scaling(features["train"][modality], spec)
        fitted[modality] = msgspec.structs.replace(spec, scaling=scaling)
        for part in PARTS:
            _scale(features[part][modality], fitted[modality])
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
    labelled: NDArray[np.bool_] = (index.labels != UNLABELLED).reshape(len(index.labels), -1).any(axis=1)
    # Maps have many classes each: nothing to stratify by.
    classes = index.labels if index.labels.ndim == 1 else np.zeros(len(labelled), np.int64)
    triples = zip(index.clusters, classes, labelled, strict=True)
    label_of = {cluster: int(label) for cluster, label, counts in triples if counts}
    kept: set[str] = set()
    for label in sorted(set(label_of.values())):
        members = sorted(cluster for cluster, each in label_of.items() if each == label)
        count = max(1, round(fraction * len(members)))
        kept.update(members[position] for position in generator.permutation(len(members))[:count])
    chosen = np.array([cluster in kept for cluster in index.clusters], dtype=np.bool_)
    return chosen & labelled


def fitted_scaling(features: NDArray[np.float32], spec: Spec) -> Scaling:
    """Measure mean and standard deviation of the training part.

    Args:
        features: float32 [rows, *feature_shape], unscaled.
        spec: Says which axis has statistics of its own.
    """
    axis = 1 + spec.scaled_axis
    others = tuple(each for each in range(features.ndim) if each != axis)
    count = features.size // features.shape[axis]
    total = sum(piece.sum(axis=others, dtype=np.float64) for piece in _pieces(features))
    mean = np.asarray(total) / count
    shape = [-1 if each == axis else 1 for each in range(features.ndim)]
    squares = sum(np.square(piece - mean.reshape(shape)).sum(axis=others) for piece in _pieces(features))
    std = np.maximum(np.sqrt(np.asarray(squares) / count), _SMALLEST_STD)
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


def _features(
    source: Source, part: PartName, modality: str, spec: Spec, read: _Counter, *, mapped: bool
) -> NDArray[np.float32]:
    rows = len(source.parts[part].labels)
    shape = (rows, *spec.feature_shape)
    features = _room_in_a_file(shape) if mapped else np.empty(shape, dtype=np.float32)
    for row in range(rows):
        decoded = source.decoded(part, modality, row)  # names the recording itself where it cannot be read
        try:
            features[row] = features_from_decoded(decoded, spec)
        except SampleError as problem:
            where = f"row {source.parts[part].ids[row]} of the {part} part, {modality}"
            raise SampleError(f"{where}: {problem.message}", hint=problem.hint) from None
        read.add_one()
    return features


def _room_in_a_file(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Map a file that is gone as soon as nobody maps it."""
    with tempfile.TemporaryFile(prefix="mstedge-rows-") as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)


def _check_disk(needed: int) -> None:
    """Refuse what a disk cannot hold; a mapped file that finds it full ends the process without a word."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MachineError(
            f"features take {needed >> 20:,} MiB, too much for memory, and {folder} has {free >> 20:,} MiB free",
            hint="let TMPDIR name a folder with more room, or take fewer rows or smaller features",
        )


def half_of_memory() -> int:
    """Count half of the bytes that this machine's memory has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _scale(features: NDArray[np.float32], spec: Spec) -> None:
    for piece in _pieces(features):
        piece[:] = scaled(piece, spec)


def _pieces(features: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Cut into views of some rows each."""
    together = max(1, _PIECE_BYTES // max(1, features[:1].nbytes))
    for start in range(0, len(features), together):
        yield features[start : start + together]


def _part(index: PartIndex, features: dict[str, NDArray[np.float32]], kept: NDArray[np.bool_] | None) -> Part:
    labels = index.labels
    if kept is not None:
        if labels.dtype.kind == "u":  # which has no room for UNLABELLED
            labels = labels.astype(f"i{min(8, 2 * labels.itemsize)}")
        labels = np.where(kept.reshape(-1, *[1] * (labels.ndim - 1)), labels, UNLABELLED).astype(labels.dtype)
    return Part(features, labels if labels.ndim > 1 else labels.astype(np.int64), index.ids, index.clusters)


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
        digest.update(np.ascontiguousarray(part.labels).data)
        for modality, values in sorted(part.features.items()):
            digest.update(f"{modality} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
