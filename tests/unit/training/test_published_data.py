"""The published layouts: rows with their own partners and labels, split as published; errors that name the file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_published_data import CLASSES, FIFTH_SIDES, STUDENTS, made_labels, write_published
from numpy.typing import NDArray

from mstedge.errors import DataError, SampleError
from mstedge.recipe import Recipe
from mstedge.recipe_data import PublishedData
from mstedge.runtime.preprocess import decode_file, features_from_decoded
from mstedge.training.data.published.layouts import LAYOUTS
from mstedge.training.data.published.permutations import PERMUTATIONS, drawn_permutation, split_rows
from mstedge.training.data.published.source import PublishedSource, published_source
from mstedge.training.data.source import PARTS, UNLABELLED
from mstedge.training.recipe_files import load_recipe
from mstedge.training.sources import load_dataset

ROWS = 12
Labels = NDArray[np.integer]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a layout that nobody changes, written when first asked for."""
    root = tmp_path_factory.mktemp("published")

    def folder(layout: str) -> Path:
        return root / layout if (root / layout).exists() else write_published(layout, root / layout, rows=ROWS)

    return folder


def recipe_on(folder: Path, layout: str, *overrides: str) -> Recipe:
    height, width = FIFTH_SIDES
    fifth = f"modalities.rgb.height={height}", f"modalities.rgb.width={width}"
    smaller = (*fifth, f"modalities.depth.shape=[1, {height}, {width}]") if layout == "nyu" else ()
    return load_recipe(f"{layout}-{STUDENTS[layout][0]}", [f"data.path={folder}", *smaller, *overrides])


def source_on(folder: Path, layout: str, *overrides: str) -> PublishedSource:
    recipe = recipe_on(folder, layout, *overrides)
    assert isinstance(recipe.data, PublishedData)
    return published_source(recipe.data, recipe.modalities)


@pytest.mark.parametrize("layout", ["avmnist", "ravdess", "vggsound", "crisismmd"])
def test_every_row_comes_with_its_own_partner_and_label(folders: Callable[[str], Path], layout: str) -> None:
    source = source_on(folders(layout), layout)
    labels = made_labels(layout, ROWS)
    assert len(source.class_names) == len(set(source.class_names)) == CLASSES[layout]
    seen = []
    for part in PARTS:
        for row, label in enumerate(source.parts[part].labels.tolist()):
            stamps = {float(source.decoded(part, name, row).values.flat[0]) for name in STUDENTS[layout]}
            assert len(stamps) == 1
            seen.append(int(stamps.pop()))
            assert label == labels[seen[-1]]
            assert str(seen[-1]) in source.parts[part].ids[row]
    assert sorted(seen) == list(range(ROWS))
    assert [len(source.parts[part].ids) for part in PARTS] == [7, 2, 3]


def test_maps_stand_upright_over_their_picture_and_class_zero_does_not_count(folders: Callable[[str], Path]) -> None:
    folder = folders("nyu")
    stored = {name: np.load(folder / f"{name}.npy") for name in ("images", "depths", "labels40")}
    source = source_on(folder, "nyu")
    assert len(source.class_names) == 41
    row_of = {f"row{row:05d}": row for row in range(ROWS)}
    for part in PARTS:
        index = source.parts[part]
        assert index.labels.shape == (len(index.ids), *FIFTH_SIDES)
        for row, name in enumerate(index.ids):
            at = row_of[name]
            pixels, depth = (source.decoded(part, modality, row).values for modality in ("rgb", "depth"))
            assert pixels.shape == (*FIFTH_SIDES, 3)
            assert np.array_equal(pixels[10, 90], stored["images"][at, :, 90, 10])
            assert np.array_equal(depth[0], stored["depths"][at].T)
            expected = stored["labels40"][at].T.astype(int)
            assert np.array_equal(index.labels[row], np.where(expected == 0, UNLABELLED, expected))
    assert (stored["labels40"] == 0).any()


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_opening_reads_no_sample(folders: Callable[[str], Path], layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_anything: object) -> None:
        raise AssertionError

    for column in ("MappedColumn", "FileColumn"):
        monkeypatch.setattr(f"mstedge.training.data.published.columns.{column}.values", refuse)
    source = source_on(folders(layout), layout)
    arrays = [array for column in source.columns.values() for array in getattr(column, "arrays", ())]
    assert all(isinstance(array, np.memmap) for array in arrays)
    assert bool(arrays) != (layout == "vggsound")
    assert not source.shareable


@pytest.mark.parametrize(("rows", "sizes"), [(70_000, (42_000, 14_000, 14_000)), (1449, (869, 290, 290))])
def test_splits_are_cut_from_the_published_draws(tmp_path: Path, rows: int, sizes: tuple[int, ...]) -> None:
    published = np.random.RandomState(19980427)
    fourth = [published.permutation(rows) for _ in range(4)][3]
    parts = split_rows(rows, 3, tmp_path / "none.csv")
    assert tuple(len(parts[part]) for part in PARTS) == sizes
    assert np.array_equal(np.concatenate([parts[part] for part in PARTS]), fourth)


