"""Runs from a recipe to student.safetensors: what they leave, that they repeat, that they go on after a stop."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import silent, table_of, tiny_dataset, tiny_recipe

from mstedge.errors import CheckFailedError, ConfigError, DivergedError, MachineError, UsageError
from mstedge.training.checkpoint import read_checkpoint
from mstedge.training.engine import make_engine, shuffled_batches
from mstedge.training.method.answers import all_logits
from mstedge.training.method.batches import Batch
from mstedge.training.method.collaborative import collaborative_terms
from mstedge.training.method.distill import DistillPhase, scheduled_weights
from mstedge.training.method.setup import make_setup
from mstedge.training.method.specialise import SpecialisePhase
from mstedge.training.models.networks import Mlp
from mstedge.training.models.registry import NETWORKS
from mstedge.training.runs import read_card, train_run
from mstedge.training.trainer import CHECKPOINT_NAME, METHODS


def run(folder: Path, method: Any = "mst", listener: Any = silent, **changes: Any) -> Any:
    recipe = tiny_recipe(**changes)
    return train_run(recipe, tiny_dataset(recipe), folder, method=method, listener=listener)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_the_readme_promises(tmp_path: Path) -> None:
    stages = {"collaborative": {"epochs": 20}, "specialise": {"epochs": 1}, "distill": {"epochs": 5}}
    card = run(tmp_path / "run", stages=stages)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"recipe.yaml", "run.json", "student.safetensors", "metrics.jsonl", "tensorboard"}
    assert card == read_card(tmp_path / "run")
    assert card.status == "complete"
    assert [each.part for each in card.metrics] == ["validation", "test"]
    assert card.metrics[1].accuracy > 0.5
    assert card.student.parameters == sum(
        each.numel() for each in load_file(tmp_path / "run/student.safetensors").values()
    )
    assert set(card.seconds) == {"collaborative", "specialise", "distill"}
    assert "torch" in card.lineage.versions


def test_metrics_hold_routing_masks_and_gradient_flow(tmp_path: Path) -> None:
    run(tmp_path / "run")
    rows = metrics(tmp_path / "run")
    first = next(row for row in rows if row["stage"] == "collaborative")
    members = ("student", "both", "helper")
    pairs = {f"{one}<-{other}" for one in members for other in members if one != other}
    assert set(first["gradient_flow"]) == pairs
    assert all(value > 0 for value in first["gradient_flow"].values())
    closing = [row for row in rows if "kl_after" in row]
    assert [row["teacher"] for row in closing] == ["both@fused", "both@hidden", "helper@hidden"]
    distil = [row for row in rows if row["stage"] == "distill"]
    assert [row["epoch"] for row in distil] == [0, 1, 2]
    for row in distil:
        assert sum(row["routing"].values()) == pytest.approx(1.0, abs=1e-5)
        assert row["loss"] == pytest.approx(
            row["cross_entropy"] + row["kl_weight"] * row["kl"] + row["balance_weight"] * row["balance"], rel=1e-4
        )


def test_masks_bring_teachers_nearer_to_the_student(tmp_path: Path) -> None:
    run(
        tmp_path / "run",
        stages={"collaborative": {"epochs": 4}, "specialise": {"epochs": 12}, "distill": {"epochs": 1}},
    )
    closing = [row for row in metrics(tmp_path / "run") if "kl_after" in row]
    assert sum(row["kl_after"] for row in closing) < sum(row["kl_before"] for row in closing)


def test_the_same_recipe_gives_the_same_bits(tmp_path: Path) -> None:
    run(tmp_path / "one")
    run(tmp_path / "two")
    assert (tmp_path / "one/student.safetensors").read_bytes() == (tmp_path / "two/student.safetensors").read_bytes()
    run(tmp_path / "other", seed=1)
    assert (tmp_path / "one/student.safetensors").read_bytes() != (tmp_path / "other/student.safetensors").read_bytes()


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("stop_after", range(1, 9, 2))
def test_a_stopped_run_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, stop_after: int
) -> None:
    run(tmp_path / "whole", method)
    monkeypatch.setattr("mstedge.training.trainer._SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    heard: list[str] = []

    def stop(stage: str, _done: int, _epochs: int) -> None:
        heard.append(stage)
        if len(heard) == stop_after:
            raise KeyboardInterrupt

    try:
        run(tmp_path / "stopped", method, stop)
    except KeyboardInterrupt:
        assert read_card(tmp_path / "stopped").status == "incomplete"
    run(tmp_path / "stopped", method)
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "stopped" / CHECKPOINT_NAME).exists()


class Forgetful(Mlp):
    """Draws from torch's own generator at every step."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(values, 0.3, self.training))


