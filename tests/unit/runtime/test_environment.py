"""What is told about a machine: from trees of files as real machines have them, and from trees of garbage."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.runtime.environment import (
    board_model,
    cpu_model,
    frequency_governor,
    l4t_release,
    memory_bytes,
    operating_system,
    package_version,
    read_environment,
)
from mstedge.schema import encode_json

TEGRA = (
    "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, "
    "DATE: Thu Sep 18 22:54:44 UTC 2025\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)
ORIN_CORE = "processor\t: {}\nBogoMIPS\t: 62.50\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd42\n\n"
ORIN = {
    "proc/cpuinfo": "".join(ORIN_CORE.format(core) for core in range(6)),
    "proc/meminfo": "MemTotal:        7802784 kB\nMemFree:         1230044 kB\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "etc/nv_tegra_release": TEGRA,
    "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\nID=ubuntu\n',
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu5/cpufreq/scaling_governor": "schedutil\n",
}
READERS = (board_model, cpu_model, frequency_governor, l4t_release, memory_bytes, operating_system)


def _tree(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_a_jetson_is_described(tmp_path: Path):
    found = read_environment(_tree(tmp_path, ORIN))
    assert found.cpu == "Cortex-A78AE"
    assert found.memory_bytes == 7802784 * 1024
    assert found.board == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert found.l4t == "36.4.7"
    assert found.operating_system == "Ubuntu 22.04.5 LTS"
    assert found.governor == "schedutil"
    assert found.python == platform.python_version()
    assert found.packages["msgspec"] == package_version("msgspec")


def test_a_desktop_names_its_processor_and_has_no_board(tmp_path: Path):
    tree = _tree(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 7 7700 8-Core Processor\n"})
    found = read_environment(tree)
    assert found.cpu == "AMD Ryzen 7 7700 8-Core Processor"
    assert (found.board, found.l4t, found.governor) == (None, None, None)


def test_an_empty_tree_is_unknown(tmp_path: Path):
    assert [reader(tmp_path) for reader in READERS] == [None] * len(READERS)
    assert read_environment(tmp_path).cpu == "unknown"


def test_this_machine_is_described_without_its_name_or_its_user():
    found = read_environment()
    assert found.cores >= 1
    assert found.memory_bytes > 100 * 2**20
    text = encode_json(found).decode()
    assert f'"{platform.node()}"' not in text
    assert str(Path.home()) + "/" not in text


@pytest.mark.parametrize(
    ("first_line", "expected"),
    [
        ("# R35 (release), REVISION: 2.1, GCID: 32398013, BOARD: t186ref, EABI: aarch64", "35.2.1"),
        ("# R39 (release), REVISION: 2.0, GCID: 45755727, DATE: Mon Jun  1 09:28:48 PM UTC 2026", "39.2.0"),
        ("# R32 (release), REVISION: 7.1, GCID: 29689809, BOARD: t186ref", "32.7.1"),
        ("# R36 (release), REVISION: , GCID: 1", None),
        ("# R36 (beta), REVISION: 4.7, GCID: 1", None),
        ("R36.4.7", None),
    ],
)
def test_the_release_of_jetson_linux(first_line: str, expected: str | None, tmp_path: Path):
    assert l4t_release(_tree(tmp_path, {"etc/nv_tegra_release": first_line + "\n"})) == expected


@pytest.mark.parametrize("length", range(0, len(TEGRA), 3))
def test_a_release_file_that_ends_early_is_unknown_and_never_another_release(length: int, tmp_path: Path):
    tree = _tree(tmp_path, {"etc/nv_tegra_release": TEGRA[:length]})
    whole = length > TEGRA.index("4.7,") + 3
    assert l4t_release(tree) == ("36.4.7" if whole else None)


def test_kinds_of_arm_cores_are_named_once_each(tmp_path: Path):
    cores = [(0x41, 0xD05)] * 4 + [(0x41, 0xD0B)] * 4
    text = "".join(f"CPU implementer\t: {who:#x}\nCPU part\t: {part:#05x}\n\n" for who, part in cores)
    assert cpu_model(_tree(tmp_path, {"proc/cpuinfo": text})) == "Cortex-A55 + Cortex-A76"


def test_an_arm_core_that_is_not_in_the_table_shows_its_numbers(tmp_path: Path):
    tree = _tree(tmp_path, {"proc/cpuinfo": "CPU implementer\t: 0x61\nCPU part\t: 0x029\n"})
    assert cpu_model(tree) == "ARM implementer 0x61 part 0x029"


def test_governors_that_differ_are_all_told(tmp_path: Path):
    policy = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    tree = _tree(tmp_path, {policy.format(0): "performance\n", policy.format(10): "powersave\n"})
    assert frequency_governor(tree) == "performance + powersave"


@pytest.mark.parametrize("line", ['PRETTY_NAME="Debian', "PRETTY_NAME=", "PRETTY_NAME=two words", 'NAME="Debian"'])
def test_an_operating_system_that_does_not_say_its_name_is_unknown(line: str, tmp_path: Path):
    assert operating_system(_tree(tmp_path, {"etc/os-release": line + "\n"})) is None


@pytest.mark.parametrize("model", [b"", b"\0", b"\xff\xfe\0", b"a\x1b[31mb\0", b"x" * 500 + b"\0"])
def test_a_board_that_does_not_say_its_name_is_unknown(model: bytes, tmp_path: Path):
    assert board_model(_tree(tmp_path, {"proc/device-tree/model": model})) is None


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(ORIN)), st.one_of(st.binary(max_size=300), st.text(max_size=80)), min_size=1)
)
def test_garbage_is_unknown_or_stands_in_the_file(garbage: dict[str, str | bytes]):
    encodable = {name: text for name, text in garbage.items() if isinstance(text, bytes) or text.isprintable()}
    with tempfile.TemporaryDirectory() as folder:
        tree = _tree(Path(folder), encodable)
        for reader, name in ((board_model, "proc/device-tree/model"), (operating_system, "etc/os-release")):
            value = reader(tree)
            assert value is None or value.encode() in (tree / name).read_bytes()
        for reader in READERS:
            value = reader(tree)
            assert value is None or (isinstance(value, int) and value > 0) or (str(value).isprintable() and value)


@given(st.data())
def test_files_that_are_damaged_in_one_place_never_turn_into_another_number(data: st.DataObject):
    text = bytearray(ORIN["proc/meminfo"].encode())
    text[data.draw(st.integers(0, 16))] = data.draw(st.sampled_from(b"\0:xX \xff\n"))
    with tempfile.TemporaryDirectory() as folder:
        tree = _tree(Path(folder), {"proc/meminfo": bytes(text)})
        assert memory_bytes(tree) in (None, 7802784 * 1024)


def test_folders_in_place_of_files_are_unknown(tmp_path: Path):
    for name in ORIN:
        (tmp_path / name).mkdir(parents=True)
    assert [reader(tmp_path) for reader in READERS] == [None] * len(READERS)


def test_a_package_that_is_not_installed_has_no_version():
    assert package_version("mstedge-is-not-called-this") is None
