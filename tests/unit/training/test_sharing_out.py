"""What may be shared out among processes, what is refused, and who starts them. All in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from tiny_training import silent, tiny_dataset, tiny_recipe
from torch import nn

from mstedge.cli import run as run_command
from mstedge.errors import ConfigError, MachineError, UsageError
from mstedge.recipe_stages import Engine as EngineConfig
from mstedge.specs import ArraySpec
from mstedge.training import cells as cells_module
from mstedge.training.cells import Cell, run_cells, run_one_by_one, usable_workers
from mstedge.training.data.dataset import Dataset
from mstedge.training.engine import accelerator_of, make_engine
from mstedge.training.method import sharing_out
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.method.sharing_out import share_out
from mstedge.training.models.networks import Mlp
from mstedge.training.models.registry import NETWORKS
from mstedge.training.process_group import (
    LostProcessError,
    engine_as_started,
    is_first_process,
    losses_of_processes_told,
    started_with,
)

NORMED = {"network": "normed", "options": {"widths": [12, 8]}}
STUDENT = {"modality": "sense"} | NORMED
HELPER = {"name": "helper", "modalities": ["help"], "taps": ["hidden"]} | NORMED

PICTURED = {"name": "helper", "modalities": ["help"], "taps": ["trunk.0"], "network": "cnn", "frozen": True}
PICTURED |= {"options": {"channels": [6], "hidden": 12}}


class Normed(Mlp):
    """An `Mlp` with BatchNorm in front."""

    def __init__(self, shapes: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(shapes, *arguments, **options)
        self.norm = nn.BatchNorm1d(shapes[0][0])

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(self.norm(values))


class OwnNorm(nn.BatchNorm1d):
    """Somebody's own kind of it."""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody be there to send first weights to."""
    monkeypatch.setitem(NETWORKS, "normed", Normed)
    monkeypatch.setattr(sharing_out, "make_equal", list)


def shared(
    device: str = "cpu",
    method: str = "mst",
    processes: int = 2,
    change: Callable[[Dataset], Dataset] = lambda dataset: dataset,
    **changes: Any,
) -> Setup:
    recipe = tiny_recipe(**changes)
    setup = make_setup(recipe, change(tiny_dataset(recipe)), make_engine(recipe.engine))
    engine: Any = SimpleNamespace(device=torch.device(device), processes=processes)
    setup = replace(setup, engine=engine)
    share_out(setup, method)
    return setup


def test_batchnorm_that_learns_is_refused_on_a_cpu() -> None:
    with pytest.raises(
        ConfigError, match=r"the student \(normed\) has a BatchNorm1d at 'norm'[\s\S]*engine.devices: 1"
    ):
        shared(student=STUDENT)
    with pytest.raises(ConfigError, match=r"teacher 'helper' \(normed\) has a BatchNorm1d at 'norm'"):
        shared(teachers=[HELPER])
    with pytest.raises(ConfigError, match=r"the MaskNet at 'helper@trunk.0' has a BatchNorm2d at 'reduce.2'"):
        shared(teachers=[PICTURED], change=over_pictures)


def over_pictures(dataset: Dataset) -> Dataset:
    """Let `help` be a picture."""
    parts = {
        name: replace(part, features=part.features | {"help": part.features["help"].reshape(-1, 1, 2, 3)})
        for name, part in dataset.parts.items()
    }
    return replace(dataset, parts=parts, specs=dataset.specs | {"help": ArraySpec(shape=(1, 2, 3))})


@pytest.mark.parametrize(
    "changes",
    [
        {"teachers": [HELPER | {"frozen": True}]},
        {"teachers": [HELPER], "stages": {"collaborative": {"epochs": 0}}},
        {"teachers": [HELPER], "method": "labels-only"},
    ],
    ids=str,
)
def test_batchnorm_that_never_looks_at_a_batch_may_stay(changes: dict[str, Any]) -> None:
    assert isinstance(shared(**changes).teachers[0].network.get_submodule("norm"), nn.BatchNorm1d)


def test_batchnorm_becomes_syncbatchnorm_on_gpus_with_the_same_keys() -> None:
    plain = make_setup(tiny_recipe(student=STUDENT), tiny_dataset(tiny_recipe()), make_engine(tiny_recipe().engine))
    setup = shared("cuda", student=STUDENT)
    assert type(setup.student.network.get_submodule("norm")) is nn.SyncBatchNorm
    keys = {name: list(module.state_dict()) for name, module in plain.modules().items()}
    assert {name: list(module.state_dict()) for name, module in setup.modules().items()} == keys


