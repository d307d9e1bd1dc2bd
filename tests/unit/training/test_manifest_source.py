"""One's own rows as a source: parts, labels, recordings, and what stands in the way of using them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from mstedge.errors import DataError, SampleError
from mstedge.specs import ArraySpec, AudioSpec
from mstedge.training.data.dataset import build_dataset
from mstedge.training.data.manifest_source import ManifestSource, manifest_source

SOUND = AudioSpec(
    sample_rate_hz=8000, clip_samples=800, window_samples=200, hop_samples=80, fft_samples=256, mel_bands=20
)
MOTION = ArraySpec(shape=(6,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty sounds and arrays, `s0.wav` ... and `m0.npy` ..., each with a content of its own."""
    for number in range(20):
        with wave.open(str(tmp_path / f"s{number}.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(np.full(400, number + 1, dtype="<i2").tobytes())
        np.save(tmp_path / f"m{number}.npy", np.full(6, number, dtype=np.float32))
    return tmp_path


def source_of(folder: Path, header: str, rows: list[str], seed: int = 0) -> ManifestSource:
    manifest = folder / "rows.csv"
    manifest.write_text("\n".join([header, *rows]) + "\n")
    return manifest_source(
        manifest,
        {"sound": SOUND, "motion": MOTION},
        student_modality="sound",
        licence="own",
        shareable=True,
        seed=seed,
    )


def rows_with(values: list[str]) -> list[str]:
    return [f"s{number}.wav,m{number}.npy,{value}" for number, value in enumerate(values)]


GIVEN = rows_with(["yes,train", "no,train", ",train", "no,validation", "yes,validation", "yes,test", "no,test"])


def test_given_split_is_kept(folder: Path) -> None:
    source = source_of(folder, "sound,motion,label,split", GIVEN)
    assert source.class_names == ("no", "yes")
    assert {part: index.labels.tolist() for part, index in source.parts.items()} == {
        "train": [1, 0, -1],
        "validation": [0, 1],
        "test": [1, 0],
    }
    assert source.parts["test"].ids == ("7-s5.wav", "8-s6.wav")
    assert source.parts["test"].clusters == ("s5.wav", "s6.wav")
    assert (source.licence, source.shareable) == ("own", True)


def test_recordings_belong_to_their_rows(folder: Path) -> None:
    source = source_of(folder, "sound,motion,label,split", GIVEN)
    assert source.decoded("test", "motion", 1).values.tolist() == [6.0] * 6
    sound = source.decoded("validation", "sound", 0)
    assert sound.rate_hz == 8000
    assert sound.values[:, 0] * 32768 == pytest.approx(np.full(400, 4.0))


def test_raw_file_is_the_users_own(folder: Path) -> None:
    source = source_of(folder, "sound,motion,label,split", GIVEN)
    raw = source.raw_file("test", "sound", 0)
    assert (raw.suffix, raw.content) == (".wav", (folder / "s5.wav").read_bytes())
    (folder / "s5.wav").unlink()
    with pytest.raises(SampleError, match=r"rows\.csv:7: sound: .*s5\.wav: cannot be read: No such file"):
        source.raw_file("test", "sound", 0)


def test_dataset_takes_it(folder: Path) -> None:
    source = source_of(folder, "sound,motion,label,split", GIVEN)
    dataset = build_dataset(source, source.specs, labelled_fraction=1.0, seed=0)
    assert dataset.parts["train"].features["sound"].shape == (3, *SOUND.feature_shape)


def test_numbers_are_sorted_as_numbers(folder: Path) -> None:
    labels = ["10", "9", "-1", "b", "2.5", "a"]
    rows = [f"{row},train" for row in rows_with(labels)]
    assert source_of(folder, "sound,motion,label,split", rows).class_names == ("-1", "2.5", "9", "10", "a", "b")


def test_drawn_split_keeps_groups_and_leaves_out_unlabelled_rows_of_tested_groups(folder: Path) -> None:
    speakers = ["anna", "ben", "cleo", "dan", "eve"]
    rows = rows_with([f"{label},{speaker}" for speaker in speakers for label in ("yes", "no", "", "")])
    source = source_of(folder, "sound,motion,label,group", rows)
    groups = {part: {row.group for row in rows} for part, rows in source.rows.items()}
    assert sorted(len(each) for each in groups.values()) == [1, 1, 3]
    assert not groups["train"] & (groups["validation"] | groups["test"])
    assert (source.parts["train"].labels == -1).sum() == 6
    assert (source.parts["validation"].labels >= 0).all()
    assert (source.parts["test"].labels >= 0).all()
    assert source.left_out == 4


def test_wholly_unlabelled_groups_are_trained_on(folder: Path) -> None:
    rows = rows_with([f"{'yes' if number % 2 else 'no'},g{number // 2}" for number in range(8)] + [",new", ",new"])
    source = source_of(folder, "sound,motion,label,group", rows)
    assert [row.label for row in source.rows["train"] if row.group == "new"] == ["", ""]
    assert source.left_out == 0


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("label,split", ["yes,train", "no,val"], "rows.csv:3: split is 'val'"),
        ("label,split", ["yes,train", "no,train", ",test", ",validation"], "no label on lines 4, 5, in the validation"),
        ("label,split", ["yes,train", "yes,test", "no,test"], "the class 'no' has no row in the train part"),
        (
            "label,split,group",
            ["yes,train,anna", "no,test,anna"],
            "the group 'anna' stands in two splits: 'train' on line 2",
        ),
        ("label,split,cluster", ["yes,train,walk", "no,test,walk"], "the cluster 'walk' stands in two splits"),
        ("label,cluster,group", ["yes,walk,a", "no,walk,b"], "the cluster 'walk' stands in two groups"),
        ("label,id", ["yes,a", "no,b", "no,a"], "rows.csv:4: the id 'a' stands on line 2 already"),
        ("label", ["yes", "yes"], r"the labels are ['yes']: expected at least two classes"),
        ("split", ["train", "test"], "the labels are []"),
        ("label", ["yes", "no", "yes", "no"], "the class 'no' is in 2 of 4 groups"),
    ],
)
def test_rows_that_cannot_be_used(folder: Path, header: str, rows: list[str], message: str) -> None:
    with pytest.raises(DataError) as problem:
        source_of(folder, f"sound,motion,{header}", rows_with(rows))
    assert message in str(problem.value)


