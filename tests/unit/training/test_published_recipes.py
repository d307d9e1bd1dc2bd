"""The ten published configurations, trained end to end on made data of the published shapes and files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_published_data import CLASSES, FIFTH_SIDES, FULL_SIDES, STUDENTS, write_published
from tiny_training import silent

from mstedge.cli import run
from mstedge.recipe import Recipe
from mstedge.recipe_data import PublishedData
from mstedge.run_card import RunCard
from mstedge.training.models.registry import build_network
from mstedge.training.models.taps import tap_shape
from mstedge.training.recipe_files import load_recipe
from mstedge.training.runs import train_run
from mstedge.training.sources import load_dataset

# Masks of the published width take as much memory as all networks together: these train in seconds.
FACTORS = {"avmnist": 20, "ravdess": 16, "vggsound": 16, "crisismmd": 64, "nyu": 4}
NARROW = [6, 8, 12, 16, 16]
NAMES = [f"{layout}-{student}" for layout, students in STUDENTS.items() for student in students]
PUBLISHED = {"avmnist": (512, 1e-4), "ravdess": (32, 1e-4), "vggsound": (512, 1e-4), "crisismmd": (512, 5e-3)}
SHAPES = {
    "avmnist": [(1, 28, 28), (1, 112, 112)],
    "ravdess": [(15, 3, 224, 224), (15, 156)],
    "vggsound": [(10, 7, 7, 512), (10, 128)],
    "crisismmd": [(2048,), (768,)],
    "nyu": [(3, *FULL_SIDES), (1, *FULL_SIDES)],
}
# What the taps of T and of A give: numbers of features, or maps.
_HEADS, _DEEP = [(320,), (160,)], (512, 30, 40)
TAPS = {
    "avmnist-image": [[(596,), (298,)], [(64, 56, 56), (128, 28, 28)]],
    "avmnist-audio": [[(596,), (298,)], [(120, 1, 1), (84,)]],
    "crisismmd-image": [[(512,), (256,)], [(1024,), (512,)]],
    "crisismmd-text": [[(512,), (256,)], [(1024,), (512,)]],
    **{
        f"{layout}-{student}": [_HEADS, _HEADS] for layout in ("ravdess", "vggsound") for student in ("visual", "audio")
    },
    **{f"nyu-{student}": [[(512, 15, 20), _DEEP], [_DEEP, _DEEP]] for student in ("rgb", "depth")},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a layout, written when first asked for."""
    root = tmp_path_factory.mktemp("published")

    def folder(layout: str) -> Path:
        return root / layout if (root / layout).exists() else write_published(layout, root / layout, rows=10)

    return folder


def small(layout: str, sides: tuple[int, int] = FIFTH_SIDES) -> list[str]:
    """Override what costs: batch, epochs, the width of masks, and of networks that answer for every pixel."""
    changes = [
        "optimiser.batch_rows=4",
        "stages.distill.epochs=1",
        f"stages.specialise.hidden_dim_factor={FACTORS[layout]}",
        "engine.device=cpu",
        "engine.threads=1",
    ]
    if layout == "nyu":
        height, width = sides
        changes += [f"{member}.options.channels={NARROW}" for member in ("student", "teachers.0", "teachers.1")]
        changes += [f"modalities.rgb.height={height}", f"modalities.rgb.width={width}"]
        changes.append(f"modalities.depth.shape=[1, {height}, {width}]")
    return changes


def trained(recipe: Recipe, folder: Path) -> tuple[RunCard, list[dict[str, Any]]]:
    card = train_run(recipe, load_dataset(recipe), folder, method="mst", listener=silent)
    return card, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def check_run(recipe: Recipe, card: RunCard, metrics: list[dict[str, Any]]) -> None:
    assert card.status == "complete"
    assert set(card.seconds) == {"collaborative", "specialise", "distill"}
    specialised = [f"{teacher.name}@{tap}" for teacher in recipe.teachers for tap in teacher.taps]
    assert len(specialised) == 4
    last = metrics[-1]
    assert last["stage"] == "distill"
    assert list(last["routing"]) == specialised
    assert sum(last["routing"].values()) == pytest.approx(1.0, abs=1e-5)
    assert [row["teacher"] for row in metrics if "kl_after" in row] == specialised
    for part in card.metrics:
        assert 0.0 <= part.low <= part.accuracy <= part.high <= 1.0
        assert math.isfinite(part.cross_entropy)
        assert (part.mean_iou is not None) == (card.student.network in {"fusenet-rgb", "fusenet-depth"})


@pytest.mark.parametrize("name", NAMES)
def test_a_published_configuration_runs_end_to_end(tmp_path: Path, folders: Callable[[str], Path], name: str) -> None:
    layout = name.partition("-")[0]
    recipe = load_recipe(name, [f"data.path={folders(layout)}", *small(layout)])
    check_run(recipe, *trained(recipe, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rooms_are_segmented_at_full_size(tmp_path: Path) -> None:
    folder = write_published("nyu", tmp_path / "data", rows=10, sides=FULL_SIDES)
    changes = [f"data.path={folder}", *small("nyu", FULL_SIDES), "optimiser.batch_rows=2"]
    recipe = load_recipe("nyu-rgb", changes)
    assert recipe.modalities == load_recipe("nyu-rgb").modalities
    check_run(recipe, *trained(recipe, tmp_path / "run"))


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_the_published_ones(name: str) -> None:
    recipe = load_recipe(name)
    layout = name.partition("-")[0]
    stages = recipe.stages
    assert (stages.collaborative.epochs, stages.specialise.epochs, stages.distill.epochs) == (1, 1, 100)
    assert (recipe.optimiser.batch_rows, recipe.optimiser.learning_rate) == PUBLISHED.get(layout, (6, 1e-4))
    assert (recipe.temperature, stages.distill.top_k, stages.specialise.masks) == (4.0, 1, "isolated")
    assert stages.specialise.hidden_dim_factor == (8 if layout == "crisismmd" else 2)
    assert isinstance(recipe.data, PublishedData)
    assert recipe.data.layout == layout
    assert [spec.feature_shape for spec in recipe.modalities.values()] == SHAPES[layout]


@pytest.mark.parametrize("name", NAMES)
def test_taps_have_the_published_widths(name: str) -> None:
    recipe = load_recipe(name)
    found = []
    with torch.device("meta"):
        for teacher in recipe.teachers:
            shapes = [recipe.modalities[modality].feature_shape for modality in teacher.modalities]
            network = build_network(teacher.network, shapes, CLASSES[name.partition("-")[0]], teacher.options)
            inputs = [torch.empty(1, *shape) for shape in shapes]
            found.append([tap_shape(network, tap, inputs, owner=teacher.name) for tap in teacher.taps])
    assert found == TAPS[name]


def test_the_command_trains_a_published_recipe_from_the_folder_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["distill", "crisismmd-text"]) == 2
    shown = capsys.readouterr().err
    for words in ("data/crisismmd: 3 of the 3 files", "image_features.npy: vectors", "--set data.path=FOLDER"):
        assert words in shown
    write_published("crisismmd", tmp_path / "data/crisismmd", rows=10)
    overrides = [word for change in small("crisismmd") for word in ("--set", change)]
    assert run(["distill", "crisismmd-text", *overrides]) == 0
    assert "crisismmd-text: crisismmd-text on text" in capsys.readouterr().out
    stored = load_recipe(str(tmp_path / "runs/latest/recipe.yaml"))
    assert isinstance(stored.data, PublishedData)
    assert Path(stored.data.path).resolve() == tmp_path / "data/crisismmd"
