"""A bundle with another rule for answers: all else as it was, in a place of its own, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from bundle_factory import make_bundle, seal

from mstedge.errors import BundleError, UsageError
from mstedge.manifest import Postprocess, Stream
from mstedge.runtime.bundle import open_bundle
from mstedge.runtime.bundle.rewritten import check_new_place, write_with_postprocess
from mstedge.runtime.predictor import load
from mstedge.runtime.verify import verify
from mstedge.schema import encode_json

RULE = Postprocess(temperature=1.75, threshold=0.625, silence_dbfs=-55.5, stream=Stream(smoothing_hops=3, release=0.5))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tones.bundle", "audio", cases=3)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_the_rule_and_the_sums_differ(source: Path, tmp_path: Path) -> None:
    (source / "SIGNATURE").write_bytes(b"of the old sums")
    before, target = content(source), tmp_path / "new.bundle"
    write_with_postprocess(open_bundle(source), target, RULE)
    assert content(source) == before, "the old bundle is not touched"
    after = content(target)
    assert set(before) - set(after) == {"SIGNATURE"}
    assert {name for name in after if after[name] != before[name]} == {"manifest.json", "SHA256SUMS"}
    old, new = (msgspec.json.decode(each["manifest.json"]) for each in (before, after))
    assert {key for key in new if new[key] != old[key]} == {"postprocess"}
    assert list(new) == list(old)
    assert open_bundle(target).manifest.postprocess == RULE
    assert verify(load(target)).passed
    assert {path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()} == {0o644}


def test_same_rule_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_with_postprocess(open_bundle(source), tmp_path / name, RULE)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_manifest_of_an_older_version_keeps_what_it_says(source: Path, tmp_path: Path) -> None:
    document = msgspec.json.decode((source / "manifest.json").read_bytes())
    del document["kept"], document["postprocess"]
    (source / "manifest.json").write_bytes(encode_json(document))
    write_with_postprocess(open_bundle(seal(source)), tmp_path / "new", RULE)
    assert msgspec.json.decode((tmp_path / "new/manifest.json").read_bytes()) == {
        **document,
        "postprocess": msgspec.to_builtins(RULE),
    }


def test_older_result_is_replaced_and_kept_if_writing_fails(source: Path, tmp_path: Path) -> None:
    target = make_bundle(tmp_path / "older.bundle", "array", cases=1)
    before = content(target)
    bundle = open_bundle(source)
    (source / "model.onnx").write_bytes(b"changed after it was opened")
    with pytest.raises(BundleError):
        write_with_postprocess(bundle, target, RULE)
    assert content(target) == before
    shutil.rmtree(source)
    write_with_postprocess(open_bundle(make_bundle(source, "audio", cases=3)), target, RULE)
    assert open_bundle(target).manifest.modality == "audio"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["older.bundle", "tones.bundle"]


def test_file_that_changed_but_still_is_one_is_refused(source: Path, tmp_path: Path) -> None:
    bundle = open_bundle(source)
    raw = source / "golden/raw"
    shutil.copyfile(raw / "case-1.wav", raw / "case-0.wav")
    with pytest.raises(BundleError, match=r"golden/raw/case-0.wav"):
        write_with_postprocess(bundle, tmp_path / "new", RULE)
    assert not (tmp_path / "new").exists()


def test_places_that_hold_something_else_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    check_new_place(source, tmp_path / "folder")
    (tmp_path / "folder/letter.txt").touch()
    (tmp_path / "file").touch()
    for name in ("folder", "file"):
        with pytest.raises(UsageError, match="exists and is not a bundle"):
            check_new_place(source, tmp_path / name)
    link = tmp_path / "link.bundle"
    link.symlink_to(source)
    for target in (source, link, source / "inside", tmp_path, tmp_path / "folder/../tones.bundle"):
        with pytest.raises(UsageError, match="is or holds the bundle"):
            check_new_place(source, target)
