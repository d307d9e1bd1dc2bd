"""Which TensorRT is taken, and what is said where there is none or an old one."""

from __future__ import annotations

import platform
import sys

import pytest
from fake_tensorrt import FakeTensorRt, FakeTensorRt11, FakeTensorRt103
from real_rtx import NO_GPU

from mstedge.engine_build import Gpu
from mstedge.errors import MachineError
from mstedge.runtime.trt.gpu import GpuState
from mstedge.runtime.trt.library import LibraryChoice, find_library

ORIN = GpuState(Gpu(name="Orin", compute_capability="8.7"), "")
MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeTensorRt]:
    """Give a table of installed modules to fill; none is there at first."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    return sys.modules  # type: ignore[return-value]


def fake(version: str) -> FakeTensorRt:
    module = FakeTensorRt11()
    module.__version__ = version
    return module


@pytest.mark.parametrize("version", [FakeTensorRt103, FakeTensorRt11])
def test_auto_takes_tensorrt_where_a_gpu_is(installed: dict[str, FakeTensorRt], version: type[FakeTensorRt]) -> None:
    installed["tensorrt"], installed["tensorrt_rtx"] = version(), fake("1.7.1")
    found = find_library("auto", ORIN, l4t="36.4.7")
    assert (found.name, found.module, found.gpu, found.notes) == ("tensorrt", installed["tensorrt"], ORIN.gpu, ())


def test_auto_takes_rtx_without_a_gpu_and_says_why(installed: dict[str, FakeTensorRt]) -> None:
    installed["tensorrt"], installed["tensorrt_rtx"] = fake("10.3.0"), fake("1.7.1")
    found = find_library("auto", NO_GPU, l4t=None)
    assert (found.name, found.version, found.gpu) == ("tensorrt-rtx", "1.7.1", None)
    assert found.notes == (
        "built with TensorRT-RTX: TensorRT is installed, but it builds only where a GPU is: this test takes no GPU",
    )


@pytest.mark.parametrize("module", ["tensorrt_rtx", "tensorrt_rtx_bindings"])
def test_rtx_goes_by_two_names(installed: dict[str, FakeTensorRt], module: str) -> None:
    installed[module] = fake("1.7.1.116")
    found = find_library("tensorrt-rtx", NO_GPU, l4t=None)
    assert (found.title, found.notes) == ("TensorRT-RTX 1.7.1.116", ())


def test_what_was_asked_for_is_not_replaced(installed: dict[str, FakeTensorRt]) -> None:
    installed["tensorrt_rtx"] = fake("1.7.1")
    with pytest.raises(MachineError, match="TensorRT is not installed here"):
        find_library("tensorrt", ORIN, l4t=None)


def test_full_builder_is_not_even_imported_without_a_gpu(
    installed: dict[str, FakeTensorRt], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed["tensorrt"] = fake("10.3.0")
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} was imported"))
    with pytest.raises(MachineError, match="builds only where a GPU is: this test takes no GPU") as caught:
        find_library("tensorrt", NO_GPU, l4t=None)
    assert "--library tensorrt-rtx" in str(caught.value.hint)


@pytest.mark.parametrize("version", ["8.6.2", "8.2.1.9", "9.3.0", "10.2.0"])
def test_old_versions_are_refused(installed: dict[str, FakeTensorRt], version: str) -> None:
    installed["tensorrt"] = fake(version)
    with pytest.raises(MachineError, match=f"TensorRT {version} is installed: mstedge builds with 10.3") as caught:
        find_library("tensorrt", ORIN, l4t=None)
    assert "ONNX Runtime" in str(caught.value.hint)


@pytest.mark.parametrize("version", ["", "unknown"])
def test_version_that_does_not_tell_is_refused(installed: dict[str, FakeTensorRt], version: str) -> None:
    installed["tensorrt"] = fake(version)
    with pytest.raises(MachineError, match="does not tell its version"):
        find_library("tensorrt", ORIN, l4t=None)


@pytest.mark.parametrize("release", ["32.7.4", "35.6.4", "36.2.0", "36.3.0"])
@pytest.mark.parametrize("choice", ["auto", "tensorrt"])
def test_boards_with_tensorrt_8_are_refused(
    installed: dict[str, FakeTensorRt], choice: LibraryChoice, release: str
) -> None:
    installed["tensorrt"] = fake("10.3.0")
    with pytest.raises(MachineError, match=f"Jetson Linux {release} .* has TensorRT 8") as caught:
        find_library(choice, ORIN, l4t=release)
    assert "JetPack 6.1" in str(caught.value.hint)
    assert "ONNX Runtime" in str(caught.value.hint)


@pytest.mark.parametrize("release", [None, "36.4.0", "36.4.7", "36.5.0", "38.2.1", "39.2.0"])
def test_newer_and_unknown_boards_are_not(installed: dict[str, FakeTensorRt], release: str | None) -> None:
    installed["tensorrt"] = fake("10.3.0")
    assert find_library("tensorrt", ORIN, l4t=release).version == "10.3.0"


@pytest.mark.usefixtures("installed")
class TestNothingInstalled:
    def test_on_a_pc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        with pytest.raises(MachineError, match=r"TensorRT is not .*; TensorRT-RTX is not installed here") as caught:
            find_library("auto", NO_GPU, l4t=None)
        assert "pip install --no-deps tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings" in str(caught.value.hint)

    def test_on_a_jetson(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "machine", lambda: "aarch64")
        with pytest.raises(MachineError) as caught:
            find_library("auto", ORIN, l4t="36.4.7")
        assert "apt install python3-libnvinfer" in str(caught.value.hint)
        assert "--system-site-packages" in str(caught.value.hint)

    def test_on_a_board_of_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "machine", lambda: "aarch64")
        with pytest.raises(MachineError) as caught:
            find_library("auto", NO_GPU, l4t=None)
        assert "ONNX Runtime" in str(caught.value.hint)


def test_module_that_breaks_on_import_says_why(
    installed: dict[str, FakeTensorRt], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("site")
    (folder / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(folder)
    del installed["tensorrt"]
    with pytest.raises(MachineError, match=r"tensorrt cannot be imported: libnvinfer\.so\.10: cannot open"):
        find_library("tensorrt", ORIN, l4t=None)
