"""Masks that act alone or together, and members that exist before the run: their weights, and standing still."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_training import silent, table_of, tiny_dataset, tiny_recipe, whole_batch

from mstedge.errors import ConfigError
from mstedge.recipe import Recipe, with_paths
from mstedge.training.engine import make_engine
from mstedge.training.method.answers import all_logits
from mstedge.training.method.collaborative import CollaborativePhase
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.method.specialise import SpecialisePhase
from mstedge.training.models.taps import output_passed_through, tapped_module
from mstedge.training.runs import train_run


def setup_of(recipe: Recipe) -> Setup:
    return make_setup(recipe, tiny_dataset(recipe), make_engine(recipe.engine))


def with_masks(masks: str) -> Recipe:
    return tiny_recipe(stages={"specialise": {"epochs": 1, "masks": masks}, "distill": {"epochs": 1}})


def test_cumulative_masks_leave_those_of_earlier_taps_in_place() -> None:
    setup = setup_of(with_masks("cumulative"))
    SpecialisePhase(setup).run_epoch(0)
    table = table_of(setup)
    first, second, third = setup.specialised
    network = second.member.network
    with (
        torch.no_grad(),
        output_passed_through(tapped_module(network, first.tap, owner="it"), first.mask.eval()),
        output_passed_through(tapped_module(network, second.tap, owner="it"), second.mask.eval()),
    ):
        both = network.eval()(*second.member.inputs(whole_batch(setup).features))
    torch.testing.assert_close(table[:, 1], both, rtol=0, atol=0)
    assert not torch.allclose(both, all_logits(setup, second, setup.train), rtol=1e-2)
    for column, teacher in ((0, first), (2, third)):  # the first of its teacher each
        torch.testing.assert_close(table[:, column], all_logits(setup, teacher, setup.train), rtol=0, atol=0)


def test_each_mask_is_trained_alone_either_way() -> None:
    alone, together = (setup_of(with_masks(masks)) for masks in ("isolated", "cumulative"))
    assert SpecialisePhase(alone).run_epoch(0).rows == SpecialisePhase(together).run_epoch(0).rows
    one, other = (table_of(each) for each in (alone, together))
    assert torch.equal(one[:, [0, 2]], other[:, [0, 2]])
    assert not torch.equal(one[:, 1], other[:, 1])


def member_recipe(folder: Path, *, frozen: bool = True, epochs: int = 2, **changes: Any) -> Recipe:
    """Let the student and `helper` start from weights in a folder; `helper` has BatchNorm, whose buffers must stay."""
    recipe = tiny_recipe().teachers
    teachers = [
        {
            "name": each.name,
            "modalities": list(each.modalities),
            "network": each.network,
            "taps": list(each.taps),
            "options": dict(each.options),
        }
        for each in recipe
    ]
    teachers[1] |= {"weights": str(folder / "helper.safetensors"), "frozen": frozen}
    student = {"modality": "sense", "network": "mlp", "options": {"widths": [12, 8]}}
    stages = {"collaborative": {"epochs": epochs}, "specialise": {"epochs": 1}, "distill": {"epochs": 1}}
    values = {"student": student | {"weights": str(folder / "mine.safetensors")}, "stages": stages}
    return tiny_recipe(teachers=teachers, **values | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold the weights of another seed's student and helper."""
    other = setup_of(tiny_recipe(seed=7))
    for name, member in (("mine", other.student), ("helper", other.teachers[1])):
        state = {
            key: value + 0.25 if value.is_floating_point() else value + 3 for key, value in weights(member).items()
        }
        save_file(state, tmp_path / f"{name}.safetensors")
    return tmp_path


def weights(member: Any) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in member.network.state_dict().items()}


