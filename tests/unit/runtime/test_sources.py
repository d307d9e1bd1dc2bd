"""From arguments to files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bundle_factory import SPECS

from mstedge.errors import UsageError
from mstedge.runtime.sources import expand_inputs, readable_suffixes

AUDIO = SPECS["audio"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.wav", "a.WAV", "deep/er/c.flac", "notes.txt", "._b.wav", "deep/picture.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_folder_is_searched_with_its_folders_and_sorted(tree: Path) -> None:
    found = expand_inputs([str(tree)], AUDIO)
    assert found.files == [tree / "a.WAV", tree / "b.wav", tree / "deep/er/c.flac"]
    assert found.skipped == [tree / "._b.wav", tree / "deep/picture.png", tree / "notes.txt"]


def test_modality_decides_what_is_looked_for(tree: Path) -> None:
    assert expand_inputs([str(tree)], SPECS["image"]).files == [tree / "deep/picture.png"]


def test_file_named_outright_is_taken_whatever_it_is_called(tree: Path) -> None:
    files = expand_inputs([str(tree / "notes.txt"), str(tree / "a.WAV"), str(tree / "notes.txt")], AUDIO).files
    assert files == [tree / "notes.txt", tree / "a.WAV", tree / "notes.txt"]


def test_links_to_folders_are_not_followed(tree: Path) -> None:
    (tree / "deep" / "loop").symlink_to(tree)
    assert len(expand_inputs([str(tree)], AUDIO).files) == 3


@pytest.mark.parametrize("name", ["missing.wav", "a.WAV/below", "x" * 300])
def test_no_such_path(tree: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: cannot be read: "):
        expand_inputs([str(tree), str(tree / name)], AUDIO)


def test_nothing_to_read_says_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"")
    with pytest.raises(UsageError, match="no file to answer for") as caught:
        expand_inputs([str(tmp_path)], SPECS["array"])
    assert ".npy" in str(caught.value)
    assert readable_suffixes(SPECS["array"]) == (".npy",)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.wav", ["b.wav"]),
        ("?.[wW]*", ["a.WAV", "b.wav"]),
        ("**/*.flac", ["deep/er/c.flac"]),
        ("**/*.[wf]*", ["b.wav", "deep/er/c.flac"]),
        ("deep/*", ["deep/er/c.flac", "deep/picture.png"]),
        ("**", ["a.WAV", "b.wav", "deep/er/c.flac"]),
        ("._*", ["._b.wav"]),
        ("*.txt", ["notes.txt"]),
    ],
)
def test_patterns_mean_what_they_match_once_and_sorted(tree: Path, pattern: str, names: list[str]) -> None:
    (tree / "deep" / "loop").symlink_to(tree)
    found = [path.relative_to(tree).as_posix() for path in expand_inputs([f"{tree}/{pattern}"], AUDIO).files]
    assert sorted(found) == sorted(names)
    assert len(found) == len(set(found))


def test_patterns_may_be_relative(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert expand_inputs(["*.wav", "./deep/**/*.flac"], AUDIO).files == [Path("b.wav"), Path("deep/er/c.flac")]


def test_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    (tree / "take[1].wav").write_bytes(b"x")
    (tree / "take1.wav").write_bytes(b"x")
    assert expand_inputs([str(tree / "take[1].wav")], AUDIO).files == [tree / "take[1].wav"]
    assert expand_inputs([str(tree / "take[1]*")], AUDIO).files == [tree / "take1.wav"]


@pytest.mark.parametrize("pattern", ["*.ogg", "nowhere/*", "[b", "**b/x"])
def test_pattern_that_matches_nothing(tree: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match=r"matches nothing|no pattern that can be searched"):
        expand_inputs([str(tree / pattern)], AUDIO)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_folder_that_cannot_be_searched(tree: Path) -> None:
    (tree / "deep").chmod(0)
    try:
        with pytest.raises(UsageError, match="deep: cannot be searched"):
            expand_inputs([str(tree)], AUDIO)
    finally:
        (tree / "deep").chmod(0o755)
