"""Seeds and baselines: where runs stand, that workers change nothing, what a comparison says."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pytest
from report_inputs import run_card
from tiny_training import silent

from mstedge.errors import MissingPackageError, UsageError
from mstedge.run_card import Comparison, Metrics, RunCard
from mstedge.schema import read_json
from mstedge.training.campaign import Plan, compared, resume_campaign, run_campaign
from mstedge.training.cells import Cell, run_cells
from mstedge.training.recipe_files import load_recipe
from mstedge.training.runs import read_card

FAST = (
    "stages.collaborative.epochs=1",
    "stages.specialise.epochs=1",
    "stages.distill.epochs=1",
    "engine.device=cpu",
)


def test_runs_side_by_side_have_the_bits_of_runs_one_by_one(tmp_path: Path) -> None:
    recipe = load_recipe("digits-image", FAST)
    for workers in (1, 2):
        cells = [
            Cell(recipe, "mst", tmp_path / str(workers) / "mst", allow_code=False),
            Cell(recipe, "labels-only", tmp_path / str(workers) / "labels-only", allow_code=False),
        ]
        heard: list[str] = []
        run_cells(cells, workers=workers, progress=lambda what, _done, _total, heard=heard: heard.append(what))
        assert "seed 0 mst: distill" in heard
    for method in ("mst", "labels-only"):
        one, other = (tmp_path / each / method / "student.safetensors" for each in "12")
        assert one.read_bytes() == other.read_bytes()


def test_an_error_in_a_worker_arrives_whole(tmp_path: Path) -> None:
    recipe = load_recipe("digits-image", FAST)
    student = msgspec.structs.replace(recipe.student, network="mine:Net")
    recipe = msgspec.structs.replace(recipe, student=student)
    cells = [Cell(recipe, "mst", tmp_path / name, allow_code=False) for name in "ab"]
    with pytest.raises(UsageError, match=r"'mine:Net' is code of your own[\s\S]*--allow-code"):
        run_cells(cells, workers=2, progress=silent)


def test_errors_travel_between_processes() -> None:
    problem = pickle.loads(pickle.dumps(MissingPackageError("cv2", purpose="reading images", extra="image")))  # noqa: S301
    assert isinstance(problem, MissingPackageError)
    assert str(problem) == str(MissingPackageError("cv2", purpose="reading images", extra="image"))


def test_a_campaign_stands_in_one_folder_and_resumes(tmp_path: Path) -> None:
    recipe = load_recipe("digits-image", (*FAST, "engine.threads=null"))
    folder = tmp_path / "run"
    card, comparison = run_campaign(recipe, Plan(seeds=2, compare="labels-only"), folder, progress=silent)
    assert card == read_card(folder)
    assert comparison == read_json(folder / "comparison.json", Comparison)
    for place, method, seed in (
        ("seeds/1", "mst", 1),
        ("labels-only/0", "labels-only", 0),
        ("labels-only/1", "labels-only", 1),
    ):
        found = read_card(folder / place)
        assert (found.method, found.seed, found.status) == (method, seed, "complete")
    (folder / "seeds/1/run.json").unlink()
    again, repeated = resume_campaign(folder, progress=silent)
    assert (again, repeated) == (card, comparison)


def test_resuming_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run: it has no plan\.json"):
        resume_campaign(tmp_path, progress=silent)


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome", "words"),
    [
        ([0.9, 0.91, 0.92], [0.8, 0.81, 0.82], "gain", "better than labels-only: +10.0 points (95 % interval +10.0"),
        ([0.8, 0.81, 0.82], [0.9, 0.91, 0.92], "loss", "worse than labels-only: -10.0 points"),
        ([0.9, 0.8, 0.85], [0.8, 0.9, 0.85], "no gain shown", "no gain over labels-only that these seeds can show"),
        ([0.9], [0.8], "cannot tell", "+10.0 points against labels-only with one seed, which proves nothing"),
    ],
)
def test_a_comparison_says_what_its_interval_says(
    ours: list[float], theirs: list[float], outcome: str, words: str
) -> None:
    cards = {("mst", seed): _scored(value) for seed, value in enumerate(ours)}
    cards |= {("labels-only", seed): _scored(value) for seed, value in enumerate(theirs)}
    result = compared("tiny", "labels-only", tuple(range(len(ours))), cards)  # type: ignore[arg-type]
    assert result.outcome == outcome
    assert result.conclusion.startswith(words)


def _scored(accuracy: float) -> RunCard:
    test = Metrics(part="test", accuracy=accuracy, low=0.0, high=1.0, rows=10, clusters=10, cross_entropy=1.0)
    return run_card(metrics=(test,))
