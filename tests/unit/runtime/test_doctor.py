"""The doctor: what is told about packages that are there, missing, half there or in each other's way."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mstedge.runtime import doctor
from mstedge.runtime.cache import cache_folder
from mstedge.runtime.doctor import cache_state, examine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Installed = Callable[[dict[str, str]], None]

BASE = {"numpy": "1.26.4", "msgspec": "0.19.0", "typer": "0.15.1"}
MODULES = {
    "opencv-python": "cv2",
    "opencv-python-headless": "cv2",
    "onnxruntime-gpu": "onnxruntime",
    "lightning-fabric": "lightning_fabric",
    "PyYAML": "yaml",
    "Jinja2": "jinja2",
    "scikit-learn": "sklearn",
    "tensorrt-rtx-cu13-bindings": "tensorrt_rtx_bindings",
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Pretend that exactly these distributions are installed."""

    def pretend(versions: dict[str, str]) -> None:
        modules = {MODULES.get(name, name) for name in versions}

        def find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
            return importlib.machinery.ModuleSpec(name, None, origin="somewhere") if name in modules else None

        monkeypatch.setattr(doctor, "package_version", versions.get)
        monkeypatch.setattr(doctor.importlib.util, "find_spec", find_spec)

    return pretend


def _package(name: str) -> doctor.PackageState:
    return next(each for each in examine().packages if each.name == name)


def test_this_installation_is_healthy_and_its_engine_usable():
    report = examine()
    assert report.healthy
    assert report.problems == ()
    assert _package("numpy").version == importlib.metadata.version("numpy")
    assert [each.name for each in report.backends] == ["onnxruntime", "openvino", "tensorrt"]
    assert report.backends[0].devices[0] == "cpu"
    assert all(each.available or each.hint for each in report.backends)
    assert report.backends[0].available
    assert importlib.metadata.version("onnxruntime") in report.backends[0].reason


def test_what_is_missing_names_what_needs_it_and_the_line_that_installs_it(installed: Installed):
    installed(BASE)
    torch = _package("torch")
    assert torch.version is None
    assert torch.needed_by == "distill, export"
    assert torch.install == "pip install 'mstedge[train]'"
    assert examine().healthy


def test_every_line_to_install_names_an_extra_that_exists():
    extras = set(importlib.metadata.metadata("mstedge").get_all("Provides-Extra") or ())
    named = {extra for each in examine().packages for extra in re.findall(r"mstedge\[(\w+)\]", each.install)}
    assert named - {"tensorrt"} == {"onnxruntime", "openvino", "audio", "image", "train", "export", "report", "sign"}
    assert named <= extras


