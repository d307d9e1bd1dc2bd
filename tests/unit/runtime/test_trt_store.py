"""The cache for engines: private, owned, named by everything that an engine depends on."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from fake_tensorrt import FakeTensorRt11

from mstedge.engine_build import BatchProfile, EngineBuild, EngineTensor, Gpu
from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import MachineError, UsageError
from mstedge.runtime.trt.library import TensorRt
from mstedge.runtime.trt.store import (
    engine_folder,
    engine_key,
    read_timing_cache,
    record_path,
    write_copy,
    write_engine,
    write_timing_cache,
)
from mstedge.schema import read_json

GPU = Gpu(name="Orin", compute_capability="8.7")
LIBRARY = TensorRt(name="tensorrt", version="10.3.0", module=FakeTensorRt11(), gpu=GPU)
KEY = engine_key("a" * 64, EngineRecipe(), LIBRARY)
RECORD = EngineBuild(
    name="made",
    library="tensorrt",
    version="10.3.0",
    gpu=GPU,
    model_sha256="a" * 64,
    precision="fp16",
    recipe=EngineRecipe(),
    plan_sha256="b" * 64,
    plan_bytes=4,
    tensors=(EngineTensor(name="sound", mode="input", dtype="float32", shape=(-1, 4)),),
    profile=BatchProfile(input="sound", smallest=(1, 4), best=(1, 4), largest=(8, 4)),
    layers={"CONVOLUTION": 1},
    dtypes={"float16": 1},
    weighted_layers=1,
    proved_layers=1,
    notes=(),
    warnings=(),
    seconds=0.5,
    parity_reason="it is made up",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSTEDGE_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("cache")
def test_engine_and_record_are_private_and_whole() -> None:
    plan = write_engine(engine_folder(), KEY, b"plan", RECORD)
    assert plan.read_bytes() == b"plan"
    assert read_json(record_path(plan), EngineBuild) == RECORD
    assert [rights(path) for path in (plan.parent, plan, record_path(plan))] == [0o700, 0o600, 0o600]
    assert sorted(plan.parent.iterdir()) == [plan, record_path(plan)]


@pytest.mark.usefixtures("cache")
def test_same_key_replaces_and_another_stands_beside() -> None:
    folder = engine_folder()
    first = write_engine(folder, KEY, b"plan", RECORD)
    assert write_engine(folder, KEY, b"again", RECORD) == first
    assert first.read_bytes() == b"again"
    other = write_engine(folder, msgspec.structs.replace(KEY, version="11.4.0"), b"other", RECORD)
    assert (first.read_bytes(), other.read_bytes()) == (b"again", b"other")


@pytest.mark.parametrize(
    "other",
    [
        engine_key("b" * 64, EngineRecipe(), LIBRARY),
        engine_key("a" * 64, EngineRecipe(max_batch_rows=9), LIBRARY),
        engine_key("a" * 64, EngineRecipe(timing_cache=False), LIBRARY),
        engine_key("a" * 64, EngineRecipe(), replace(LIBRARY, name="tensorrt-rtx")),
        engine_key("a" * 64, EngineRecipe(), replace(LIBRARY, version="10.3.1")),
        engine_key("a" * 64, EngineRecipe(), replace(LIBRARY, gpu=None)),
        engine_key("a" * 64, EngineRecipe(), replace(LIBRARY, gpu=Gpu(name="Thor", compute_capability="8.7"))),
        engine_key("a" * 64, EngineRecipe(), replace(LIBRARY, gpu=Gpu(name="Orin", compute_capability="11.0"))),
    ],
)
@pytest.mark.usefixtures("cache")
def test_everything_that_an_engine_depends_on_names_it(other: object) -> None:
    folder = engine_folder()
    plan = write_engine(folder, KEY, b"plan", RECORD)
    assert write_engine(folder, other, b"other", RECORD) != plan  # type: ignore[arg-type]


class TestFolderThatIsNotSafe:
    def test_others_may_write(self, cache: Path) -> None:
        engine_folder().chmod(0o777)
        with pytest.raises(MachineError, match="others have the rights 077") as caught:
            engine_folder()
        assert str(caught.value.hint).startswith(f"chmod 700 {cache / 'engines'}")

    def test_others_may_read(self, cache: Path) -> None:
        engine_folder().chmod(0o750)
        with pytest.raises(MachineError, match="others have the rights 050"):
            engine_folder()
        assert cache.is_dir()

    def test_others_may_put_another_folder_there(self, cache: Path) -> None:
        engine_folder()
        cache.chmod(0o757)
        with pytest.raises(MachineError, match=r"cache: others have the rights 002"):
            engine_folder()

    def test_link(self, cache: Path, tmp_path: Path) -> None:
        cache.mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        (cache / "engines").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(MachineError, match="engines: is a link or a file"):
            engine_folder()

    def test_file(self, cache: Path) -> None:
        cache.mkdir(parents=True)
        (cache / "engines").write_bytes(b"")
        with pytest.raises(MachineError, match="engines: cannot be made: File exists"):
            engine_folder()

    @pytest.mark.usefixtures("cache")
    def test_of_another_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        engine_folder()
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(MachineError, match=f"belongs to user {owner}, not to you"):
            engine_folder()


class TestTimingCache:
    @pytest.mark.usefixtures("cache")
    def test_goes_out_and_comes_back(self) -> None:
        folder = engine_folder()
        assert read_timing_cache(folder, LIBRARY) == b""
        write_timing_cache(folder, LIBRARY, b"tactics")
        assert read_timing_cache(folder, LIBRARY) == b"tactics"
        assert read_timing_cache(folder, replace(LIBRARY, version="10.4.0")) == b""

    @pytest.mark.usefixtures("cache")
    def test_nothing_measured_writes_nothing(self) -> None:
        write_timing_cache(engine_folder(), LIBRARY, b"")
        assert list(engine_folder().iterdir()) == []

    @pytest.mark.usefixtures("cache")
    def test_link_is_not_followed(self, tmp_path: Path) -> None:
        folder = engine_folder()
        write_timing_cache(folder, LIBRARY, b"tactics")
        (own,) = folder.iterdir()
        (tmp_path / "other").write_bytes(b"of somebody")
        own.unlink()
        own.symlink_to(tmp_path / "other")
        assert read_timing_cache(folder, LIBRARY) == b""


def test_copy_lies_beside_its_record(tmp_path: Path) -> None:
    write_copy(tmp_path / "digits.plan", b"plan", RECORD)
    assert (tmp_path / "digits.plan").read_bytes() == b"plan"
    assert read_json(tmp_path / "digits.plan.json", EngineBuild) == RECORD


def test_copy_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"digits.plan: cannot be written"):
        write_copy(tmp_path / "missing" / "digits.plan", b"plan", RECORD)
