"""Dense answers as files: what a viewer sees, what a program reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mstedge.errors import ConfigError, UsageError
from mstedge.runtime.sinks.masks import DenseAnswer, MaskSink
from mstedge.runtime.sinks.palette import class_colours
from mstedge.runtime.sinks.png import png_from_indices


def classes_of(count: int, kind: str = "int64") -> Any:
    places = np.random.default_rng(6).integers(0, count, (21, 34))
    places[0, :2] = 0, count - 1
    return places.astype(kind)


@pytest.mark.parametrize("count", [1, 2, 8, 21, 256])
@pytest.mark.parametrize("kind", ["int64", "uint8"])
def test_a_mask_shows_the_colours_and_holds_the_classes(tmp_path: Path, count: int, kind: str) -> None:
    places = classes_of(count, kind)
    picture_path, array_path = MaskSink(tmp_path / "new" / "folder", classes=count).write(
        DenseAnswer("x/room.jpg", places)
    )
    assert (picture_path.name, array_path.name) == ("room.png", "room.npy")
    with Image.open(picture_path) as picture:
        assert np.array_equal(np.asarray(picture), places)
        assert np.array_equal(np.asarray(picture.convert("RGB")), class_colours(count)[places])
    stored = np.load(array_path)
    assert stored.dtype == np.uint8
    assert np.array_equal(stored, places)
    assert {each.name for each in picture_path.parent.iterdir()} == {"room.png", "room.npy"}


def test_arrays_hold_more_classes_than_a_palette(tmp_path: Path) -> None:
    places = classes_of(1000)
    (path,) = MaskSink(tmp_path, classes=1000, kinds=["npy"]).write(DenseAnswer("a", places))
    assert np.load(path).dtype == np.uint16
    assert np.array_equal(np.load(path), places)
    with pytest.raises(ConfigError, match="1000 classes: expected 1 to 256"):
        MaskSink(tmp_path, classes=1000)


def test_equal_answers_give_equal_bytes() -> None:
    places = classes_of(8, "uint8")
    assert png_from_indices(places, class_colours(8)) == png_from_indices(np.asfortranarray(places), class_colours(8))


def test_every_answer_has_a_name_of_its_own(tmp_path: Path) -> None:
    sink = MaskSink(tmp_path, classes=2, kinds=["npy"])
    places = classes_of(2)
    names = [
        sink.write(DenseAnswer(source, places, index))[0].name
        for source, index in [
            ("a/room.png", None),
            ("b/room.png", None),
            ("a/room.png", None),
            ("cam:0", 0),
            ("cam:0", 17),
            ("film.mp4", 3),
            ("other/film.mkv", 3),
            ("film.mp4", 4),
            ("rtsp://u:***@10.0.0.2/s 1", 0),
            ("../../..", None),
            ("\x1b[31m", None),
        ]
    ]
    assert names == [
        "room.npy",
        "room-2.npy",
        "room-3.npy",
        "cam_0-000000.npy",
        "cam_0-000017.npy",
        "film-000003.npy",
        "film-2-000003.npy",
        "film-000004.npy",
        "s_1-000000.npy",
        "answer.npy",
        "31m.npy",
    ]


@pytest.mark.parametrize(
    "places",
    [np.zeros((3, 4, 1), int), np.zeros((0, 4), int), np.zeros((3, 4)), np.full((3, 4), 2), np.full((3, 4), -1)],
)
def test_what_is_no_dense_answer_is_refused(tmp_path: Path, places: Any) -> None:
    with pytest.raises(ConfigError, match=r"a\.png: a dense answer of shape .* from 0 to 1"):
        MaskSink(tmp_path, classes=2).write(DenseAnswer("a.png", places))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kinds", [[], ["jpg"]])
def test_other_kinds_of_files_are_refused(tmp_path: Path, kinds: list[str]) -> None:
    with pytest.raises(UsageError, match="expected png, npy or both"):
        MaskSink(tmp_path, classes=2, kinds=kinds)


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: cannot be made"):
        MaskSink(tmp_path / "file", classes=2)
    sink = MaskSink(tmp_path / "gone", classes=2)
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match=r"a\.png: cannot be written"):
        sink.write(DenseAnswer("a", classes_of(2)))


def test_colours_are_fixed_and_far_apart() -> None:
    colours = class_colours(256).astype(int)
    assert np.array_equal(class_colours(9), colours[:9])
    assert colours[:3].tolist() == [[0, 0, 0], [230, 159, 0], [86, 180, 233]]
    distances = np.sqrt(np.square(colours[:, np.newaxis] - colours).sum(axis=2)) + 1000 * np.eye(256)
    assert distances[:64, :64].min() > 60
    assert distances.min() > 30


# Machado, Oliveira and Fernandes (2009): how linear RGB is seen by people without one kind of cone.
SEEN_BY = {
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.mark.parametrize("person", SEEN_BY)
def test_the_first_eight_are_told_apart_without_one_kind_of_cone(person: str) -> None:
    linear = (class_colours(8) / 255.0) ** 2.2
    seen = np.clip(linear @ np.array(SEEN_BY[person]).T, 0, 1) ** (1 / 2.2) * 255
    distances = np.sqrt(np.square(seen[:, np.newaxis] - seen).sum(axis=2)) + 1000 * np.eye(8)
    assert distances.min() > 40  # the primary colours of a screen would be at 14 for a protanope