def test_a_stopped_run_with_dropout_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "forgetful", Forgetful)
    student = {"modality": "sense", "network": "forgetful", "options": {"widths": [12, 8]}}
    run(tmp_path / "whole", student=student)
    monkeypatch.setattr("mstedge.training.trainer._SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    heard: list[str] = []

    def stop(stage: str, _done: int, _epochs: int) -> None:
        heard.append(stage)
        if len(heard) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", listener=stop, student=student)
    torch.rand(5)  # another process starts with another state
    run(tmp_path / "stopped", student=student)
    whole = (tmp_path / "whole/student.safetensors").read_bytes()
    assert (tmp_path / "stopped/student.safetensors").read_bytes() == whole


def test_a_complete_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    before = (tmp_path / "run/student.safetensors").stat().st_mtime_ns
    assert run(tmp_path / "run") == first
    assert (tmp_path / "run/student.safetensors").stat().st_mtime_ns == before


def test_a_folder_of_another_recipe_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(UsageError, match=r"holds a run with another recipe[\s\S]*-o"):
        run(tmp_path / "run", temperature=2.0)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT_NAME
    path.write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(UsageError, match=r"checkpoint\.safetensors: the checkpoint is damaged"):
        read_checkpoint(path)
    with pytest.raises(UsageError, match="there is nothing to resume"):
        read_checkpoint(tmp_path / "none" / CHECKPOINT_NAME)


def test_a_loss_that_is_not_finite_stops_with_stage_and_step(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"collaborative epoch \d+ step \d+: the loss is (nan|inf)"):
        run(tmp_path / "run", optimiser={"learning_rate": 1e30, "batch_rows": 16})
    assert read_card(tmp_path / "run").status == "incomplete"


def test_three_modalities_and_several_teachers(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    modalities = {name: {"kind": "array", "shape": [size]} for name, size in (("sense", 8), ("help", 6), ("extra", 5))}
    teachers = [
        {"name": "all", "modalities": ["extra", "help", "sense"], "network": "fusion", "taps": ["fused"]},
        {"name": "one", "modalities": ["help"], "network": "mlp", "taps": ["hidden"]},
        {"name": "two", "modalities": ["extra"], "network": "mlp", "taps": ["hidden"]},
    ]
    stages = {"collaborative": {"epochs": 2}, "specialise": {"epochs": 1}, "distill": {"epochs": 2, "top_k": 2}}
    card = run(tmp_path / "run", modalities=modalities, teachers=teachers, stages=stages)
    assert card.status == "complete"
    assert recipe.student.modality == card.student.modality
    flows = metrics(tmp_path / "run")[0]["gradient_flow"]
    assert len(flows) == 4 * 3
    assert set(metrics(tmp_path / "run")[-1]["routing"]) == {"all@fused", "one@hidden", "two@hidden"}


def test_stage_one_is_the_sum_in_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = {name: torch.randn(6, 3, generator=generator, dtype=torch.float64) for name in "abc"}
    batch = Batch(0, torch.arange(6), {}, torch.tensor([0, 1, 2, 0, 1, 2]), rows=6, labelled=6)
    terms = collaborative_terms(logits, batch, 4.0)
    assert set(terms) == {"a", "b", "c", "a|b", "a|c", "b|c"}
    log_p = {name: torch.log_softmax(values / 4, dim=1) for name, values in logits.items()}
    one, other = log_p["a"], log_p["c"]
    by_hand = 16 * ((other.exp() * (other - one)).sum(1) + (one.exp() * (one - other)).sum(1)).mean()
    assert terms["a|c"].item() == pytest.approx(by_hand.item(), rel=1e-12)


def test_schedules_are_the_published_ones() -> None:
    config = tiny_recipe().stages.distill
    weights = {epoch: scheduled_weights(config, epoch) for epoch in (0, 1, 10, 11, 30, 31, 60, 61)}
    assert [round(weights[epoch][0], 6) for epoch in (0, 1, 30, 31, 60, 61)] == [1.0, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert [round(weights[epoch][1], 6) for epoch in (0, 1, 10, 11)] == [1.0, 0.9, 0.9, 0.81]


def test_frozen_networks_stay_as_they_are_in_stages_two_and_three() -> None:
    recipe = tiny_recipe()
    setup = make_setup(recipe, tiny_dataset(recipe), make_engine(recipe.engine))
    before = {member.name: {k: v.clone() for k, v in member.network.state_dict().items()} for member in setup.members}
    SpecialisePhase(setup).run_epoch(0)
    for member in setup.members:
        for key, value in member.network.state_dict().items():
            assert torch.equal(value, before[member.name][key]), (member.name, key)
    DistillPhase(setup).run_epoch(0)
    for member in setup.teachers:
        for key, value in member.network.state_dict().items():
            assert torch.equal(value, before[member.name][key]), (member.name, key)
    student = setup.student.network.state_dict()
    assert any(not torch.equal(value, before["student"][key]) for key, value in student.items())


def test_masks_are_isolated_and_the_table_holds_each_alone() -> None:
    recipe = tiny_recipe()
    setup = make_setup(recipe, tiny_dataset(recipe), make_engine(recipe.engine))
    first, second, _third = setup.specialised
    alone = all_logits(setup, second, setup.train)
    table = table_of(setup)
    torch.testing.assert_close(table[:, 1], alone, rtol=0, atol=0)
    torch.testing.assert_close(table[:, 0], all_logits(setup, first, setup.train), rtol=0, atol=0)
    assert not torch.equal(alone, all_logits(setup, second.member, setup.train))


def test_every_row_is_met_once_an_epoch_and_orders_depend_on_the_key_alone() -> None:
    batches = [batch.tolist() for batch in shuffled_batches(10, 4, key=(1, 2, 3))]
    assert sorted(chain.from_iterable(batches)) == list(range(10))
    assert batches == [batch.tolist() for batch in shuffled_batches(10, 4, key=(1, 2, 3))]
    assert batches != [batch.tolist() for batch in shuffled_batches(10, 4, key=(1, 2, 4))]
    assert [len(batch) for batch in shuffled_batches(9, 4, key=(0,))] == [4, 4]


def test_what_cannot_be_built_is_said_before_time_is_spent(tmp_path: Path) -> None:
    teachers = [{"name": "t", "modalities": ["help"], "network": "mlp", "taps": ["hiden"]}]
    with pytest.raises(ConfigError, match="teacher 't' has no tap 'hiden'"):
        run(tmp_path / "run", teachers=teachers)
    with pytest.raises(UsageError, match="is code of your own"):
        run(tmp_path / "run", student={"modality": "sense", "network": "mine:Net"})
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"engine\.device is 'cuda'[\s\S]*leave engine\.device at auto"):
        run(tmp_path / "run", engine={"device": "cuda"})


def test_the_baseline_has_the_students_budget_and_no_teachers(tmp_path: Path) -> None:
    card = run(tmp_path / "run", "labels-only")
    assert card.method == "labels-only"
    rows = metrics(tmp_path / "run")
    assert [(row["stage"], row["epoch"]) for row in rows] == [("labels-only", epoch) for epoch in range(6)]


def test_rows_without_a_label_take_part_but_not_in_cross_entropy(tmp_path: Path) -> None:
    recipe = tiny_recipe(labels={"fraction": 1.0})
    some, full = tiny_dataset(recipe, unlabelled=True), tiny_dataset(recipe)
    assert (some.parts["train"].labels < 0).sum() == 30
    card = train_run(recipe, some, tmp_path / "some", method="mst", listener=silent)
    assert card.metrics[1].rows == 12
    train_run(recipe, full, tmp_path / "full", method="mst", listener=silent)
    one, other = (load_file(tmp_path / name / "student.safetensors") for name in ("some", "full"))
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_a_network_of_ones_own_stands_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n\n\n"
        "class Tiny(nn.Module):\n"
        "    def __init__(self, input_shapes, classes, *, width):\n"
        "        super().__init__()\n"
        "        self.hidden = nn.Linear(input_shapes[0][0], width)\n"
        "        self.last = nn.Linear(width, classes)\n\n"
        "    def forward(self, values):\n"
        "        return self.last(self.hidden(values).relu())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    recipe = tiny_recipe(student={"modality": "sense", "network": "my_networks:Tiny", "options": {"width": 9}})
    card = train_run(recipe, tiny_dataset(recipe), tmp_path / "run", method="mst", listener=silent, allow_code=True)
    assert card.student.parameters == 8 * 9 + 9 + 9 * 3 + 3
    missing = tiny_recipe(student={"modality": "sense", "network": "my_networks:Tny"})
    with pytest.raises(ConfigError, match="'my_networks:Tny' cannot be imported"):
        train_run(missing, tiny_dataset(missing), tmp_path / "no", method="mst", listener=silent, allow_code=True)


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_mixed_precision_trains(tmp_path: Path, precision: str) -> None:
    card = run(tmp_path / "run", engine={"device": "cpu", "threads": 1, "precision": precision})
    assert card.status == "complete"
    assert all(value.dtype == torch.float32 for value in load_file(tmp_path / "run/student.safetensors").values())


def test_a_member_that_detaches_its_answer_is_found_in_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mlp, "forward", lambda self, values: self.classifier(self.hidden(self.trunk(values))).detach())
    with pytest.raises(CheckFailedError, match=r"member 'student' gets no gradient from its KL with 'both'"):
        run(tmp_path / "run")
