"""Made data in the files and axes of the published layouts, so small that a test can train on it.

Every sample carries the number of its row, and something of its class: rows can be told apart, and learnt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = {"avmnist": 10, "ravdess": 8, "vggsound": 141, "crisismmd": 8, "nyu": 41}
STUDENTS = {
    "avmnist": ("image", "audio"),
    "ravdess": ("visual", "audio"),
    "vggsound": ("visual", "audio"),
    "crisismmd": ("image", "text"),
    "nyu": ("rgb", "depth"),
}
FULL_SIDES = (480, 640)
FIFTH_SIDES = (96, 128)


def made_labels(layout: str, rows: int) -> NDArray[np.int64]:
    """Give the class of each row of a layout that has one per row: the lowest and the highest occur."""
    return np.arange(rows) * (CLASSES[layout] - 1) // (rows - 1)


def write_published(layout: str, folder: Path, *, rows: int = 12, sides: tuple[int, int] = FIFTH_SIDES) -> Path:
    """Write a layout's files.

    Args:
        layout: Which one.
        folder: Where; made when missing.
        rows: How many samples.
        sides: Height and width of NYU's maps.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "nyu":
        _write_nyu(folder, rows, sides)
    else:
        _WRITERS[layout](folder, made_labels(layout, rows))
    return folder


def stamped(shape: tuple[int, ...], labels: NDArray[np.int64], dtype: type[Any]) -> NDArray[Any]:
    """Make [rows, *shape]: noise, brighter for higher classes, the first value of a row its number."""
    generator = np.random.default_rng(len(shape))
    values = generator.integers(0, 100, size=(len(labels), *shape), dtype=np.uint8).astype(dtype)
    values += labels.reshape(-1, *[1] * len(shape)).astype(dtype)
    values.reshape(len(labels), -1)[:, 0] = np.arange(len(labels))
    return values


def _write_avmnist(folder: Path, labels: NDArray[np.int64]) -> None:
    cut = len(labels) * 6 // 7
    image, audio = stamped((784,), labels, np.float64), stamped((112, 112), labels, np.uint8)
    for name, rows in (("train", slice(0, cut)), ("test", slice(cut, None))):
        _save(folder / f"image/{name}_data.npy", image[rows])
        _save(folder / f"audio/{name}_data.npy", audio[rows])
        _save(folder / f"{name}_labels.npy", labels[rows].astype(np.uint8))


def _write_ravdess(folder: Path, labels: NDArray[np.int64]) -> None:
    _save(folder / "video_data.npy", stamped((15, 3, 224, 224), labels, np.uint8))
    _save(folder / "audio_data.npy", stamped((15, 156), labels, np.float32))
    _save(folder / "label_data.npy", labels)


def _write_vggsound(folder: Path, labels: NDArray[np.int64]) -> None:
    names = [f"v{row:010d}_{row}_{row + 10}_out" for row in range(len(labels))]
    lines = [f"{name}&{label}\n" for name, label in zip(names, labels.tolist(), strict=True)]
    (folder / "VGGS50k_metadata.txt").write_text("".join(lines), encoding="utf-8")
    for inner, ending, shape in (("visual", "v", (10, 7, 7, 512)), ("audio", "a", (10, 128))):
        values = stamped(shape, labels, np.float32)
        for name, row in zip(names, values, strict=True):
            _save(folder / f"VGGS50K_features_normed/{inner}_features/{name}_{ending}Feature.npy", row)


def _write_crisismmd(folder: Path, labels: NDArray[np.int64]) -> None:
    _save(folder / "image_features.npy", stamped((2048,), labels, np.float32))
    _save(folder / "text_features.npy", stamped((768,), labels, np.float32))
    _save(folder / "labels.npy", labels)


def _write_nyu(folder: Path, rows: int, sides: tuple[int, int]) -> None:
    """Write maps of blocks, one class each; as stored, width comes before height."""
    height, width = sides
    generator = np.random.default_rng(3)
    blocks = generator.integers(0, CLASSES["nyu"], size=(rows, width // 16, height // 16), dtype=np.uint8)
    labels = blocks.repeat(16, axis=1).repeat(16, axis=2)
    noise = generator.integers(0, 50, size=(rows, 3, width, height), dtype=np.uint8)
    images = noise + 5 * labels[:, np.newaxis]
    images[:, 0, 0, 0] = np.arange(rows)
    depths = labels / np.float32(4) + noise[:, 0] / np.float32(50)
    depths[:, 0, 0] = np.arange(rows)
    _save(folder / "images.npy", images)
    _save(folder / "depths.npy", depths)
    _save(folder / "labels40.npy", labels)


def _save(path: Path, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values, allow_pickle=False)


_WRITERS = {
    "avmnist": _write_avmnist,
    "ravdess": _write_ravdess,
    "vggsound": _write_vggsound,
    "crisismmd": _write_crisismmd,
}
