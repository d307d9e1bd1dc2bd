"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from pathlib import Path

import pytest

from mstedge import files
from mstedge.errors import UsageError
from mstedge.files import folder_written_atomically, sha256_of_file, write_atomically


def test_digest_is_sha256(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(UsageError, match="file: cannot be written: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        write_atomically(tmp_path / "none" / "file", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"), folder_written_atomically(tmp_path / "file" / "folder"):
        pass


def test_a_folder_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with folder_written_atomically(target) as folder:
        (folder / "inner").mkdir()
        (folder / "inner/file").write_bytes(b"1")
        assert not target.exists()
    assert (target / "inner/file").read_bytes() == b"1"
    with folder_written_atomically(target) as folder:
        (folder / "other").write_bytes(b"2")
        assert (target / "inner/file").exists()
    assert [each.name for each in target.iterdir()] == ["other"]
    assert [each.name for each in target.parent.iterdir()] == ["folder"]


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_keeps_the_old_folder(tmp_path: Path, problem: type[BaseException]) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_bytes(b"1")

    def fail() -> None:
        with folder_written_atomically(target) as folder:
            (folder / "new").write_bytes(b"2")
            raise problem

    with pytest.raises(problem):
        fail()
    assert [each.name for each in target.iterdir()] == ["old"]
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_replacing_a_folder_ends_with_the_new_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "_exchanged", lambda _new, _target: False)
    for content in ("old", "new"):
        with folder_written_atomically(tmp_path / "folder") as folder:
            (folder / content).touch()
    assert [str(each.relative_to(tmp_path)) for each in sorted(tmp_path.rglob("*"))] == ["folder", "folder/new"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_whoever_looks_while_a_folder_is_replaced_sees_one_of_the_two(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with folder_written_atomically(target) as folder:
        (folder / "0").touch()
    done, missing = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            if not target.exists():
                missing.append(time.monotonic())

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(100):
        with folder_written_atomically(target) as folder:
            (folder / str(number)).touch()
    done.set()
    watcher.join()
    assert missing == []


def test_the_old_folder_comes_back_when_the_new_one_cannot_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_bytes(b"1")
    replace = Path.replace

    def refuse_new(self: Path, other: Path) -> Path:
        if other == target and ".old-" not in self.name:
            raise OSError(5, "Input/output error")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", refuse_new)
    monkeypatch.setattr(files, "_exchanged", lambda _new, _target: False)  # a file system that cannot
    with pytest.raises(OSError, match="Input/output error"), folder_written_atomically(target) as folder:
        (folder / "new").write_bytes(b"2")
    assert [each.name for each in target.iterdir()] == ["old"]
