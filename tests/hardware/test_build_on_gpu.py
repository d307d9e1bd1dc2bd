"""What only a machine with a GPU and the full TensorRT can show: its builder takes our graphs and our settings.

Run it on a Jetson (JetPack 6.1 or newer) or a PC with a GPU: pytest -m hardware tests/hardware/test_build_on_gpu.py
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from bundle_factory import change_json, change_manifest, make_bundle

from mstedge.cli import run
from mstedge.engine_build import EngineBuild
from mstedge.runtime.environment import l4t_release
from mstedge.runtime.trt.gpu import find_gpu
from mstedge.runtime.trt.library import find_library

pytestmark = pytest.mark.hardware  # TensorRT's full builder measures on the GPU and starts nowhere else


@pytest.mark.parametrize("version_compatible", [False, True])
def test_full_tensorrt_builds_and_keeps_its_tactics(
    *, version_compatible: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MSTEDGE_CACHE", str(tmp_path / "cache"))
    library = find_library("tensorrt", find_gpu(), l4t=l4t_release())
    folder = make_bundle(tmp_path / "audio.bundle", "audio")
    change_json(folder, "parity/report.json", target="trt")
    change_manifest(folder, target="trt", engine={"version_compatible": version_compatible})
    for _ in range(2):  # the second build starts from the first one's tactics
        assert run(["build", str(folder), "--library", "tensorrt", "--json"]) == 0
        record = msgspec.json.decode(capsys.readouterr().out, type=EngineBuild)
        assert (record.version, record.gpu) == (library.version, library.gpu)
        assert record.gpu is not None
        assert record.notes == ()
        assert record.plan_bytes > 0
    (timing,) = (tmp_path / "cache" / "engines").glob("*.timing")
    assert timing.stat().st_size > 0
