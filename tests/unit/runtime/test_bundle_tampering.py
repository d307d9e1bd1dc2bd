"""Whatever is done to a bundle's files, opening it says no and names the file."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_factory import change_json, change_manifest, make_bundle, seal

from mstedge.errors import BundleError
from mstedge.runtime.bundle import inventory, open_bundle, write_sums

FILES = (
    "manifest.json",
    "model.onnx",
    "golden/cases.json",
    "golden/features.npy",
    "golden/logits.npy",
    "golden/raw/case-0.npy",
    "parity/report.json",
    "parity/rows.json",
    "parity/features.npy",
    "parity/logits.npy",
)


def refusal(folder: Path) -> BundleError:
    """Open a bundle that must be refused: exit code 1, and a hint."""
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert caught.value.exit_code == 1
    assert caught.value.hint
    return caught.value


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_one_flipped_bit_is_refused_and_the_file_named(bundle: Path, name: str, share: float):
    size = (bundle / name).stat().st_size
    flip(bundle / name, round(share * (size - 1)), 5)
    assert str(bundle / name) in refusal(bundle).message


def test_any_flipped_bit_of_the_sums_is_refused_and_the_sums_named(tmp_path: Path):
    folder = make_bundle(tmp_path / "small", raw=False, cases=1)
    sums = folder / "SHA256SUMS"
    content = sums.read_bytes()
    for position in range(len(content)):
        flip(sums, position, position % 8)
        assert "SHA256SUMS" in refusal(folder).message
        sums.write_bytes(content)
    open_bundle(folder)


@pytest.mark.parametrize("name", [*FILES, "SHA256SUMS"])
def test_a_missing_file_is_named(bundle: Path, name: str):
    (bundle / name).unlink()
    assert str(bundle / name) in refusal(bundle).message


@pytest.mark.parametrize("name", [*FILES, "SHA256SUMS"])
def test_a_cut_off_file_is_named(bundle: Path, name: str):
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-1])
    assert name in refusal(bundle).message


@pytest.mark.parametrize("name", ["extra.txt", "golden/raw/more.npy", "model.onnx.data", ".hidden", "new/file"])
def test_a_file_that_is_not_listed_is_named(bundle: Path, name: str):
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_bytes(b"x")
    assert f"{bundle / name}: not listed" in refusal(bundle).message


def symbolic(path: Path, other: Path) -> None:
    path.symlink_to(other)


def hard(path: Path, other: Path) -> None:
    path.hardlink_to(other)


@pytest.mark.parametrize(("link", "word"), [(symbolic, "symbolic link"), (hard, "hard link")])
@pytest.mark.parametrize("name", ["model.onnx", "SHA256SUMS", "golden/raw/case-3.npy"])
def test_links_are_refused_even_with_the_right_bytes(
    bundle: Path, link: Callable[[Path, Path], None], word: str, name: str
):
    outside = bundle.parent / "outside"
    shutil.move(bundle / name, outside)
    link(bundle / name, outside)
    message = refusal(bundle).message
    assert f"{bundle / name}: is a {word}" in message


def test_a_linked_folder_inside_is_refused(bundle: Path):
    outside = bundle.parent / "outside"
    shutil.move(bundle / "golden", outside)
    (bundle / "golden").symlink_to(outside)
    assert f"{bundle / 'golden'}: is a symbolic link" in refusal(bundle).message


def test_the_bundle_itself_may_be_reached_through_a_link(bundle: Path):
    latest = bundle.parent / "latest"
    latest.symlink_to(bundle)
    open_bundle(latest)


def test_pipes_and_sockets_are_refused_without_waiting_on_them(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    (bundle / "model.onnx").unlink()
    os.mkfifo(bundle / "model.onnx")
    assert "model.onnx: is a pipe" in refusal(bundle).message
    (bundle / "model.onnx").unlink()
    monkeypatch.chdir(bundle)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("model.onnx")
        assert "model.onnx: is a socket" in refusal(bundle).message


@pytest.mark.parametrize(
    ("name", "size"),
    [("manifest.json", (1 << 20) + 1), ("SHA256SUMS", (4 << 20) + 1), ("model.onnx", (768 << 20) + 1)],
)
def test_oversize_is_refused_from_the_size_alone(bundle: Path, name: str, size: int, monkeypatch: pytest.MonkeyPatch):
    os.truncate(bundle / name, size)
    monkeypatch.setattr(inventory, "_chunks", None)  # nothing may be read
    assert f"{bundle / name}: has {size} bytes: expected at most {size - 1}" in refusal(bundle).message


@pytest.mark.parametrize(
    ("constant", "limit", "message"),
    [("MAX_FILES", 5, "more than 5 files"), ("MAX_TOTAL_BYTES", 500, "bytes: expected at most 500")],
)
def test_the_whole_is_bounded(bundle: Path, constant: str, limit: int, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inventory, constant, limit)
    assert message in refusal(bundle).message


def test_names_that_some_systems_take_for_one_are_refused(bundle: Path):
    (bundle / "golden" / "Features.npy").write_bytes(b"x")
    assert "'golden/features.npy' and 'golden/Features.npy' are one file" in refusal(bundle).message


def test_a_name_that_is_not_text_is_refused(bundle: Path):
    Path(os.fsdecode(os.fsencode(bundle) + b"/bad\xff")).write_bytes(b"x")
    assert "control or invisible character" in refusal(bundle).message


def test_a_control_character_does_not_reach_the_terminal(bundle: Path):
    (bundle / "red\x1b[31m").write_bytes(b"x")
    message = refusal(bundle).message
    assert "\x1b" not in message
    assert "control or invisible character" in message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{digest}  ../outside", "leaves the folder"),
        ("{digest}  /etc/hostname", "absolute path"),
        ("{digest}  golden/../model.onnx", "leaves the folder"),
        ("{digest}  golden\\cases.json", "backslash"),
        ("{digest}  model.onnx\0", "control or invisible character"),
        ("{digest}  SHA256SUMS", "no sums can prove"),
        ("{digest}  SIGNATURE", "no sums can prove"),
        ("{digest}  model.onnx", "second time"),
        ("{digest}  MODEL.onnx", "are one file on some systems"),
        ("{digest} *model.onnx", "is not '<sha256>  <name>'"),
        ("{digest}", "is not '<sha256>  <name>'"),
        ("", "is not '<sha256>  <name>'"),
        ("{digest}  other.bin\r", "control or invisible character"),
        ("{digest}  other.bin", "missing"),
    ],
)
def test_a_line_of_the_sums_that_says_something_else_is_refused(bundle: Path, line: str, message: str):
    with (bundle / "SHA256SUMS").open("a", newline="") as stream:
        stream.write(line.format(digest="0" * 64) + "\n")
    found = refusal(bundle).message
    assert message in found
    assert "SHA256SUMS" in found


def test_sums_whose_last_line_does_not_end_are_refused(bundle: Path):
    flip(bundle / "SHA256SUMS", -1, 5)
    assert "SHA256SUMS: empty or cut off" in refusal(bundle).message


def test_sums_that_are_not_text_are_refused(bundle: Path):
    (bundle / "SHA256SUMS").write_bytes(b"\xff\xfe\n")
    assert "SHA256SUMS: not UTF-8 text" in refusal(bundle).message


def test_what_is_read_later_is_proved_again(bundle: Path):
    opened = open_bundle(bundle)
    assert opened.read("model.onnx") == (bundle / "model.onnx").read_bytes()
    assert opened.path_of("golden/raw/case-0.npy") == bundle / "golden/raw/case-0.npy"
    flip(bundle / "model.onnx", 40, 0)
    flip(bundle / "golden/raw/case-0.npy", -1, 0)
    flip(bundle / "golden/logits.npy", -1, 0)
    for use, name in (
        (lambda: opened.read("model.onnx"), "model.onnx"),
        (lambda: opened.path_of("golden/raw/case-0.npy"), "golden/raw/case-0.npy"),
        (opened.golden_logits, "golden/logits.npy"),
    ):
        with pytest.raises(BundleError) as caught:
            use()
        assert str(bundle / name) in caught.value.message


def test_a_file_that_became_a_link_or_a_pipe_is_not_opened(bundle: Path):
    opened = open_bundle(bundle)
    shutil.move(bundle / "model.onnx", bundle.parent / "outside")
    (bundle / "model.onnx").symlink_to(bundle.parent / "outside")
    with pytest.raises(BundleError, match=r"model\.onnx: cannot be read"):
        opened.read("model.onnx")
    (bundle / "model.onnx").unlink()
    os.mkfifo(bundle / "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx: is a pipe"):
        opened.read("model.onnx")


@pytest.mark.parametrize("name", ["../outside", "SHA256SUMS", "golden", "nothing"])
def test_only_listed_files_are_read(bundle: Path, name: str):
    (bundle.parent / "outside").write_bytes(b"secret")
    with pytest.raises(BundleError, match="does not list it"):
        open_bundle(bundle).read(name)


def test_sums_are_sorted_and_agree_with_sha256sum(bundle: Path):
    before = (bundle / "SHA256SUMS").read_bytes()
    write_sums(bundle)
    assert (bundle / "SHA256SUMS").read_bytes() == before
    names = [line[66:] for line in before.decode().splitlines()]
    assert names == sorted(names)
    assert set(FILES) < set(names)
    assert "SHA256SUMS" not in names
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=bundle, check=False).returncode == 0


def test_sums_are_not_written_over_what_no_bundle_may_hold(bundle: Path):
    (bundle / "link").symlink_to("model.onnx")
    with pytest.raises(BundleError, match="link: is a symbolic link"):
        write_sums(bundle)


def test_a_sealed_change_is_a_new_bundle(bundle: Path):
    change_manifest(bundle, name="renamed")
    assert open_bundle(bundle).manifest.name == "renamed"


def test_deep_json_is_refused_before_it_is_parsed(bundle: Path):
    (bundle / "manifest.json").write_bytes(b"[" * 500_000)
    assert "manifest.json: nested deeper than 32 levels" in refusal(seal(bundle)).message
    (bundle / "manifest.json").write_bytes(b'{"name": "' + b'\\"[' * 300_000)
    assert "manifest.json: not a JSON document" in refusal(seal(bundle)).message


def test_brackets_in_strings_are_not_depth(bundle: Path):
    change_manifest(bundle, name='\\"' + "[{" * 40)
    assert open_bundle(bundle).manifest.name.endswith("[{")


def test_golden_arrays_of_another_shape_are_named(bundle: Path):
    np.save(bundle / "golden/logits.npy", np.zeros((8, 4), dtype=np.float32))
    assert "golden/logits.npy: has shape [8, 4]" in refusal(seal(bundle)).message
    np.save(bundle / "golden/logits.npy", np.zeros((7, 3), dtype=np.float32))
    assert "golden/logits.npy: has 7 rows" in refusal(seal(bundle)).message


def test_a_schema_of_the_future_is_named(bundle: Path):
    message = refusal(change_json(bundle, "golden/cases.json", schema="mstedge.golden/2")).message
    assert "golden/cases.json: schema" in message