def test_members_start_from_their_files(folder: Path) -> None:
    setup = setup_of(member_recipe(folder, epochs=0))
    assert CollaborativePhase(setup).epochs == 0
    for name, member in (("mine", setup.student), ("helper", setup.teachers[1])):
        path = folder / f"{name}.safetensors"
        for key, value in load_file(path).items():
            assert torch.equal(weights(member)[key], value)
        assert setup.weights_sha256[member.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    fresh = setup_of(tiny_recipe())
    assert all(torch.equal(weights(fresh.teachers[0])[key], each) for key, each in weights(setup.teachers[0]).items())


def test_a_frozen_teacher_teaches_and_stays_as_it_is(folder: Path) -> None:
    setup = setup_of(member_recipe(folder))
    before = {member.name: weights(member) for member in setup.members}
    phase = CollaborativePhase(setup)
    row = phase.run_epoch(0).rows[0]
    for member in setup.members:
        same = all(torch.equal(value, before[member.name][key]) for key, value in weights(member).items())
        assert same == (member.name == "helper")
    assert set(phase.learning) == {"members/student", "members/both"}
    assert set(row["cross_entropy"]) == {"student", "both"}
    learners = {flow.partition("<-")[0] for flow in row["gradient_flow"]}
    assert learners == {"student", "both"}
    assert row["gradient_flow"]["student<-helper"] > 0
    assert set(row["validation_accuracy"]) == {"student", "both", "helper"}


def test_what_a_frozen_teacher_says_matters(folder: Path) -> None:
    one = setup_of(member_recipe(folder))
    state = load_file(folder / "helper.safetensors")
    save_file({key: value * 2 for key, value in state.items()}, folder / "helper.safetensors")
    other = setup_of(member_recipe(folder))
    for setup in (one, other):
        CollaborativePhase(setup).run_epoch(0)
    assert any(not torch.equal(value, weights(other.student)[key]) for key, value in weights(one.student).items())


def test_a_teacher_from_a_file_learns_unless_it_is_frozen(folder: Path) -> None:
    setup = setup_of(member_recipe(folder, frozen=False))
    CollaborativePhase(setup).run_epoch(0)
    state = load_file(folder / "helper.safetensors")
    assert any(not torch.equal(value, state[key]) for key, value in weights(setup.teachers[1]).items())


@pytest.mark.parametrize("method", ["mst", "labels-only"])
def test_a_run_with_members_that_exist(folder: Path, method: Any) -> None:
    recipe = member_recipe(folder, epochs=0)
    card = train_run(recipe, tiny_dataset(recipe), folder / "run", method=method, listener=silent)
    assert card.status == "complete"


def damaged(folder: Path, kind: str) -> None:
    path = folder / "mine.safetensors"
    state = load_file(path)
    key = next(iter(state))
    if kind == "missing":
        path.unlink()
    elif kind == "text":
        path.write_text("these are no weights")
    elif kind == "lacks":
        save_file({name: value for name, value in state.items() if name != key}, path)
    elif kind == "more":
        save_file(state | {"extra.weight": torch.zeros(2)}, path)
    elif kind == "shape":
        save_file(state | {key: torch.zeros(5, 5)}, path)
    elif kind == "nan":
        save_file(state | {key: torch.full_like(state[key], torch.nan)}, path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"mine\.safetensors cannot be read: No such file"),
        ("text", r"mine\.safetensors is not a safetensors file"),
        ("lacks", r"it lacks \w[\w.]*weight|it lacks \w[\w.]*bias"),
        ("more", r"the network has no extra\.weight"),
        ("shape", r"is \[5, 5\], expected \["),
        ("nan", r"values are not finite in \w"),
    ],
)
def test_weights_that_do_not_fit_are_named_before_training(folder: Path, kind: str, message: str) -> None:
    damaged(folder, kind)
    recipe = member_recipe(folder)
    with pytest.raises(ConfigError, match=r"weights of student: [\s\S]*" + message):
        train_run(recipe, tiny_dataset(recipe), folder / "run", method="mst", listener=silent)
    assert not (folder / "run").exists()


def test_paths_of_a_recipe_move_together() -> None:
    recipe = member_recipe(Path("there"))
    moved = with_paths(recipe, lambda path: f"here/{path}")
    assert moved.data.path == "here/made-up.csv"  # type: ignore[union-attr]
    assert moved.student.weights == "here/there/mine.safetensors"
    assert [each.weights for each in moved.teachers] == [None, "here/there/helper.safetensors"]
    assert with_paths(tiny_recipe(), lambda path: path) == tiny_recipe()


def test_a_negative_number_of_epochs_is_refused() -> None:
    with pytest.raises(ConfigError, match="epochs is -1: expected 0 or more"):
        tiny_recipe(stages={"collaborative": {"epochs": -1}})
    with pytest.raises(ConfigError, match="heads is 0 and hidden_dim_factor 2: expected 1 or more"):
        tiny_recipe(stages={"specialise": {"heads": 0}})