def test_draws_stay_as_they_are() -> None:
    digests = [hashlib.sha256(drawn_permutation(1440, which).tobytes()).hexdigest()[:12] for which in (0, 19)]
    assert digests == ["a890e8d0b09b", "78911f62905d"]
    assert len({drawn_permutation(50, which).tobytes() for which in range(PERMUTATIONS)}) == PERMUTATIONS


def test_a_table_of_permutations_beside_the_arrays_is_followed(tmp_path: Path) -> None:
    folder = write_published("crisismmd", tmp_path, rows=10)
    columns = {"group_0": range(10), "group_1": range(9, -1, -1)}
    lines = [",".join(columns), *(f"{a},{b}" for a, b in zip(*columns.values(), strict=True))]
    table = folder / "CMMD-V2_indices.csv"
    table.write_text("\n".join(lines))
    stamps = [
        [source.decoded("test", "text", row).values[0] for row in range(2)]
        for source in (source_on(folder, "crisismmd", f"data.permutation={which}") for which in (0, 1))
    ]
    assert stamps == [[8, 9], [1, 0]]
    with pytest.raises(DataError, match=r"CMMD-V2_indices\.csv has no column 'group_2'"):
        source_on(folder, "crisismmd", "data.permutation=2")
    for content, message in (
        ("group_0\n" + "\n".join(["0"] * 10), "has 10 numbers: expected each row number below 10 once"),
        ("group_0\n0\n1\n", "has 2 numbers: expected each row number below 10"),
        ("group_0\n0\nx\n", "invalid literal .*: expected row numbers"),
        ("group_0,other\n0\n,1\n", "invalid literal .*: expected row numbers"),
    ):
        table.write_text(content)
        with pytest.raises(DataError, match=message):
            source_on(folder, "crisismmd")


def test_a_permutation_that_was_never_drawn_is_refused(folders: Callable[[str], Path]) -> None:
    with pytest.raises(DataError, match=r"data\.permutation is 20: expected 0 to 19"):
        source_on(folders("crisismmd"), "crisismmd", "data.permutation=20")


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_missing_files_are_named_with_what_they_hold(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DataError) as caught:
        source_on(tmp_path / "nowhere", layout)
    for file, holds in LAYOUTS[layout].files.items():
        assert f"{file}: {holds}" in caught.value.message
    assert "--set data.path=FOLDER" in (caught.value.hint or "")
    folder = write_published(layout, tmp_path / "here", rows=5)
    first = next(iter(LAYOUTS[layout].files))
    (folder / first).unlink()
    with pytest.raises(DataError, match=rf"1 of the {len(LAYOUTS[layout].files)} files and folders .*\n  {first}: "):
        source_on(folder, layout)


def _saved(name: str, values: object) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, np.asarray(values), allow_pickle=True)