def test_tensorrt_comes_from_where_the_machine_gets_it(installed: Installed, monkeypatch: pytest.MonkeyPatch):
    installed(BASE)
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    assert _package("tensorrt").install == "pip install 'mstedge[tensorrt]'"
    assert "tensorrt-rtx-cu13-bindings" in _package("tensorrt-rtx").install
    monkeypatch.setattr(doctor.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(doctor, "l4t_release", lambda: "36.4.7")
    assert "apt install python3-libnvinfer" in _package("tensorrt").install


def test_bindings_alone_are_tensorrt_rtx(installed: Installed):
    installed({**BASE, "tensorrt-rtx-cu13-bindings": "1.7.1.116"})
    assert _package("tensorrt-rtx").version == "1.7.1.116"
    assert _package("tensorrt").version is None


@pytest.mark.parametrize("name", ["numpy", "msgspec", "typer"])
def test_a_base_package_that_is_missing_breaks_the_install(name: str, installed: Installed):
    installed({other: version for other, version in BASE.items() if other != name})
    report = examine()
    assert not report.healthy
    (problem,) = report.problems
    assert problem.startswith(f"{name} is missing, and ")
    assert problem.endswith("pip install 'mstedge'")


@pytest.mark.parametrize(("version", "healthy"), [("1.22.4", False), ("1.23.0", True), ("2.4.6", True), ("odd", True)])
def test_a_numpy_that_is_too_old_breaks_the_install(version: str, healthy: bool, installed: Installed):  # noqa: FBT001
    installed({**BASE, "numpy": version})
    report = examine()
    assert report.healthy is healthy
    assert any("1.23 or newer" in problem for problem in report.problems) is not healthy


@pytest.mark.parametrize(
    ("pair", "module"),
    [(("onnxruntime", "onnxruntime-gpu"), "onnxruntime"), (("opencv-python-headless", "opencv-python"), "cv2")],
)
def test_packages_that_overwrite_each_other_are_a_problem(pair: tuple[str, str], module: str, installed: Installed):
    installed({**BASE, **dict.fromkeys(pair, "4.8.0")})
    report = examine()
    (problem,) = report.problems
    assert f"{pair[0]} and {pair[1]} are installed, and all bring the module {module!r}" in problem
    assert f"pip uninstall -y {pair[0]} {pair[1]} && pip install {pair[0]}" in problem
    assert report.healthy


def test_one_of_two_packages_with_the_same_module_is_enough(installed: Installed):
    installed({**BASE, "opencv-python": "4.10.0", "onnxruntime-gpu": "1.20.0"})
    assert _package("opencv").version == "4.10.0"
    assert _package("onnxruntime").version == "1.20.0"
    assert examine().problems == ()


def test_a_module_without_metadata_is_there_in_an_unknown_version(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
):
    # A Jetson's own cv2.
    installed({**BASE, "opencv-python": "4.8.0"})
    monkeypatch.setattr(doctor, "package_version", BASE.get)
    assert _package("opencv").version == "unknown"


def test_metadata_without_a_module_is_a_missing_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _name: None)
    assert _package("numpy").version is None


def test_a_folder_that_happens_to_have_the_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "soxr_of_mine").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not doctor._module_is_here("soxr_of_mine")
    (tmp_path / "soxr_of_mine" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert doctor._module_is_here("soxr_of_mine")


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MSTEDGE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert str(cache_folder()) == "~/.cache/mstedge"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/someone")
    assert str(cache_folder()) == "/var/cache/someone/mstedge"
    monkeypatch.setenv("MSTEDGE_CACHE", "/data/cache")
    assert str(cache_folder()) == "/data/cache"


def test_a_cache_that_can_be_made_is_writable_and_is_not_made(tmp_path: Path):
    folder = tmp_path / "deep" / "cache"
    assert cache_state(folder) == doctor.CacheState(folder=str(folder), writable=True)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_behind_a_file_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    assert not cache_state(tmp_path / "file").writable
    assert not cache_state(tmp_path / "file" / "cache").writable


def test_a_cache_on_a_read_only_system_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
    assert not cache_state(tmp_path / "cache").writable


def test_the_home_folder_is_not_spelt_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_state(cache_folder_of_home()).folder == "~/.cache/mstedge"


def cache_folder_of_home() -> Path:
    from pathlib import Path

    return Path("~/.cache/mstedge")


def test_nothing_heavy_is_imported_to_find_out():
    script = (
        "import sys; from mstedge.runtime.doctor import examine; examine(); "
        "sys.stdout.write(' '.join(set(sys.argv[1:]) & set(sys.modules)))"
    )
    heavy = [*("torch", "onnx", "lightning_fabric", "matplotlib", "cv2", "soundfile", "scipy", "cryptography")]
    risky = [*("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "openvino_telemetry")]
    done = subprocess.run([sys.executable, "-c", script, *heavy, *risky], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_a_missing_numpy_is_reported_and_not_a_traceback():
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from mstedge.runtime.doctor import examine\nreport = examine()\n"
        "sys.stdout.write(f'{report.healthy} {report.problems[0]} {report.backends[0].available}')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False numpy is missing")
    assert done.stdout.endswith("False")
