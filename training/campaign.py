"""A run with its company: further seeds, and a baseline with the same seeds and splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from mstedge.errors import UsageError
from mstedge.files import write_atomically
from mstedge.run_card import COMPARISON_NAME, Comparison, MethodResult, RunCard
from mstedge.schema import Record, encode_json, read_json
from mstedge.statistics import Interval, mean_interval
from mstedge.training.cells import Cell, Progress, run_cells, usable_workers
from mstedge.training.process_group import engine_as_started, is_first_process
from mstedge.training.runs import Method, store_recipe, stored_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from mstedge.recipe import Recipe

PLAN_NAME = "plan.json"
Outcome: TypeAlias = Literal["gain", "no gain shown", "loss", "cannot tell"]
BASELINES: tuple[Method, ...] = ("labels-only",)


class Plan(Record, frozen=True, kw_only=True):
    """What a `distill` command was asked for beside the recipe.

    Attributes:
        seeds: Number of seeds, counted up from the recipe's.
        compare: Baseline to compare with, or none.
    """

    seeds: int = 1
    compare: str | None = None


def run_campaign(
    recipe: Recipe, plan: Plan, folder: Path, *, progress: Progress, allow_code: bool = False
) -> tuple[RunCard, Comparison | None]:
    """Train the recipe's seed in `folder`, the others below it, and compare; what is finished is not done again.

    Args:
        recipe: The recipe.
        plan: Seeds and baseline.
        folder: The run folder.
        progress: Shows how far the work has come.
        allow_code: Whether a recipe may name a user's own network.

    Returns:
        The card of the recipe's own seed, and the comparison where one was asked for.

    Raises:
        UsageError: The recipe asks for several machines, or for other numbers of processes than torchrun has started.
    """
    recipe = msgspec.structs.replace(recipe, engine=engine_as_started(recipe.engine))
    writes = is_first_process()
    if writes:
        store_recipe(recipe, folder)
        write_atomically(folder / PLAN_NAME, encode_json(plan))
    seeds = tuple(recipe.seed + step for step in range(plan.seeds))
    cells = [
        Cell(
            recipe=msgspec.structs.replace(recipe, seed=seed),
            method=method,
            folder=_cell_folder(folder, method, seed, recipe.seed),
            allow_code=allow_code,
        )
        for method in _methods(plan)
        for seed in seeds
    ]
    finished = run_cells(cells, workers=usable_workers(recipe.engine), progress=progress)
    cards = {(cell.method, cell.recipe.seed): card for cell, card in zip(cells, finished, strict=True)}
    comparison = None
    if plan.compare is not None:
        comparison = compared(recipe.name, _methods(plan)[-1], seeds, cards)
        if writes:
            write_atomically(folder / COMPARISON_NAME, encode_json(comparison))
    return cards["mst", recipe.seed], comparison


def resume_campaign(folder: Path, *, progress: Progress, allow_code: bool = False) -> tuple[RunCard, Comparison | None]:
    """Go on with what an interrupted `distill` left.

    Raises:
        UsageError: The folder is not a run.
    """
    if not (folder / PLAN_NAME).is_file():
        raise UsageError(f"{folder} is not a run: it has no {PLAN_NAME}", hint="mstedge distill starts one")
    plan = read_json(folder / PLAN_NAME, Plan)
    return run_campaign(stored_recipe(folder), plan, folder, progress=progress, allow_code=allow_code)


def compared(
    name: str, baseline: Method, seeds: tuple[int, ...], cards: dict[tuple[Method, int], RunCard]
) -> Comparison:
    """Compare test accuracies of both methods, seed by seed.

    Args:
        name: Name of the recipe.
        baseline: What `mst` is compared with.
        seeds: Seeds of both.
        cards: Finished runs by method and seed.
    """
    results = tuple(
        _result(method, [_test_accuracy(cards[method, seed]) for seed in seeds]) for method in ("mst", baseline)
    )
    differences = [ours - theirs for ours, theirs in zip(results[0].accuracies, results[1].accuracies, strict=True)]
    mean = sum(differences) / len(differences)
    interval = _clipped(mean_interval(differences), -1.0)
    outcome, conclusion = _conclusion(baseline, mean, interval, len(seeds))
    low, high = interval if interval is not None else (None, None)
    return Comparison(
        recipe=name,
        seeds=seeds,
        methods=(results[0], results[1]),
        difference=mean,
        low=low,
        high=high,
        outcome=outcome,
        conclusion=conclusion,
    )


def _conclusion(baseline: str, mean: float, interval: Interval | None, seeds: int) -> tuple[Outcome, str]:
    points = f"{mean * 100:+.1f} points"
    if interval is None:
        return "cannot tell", f"{points} against {baseline} with one seed, which proves nothing: take --seeds 3 or more"
    bounds = f"95 % interval {interval.low * 100:+.1f} to {interval.high * 100:+.1f}, {seeds} seeds"
    if interval.low > 0:
        return "gain", f"better than {baseline}: {points} ({bounds})"
    if interval.high < 0:
        return "loss", f"worse than {baseline}: {points} ({bounds})"
    return "no gain shown", f"no gain over {baseline} that these seeds can show: {points} ({bounds})"


def _result(method: str, accuracies: list[float]) -> MethodResult:
    low, high = _clipped(mean_interval(accuracies), 0.0) or (None, None)
    mean = sum(accuracies) / len(accuracies)
    return MethodResult(method=method, accuracies=tuple(accuracies), mean=mean, low=low, high=high)


def _clipped(interval: Interval | None, least: float) -> Interval | None:
    """Cut off what accuracies and their differences cannot be; few seeds give wide intervals."""
    return None if interval is None else Interval(max(least, interval.low), min(1.0, interval.high))


def _test_accuracy(card: RunCard) -> float:
    return next(metrics.accuracy for metrics in card.metrics if metrics.part == "test")


def _methods(plan: Plan) -> tuple[Method, ...]:
    return ("mst", *(method for method in BASELINES if method == plan.compare))


def _cell_folder(folder: Path, method: Method, seed: int, first_seed: int) -> Path:
    if method == "mst":
        return folder if seed == first_seed else folder / "seeds" / str(seed)
    return folder / method / str(seed)
