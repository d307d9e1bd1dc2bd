"""Rows, labels and networks that cannot be trained on, refused before time is spent; values that go wrong later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import ROWS, silent, tiny_dataset, tiny_recipe
from torch import nn

from mstedge.errors import ConfigError, DataError, DivergedError
from mstedge.training.checkpoint import read_checkpoint
from mstedge.training.data.dataset import Dataset
from mstedge.training.data.source import UNLABELLED, PartName
from mstedge.training.engine import Engine
from mstedge.training.models.networks import Mlp
from mstedge.training.runs import train_run
from mstedge.training.trainer import CHECKPOINT_NAME


def run(folder: Path, dataset: Dataset | None = None, **changes: Any) -> Any:
    recipe = tiny_recipe(**changes)
    return train_run(recipe, dataset or tiny_dataset(recipe), folder, method="mst", listener=silent)


def with_labels(part: PartName, labels: Any) -> Dataset:
    dataset = tiny_dataset(tiny_recipe(labels={"fraction": 1.0}))
    changed = replace(dataset.parts[part], labels=np.asarray(labels, dtype=np.int64))
    return replace(dataset, parts=dataset.parts | {part: changed})


def with_value(part: PartName, row: int, value: float) -> Dataset:
    dataset = tiny_dataset(tiny_recipe())
    features = {name: values.copy() for name, values in dataset.parts[part].features.items()}
    features["help"][row, 2] = value
    return replace(dataset, parts=dataset.parts | {part: replace(dataset.parts[part], features=features)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_values_that_are_not_finite_are_named(tmp_path: Path, part: PartName, value: float) -> None:
    with pytest.raises(DataError, match=rf"the {part} part has values of help that are not finite in row {part}7$"):
        run(tmp_path / "run", with_value(part, 7, value))
    assert not (tmp_path / "run").exists()


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    dataset = tiny_dataset(tiny_recipe())
    dataset.parts["train"].features["sense"][:, 0] = np.nan
    with pytest.raises(DataError, match=r"values of sense .* in rows train0, train1, .*, train9 and 50 more"):
        run(tmp_path / "run", dataset)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_part_without_labels_is_refused(tmp_path: Path, part: PartName) -> None:
    with pytest.raises(DataError, match=rf"the {part} part has no labelled row"):
        run(tmp_path / "run", with_labels(part, [UNLABELLED] * ROWS[part]))


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    labels = np.where(np.arange(60) % 2 == 0, 1, UNLABELLED)
    with pytest.raises(DataError, match="all labelled rows of the train part are of class 'middle'"):
        run(tmp_path / "run", with_labels("train", labels))
    run(tmp_path / "two", with_labels("train", np.arange(60) % 2))


def test_a_label_that_is_no_class_is_refused(tmp_path: Path) -> None:
    labels = np.arange(24) % 3
    labels[5] = 3
    with pytest.raises(DataError, match=r"the validation part has the label 3 in row validation5: expected 0 to 2"):
        run(tmp_path / "run", with_labels("validation", labels))


def test_a_batch_larger_than_the_training_part_is_refused(tmp_path: Path) -> None:
    message = r"optimiser\.batch_rows is 61: the train part has 60 rows[\s\S]*set optimiser\.batch_rows to 60 or less"
    with pytest.raises(DataError, match=message):
        run(tmp_path / "run", optimiser={"batch_rows": 61})
    run(tmp_path / "whole", optimiser={"batch_rows": 60})


@pytest.mark.parametrize("shape", [(4,), (3, 1), ()])
def test_logits_that_do_not_fit_the_labels_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(Mlp, "forward", lambda _self, values: torch.zeros(len(values), *shape))
    with pytest.raises(ConfigError, match=r"student gives logits \[2.*\] for 2 rows: expected \[2, 3\]"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_names_the_rows_of_its_batch(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"epoch 0 step \d+: the loss is (nan|inf) on the rows") as met:
        run(tmp_path / "run", with_value("train", 7, 3e38))
    rows = met.value.message.rpartition("the rows ")[2].split(", ")
    assert "train7" in rows
    assert len(rows) in {16, 12}  # 60 rows in batches of 16


def spoilt_at(where: str, monkeypatch: pytest.MonkeyPatch, *, weight: bool) -> None:
    """Let one step's loss, or a weight after it, be NaN."""
    take_step = Engine.step

    def step(engine: Engine, loss: torch.Tensor, optimiser: Any, *, where: str, wanted: str = where) -> float:
        value = take_step(engine, loss * torch.nan if where == wanted and not weight else loss, optimiser, where=where)
        if where == wanted:
            parameter: nn.Parameter = optimiser.param_groups[0]["params"][0]
            parameter.data.view(-1)[0] = torch.nan
        return value

    monkeypatch.setattr(Engine, "step", step)


@pytest.mark.parametrize("stage", ["collaborative", "specialise both@hidden", "distill"])
@pytest.mark.parametrize("weight", [False, True])
def test_the_last_good_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, *, weight: bool
) -> None:
    run(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr("mstedge.training.trainer._SECONDS_BETWEEN_CHECKPOINTS", -1.0)
        spoilt_at(f"{stage} epoch 1 step 3", patched, weight=weight)
        expected = "holds nan" if weight else "the loss is nan on the rows train"
        where = f"{stage.partition(' ')[0]} epoch 1: " if weight else f"{stage} epoch 1 step 3: "
        with pytest.raises(DivergedError, match=f"{where}.*{expected}"):
            run(tmp_path / "stopped")
    checkpoint = read_checkpoint(tmp_path / "stopped" / CHECKPOINT_NAME)
    assert checkpoint.cursor.epochs_done == 1
    assert all(torch.isfinite(value).all() for value in checkpoint.tensors.values())
    run(tmp_path / "stopped")
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_masks_that_no_memory_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "memory_bytes", property(lambda _engine: 4096))
    with pytest.raises(
        ConfigError, match=r"the masks need .*GiB.*most of it is for both@fused, a tap of width 12"
    ) as met:
        run(tmp_path / "run")
    assert met.value.hint == "raise stages.specialise.hidden_dim_factor above 2, or tap a narrower layer"
    assert not (tmp_path / "run").exists()