def test_batchnorm_of_somebodys_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn, "BatchNorm1d", OwnNorm)
    with pytest.raises(ConfigError, match=r"has a OwnNorm at 'norm': expected torch's own BatchNorm"):
        shared("cuda", student=STUDENT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"processes": 17}, r"optimiser.batch_rows is 16: expected a row for each of 17 processes"),
        ({"cache": {"targets": "file"}}, r"cache.targets is 'file': 2 processes cannot share such a table"),
    ],
    ids=str,
)
def test_what_processes_cannot_share_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shared(**changes)


def started(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int, devices: int) -> None:
    values = {"RANK": rank, "LOCAL_RANK": rank % devices, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": devices}
    for name, value in (values | {"MASTER_ADDR": "localhost", "MASTER_PORT": 1}).items():
        monkeypatch.setenv(name, str(value))


def test_torchrun_says_how_many_there_are_where_the_recipe_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, rank=5, processes=8, devices=4)
    assert engine_as_started(EngineConfig()) == EngineConfig(devices=4, nodes=2)
    assert engine_as_started(EngineConfig(devices=4)) == EngineConfig(devices=4, nodes=2)
    assert not is_first_process()
    with pytest.raises(ConfigError, match=r"engine.devices is 2: torchrun has started 4 processes on each of 2"):
        engine_as_started(EngineConfig(devices=2))
    with pytest.raises(ConfigError, match=r"this process was started as one of 4 on each of 2 machines"):
        make_engine(EngineConfig(device="cpu"))


def test_a_world_of_one_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, rank=0, processes=1, devices=1)
    assert started_with() is None
    assert is_first_process()


@pytest.mark.parametrize(("name", "value"), [("RANK", "one"), ("LOCAL_WORLD_SIZE", "3"), ("RANK", "4")])
def test_an_environment_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    started(monkeypatch, rank=0, processes=4, devices=2)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=value):
        started_with()


def test_several_machines_need_torchrun(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = ["--set", "engine.nodes=2", "--set", "engine.devices=4", "--set", "engine.device=cpu"]
    assert run_command(["distill", "digits-image", *settings, "-o", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "torchrun --nnodes 2 --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500 --nproc-per-node 4" in told
    assert not (tmp_path / "run").exists()


def test_torchruns_processes_have_to_be_told_the_run_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started(monkeypatch, rank=1, processes=2, devices=2)
    assert run_command(["distill", "digits-image"]) == 2
    assert "need the same run folder\n  hint: -o RUN, or --resume RUN" in capsys.readouterr().err


def test_a_recipe_for_several_devices_starts_as_many_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[Callable[..., Any], int]] = []
    monkeypatch.setattr(cells_module, "run_in_processes", lambda work, count, _progress: asked.append((work, count)))
    recipe = tiny_recipe(engine={"device": "cpu", "threads": 1, "devices": 3})
    cells = [Cell(recipe, "mst", tmp_path / name, allow_code=False) for name in "ab"]
    assert usable_workers(recipe.engine) == 1
    run_cells(cells, workers=1, progress=silent)
    ((work, count),) = asked
    assert count == 3
    assert isinstance(work, partial)
    assert (work.func, work.args) == (run_one_by_one, (cells,))


def test_more_devices_than_there_are_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert accelerator_of(EngineConfig(devices=2)) == "cuda"
    with pytest.raises(MachineError, match=r"engine.devices is 3: torch finds 2 here"):
        accelerator_of(EngineConfig(devices=3))


def test_half_precision_on_a_cpu_is_not_replaced_in_silence() -> None:
    with pytest.raises(ConfigError, match=r"engine.precision is 'fp16-mixed'[\s\S]*bf16-mixed or fp32"):
        accelerator_of(msgspec.structs.replace(EngineConfig(), device="cpu", precision="fp16-mixed"))


def test_a_lost_connection_is_told_in_one_sentence() -> None:
    with pytest.raises(LostProcessError, match="another process of this run has ended"), losses_of_processes_told():
        raise RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), losses_of_processes_told():
        raise RuntimeError("shapes do not fit")
