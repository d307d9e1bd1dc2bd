"""Labelled files: manifests and folders as users have them, the same rows as in training, and what is refused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from bundle_factory import LABELS, SPECS

from mstedge.errors import DataError
from mstedge.runtime.labelled_files import UNLABELLED, LabelledFiles, read_labelled
from mstedge.specs import Spec
from mstedge.training.data.manifest_source import manifest_source


@dataclass
class OneSensor:
    modality: str = "sound"
    spec: Spec = SPECS["audio"]
    labels: tuple[str, ...] = LABELS


def written(tmp_path: Path, text: str, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")
    return tmp_path / "sounds"


def read(data: Path) -> LabelledFiles:
    return read_labelled(data, OneSensor())


SPLIT_ROWS = """sound,picture,label,split,cluster
a.wav,a.png,low,train,one
./b.wav,b.png,high,train,two
clips/c.wav,c.png,middle,test,three
clips/d.wav,d.png,low,test,three
e.wav,e.png,high,validation,four
f.wav,f.png,,train,five
g.wav,g.png,middle,train,six
"""


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_rows_are_those_of_training(tmp_path: Path, part: str) -> None:
    (tmp_path / "clips").mkdir()
    for stem in ("a", "b", "clips/c", "clips/d", "e", "f", "g"):
        (tmp_path / f"{stem}.wav").touch()
        (tmp_path / Path(stem).name).with_suffix(".png").touch()
    path = written(tmp_path, SPLIT_ROWS)
    specs = {"sound": SPECS["audio"], "picture": SPECS["image"]}
    source = manifest_source(path, specs, student_modality="sound", licence="-", shareable=False, seed=0)
    index = source.parts[part]  # type: ignore[index]
    files = read_labelled(path, OneSensor(labels=source.class_names), parts=[part])  # type: ignore[list-item]
    assert files.ids == index.ids
    assert files.clusters == index.clusters
    assert files.labels.tolist() == index.labels.tolist()
    assert set(files.splits) == {part}
    assert files.left_out == 7 - len(files)


def test_training_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    files = read(written(tmp_path, SPLIT_ROWS))
    assert files.ids == ("4-c.wav", "5-d.wav", "6-e.wav")
    assert files.paths == tuple(tmp_path / name for name in ("clips/c.wav", "clips/d.wav", "e.wav"))
    assert files.labels.tolist() == [1, 0, 2]
    assert files.clusters == ("three", "three", "four")
    assert (files.parts, files.left_out, files.name) == (("validation", "test"), 4, "rows.csv")


def test_without_a_split_every_row_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, '{"sound": "a.wav", "label": "high"}\n{"sound": "b.wav", "label": null}\n', "rows.jsonl")
    monkeypatch.chdir(tmp_path)
    files = read(Path("rows.jsonl"))
    assert files.labels.tolist() == [2, UNLABELLED]
    assert files.splits == (None, None)
    assert (files.parts, files.left_out) == ((), 0)
    assert files.paths == (tmp_path / "a.wav", tmp_path / "b.wav")


def test_folder_has_its_labels_in_the_names_of_its_sub_folders(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path, "low/b.WAV", "low/day 2/a.wav", "high/a.wav", "high/notes.txt", "high/.hidden.wav", ".git/x", "README"
    )
    files = read(folder)
    assert files.ids == ("high/a.wav", "low/b.WAV", "low/day 2/a.wav")
    assert files.clusters == files.ids
    assert files.labels.tolist() == [2, 0, 0]
    assert files.paths == tuple(folder / name for name in files.ids)
    assert sorted(path.name for path in files.skipped) == [".hidden.wav", "notes.txt"]
    assert files.splits == (None, None, None)
    assert files.name == "sounds"


def test_ids_are_valid_unicode(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "low/a.wav")
    Path(os.fsdecode(os.fsencode(folder) + b"/low/\xff.wav")).write_bytes(b"-")
    files = read(folder)
    assert files.ids == ("low/a.wav", "low/\\xff.wav")
    assert all(path.exists() for path in files.paths)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("sound,label\na.wav,low\nb.wav,hgih\nc.wav,hgih\n", "'hgih' on lines 3, 4 is none", "did you mean 'high'?"),
        ("sond,label\na.wav,low\n", "has no column 'sound'", "did you mean 'sond'?"),
        ("sound,lable\na.wav,low\n", "column 'lable' is neither", "did you mean 'label'?"),
        ("sound,label,split\na.wav,low,tset\n", "split is 'tset'", "did you mean 'test'?"),
        ("sound,label,split\na.wav,low,train\n", "none of 1 rows is of the split validation or test", "learnt from"),
        ("sound,label,split\na.wav,low,train\na.wav,low,test\n", "stands in two splits", "trained on"),
        ("sound,label,id\na.wav,low,x\nb.wav,low,x\n", "the id 'x' stands on line 2 already", None),
    ],
)
def test_manifest_that_cannot_be_used(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(DataError) as problem:
        read(written(tmp_path, text))
    assert message in problem.value.message
    assert (hint or "") in (problem.value.hint or "")


@pytest.mark.parametrize(
    ("names", "message", "hint"),
    [
        (["hihg/a.wav", "low/a.wav"], "the sub-folder 'hihg' is none", "did you mean 'high'?"),
        (["a.wav", "b.wav"], "has no sub-folder", "one sub-folder per label"),
        (["a.wav", "low/b.wav"], "not in the sub-folder of a label: a.wav", "sub-folder of its label"),
        ([*"abcd", *(f"{one}.wav" for one in "abcd"), "low/b.wav"], "a.wav, b.wav, c.wav and 1 more", "of its label"),
        (["low/notes.txt"], "no file in it ends in .wav", "one sub-folder per label"),
    ],
)
def test_folder_that_cannot_be_used(tmp_path: Path, names: list[str], message: str, hint: str) -> None:
    with pytest.raises(DataError) as problem:
        read(folder_of(tmp_path, *names))
    assert message in problem.value.message
    assert hint in (problem.value.hint or "")


def test_neither_manifest_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        read(tmp_path / "nothing")
    with pytest.raises(DataError, match="is neither a manifest nor a folder"):
        read(written(tmp_path, "-", "rows.txt"))
