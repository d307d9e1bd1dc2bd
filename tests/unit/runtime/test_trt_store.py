"""The cache for engines: private, owned, named by everything that an engine depends on."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_tensorrt import FakeTensorRt11

from mstedge.engine_build import BatchProfile, EngineBuild, EngineTensor, Gpu
from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import MachineError, UsageError
from mstedge.runtime.trt.engine_key import EngineKey, engine_key
from mstedge.runtime.trt.library import TensorRt
from mstedge.runtime.trt.private_files import locked
from mstedge.runtime.trt.store import (
    EngineIndex,
    engine_folder,
    find_engine,
    read_timing_cache,
    record_path,
    write_copy,
    write_engine,
    write_timing_cache,
)
from mstedge.schema import read_json

GPU = Gpu(name="Orin", compute_capability="8.7")
LIBRARY = TensorRt(name="tensorrt", version="10.3.0", module=FakeTensorRt11(), gpu=GPU, driver="L4T 36.4.7")
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


def changed(**changes: Any) -> EngineKey:
    return engine_key("a" * 64, EngineRecipe(), replace(LIBRARY, **changes))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSTEDGE_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestWritten:
    def test_engine_and_record_are_private_and_whole(self, cache: Path) -> None:
        plan = write_engine(engine_folder(), KEY, b"plan", RECORD)
        assert plan.read_bytes() == b"plan"
        assert read_json(record_path(plan), EngineBuild) == RECORD
        files = [plan, record_path(plan), cache / "engines" / "index.json", cache / "engines" / "index.lock"]
        assert sorted(plan.parent.iterdir()) == sorted(files)
        assert {rights(path) for path in files} == {0o600}
        assert rights(plan.parent) == 0o700

    @pytest.mark.usefixtures("cache")
    def test_same_key_replaces_and_another_stands_beside(self) -> None:
        folder = engine_folder()
        first = write_engine(folder, KEY, b"plan", RECORD)
        assert write_engine(folder, KEY, b"again", RECORD) == first
        other = msgspec.structs.replace(KEY, version="11.4.0")
        write_engine(folder, other, b"other", RECORD)
        assert (find_engine(folder, KEY).plan, find_engine(folder, other).plan) == (b"again", b"other")

    @pytest.mark.usefixtures("cache")
    def test_several_writers_at_once_lose_nothing(self) -> None:
        folder = engine_folder()
        keys = [engine_key(f"{number:064x}", EngineRecipe(), LIBRARY) for number in range(16)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: write_engine(folder, key, key.model_sha256.encode(), RECORD), keys))
        assert [find_engine(folder, key).plan for key in keys] == [key.model_sha256.encode() for key in keys]


class TestFound:
    @pytest.mark.usefixtures("cache")
    def test_comes_back_with_its_record(self) -> None:
        write_engine(engine_folder(), KEY, b"plan", RECORD)
        assert find_engine(engine_folder(), KEY) == (b"plan", RECORD, "")

    @pytest.mark.usefixtures("cache")
    def test_cache_that_is_empty(self) -> None:
        found = find_engine(engine_folder(), KEY)
        assert found == (None, None, "there is no engine of this model in this machine's cache yet")

    @pytest.mark.parametrize(
        ("other", "reason"),
        [
            (engine_key("b" * 64, EngineRecipe(), LIBRARY), "there is no engine of this model"),
            (engine_key("a" * 64, EngineRecipe(max_batch_rows=9), LIBRARY), "max_batch_rows was 8, is 9"),
            (engine_key("a" * 64, EngineRecipe(timing_cache=False), LIBRARY), "timing_cache was True, is False"),
            (changed(name="tensorrt-rtx"), "the library was tensorrt, is tensorrt-rtx"),
            (changed(version="10.3.1"), "its version was 10.3.0, is 10.3.1"),
            (changed(gpu=None), "the GPU was Orin, is none; its compute capability was 8.7, is none"),
            (changed(gpu=Gpu(name="Thor", compute_capability="8.7")), "the GPU was Orin, is Thor"),
            (changed(gpu=Gpu(name="Orin", compute_capability="11.0")), "capability was 8.7, is 11.0"),
            (changed(driver="L4T 36.5.0"), "the driver was L4T 36.4.7, is L4T 36.5.0"),
        ],
    )
    @pytest.mark.usefixtures("cache")
    def test_everything_that_an_engine_depends_on_names_it(self, other: EngineKey, reason: str) -> None:
        folder = engine_folder()
        plan = write_engine(folder, KEY, b"plan", RECORD)
        found = find_engine(folder, other)
        assert found.plan is None
        assert reason in found.reason
        assert "\n" not in found.reason
        assert write_engine(folder, other, b"other", RECORD) != plan

    @pytest.mark.usefixtures("cache")
    def test_reason_is_that_of_the_nearest_engine(self) -> None:
        folder = engine_folder()
        write_engine(folder, changed(version="10.2.0", driver="old"), b"older", RECORD)
        write_engine(folder, changed(version="10.9.0"), b"newer", RECORD)
        assert find_engine(folder, KEY).reason.endswith("for something else: its version was 10.9.0, is 10.3.0")

    @pytest.mark.parametrize("what", ["plan", "record"])
    @pytest.mark.parametrize("how", ["other bytes", "fewer bytes", "more bytes", "gone", "a link", "others may write"])
    @pytest.mark.usefixtures("cache")
    def test_nothing_that_was_touched_is_taken(self, what: str, how: str, tmp_path: Path) -> None:
        plan = write_engine(engine_folder(), KEY, b"plan", RECORD)
        path = plan if what == "plan" else record_path(plan)
        content = path.read_bytes()
        if how == "others may write":
            path.chmod(0o622)
        else:
            path.unlink()
        if how.endswith("bytes"):
            path.write_bytes(
                {"other": content[:-1] + b"!", "fewer": content[:-1], "more": content + b"!"}[how[:5].strip()]
            )
        if how == "a link":
            (tmp_path / "same").write_bytes(content)
            path.symlink_to(tmp_path / "same")
        found = find_engine(engine_folder(), KEY)
        assert found.plan is None
        assert found.reason.startswith("the engine in this machine's cache is ")

    @pytest.mark.usefixtures("cache")
    def test_file_that_is_not_in_the_index_is_not_taken(self) -> None:
        folder = engine_folder()
        plan = write_engine(folder, KEY, b"plan", RECORD)
        (folder / "index.json").unlink()
        assert plan.is_file()
        assert find_engine(folder, KEY).plan is None

    @pytest.mark.parametrize("content", [b"", b"{", b'{"engines": {"x": 3}, "schema": "mstedge.engines/1"}'])
    @pytest.mark.usefixtures("cache")
    def test_index_that_is_damaged_costs_builds_and_no_more(self, content: bytes) -> None:
        folder = engine_folder()
        write_engine(folder, KEY, b"plan", RECORD)
        (folder / "index.json").write_bytes(content)
        assert find_engine(folder, KEY) == (None, None, "the index of this machine's cache cannot be read")
        write_engine(folder, KEY, b"again", RECORD)
        assert find_engine(folder, KEY).plan == b"again"

    @pytest.mark.usefixtures("cache")
    def test_record_of_another_version(self) -> None:
        folder = engine_folder()
        plan = write_engine(folder, KEY, b"plan", RECORD)
        index = msgspec.json.decode((folder / "index.json").read_bytes(), type=EngineIndex)
        other = b'{"schema": "mstedge.engine/9"}'
        record_path(plan).write_bytes(other)
        entry = index.engines[KEY.digest]
        entry = msgspec.structs.replace(entry, record_sha256=hashlib.sha256(other).hexdigest())
        (folder / "index.json").write_bytes(msgspec.json.encode(EngineIndex(engines={KEY.digest: entry})))
        assert (
            find_engine(folder, KEY).reason == "the record of the engine in this machine's cache is of another version"
        )


class TestLimit:
    @pytest.mark.usefixtures("cache")
    def test_what_was_not_used_for_longest_goes(self) -> None:
        folder = engine_folder()
        keys = [engine_key(f"{number:064x}", EngineRecipe(), LIBRARY) for number in range(4)]
        for number, key in enumerate(keys[:3]):
            plan = write_engine(folder, key, b"x" * 100, RECORD, limit_bytes=300)
            os.utime(plan, (number, number))
        assert find_engine(folder, keys[0]).plan is not None  # now it is the one that was used last
        write_engine(folder, keys[3], b"x" * 100, RECORD, limit_bytes=300)
        assert [find_engine(folder, key).plan is not None for key in keys] == [True, False, True, True]
        assert len(list(folder.glob("*.plan"))) == len(list(folder.glob("*.plan.json"))) == 3

    @pytest.mark.usefixtures("cache")
    def test_engine_that_is_larger_than_the_limit_stays_alone(self) -> None:
        folder = engine_folder()
        write_engine(folder, changed(version="1"), b"small", RECORD, limit_bytes=10)
        write_engine(folder, KEY, b"x" * 100, RECORD, limit_bytes=10)
        assert find_engine(folder, KEY).plan == b"x" * 100
        assert len(list(folder.glob("*.plan"))) == 1

    @pytest.mark.usefixtures("cache")
    def test_files_that_nobody_knows_go_and_those_of_others_stay(self) -> None:
        folder = engine_folder()
        (folder / f"{'c' * 64}.plan").write_bytes(b"left by a crash")
        (folder / "notes.txt").write_bytes(b"mine")
        write_timing_cache(folder, LIBRARY, b"tactics")
        write_engine(folder, KEY, b"plan", RECORD)
        assert not (folder / f"{'c' * 64}.plan").exists()
        assert (folder / "notes.txt").exists()
        assert read_timing_cache(folder, LIBRARY) == b"tactics"


class TestLock:
    @pytest.mark.usefixtures("cache")
    def test_second_waits_for_the_first_and_is_told(self) -> None:
        path, told = engine_folder() / "a.lock", threading.Event()
        order: list[str] = []

        def second() -> None:
            with locked(path, told.set):
                order.append("second")

        with locked(path):
            other = threading.Thread(target=second)
            other.start()
            assert told.wait(5)
            order.append("first")
        other.join(5)
        assert order == ["first", "second"]

    @pytest.mark.usefixtures("cache")
    def test_lock_is_no_link_to_somewhere(self, tmp_path: Path) -> None:
        path = engine_folder() / "a.lock"
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(MachineError, match=r"a\.lock: cannot be made"), locked(path):
            pass
        assert not (tmp_path / "elsewhere").exists()


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