def test_misspelt_part_has_a_hint(folder: Path) -> None:
    with pytest.raises(DataError) as problem:
        source_of(folder, "sound,motion,label,split", rows_with(["yes,train", "no,valid"]))
    assert "choose from: test, train, validation" in (problem.value.hint or "")


def test_one_recording_in_two_parts_is_an_error(folder: Path) -> None:
    rows = ["s0.wav,m0.npy,yes,train,a", "s1.wav,m1.npy,no,train,b", "./s0.wav,m2.npy,yes,test,c"]
    with pytest.raises(DataError, match=r"the recording 's0\.wav' stands in two splits"):
        source_of(folder, "sound,motion,label,split,group", rows)


def test_missing_files_are_named_together(folder: Path) -> None:
    rows = rows_with(["yes", "no"]) + [f"x{number}.wav,m1.npy,yes" for number in range(7)]
    with pytest.raises(DataError) as problem:
        source_of(folder, "sound,motion,label", rows)
    message = str(problem.value)
    assert "7 of 18 files do not exist" in message
    assert "line 4: sound 'x0.wav'" in message
    assert "line 8: sound 'x4.wav'" in message
    assert "x5.wav" not in message


def test_unreadable_recording_names_its_line_and_file(folder: Path) -> None:
    (folder / "s5.wav").write_bytes(b"no sound at all")
    source = source_of(folder, "sound,motion,label,split", GIVEN)
    with pytest.raises(SampleError, match=r"rows\.csv:7: sound: .*s5\.wav"):
        source.decoded("test", "sound", 0)


def test_paths_may_leave_the_folder(folder: Path) -> None:
    inner = folder / "lists"
    inner.mkdir()
    rows = [f"../s{number}.wav,{folder}/m{number}.npy,{label},train" for number, label in enumerate(["yes", "no"])]
    source = source_of(inner, "sound,motion,label,split", rows)
    assert source.decoded("train", "motion", 1).values.tolist() == [1.0] * 6
    assert source.decoded("train", "sound", 1).values[0, 0] * 32768 == pytest.approx(2.0)
