"""The gate's rows read again from files: matched by name, their features held against those of the export."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundle_factory import change_json, make_bundle, npy_bytes, seal

from mstedge.errors import DataError
from mstedge.runtime.bundle import Bundle, open_bundle
from mstedge.runtime.labelled_files import LabelledFiles, read_labelled
from mstedge.runtime.parity.from_files import rows_from_files
from mstedge.runtime.parity.stored import stored_rows

CASES = 6


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("pristine") / "made.bundle", "array", cases=CASES)


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "made.bundle"))


def manifest_of(folder: Path, lines: list[str]) -> Path:
    """Write a manifest of the bundle's own raw files, elsewhere."""
    elsewhere = folder.parent / "data"
    shutil.copytree(folder / "golden/raw", elsewhere, dirs_exist_ok=True)
    (elsewhere / "rows.csv").write_text("id,array,label\n" + "\n".join(lines) + "\n")
    return elsewhere / "rows.csv"


def files_of(folder: Path, names: range = range(CASES), label: str = "low") -> LabelledFiles:
    lines = [f"case-{number},case-{number}.npy,{label}" for number in names]
    return read_labelled(manifest_of(folder, lines), open_bundle(folder).manifest)


def keep_only(folder: Path, carried: int) -> Bundle:
    """Let fewer features travel."""
    rows = msgspec.json.decode((folder / "parity/rows.json").read_bytes())
    features = np.load(folder / "parity/features.npy")
    kept = np.concatenate([features[:carried], features[rows["carried"] :]])
    (folder / "parity/features.npy").write_bytes(npy_bytes(kept))
    change_json(folder, "parity/rows.json", carried=carried)
    return open_bundle(seal(folder))


def test_files_give_the_rows_that_travel(folder: Path) -> None:
    bundle = open_bundle(folder)
    stored, found = stored_rows(bundle), rows_from_files(bundle, files_of(folder))
    assert (found.unmatched, found.missing, found.rows.differing_features) == (0, 0, 0)
    order = [stored.ids.index(name) for name in found.rows.ids]
    np.testing.assert_array_equal(found.rows.features, stored.features[order])
    np.testing.assert_array_equal(found.rows.reference, stored.reference[order])
    np.testing.assert_array_equal(found.rows.edges.reference, stored.edges.reference)


def test_labels_are_those_of_the_files_and_the_bundles_where_there_are_none(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert rows_from_files(bundle, files_of(folder, label="high")).rows.labels.tolist() == [2] * CASES
    kept = rows_from_files(bundle, files_of(folder, label="")).rows
    stored = stored_rows(bundle)
    assert kept.labels.tolist() == [stored.labels[stored.ids.index(name)] for name in kept.ids]


def test_rows_that_only_one_side_has_are_counted(folder: Path) -> None:
    bundle = open_bundle(folder)
    found = rows_from_files(bundle, files_of(folder, range(2)))
    assert (len(found.rows), found.unmatched, found.missing) == (2, 0, CASES - 2)
    lines = ["case-0,case-0.npy,low", "stranger,case-1.npy,low"]
    more = rows_from_files(bundle, read_labelled(manifest_of(folder, lines), bundle.manifest))
    assert (more.rows.ids, more.unmatched, more.missing) == (("case-0",), 1, CASES - 1)
    nothing = read_labelled(manifest_of(folder, ["stranger,case-1.npy,low"]), bundle.manifest)
    with pytest.raises(DataError, match=r"rows\.csv: none of its 1 rows is among the 6"):
        rows_from_files(bundle, nothing)


@pytest.mark.parametrize(("shift", "differing"), [(1e-6, 0), (1e-2, 1)])
def test_features_that_travel_are_compared_within_a_tolerance(folder: Path, shift: float, differing: int) -> None:
    files = files_of(folder)
    values = np.load(files.paths[3]) + np.float32(shift)
    files.paths[3].write_bytes(npy_bytes(values.astype(np.float32)))
    assert rows_from_files(open_bundle(folder), files).rows.differing_features == differing


def test_features_that_do_not_travel_are_compared_by_digest(folder: Path) -> None:
    bundle = keep_only(folder, 2)
    files = files_of(folder)
    assert rows_from_files(bundle, files).rows.differing_features == 0
    last = bundle.parity_rows().ids[-1]
    path = files.paths[files.ids.index(last)]
    path.write_bytes(npy_bytes((np.load(path) + np.float32(1e-6)).astype(np.float32)))
    assert rows_from_files(bundle, files).rows.differing_features == 1
