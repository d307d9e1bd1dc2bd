"""The gate's rows inside a bundle: what is written comes back, and nothing that does not fit is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bundle_factory import SPECS, change_json, make_bundle, npy_bytes, seal, write_calibration
from gate_parts import gate_rows

from mstedge.errors import BundleError, CheckFailedError
from mstedge.parity import ParityRows
from mstedge.runtime.bundle import open_bundle
from mstedge.runtime.parity.rows import digests_of_rows
from mstedge.runtime.parity.stored import stored_rows, write_parity_rows


def described(folder: Path) -> ParityRows:
    return msgspec.json.decode((folder / "parity/rows.json").read_bytes(), type=ParityRows)


@pytest.mark.parametrize("kind", ["audio", "image", "array"])
def test_rows_come_back_with_their_extremes(tmp_path: Path, kind: Any) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "made", kind, cases=12))
    rows = stored_rows(bundle)
    assert sorted(rows.ids) == sorted(f"case-{number}" for number in range(12))
    assert rows.features.shape == (12, *SPECS[kind].feature_shape)
    golden = {case.id: case for case in bundle.golden_cases().cases}
    for row, name in enumerate(rows.ids):
        np.testing.assert_array_equal(rows.features[row], bundle.golden_features()[golden[name].index])
        np.testing.assert_array_equal(rows.reference[row], bundle.golden_logits()[golden[name].index])
        assert rows.labels[row] == golden[name].label
    assert len(rows.edges.names) == len(rows.edges.features) == len(rows.edges.reference) > 1
    assert rows.differing_features is None


def test_what_does_not_fit_is_left_out_but_its_logits_and_digest_travel(tmp_path: Path) -> None:
    rows = gate_rows(50)
    room = rows.features[0].nbytes * 12 + rows.edges.features.nbytes + 3
    write_parity_rows(tmp_path, rows, max_features_bytes=room)
    found = described(tmp_path)
    assert (found.carried, len(found.ids), found.edges) == (12, 50, rows.edges.names)
    features, logits = (np.load(tmp_path / f"parity/{name}.npy") for name in ("features", "logits"))
    assert (features.shape, logits.shape) == ((14, 3), (52, 5))
    positions = [rows.ids.index(name) for name in found.ids]
    np.testing.assert_array_equal(features[:12], rows.features[positions[:12]])
    np.testing.assert_array_equal(logits[:50], rows.reference[positions])
    np.testing.assert_array_equal(features[12:], rows.edges.features)
    assert found.features_sha256 == digests_of_rows(rows.features[positions])


def test_the_first_rows_are_a_sample_that_only_names_decide(tmp_path: Path) -> None:
    rows = gate_rows(200)
    write_parity_rows(tmp_path, rows)
    order = described(tmp_path).ids
    assert order != rows.ids
    assert set(order) == set(rows.ids)
    back = replace(rows, ids=rows.ids[::-1], clusters=rows.clusters[::-1])
    write_parity_rows(tmp_path, back)
    assert described(tmp_path).ids == order
    # Half of the first half comes from each half of the rows, give or take.
    assert 30 < sum(rows.ids.index(name) < 100 for name in order[:100]) < 70


def test_one_row_travels_however_large_it_is(tmp_path: Path) -> None:
    write_parity_rows(tmp_path, gate_rows(5), max_features_bytes=1)
    assert described(tmp_path).carried == 1


def test_a_row_without_a_label_stays_without(tmp_path: Path) -> None:
    labels = np.array([0, -1, 2])
    write_parity_rows(tmp_path, gate_rows(3, labels=labels))
    found = described(tmp_path)
    assert dict(zip(found.ids, found.labels, strict=True)) == {"row-0": 0, "row-1": None, "row-2": 2}


def test_dense_rows_do_not_travel(tmp_path: Path) -> None:
    rows = replace(gate_rows(2), reference=np.zeros((2, 5, 4), np.float32), labels=np.zeros((2, 4), np.int64))
    with pytest.raises(CheckFailedError, match=r"\[2, 5, 4\]: expected \[rows, classes\]"):
        write_parity_rows(tmp_path, rows)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert caught.value.hint
    return caught.value.message


def rows_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode((folder / "parity/rows.json").read_bytes())
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ["only"]}, "has 1 rows, but parity/report.json compared 8"),
        ({"clusters": ["a"]}, "has 8 ids, but 1 clusters"),
        ({"labels": [0] * 9}, "has 8 ids, but 9 labels"),
        ({"features_sha256": []}, "has 8 ids, but 0 sha256"),
        ({"labels": [0] * 7 + [3]}, "has the label 3: there are 3 labels"),
        ({"labels": [0] * 7 + [-1]}, "has the label -1"),
        ({"features_sha256": ["0" * 63] * 8}, "not a sha256"),
        ({"ids": ["same"] * 8}, "has one name twice"),
        ({"ids": ["a\nb", *"bcdefgh"]}, "expected printable text"),
        ({"clusters": ["\x1b[31m"] * 8}, "has a cluster that is not printable"),
        ({"carried": 9}, "carries 9 of 8 rows"),
        ({"carried": -1}, "carries -1 of 8 rows"),
        ({"carried": 7}, "parity/features.npy: has 11 rows: expected 10"),
        ({"edges": ["one"]}, "parity/features.npy: has 11 rows: expected 9"),
        ({"edges": ["one", "one", "two"]}, "has one name twice"),
        ({"schema": "mstedge.parity-rows/2"}, "schema"),
    ],
)
def test_rows_that_do_not_fit_are_refused(bundle: Path, changes: dict[str, Any], message: str) -> None:
    found = refusal(change_json(bundle, "parity/rows.json", **changes))
    assert message in found
    assert str(bundle) in found


def test_arrays_that_do_not_fit_are_refused(bundle: Path) -> None:
    logits = np.load(bundle / "parity/logits.npy")
    (bundle / "parity/logits.npy").write_bytes(npy_bytes(logits[:-1]))
    assert "parity/logits.npy: has 10 rows: expected 11" in refusal(seal(bundle))
    (bundle / "parity/logits.npy").write_bytes(npy_bytes(logits[:, :2].copy()))
    assert "parity/logits.npy: has shape [11, 2]" in refusal(seal(bundle))


def test_features_that_are_not_those_of_the_digests_are_refused_when_they_are_used(bundle: Path) -> None:
    features = np.load(bundle / "parity/features.npy")
    features[2] += 1
    (bundle / "parity/features.npy").write_bytes(npy_bytes(features))
    opened = open_bundle(seal(bundle))
    with pytest.raises(BundleError, match=r"parity/features\.npy: not the features that parity/rows\.json names"):
        stored_rows(opened)


def test_calibration_rows_are_there_exactly_for_int8(bundle: Path) -> None:
    write_calibration(bundle, rows=4)
    assert "parity/calibration.json: is there, but the precision is fp32" in refusal(seal(bundle))
    quantisation = {"form": "uint8", "method": "minmax", "rows": 4}
    change_json(bundle, "manifest.json", precision="int8", quantisation=quantisation)
    change_json(bundle, "parity/report.json", precision="int8")
    calibration = open_bundle(bundle).calibration()
    assert calibration is not None
    assert (calibration.method, len(calibration.ids)) == ("minmax", 4)
    change_json(bundle, "manifest.json", quantisation={**quantisation, "rows": 5})
    assert "says minmax over 4 rows, but the manifest says minmax over 5 rows" in refusal(bundle)
    (bundle / "parity/calibration.json").unlink()
    assert "parity/calibration.json: is missing, but the precision is int8" in refusal(seal(bundle))


def test_other_precisions_have_no_calibration(bundle: Path) -> None:
    assert open_bundle(bundle).calibration() is None


@pytest.mark.parametrize("name", ["rows.json", "features.npy", "logits.npy"])
def test_every_file_is_required(bundle: Path, name: str) -> None:
    (bundle / "parity" / name).unlink()
    assert f"lacks 'parity/{name}'" in refusal(seal(bundle))


@pytest.mark.parametrize(
    "changes", [{"verdict": "fail"}, {"scope": "engine"}, {"rows": 9}, {"precision": "fp16"}, {"target": "trt"}]
)
def test_a_report_that_the_manifest_does_not_sum_up_is_refused(bundle: Path, changes: dict[str, Any]) -> None:
    assert "parity/report.json: says " in refusal(change_json(bundle, "parity/report.json", **changes))
