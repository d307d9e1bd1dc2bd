"""Rows on the device and rows in mapped files: the same bits in any order, and nothing left behind."""

from __future__ import annotations

import gc
import math
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from tiny_training import ROWS, TinySource, silent, tiny_dataset, tiny_recipe

from mstedge.errors import MachineError, SampleError
from mstedge.recipe_stages import Engine as EngineConfig
from mstedge.runtime.preprocess import Decoded
from mstedge.schema import convert
from mstedge.specs import ArraySpec, Spec
from mstedge.training.data.dataset import Dataset, Part, build_dataset
from mstedge.training.data.source import PARTS, UNLABELLED, PartName
from mstedge.training.engine import Engine
from mstedge.training.rows import MappedRows, PartRows, ResidentRows, labelled_places, part_rows
from mstedge.training.runs import train_run

ENGINE = Engine(Fabric(accelerator="cpu", devices=1), threads=1)
SHAPES = {"picture": (3, 5, 4), "sense": (7,)}
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64]


def made_part(rows: int, places: tuple[int, ...] = (), kind: Any = np.int64, folder: Path | None = None) -> Part:
    """Make random rows, some places unlabelled where the type can say so; in read-only mapped files if asked for."""
    generator = np.random.default_rng(rows)
    features: dict[str, Any] = {
        name: generator.standard_normal((rows, *shape), dtype=np.float32) for name, shape in SHAPES.items()
    }
    least = UNLABELLED if np.issubdtype(kind, np.signedinteger) else 0
    labels = generator.integers(least, 4, (rows, *places)).astype(kind)
    if folder is not None:
        for name, values in features.items():
            np.save(folder / f"{name}.npy", values)
            features[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    ids = tuple(str(row) for row in range(rows))
    return Part(features, labels, ids, ids)


def rows_of(part: Part) -> tuple[PartRows, PartRows]:
    return ResidentRows(part, ENGINE), MappedRows(part, ENGINE, workers=2)


@given(
    rows=st.integers(2, 40),
    orders=st.lists(st.lists(st.integers(0, 39), max_size=12), max_size=9),
    places=st.sampled_from([(), (2, 3)]),
    kind=st.sampled_from(INTEGERS),
)
@settings(max_examples=60, deadline=None)
def test_any_order_gives_the_same_bits(rows: int, orders: list[list[int]], places: tuple[int, ...], kind: Any) -> None:
    part = made_part(rows, places, kind)
    wanted = [torch.tensor([each % rows for each in order], dtype=torch.int64) for order in orders]
    for kept in rows_of(part):
        assert len(kept) == rows
        assert kept.dense == bool(places)
        assert kept.row_bytes == 4 * sum(math.prod(shape) for shape in SHAPES.values())
        taken = list(kept.batches(wanted))
        assert len(taken) == len(wanted)
        for index, batch in zip(wanted, taken, strict=True):
            for found in (batch, kept.take(index)):
                assert len(found) == len(index)
                assert found.labels.dtype == torch.int64
                assert found.labels.tolist() == part.labels[index.numpy()].tolist()
                for name, values in part.features.items():
                    assert found.features[name].dtype == torch.float32
                    assert found.features[name].numpy().tobytes() == values[index.numpy()].tobytes()


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("places", [(), (5,), (3, 4)])
def test_labelled_places_are_counted(kind: Any, places: tuple[int, ...]) -> None:
    part = made_part(30, places, kind)
    by_hand = [int(np.sum(np.asarray(part.labels[row], dtype=np.int64) != UNLABELLED)) for row in range(30)]
    for kept in rows_of(part):
        assert kept.labelled.tolist() == by_hand
        assert kept.labelled.dtype == torch.int64
    assert any(count < math.prod(places) for count in by_hand) == np.issubdtype(kind, np.signedinteger)


def test_large_maps_are_counted_in_pieces() -> None:
    labels = np.zeros((5, 4096, 1024), dtype=np.int8)  # four rows at a time
    labels[4, 17, :9] = UNLABELLED
    assert labelled_places(labels).tolist() == [1 << 22] * 4 + [(1 << 22) - 9]


def test_the_recipe_says_where_rows_are_kept() -> None:
    for data, kind in (("auto", ResidentRows), ("device", ResidentRows), ("mapped", MappedRows)):
        config = convert({"data": data}, EngineConfig, source="engine")
        assert type(part_rows(made_part(20), ENGINE, config)) is kind


def test_rows_may_stand_in_files_that_nobody_may_write(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    part = made_part(20, folder=tmp_path)
    kept = part_rows(part, ENGINE, EngineConfig())
    assert isinstance(kept, MappedRows)
    taken = kept.take(torch.tensor([3, 1]))
    taken.features["sense"].add_(1.0)  # memory of its own: the file is read-only
    assert np.array_equal(part.features["sense"][3] + 1, taken.features["sense"][0].numpy())
    assert [str(each.message) for each in recwarn] == []


@pytest.mark.parametrize("change", [{"augment": {"help": {"noise": 0.2}}}, {"engine": {"workers": 1}}], ids=str)
def test_a_whole_run_does_not_depend_on_where_rows_are(tmp_path: Path, change: dict[str, Any]) -> None:
    for where in ("device", "mapped"):
        engine = {"device": "cpu", "threads": 1, "data": where} | change.get("engine", {})
        recipe = tiny_recipe(**change | {"engine": engine})
        train_run(recipe, tiny_dataset(recipe), tmp_path / where, method="mst", listener=silent)
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (tmp_path / "device" / name).read_bytes() == (tmp_path / "mapped" / name).read_bytes()


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rows")]


def test_threads_read_ahead_a_little_and_end_where_nobody_goes_on() -> None:
    asked: list[int] = []

    def orders() -> Iterator[torch.Tensor]:
        for number in range(1000):
            asked.append(number)
            yield torch.tensor([number % 20])

    batches: Any = MappedRows(made_part(20), ENGINE, workers=3).batches(orders())  # type: ignore[arg-type]
    next(batches)
    next(batches)
    assert reading_threads()
    assert 2 < len(asked) <= 2 + 2 * 3 + 1
    batches.close()
    assert not reading_threads()


def test_threads_end_where_a_step_fails() -> None:
    def train() -> None:
        for _batch in MappedRows(made_part(20), ENGINE, workers=2).batches([torch.tensor([row]) for row in range(20)]):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train()
    gc.collect()
    assert not reading_threads()


def test_what_goes_wrong_in_a_thread_is_raised_where_rows_are_taken() -> None:
    kept = MappedRows(made_part(20), ENGINE, workers=2)
    batches = kept.batches([torch.tensor([1]), torch.tensor([20]), torch.tensor([2])])
    assert next(batches).labels.tolist() == kept.take(torch.tensor([1])).labels.tolist()
    with pytest.raises(IndexError, match="index 20 is out of bounds"):
        next(batches)
    assert not reading_threads()


def test_workers_read_ahead_while_a_batch_is_learnt_from() -> None:
    both = threading.Barrier(2, timeout=10)

    class Slow(MappedRows):
        def _read(self, index: torch.Tensor) -> Any:
            both.wait()  # passes only if two rows are being read at once
            return super()._read(index)

    assert len(list(Slow(made_part(8), ENGINE, workers=2).batches([torch.tensor([row]) for row in range(8)]))) == 8


def build(most_bytes: int | None, source: Any = None, specs: dict[str, Spec] | None = None, **how: Any) -> Dataset:
    recipe = tiny_recipe()
    how = {"labelled_fraction": 1.0, "seed": 0} | how
    return build_dataset(source or TinySource(), specs or dict(recipe.modalities), most_bytes=most_bytes, **how)


def test_mapped_features_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    needed = 4 * sum(ROWS.values()) * (8 + 6)
    inside, mapped = build(needed), build(needed - 1)
    assert list(tmp_path.iterdir()) == [], "nobody else sees the files, and they end with the process"
    assert inside.sha256 == mapped.sha256
    assert inside.specs == mapped.specs
    for part in PARTS:
        for name, values in inside.parts[part].features.items():
            other = mapped.parts[part].features[name]
            assert isinstance(other, np.memmap)
            assert not isinstance(values, np.memmap)
            assert values.tobytes() == other.tobytes()
    assert mapped_below(tmp_path) == 3 * 2
    del values, other, inside, mapped
    gc.collect()
    assert mapped_below(tmp_path) == 0, "their room on the disk is free again"


def mapped_below(folder: Path) -> int:
    """Count the files below a folder that this process maps."""
    return sum(f" {folder}/" in line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())


class WideSource(TinySource):
    """Rows of a quarter of a MiB each."""

    def decoded(self, part: PartName, modality: str, row: int) -> Decoded:
        return Decoded(values=np.full((1 << 12, 16), row + len(part + modality), dtype=np.float32))


def test_mapped_features_are_never_in_memory_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mstedge.training.data.dataset._PIECE_BYTES", 1 << 20)
    specs: dict[str, Spec] = {"sense": ArraySpec(shape=(1 << 12, 16))}
    whole = sum(ROWS.values()) << 18

    def peak(most_bytes: int) -> int:
        tracemalloc.start()
        dataset = build(most_bytes, WideSource(), specs)
        kept = part_rows(dataset.parts["train"], ENGINE, EngineConfig())
        for _batch in kept.batches(torch.arange(ROWS["train"]).split(4)):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(whole) > whole
    assert peak(whole - 1) < whole / 2


def test_features_that_no_disk_holds_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=10 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    read: list[int] = []
    specs: dict[str, Spec] = {"sense": ArraySpec(shape=(1 << 12, 16))}
    with pytest.raises(MachineError, match=r"take 27 MiB, too much for memory, and .* has 10 MiB free[\s\S]*TMPDIR"):
        build(1, WideSource(), specs, progress=lambda done, _total: read.append(done))
    assert not read


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", PARTS)
def test_a_row_whose_features_are_not_finite_is_named(part: PartName, value: float) -> None:
    class Spoilt(TinySource):
        def decoded(self, part_: PartName, modality: str, row: int) -> Decoded:
            values = super().decoded(part_, modality, row).values.copy()
            values[2] = value if (part_, modality, row) == (part, "help", 7) else values[2]
            return Decoded(values)

    with pytest.raises(SampleError, match=rf"^row {part}7 of the {part} part, help: the features of .* are not finite"):
        build(None, Spoilt())


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("dense", [False, True])
def test_labels_of_any_type_can_be_hidden(kind: Any, *, dense: bool) -> None:
    source = TinySource()
    for name, index in source.parts.items():
        labels = index.labels.astype(kind)
        source.parts[name] = replace(index, labels=np.stack([labels, labels], axis=1) if dense else labels)
    dataset = build(None, source, labelled_fraction=0.5)
    labels = dataset.parts["train"].labels
    assert labels.dtype == np.int64 or dense
    assert labels.itemsize <= 2 * np.dtype(kind).itemsize or not dense
    hidden = labels == UNLABELLED
    assert int(hidden.sum()) == ROWS["train"] // 2 * (2 if dense else 1)
    assert np.array_equal(np.where(hidden, source.parts["train"].labels, labels), source.parts["train"].labels)
    assert np.array_equal(dataset.parts["test"].labels, source.parts["test"].labels)
