"""Every option of the engine does what it says, and the student stays the same as far as arithmetic lets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle_runs import picture_dataset
from safetensors.torch import load_file
from tiny_training import silent, tiny_dataset, tiny_recipe
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mstedge.errors import ConfigError, MachineError
from mstedge.run_card import RunCard
from mstedge.training.engine import make_engine
from mstedge.training.method.collaborative import CollaborativePhase
from mstedge.training.method.distill import DistillPhase
from mstedge.training.method.setup import make_setup
from mstedge.training.method.specialise import SpecialisePhase
from mstedge.training.models.registry import build_network
from mstedge.training.runs import train_run

SHORT = {"collaborative": {"epochs": 2}, "specialise": {"epochs": 1}, "distill": {"epochs": 2}}
LONG = {"collaborative": {"epochs": 12}, "specialise": {"epochs": 1}, "distill": {"epochs": 4}}
EASY = {"modality": "help", "network": "mlp", "options": {"widths": [12, 8]}}
PICTURE = (2, 12, 10)
PICTURES = {
    "modalities": {"sense": {"kind": "array", "shape": [8]}, "picture": {"kind": "array", "shape": list(PICTURE)}},
    "student": {"modality": "picture", "network": "cnn", "options": {"channels": [6, 9], "hidden": 12}},
    "teachers": [
        {
            "name": "both",
            "modalities": ["picture", "sense"],
            "network": "fusion",
            "taps": ["trunks.0.4", "hidden"],
            "options": {"channels": [6, 9], "hidden": 12},
        }
    ],
    "stages": SHORT,
}
HAS_COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(folder: Path, engine: dict[str, Any], listener: Any = silent, **changes: Any) -> RunCard:
    recipe = tiny_recipe(**changes, engine={"device": "cpu", "threads": 1} | engine)
    pictures = "picture" in recipe.modalities
    dataset = picture_dataset(recipe, PICTURE) if pictures else tiny_dataset(recipe)
    return train_run(recipe, dataset, folder, method="mst", listener=listener)


def student(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "student.safetensors")


def losses(folder: Path) -> list[float]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


def check_close(one: Path, other: Path, *, tolerance: float) -> None:
    """Compare students, and the losses of all epochs of all stages."""
    ours, theirs = student(one), student(other)
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=tolerance, atol=tolerance)
    assert losses(one) == pytest.approx(losses(other), rel=tolerance, abs=tolerance)
    assert len(losses(one)) >= 5


def inputs_seen(monkeypatch: pytest.MonkeyPatch, kind: type[nn.Module], look: Callable[[nn.Module, Any], None]) -> None:
    """Look at the inputs of every layer of a kind that is called with gradients."""
    forward = kind.forward

    def seen(layer: nn.Module, values: Tensor) -> Any:
        if torch.is_grad_enabled():
            look(layer, values)
        return forward(layer, values)

    monkeypatch.setattr(kind, "forward", seen)


def test_bf16_is_as_accurate_on_an_easy_task(tmp_path: Path) -> None:
    accuracies = {}
    for precision in ("fp32", "bf16-mixed"):
        card = run(tmp_path / precision, {"precision": precision}, student=EASY, stages=LONG, labels={"fraction": 1.0})
        accuracies[precision] = sum(each.accuracy * each.rows for each in card.metrics) / 48
    assert accuracies["fp32"] > 0.9
    assert abs(accuracies["bf16-mixed"] - accuracies["fp32"]) < 0.05
    one, other = student(tmp_path / "fp32"), student(tmp_path / "bf16-mixed")
    assert {value.dtype for value in other.values()} == {torch.float32}
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_bf16_is_the_arithmetic_of_every_stage_and_not_of_scores() -> None:
    recipe = tiny_recipe(engine={"device": "cpu", "threads": 1, "precision": "bf16-mixed"}, stages=SHORT)
    setup = make_setup(recipe, tiny_dataset(recipe), make_engine(recipe.engine))
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def look(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen[layer.training].add(output.dtype)

    handles: list[RemovableHandle] = []
    for phase in (CollaborativePhase, SpecialisePhase, DistillPhase):
        networks = [member.network for member in setup.members] + [each.mask for each in setup.specialised]
        layers = [layer for network in networks for layer in network.modules() if isinstance(layer, nn.Linear)]
        handles = [layer.register_forward_hook(look) for layer in layers]
        phase(setup).run_epoch(0)
        for handle in handles:
            handle.remove()
        assert seen[True] == {torch.bfloat16}, phase.stage
        assert torch.float32 in seen[False], "the student is scored at full precision"
        seen = {True: set(), False: set()}


def test_losses_under_bf16_are_those_of_its_logits_and_no_coarser(tmp_path: Path) -> None:
    for precision in ("fp32", "bf16-mixed"):
        run(tmp_path / precision, {"precision": precision}, stages=SHORT)
    rows = {name: stage_rows(tmp_path / name) for name in ("fp32", "bf16-mixed")}
    for stage, plain in rows["fp32"].items():
        mixed = rows["bf16-mixed"][stage]
        assert mixed["loss"] == pytest.approx(plain["loss"], rel=0.02, abs=1e-3), stage
        assert mixed.get("kl", 0.0) == pytest.approx(plain.get("kl", 0.0), rel=0.05, abs=1e-3), stage


def stage_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Give the first row of each stage."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["stage"]: row for row in reversed(rows) if "loss" in row}


def test_fp16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine\.precision is 'fp16-mixed'[\s\S]*on a CPU[\s\S]*take bf16-mixed"):
        run(tmp_path / "run", {"precision": "fp16-mixed"})
    assert not (tmp_path / "run").exists()


def test_fused_adam_gives_the_same_student(tmp_path: Path) -> None:
    for fused in (True, False):
        run(tmp_path / str(fused), {"fused_adam": fused}, stages=SHORT)
        recipe = tiny_recipe(engine={"device": "cpu", "threads": 1, "fused_adam": fused})
        optimiser = make_engine(recipe.engine).optimiser(nn.Linear(2, 2), 0.1)
        assert [group["fused"] for group in optimiser.param_groups] == [fused]
    check_close(tmp_path / "True", tmp_path / "False", tolerance=1e-6)


@pytest.mark.parametrize("change", [{}, {"data": "mapped"}, {"augment": {"picture": {"noise": 0.1}}}], ids=str)
def test_channels_last_is_how_images_come_to_every_convolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    data, augment = change.get("data", "device"), change.get("augment", {})
    run(tmp_path / "first", {"data": data}, **PICTURES, augment=augment)
    last: list[bool] = []

    def look(layer: nn.Module, values: Tensor) -> None:
        # Of varied pictures only the first convolution sees another layout, and turns it round itself.
        seen = [layer.get_parameter("weight")] + ([values] if values.shape[1] > PICTURE[0] or not augment else [])
        last.append(all(each.is_contiguous(memory_format=torch.channels_last) for each in seen))

    inputs_seen(monkeypatch, nn.Conv2d, look)
    run(tmp_path / "last", {"data": data, "channels_last": True}, **PICTURES, augment=augment)
    assert len(last) > 4 * 2 * 4
    assert all(last)
    check_close(tmp_path / "first", tmp_path / "last", tolerance=1e-5)


def test_a_stopped_run_with_channels_last_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = {"channels_last": True}
    run(tmp_path / "whole", engine, **PICTURES)
    monkeypatch.setattr("mstedge.training.trainer._SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    heard: list[str] = []

    def stop(stage: str, _done: int, _epochs: int) -> None:
        heard.append(stage)
        if len(heard) in {2, 6}:  # before the checkpoint of that epoch, after that of the one before
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", engine, listener=stop, **PICTURES)
    run(tmp_path / "stopped", engine, **PICTURES)
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_channels_last_leaves_volumes_alone() -> None:
    engine = make_engine(tiny_recipe(engine={"device": "cpu", "threads": 1, "channels_last": True}).engine)
    network = nn.Sequential(nn.Conv3d(2, 3, 2), nn.Flatten(2), nn.Flatten(), nn.Linear(3, 2), nn.Conv2d(2, 3, 3))
    weights = [each.clone() for each in network.parameters()]
    placed = engine.place(network)
    assert all(torch.equal(one, other) for one, other in zip(weights, placed.parameters(), strict=True))
    assert placed.get_parameter("4.weight").is_contiguous(memory_format=torch.channels_last)
    assert engine.placed({"volume": torch.zeros(2, 2, 3, 3, 3)})["volume"].is_contiguous()


def check_compiled(tmp_path: Path, calls: list[int]) -> None:
    run(tmp_path / "plain", {}, stages=SHORT)
    assert not calls
    card = run(tmp_path / "compiled", {"compile": True}, stages=SHORT)
    assert len(calls) == 1, "the student is compiled"
    check_close(tmp_path / "compiled", tmp_path / "plain", tolerance=1e-5)
    assert list(student(tmp_path / "compiled")) == list(student(tmp_path / "plain")), "no _orig_mod in the names"
    again = build_network(card.student.network, [(8,)], 3, card.student.options)
    again.load_state_dict(student(tmp_path / "compiled"))


@pytest.fixture
def _forgets_what_was_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("_forgets_what_was_compiled")
def test_a_compiled_student_trains_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    compile_in_place = nn.Module.compile

    def traced_only(module: nn.Module, *arguments: Any, **options: Any) -> None:
        calls.append(1)
        compile_in_place(module, *arguments, **options | {"backend": "eager"})  # no C++ compiler, which takes a minute

    monkeypatch.setattr(nn.Module, "compile", traced_only)
    check_compiled(tmp_path, calls)


@pytest.mark.usefixtures("_forgets_what_was_compiled")
def test_a_machine_that_cannot_compile_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(_graph: Any, _inputs: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    compile_in_place = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_in_place(module, backend=no_compiler))
    with pytest.raises(
        MachineError, match=r"engine\.compile: .*No working C\+\+ compiler[\s\S]*leave engine\.compile out"
    ):
        run(tmp_path / "run", {"compile": True})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="there is no C++ compiler")
@pytest.mark.usefixtures("_forgets_what_was_compiled")
def test_kernels_of_torch_compile_give_the_same_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setenv("_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR", "")  # torch sets it and leaves it
    calls: list[int] = []
    compile_in_place = nn.Module.compile

    def counted(module: nn.Module, *arguments: Any, **options: Any) -> None:
        calls.append(1)
        compile_in_place(module, *arguments, **options)

    monkeypatch.setattr(nn.Module, "compile", counted)
    check_compiled(tmp_path, calls)
    assert list((tmp_path / "kernels").rglob("*.so")), "C++ was compiled"


def test_threads_are_those_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    inputs_seen(monkeypatch, nn.Linear, lambda _layer, _values: seen.add(torch.get_num_threads()))
    torch.set_num_threads(1)
    short = {"collaborative": {"epochs": 1}, "specialise": {"epochs": 0}, "distill": {"epochs": 0}}
    card = run(tmp_path / "run", {"threads": 2}, stages=short)
    assert seen == {2}
    assert card.lineage.threads == 2


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_workers_read_as_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    import mstedge.training.rows as rows_module

    asked: set[int] = set()
    pool = rows_module.ThreadPoolExecutor

    def counted(threads: int, **options: Any) -> Any:
        asked.add(threads)
        return pool(threads, **options)

    monkeypatch.setattr(rows_module, "ThreadPoolExecutor", counted)
    run(tmp_path / "run", {"data": "mapped", "workers": workers})
    assert asked == {workers}


def test_options_are_off_on_a_cpu_unless_they_were_measured_to_be_faster() -> None:
    engine = make_engine(tiny_recipe(engine={"device": "cpu", "threads": 1}).engine)
    assert not engine.channels_last
    assert engine.fabric._precision.precision == "32-true"
    assert engine.optimiser(nn.Linear(2, 2), 0.1).param_groups[0]["fused"], "faster on a CPU: training/adam.py"