def _written(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("avmnist", _saved("image/test_data.npy", np.zeros((1, 783))), r"\[1, 783\]: expected rows of 1 \* 28 \* 28"),
        (
            "avmnist",
            _saved("audio/train_data.npy", np.zeros((3, 112, 112))),
            "has 3 rows, but .*train_labels.npy has 4",
        ),
        ("avmnist", _saved("train_labels.npy", [0, 1, 10, 2]), "has the label 10 in row 2: expected .* from 0 to 9"),
        ("crisismmd", _saved("labels.npy", [0, 1, -1, 2, 3]), "has the label -1 in row 2: expected .* from 0 to 7"),
        ("crisismmd", _saved("labels.npy", [0, 1, 2.5, 2, 3]), r"has the label 2\.5 in row 2"),
        ("crisismmd", _saved("labels.npy", [0, 1, np.nan, 2, 3]), "has the label nan in row 2"),
        (
            "crisismmd",
            _saved("labels.npy", np.eye(5)),
            r"labels.npy has the shape \[5, 5\]: expected one label per row",
        ),
        ("crisismmd", _saved("labels.npy", np.array([{}] * 5)), "labels.npy is not a .npy file of plain numbers"),
        ("crisismmd", _saved("labels.npy", ["a"] * 5), "labels.npy does not hold one array of real numbers"),
        ("crisismmd", _written("labels.npy", "PK"), "labels.npy is not a .npy file of plain numbers"),
        ("crisismmd", _saved("text_features.npy", np.zeros((4, 768))), "text_features.npy has 4 rows, but .* has 5"),
        ("crisismmd", _saved("text_features.npy", np.zeros((5, 700))), r"says the shape \[768\]: .* has \[700\]"),
        ("crisismmd", _saved("text_features.npy", np.zeros(5)), r"the shape \[5\]: expected \[any, any\]"),
        ("nyu", _saved("images.npy", np.zeros((5, 3, 96, 128), np.uint8)), r"expected \[5, 3, 128, 96\]"),
        ("nyu", _saved("images.npy", np.zeros((5, 3, 128, 96))), "has the element type float64: expected uint8"),
        ("nyu", _saved("depths.npy", np.zeros((4, 128, 96))), r"expected \[5, 128, 96\]"),
        ("nyu", _saved("labels40.npy", np.full((5, 128, 96), 41)), "has the label 41 in row 0: expected .* 0 to 40"),
        ("vggsound", _written("VGGS50k_metadata.txt", "a&1\nb\n"), "line 2, is 'b': expected NAME&LABEL"),
        ("vggsound", _written("VGGS50k_metadata.txt", "../a&1\n"), "line 1, is '../a&1': expected NAME&LABEL"),
        ("vggsound", _written("VGGS50k_metadata.txt", "\n"), "names no row"),
        ("vggsound", _written("VGGS50k_metadata.txt", "a&1\na&2\n"), "names 'a' more than once"),
        ("vggsound", _written("VGGS50k_metadata.txt", "a&1\nb&141\n"), "has the label 141 in row 1"),
        ("vggsound", _written("VGGS50k_metadata.txt", "a&1\nb&2\n"), "lacks 2 of 2 files: a_vFeature.npy, b_vFeature"),
    ],
)
def test_what_does_not_fit_is_refused_when_opened(
    tmp_path: Path, layout: str, damage: Callable[[Path], None], message: str
) -> None:
    folder = write_published(layout, tmp_path, rows=5)
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        source_on(folder, layout)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("layout", "overrides", "message"),
    [
        ("crisismmd", ["modalities.text.shape=[769]"], r"modalities\.text says the shape \[769\]: .* has \[768\]"),
        ("crisismmd", ["modalities.sound={kind: array, shape: [3]}"], "has no modality 'sound'"),
        ("crisismmd", ["modalities.text={kind: image, width: 8, height: 8}"], "another kind: expected array"),
        ("nyu", ["modalities.rgb={kind: array, shape: [3, 96, 128]}"], "another kind: expected image"),
        ("nyu", ["modalities.rgb.width=64"], r"says the shape \[3, 96, 64\]: .* has \[3, 96, 128\]"),
    ],
)
def test_a_recipe_that_asks_for_something_else_is_refused(
    folders: Callable[[str], Path], layout: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        source_on(folders(layout), layout, *overrides)


def test_a_value_that_is_not_finite_is_named_with_file_and_row(tmp_path: Path) -> None:
    folder = write_published("avmnist", tmp_path, rows=14)
    values = np.load(folder / "image/test_data.npy")
    values[1, 5] = np.inf
    np.save(folder / "image/test_data.npy", values)
    with pytest.raises(SampleError, match=r"image/test_data\.npy, row 1 has values that are not finite"):
        load_dataset(recipe_on(folder, "avmnist"))


def test_a_file_of_another_shape_is_named(tmp_path: Path) -> None:
    folder = write_published("vggsound", tmp_path, rows=10)
    file = next((folder / "VGGS50K_features_normed/audio_features").glob("*_3_13_*"))
    np.save(file, np.zeros((10, 127)))
    with pytest.raises(SampleError, match=rf"{file.name} has the shape \[10, 127\]: expected \[10, 128\]"):
        load_dataset(recipe_on(folder, "vggsound"))
    file.write_bytes(b"no array")
    with pytest.raises(SampleError, match=rf"{file.name} is not a \.npy file"):
        load_dataset(recipe_on(folder, "vggsound"))


@pytest.mark.parametrize("layout", ["crisismmd", "nyu"])
def test_raw_files_give_the_same_features_as_training(
    tmp_path: Path, folders: Callable[[str], Path], layout: str
) -> None:
    recipe = recipe_on(folders(layout), layout)
    source = source_on(folders(layout), layout)
    for modality, spec in recipe.modalities.items():
        file = source.raw_file("validation", modality, 1)
        path = tmp_path / f"{modality}{file.suffix}"
        path.write_bytes(file.content)
        from_file = features_from_decoded(decode_file(path, spec), spec)
        assert np.array_equal(from_file, features_from_decoded(source.decoded("validation", modality, 1), spec))


@pytest.mark.parametrize(
    ("layout", "counts"),
    [
        ("avmnist", {"image": (0, 1), "audio": (0, 1)}),
        ("ravdess", {"visual": (1, 3), "audio": (0, 15)}),
        ("crisismmd", {"image": (0, 2048), "text": (0, 768)}),
        ("nyu", {"rgb": (0, 3), "depth": (0, 1)}),
    ],
)
def test_channels_are_scaled_and_not_columns(
    folders: Callable[[str], Path], layout: str, counts: dict[str, tuple[int, int]]
) -> None:
    dataset = load_dataset(recipe_on(folders(layout), layout))
    for modality, (axis, count) in counts.items():
        scaling = dataset.specs[modality].scaling
        assert scaling is not None
        assert len(scaling.mean) == count
        values = dataset.parts["train"].features[modality]
        others = tuple(each for each in range(values.ndim) if each != axis + 1)
        assert np.abs(values.mean(axis=others, dtype=np.float64)).max() < 1e-3
        assert values.std(axis=others, dtype=np.float64) == pytest.approx(1.0, abs=1e-3)
