"""Routings against values worked out by hand, which gradients they let through, and runs with each of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import torch
from tiny_training import silent, table_of, tiny_dataset, tiny_recipe, whole_batch

from mstedge.errors import ConfigError
from mstedge.recipe import Recipe
from mstedge.recipe_stages import Routing
from mstedge.training.data.source import UNLABELLED
from mstedge.training.engine import make_engine
from mstedge.training.method.answers import all_logits
from mstedge.training.method.distill import DistillPhase
from mstedge.training.method.losses import load_variation, routed_kl
from mstedge.training.method.monitors import CollapseWatch, agreement
from mstedge.training.method.routing import ROUTINGS, Candidates
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.runs import train_run

STAGES = {"collaborative": {"epochs": 1}, "specialise": {"epochs": 1}, "distill": {"epochs": 2}}
# Two rows, three teachers, two classes; the student says (1/2, 1/2), so that KL(S || (p, 1 - p)) has a short name.
TEACHERS = torch.tensor([[[0.5, 0.5], [0.9, 0.1], [0.75, 0.25]]] * 2, dtype=torch.float64)
GATE = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], dtype=torch.float64)
DRAWS = torch.tensor([[0.3, 0.9, 0.4], [0.8, 0.2, 0.7]], dtype=torch.float64)
KL_90 = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
KL_75 = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def candidates(top_k: int = 1, labels: tuple[int, int] = (0, UNLABELLED)) -> Candidates:
    return Candidates(GATE.clone().requires_grad_(), lambda: torch.log(TEACHERS), torch.tensor(labels), DRAWS, top_k)


def loss_of(routing: str, given: Candidates) -> torch.Tensor:
    choice = ROUTINGS[routing](given)
    learner = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    routed = given.targets()[torch.arange(2)[:, None], choice.teachers]
    return routed_kl(learner, routed, choice.weights, temperature=1.0)


@pytest.mark.parametrize(
    ("routing", "top_k", "first_row", "second_row"),
    [
        ("gate", 1, KL_75, 0.0),
        ("gate", 2, (KL_75 + KL_90) / 2, (0.0 + KL_90) / 2),
        ("unmasked", 1, KL_75, 0.0),
        ("soft", 1, 0.2 * KL_90 + 0.7 * KL_75, 0.3 * KL_90 + 0.1 * KL_75),
        ("straight_through", 1, KL_75, 0.0),
        ("straight_through", 2, (KL_75 + KL_90) / 2, (0.0 + KL_90) / 2),
        ("random", 1, KL_90, 0.0),
        ("random", 2, (KL_90 + KL_75) / 2, (0.0 + KL_75) / 2),
        ("mean", 1, (KL_90 + KL_75) / 3, (KL_90 + KL_75) / 3),
        # p(true class) is 0.5, 0.9, 0.75 of 2.15 in all; the second row has no label.
        ("correctness", 1, (0.9 * KL_90 + 0.75 * KL_75) / 2.15, (KL_90 + KL_75) / 3),
    ],
)
def test_each_routing_is_what_it_says(routing: str, top_k: int, first_row: float, second_row: float) -> None:
    assert loss_of(routing, candidates(top_k)).item() == pytest.approx((first_row + second_row) / 2, rel=1e-12)


def test_correctness_looks_at_the_true_class() -> None:
    weights = ROUTINGS["correctness"](candidates(labels=(1, 0))).weights
    expected = [[0.5 / 0.85, 0.1 / 0.85, 0.25 / 0.85], [0.5 / 2.15, 0.9 / 2.15, 0.75 / 2.15]]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("routing", sorted(ROUTINGS))
def test_gradients_reach_the_router_where_they_should(routing: str) -> None:
    given = candidates()
    loss_of(routing, given).backward()
    gradient = given.gate.grad
    if routing not in {"soft", "straight_through"}:
        assert gradient is None
        return
    expected = torch.tensor([[0.0, KL_90, KL_75]] * 2, dtype=torch.float64) / 2
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_what_a_choice_gives_to_each_teacher() -> None:
    assert ROUTINGS["gate"](candidates(top_k=2)).share_of(3).tolist() == [0.25, 0.5, 0.25]
    assert ROUTINGS["soft"](candidates()).share_of(3).tolist() == pytest.approx([0.35, 0.25, 0.4])


def test_the_recipe_offers_every_routing() -> None:
    assert set(get_args(Routing)) == set(ROUTINGS)
    with pytest.raises(ConfigError, match=r"stages\.distill\.routing is 'sofd'[\s\S]*did you mean 'soft'"):
        tiny_recipe(stages={"distill": {"routing": "sofd"}})


def test_load_variation_by_hand() -> None:
    # Summed gates 1.2, 0.6, 0.2: mean 2/3, squared deviations 0.28444, 0.00444, 0.21778, sample variance 0.25333.
    gate = torch.tensor([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1]], dtype=torch.float64).mean(dim=0)
    assert load_variation(gate).item() == pytest.approx(math.sqrt(0.76 / 3) * 1.5, rel=1e-12)
    even = torch.full((3,), 0.25, dtype=torch.float64, requires_grad=True)
    load_variation(even).backward()
    assert even.grad is not None
    assert not even.grad.any()
    assert load_variation(torch.ones(1)).item() == 0.0


def routed_recipe(**distill: Any) -> Recipe:
    return tiny_recipe(stages=STAGES | {"distill": {"epochs": 2} | distill})


def setup_of(recipe: Recipe) -> Setup:
    return make_setup(recipe, tiny_dataset(recipe), make_engine(recipe.engine))


@pytest.mark.parametrize(("gate_input", "reached"), [("attached", True), ("detached", False)])
@pytest.mark.parametrize("balance", ["kl", "cv"])
def test_a_detached_router_leaves_the_student_alone(gate_input: str, balance: str, *, reached: bool) -> None:
    setup = setup_of(routed_recipe(gate_input=gate_input, balance=balance))
    phase = DistillPhase(setup)
    (_cross_entropy, _kl, term), _choice = phase._terms(whole_batch(setup), phase._draws(0))
    weights = list(setup.student.network.parameters())
    gradients = torch.autograd.grad(term, weights, allow_unused=True, retain_graph=True)
    assert any(each is not None and bool(each.any()) for each in gradients) == reached
    assert all(each.any() for each in torch.autograd.grad(term, list(setup.router.parameters())))


@pytest.mark.parametrize(("routing", "learns"), [("gate", False), ("soft", True), ("straight_through", True)])
def test_without_balance_only_a_soft_gradient_trains_the_router(routing: str, *, learns: bool) -> None:
    setup = setup_of(routed_recipe(routing=routing, balance_weight=0.0))
    before = [each.clone() for each in setup.router.parameters()]
    DistillPhase(setup).run_epoch(0)
    assert any(not torch.equal(*pair) for pair in zip(before, setup.router.parameters(), strict=True)) == learns


def test_random_teachers_depend_on_seed_epoch_and_row_alone() -> None:
    phase = DistillPhase(setup_of(routed_recipe(routing="random", top_k=2)))
    assert torch.equal(phase._draws(3), phase._draws(3))
    assert not torch.equal(phase._draws(3), phase._draws(4))
    other = DistillPhase(setup_of(replace_seed(routed_recipe(routing="random", top_k=2), 1)))
    assert not torch.equal(phase._draws(3), other._draws(3))
    draws = torch.cat([phase._draws(epoch) for epoch in range(100)])
    rows = len(draws)
    given = Candidates(torch.ones(rows, 3), lambda: torch.zeros(rows, 3, 2), torch.zeros(rows), draws, 2)
    choice = ROUTINGS["random"](given)
    # 6000 rows, each teacher in two thirds of them: a standard deviation is 37.
    assert choice.teachers.shape == (rows, 2)
    assert all(abs(share * 2 * rows - 4000) < 200 for share in choice.share_of(3).tolist())


def replace_seed(recipe: Recipe, seed: int) -> Recipe:
    return msgspec.structs.replace(recipe, seed=seed)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("routing", sorted(ROUTINGS))
def test_a_run_with_each_routing(tmp_path: Path, routing: str) -> None:
    recipe = routed_recipe(routing=routing)
    card = train_run(recipe, tiny_dataset(recipe), tmp_path / "run", method="mst", listener=silent)
    assert card.status == "complete"
    distilled = [row for row in metrics(tmp_path / "run") if row["stage"] == "distill"]
    for row in distilled:
        assert sum(row["routing"].values()) == pytest.approx(1.0, abs=1e-5)
    if routing == "mean":
        assert list(distilled[0]["routing"].values()) == pytest.approx([1 / 3] * 3)
    if routing == "unmasked":
        assert set(distilled[0]["routing"]) == {"both", "helper"}
        assert not [row for row in metrics(tmp_path / "run") if row["stage"] == "specialise"]


def test_unmasked_routes_among_the_teachers_themselves() -> None:
    setup = setup_of(routed_recipe(routing="unmasked"))
    table = table_of(setup)
    assert table.shape == (60, 2, 3)
    torch.testing.assert_close(table[:, 1], all_logits(setup, setup.teachers[1], setup.train), rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"top_k is 3: there are 2 teachers"):
        routed_recipe(routing="unmasked", top_k=3)


@pytest.mark.parametrize("stop_after", [3, 4])
def test_a_stopped_run_draws_the_same_teachers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    recipe = routed_recipe(routing="random", epochs=4)
    dataset = tiny_dataset(recipe)
    train_run(recipe, dataset, tmp_path / "whole", method="mst", listener=silent)
    monkeypatch.setattr("mstedge.training.trainer._SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    heard: list[str] = []

    def stop(stage: str, _done: int, _epochs: int) -> None:
        heard.append(stage)
        if len(heard) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(recipe, dataset, tmp_path / "stopped", method="mst", listener=stop)
    train_run(recipe, dataset, tmp_path / "stopped", method="mst", listener=silent)
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_collapse_that_lasts_raises_the_alarm() -> None:
    watch = CollapseWatch()
    collapsed, fine = {"a": 0.96, "b": 0.04}, {"a": 0.95, "b": 0.05}
    assert [bool(watch.alarm(each, 1)) for each in (collapsed, collapsed, fine, collapsed, collapsed)] == [False] * 5
    later = CollapseWatch()
    later.load_state_dict(watch.state_dict())  # as after --resume
    assert later.alarm(collapsed, 1) == {"a": 0.96}
    assert not any(CollapseWatch().alarm({"a": 1.0}, 1) for _epoch in range(4))
    pair = CollapseWatch()
    assert [sorted(pair.alarm({"a": 0.49, "b": 0.02, "c": 0.49}, 2)) for _epoch in range(3)] == [[], [], ["a", "c"]]


def test_the_alarm_stands_in_the_metrics() -> None:
    recipe = routed_recipe(epochs=4, learning_rate=1e-9)
    setup = setup_of(recipe)
    torch.nn.init.constant_(setup.router.layers[1].bias, 0.0)
    setup.router.layers[1].bias.data[1] = 50.0
    phase = DistillPhase(setup)
    rows = [phase.run_epoch(epoch).rows[0] for epoch in range(4)]
    assert ["alarm" in row for row in rows] == [False, False, True, True]
    assert rows[2]["alarm"] == {"both@hidden": pytest.approx(1.0)}


def test_agreement_by_hand() -> None:
    answers = {"a": torch.tensor([0, 1, 2, 0]), "b": torch.tensor([0, 1, 1, 1]), "c": torch.tensor([2, 1, 2, 0])}
    assert agreement(answers) == {"a|b": 0.5, "a|c": 0.75, "b|c": 0.25}


def test_agreement_with_the_student_stands_in_the_metrics() -> None:
    setup = setup_of(routed_recipe())
    row = DistillPhase(setup).run_epoch(0).rows[0]
    mine = all_logits(setup, setup.student, setup.validation).argmax(dim=1)
    for teacher in setup.specialised:
        same = all_logits(setup, teacher, setup.validation).argmax(dim=1) == mine
        assert row["agreement"][teacher.name] == pytest.approx(float(same.float().mean()))
    assert len(row["teacher_agreement"]) == 3
