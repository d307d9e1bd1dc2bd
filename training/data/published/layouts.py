"""The five published layouts: which files there are, and which axes their arrays have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.errors import DataError
from mstedge.training.data.published import class_names
from mstedge.training.data.published.columns import (
    HINT,
    Column,
    FileColumn,
    MappedColumn,
    check_labels,
    class_labels,
    flat_rows,
    opened_array,
)
from mstedge.training.data.source import UNLABELLED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_AVMNIST_SHAPES = {"image": (1, 28, 28), "audio": (1, 112, 112)}
_VGGSOUND_FEATURES = {"visual": ("visual_features", "vFeature"), "audio": ("audio_features", "aFeature")}
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds.

    Attributes:
        labels: Whole numbers [rows], or [rows, height, width], there with `UNLABELLED` for what does not count.
        columns: One modality of every row each.
        ids: Names of the rows; none where they have no names.
    """

    labels: NDArray[np.integer]
    columns: Mapping[str, Column]
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One dataset as the public code reads it.

    Attributes:
        dataset: What the public code calls it, also in the name of its table of permutations.
        class_names: Names of the classes.
        files: What each file or folder holds.
        read: Maps the files below a folder.
    """

    dataset: str
    class_names: tuple[str, ...]
    files: Mapping[str, str]
    read: Callable[[Path], Contents]


def _avmnist(folder: Path) -> Contents:
    columns: dict[str, Column] = {}
    for modality, shape in _AVMNIST_SHAPES.items():
        paths = tuple(folder / modality / f"{part}_data.npy" for part in ("train", "test"))
        arrays = tuple(flat_rows(path, shape) for path in paths)
        columns[modality] = MappedColumn(paths, arrays, shape, (0,))
    labels = []
    for part in ("train", "test"):
        path = folder / f"{part}_labels.npy"
        labels.append(class_labels(path, opened_array(path), len(class_names.AVMNIST)))
        for modality in columns:
            _check_rows(folder / modality / f"{part}_data.npy", path, len(labels[-1]))
    return Contents(np.concatenate(labels), columns)


def _ravdess(folder: Path) -> Contents:
    video = _whole(folder / "video_data.npy", None, None, None, None, None)
    audio = _whole(folder / "audio_data.npy", None, None, None)
    return _one_array_each(folder / "label_data.npy", class_names.RAVDESS, {"visual": video, "audio": audio})


def _crisismmd(folder: Path) -> Contents:
    image = _whole(folder / "image_features.npy", None, None)
    text = _whole(folder / "text_features.npy", None, None)
    return _one_array_each(folder / "labels.npy", class_names.CRISISMMD, {"image": image, "text": text})


def _vggsound(folder: Path) -> Contents:
    table = folder / "VGGS50k_metadata.txt"
    names, labels = _names_and_labels(table)
    values = class_labels(table, labels, len(class_names.VGGSOUND))
    columns: dict[str, Column] = {}
    for modality, (inner, ending) in _VGGSOUND_FEATURES.items():
        place = folder / "VGGS50K_features_normed" / inner
        files = tuple(f"{name}_{ending}.npy" for name in names)
        _check_files(place, files)
        paths = tuple(place / file for file in files)
        columns[modality] = FileColumn(paths, opened_array(paths[0]).shape)
    return Contents(values, columns, names)


def _nyu(folder: Path) -> Contents:
    images, depths, path = (folder / f"{name}.npy" for name in ("images", "depths", "labels40"))
    maps = opened_array(path, None, None, None)
    rows, width, height = maps.shape
    colours = opened_array(images, rows, 3, width, height)
    if colours.dtype != np.uint8:
        raise DataError(f"{images} has the element type {colours.dtype}: expected uint8, 0 to 255", hint=HINT)
    depth = MappedColumn((depths,), (opened_array(depths, rows, width, height),), (1, height, width), (1, 0))
    rgb = MappedColumn((images,), (colours,), (3, height, width), (2, 1, 0), picture=True)
    labels = np.empty((rows, height, width), dtype=np.int8)
    for row in range(rows):
        check_labels(path, maps[row], len(class_names.NYU), row=row)
        labels[row] = maps[row].T
    labels[labels == 0] = UNLABELLED
    return Contents(labels, {"rgb": rgb, "depth": depth})


_AVMNIST_FILES = {
    "image/train_data.npy": "images [rows, 784], grey levels",
    "image/test_data.npy": "likewise",
    "audio/train_data.npy": "spectrograms [rows, 112, 112]",
    "audio/test_data.npy": "likewise",
    "train_labels.npy": "labels [rows], 0 to 9",
    "test_labels.npy": "likewise",
}
_RAVDESS_FILES = {
    "video_data.npy": "faces [rows, 15, 3, 224, 224]",
    "audio_data.npy": "MFCC [rows, 15, 156]",
    "label_data.npy": "labels [rows], 0 to 7",
}
_VGGSOUND_FILES = {
    "VGGS50k_metadata.txt": "lines NAME&LABEL, labels 0 to 140",
    "VGGS50K_features_normed/visual_features": "files NAME_vFeature.npy, [10, 7, 7, 512]",
    "VGGS50K_features_normed/audio_features": "files NAME_aFeature.npy, [10, 128]",
}
_CRISISMMD_FILES = {
    "image_features.npy": "vectors [rows, 2048] of a ResNet-50",
    "text_features.npy": "vectors [rows, 768] of BERTweet",
    "labels.npy": "labels [rows], 0 to 7",
}
_NYU_FILES = {
    "images.npy": "colour images [rows, 3, 640, 480], uint8: width before height",
    "depths.npy": "depths [rows, 640, 480]",
    "labels40.npy": "label maps [rows, 640, 480], 1 to 40, and 0 for what does not count",
}

LAYOUTS: dict[str, Layout] = {
    "avmnist": Layout("AV-MNIST", class_names.AVMNIST, _AVMNIST_FILES, _avmnist),
    "ravdess": Layout("RAVDESS", class_names.RAVDESS, _RAVDESS_FILES, _ravdess),
    "vggsound": Layout("VGGSound-50k", class_names.VGGSOUND, _VGGSOUND_FILES, _vggsound),
    "crisismmd": Layout("CMMD-V2", class_names.CRISISMMD, _CRISISMMD_FILES, _crisismmd),
    "nyu": Layout("NYU-Depth-V2", class_names.NYU, _NYU_FILES, _nyu),
}


def _whole(path: Path, *shape: int | None) -> MappedColumn:
    array = opened_array(path, *shape)
    return MappedColumn((path,), (array,), array.shape[1:], tuple(range(array.ndim - 1)))


def _one_array_each(path: Path, names: tuple[str, ...], columns: dict[str, MappedColumn]) -> Contents:
    labels = class_labels(path, opened_array(path), len(names))
    for column in columns.values():
        _check_rows(column.files[0], path, len(labels))
    return Contents(labels, columns)


def _check_rows(path: Path, labels: Path, rows: int) -> None:
    found = len(opened_array(path))
    if found != rows:
        raise DataError(f"{path} has {found} rows, but {labels} has {rows}: expected one of each per sample", hint=HINT)


def _names_and_labels(table: Path) -> tuple[tuple[str, ...], NDArray[Any]]:
    names: list[str] = []
    labels: list[int] = []
    with table.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            name, _, label = line.strip().partition("&")
            if not name and not label:
                continue
            if not label.isdecimal() or "/" in name or "\\" in name:
                raise DataError(f"{table}, line {number}, is {line.strip()[:80]!r}: expected NAME&LABEL", hint=HINT)
            names.append(name)
            labels.append(int(label))
    if not names:
        raise DataError(f"{table} names no row", hint=HINT)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{table} names {twice!r} more than once", hint="each sample has one line")
    return tuple(names), np.array(labels)


def _check_files(folder: Path, names: tuple[str, ...]) -> None:
    """Look for all files at once: asking for each of some 50,000 takes a while on a network's disk."""
    present = {entry.name for entry in folder.iterdir()}
    missing = [name for name in names if name not in present]
    if missing:
        more = " ..." if len(missing) > _LISTED else ""
        raise DataError(
            f"{folder} lacks {len(missing)} of {len(names)} files: {', '.join(missing[:_LISTED])}{more}", hint=HINT
        )
