"""`mstedge distill`: train a student with MST-Distill."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mstedge.run_card import Comparison, Metrics, RunCard
    from mstedge.training.campaign import Plan
    from mstedge.training.cells import Progress

DEFAULT_RECIPE = "digits-audio"
RUNS_FOLDER = Path("runs")
LATEST = RUNS_FOLDER / "latest"


def command(
    recipe: str = typer.Argument(DEFAULT_RECIPE, help="Name of a built-in recipe, or path of a YAML file."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Run folder [default: runs/<recipe>-<n>]."),
    overrides: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Change the recipe; may be repeated."),
    resume: Path | None = typer.Option(None, "--resume", metavar="RUN", help="Go on with an interrupted run."),
    compare: str | None = typer.Option(None, "--compare", help="Train a baseline as well: labels-only."),
    seeds: int = typer.Option(1, "--seeds", min=1, max=100, help="Number of seeds, counted up from the recipe's."),
    allow_code: bool = typer.Option(False, "--allow-code", help="Let the recipe name networks of your own."),
    as_json: bool = typer.Option(False, "--json", help="Print the run's card and the comparison as JSON."),
) -> None:
    """Train a student for one sensor with the help of the others, in three stages."""
    from mstedge.cli.packages import required

    with required("training", extra="train"):
        from mstedge.training.campaign import Plan, resume_campaign, run_campaign
        from mstedge.training.process_group import is_first_process
        from mstedge.training.recipe_files import load_recipe

    if resume is not None:
        folder = resume

        def work(progress: Progress) -> tuple[RunCard, Comparison | None]:
            return resume_campaign(folder, progress=progress, allow_code=allow_code)
    else:
        declared = load_recipe(recipe, overrides)
        plan = _checked(Plan(seeds=seeds, compare=compare))
        folder = _run_folder(output, declared.name)

        def work(progress: Progress) -> tuple[RunCard, Comparison | None]:
            return run_campaign(declared, plan, folder, progress=progress, allow_code=allow_code)

    if is_first_process():
        card, comparison = _worked(work, folder, fresh=resume is None)
        _show(folder, card, comparison, as_json=as_json)
    else:
        work(_silent)


def _worked(
    work: Callable[[Progress], tuple[RunCard, Comparison | None]], folder: Path, *, fresh: bool
) -> tuple[RunCard, Comparison | None]:
    """Train, and leave the run folder so that others find it."""
    from mstedge.cli.console import note
    from mstedge.cli.progress import shown_progress
    from mstedge.errors import MstedgeError

    note(f"run folder: {folder}")
    try:
        with shown_progress() as progress:
            return work(progress)
    except KeyboardInterrupt:
        note(f"stopped; go on with: mstedge distill --resume {folder}")
        raise
    except MstedgeError:
        if fresh:
            _forget_if_nothing_began(folder)
        raise
    finally:
        _point_latest_at(folder)


def _silent(_what: str, _done: int, _total: int) -> None:
    """Say nothing: of processes that train together the first one speaks."""


def _run_folder(output: Path | None, name: str) -> Path:
    """Make the run folder; of torchrun's processes the first one does, and all have to know it."""
    from mstedge.errors import UsageError
    from mstedge.training.process_group import started_with

    started = started_with()
    if started is None:
        return _new_folder(output, name)
    if output is None:
        raise UsageError("processes that torchrun starts need the same run folder", hint="-o RUN, or --resume RUN")
    return output if started.rank else _new_folder(output, name)


def _checked(plan: Plan) -> Plan:
    from mstedge.errors import UsageError, nearest
    from mstedge.training.campaign import BASELINES

    if plan.compare is not None and plan.compare not in BASELINES:
        raise UsageError(f"there is no baseline {plan.compare!r}", hint=nearest(plan.compare, BASELINES))
    return plan


def _new_folder(output: Path | None, name: str) -> Path:
    """Make the run folder; without `-o` the next free `runs/<recipe>-<n>`."""
    from mstedge.errors import UsageError

    if output is not None:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            hint = f"choose another folder, or go on with: mstedge distill --resume {output}"
            raise UsageError(f"{output} exists already", hint=hint)
        output.mkdir(parents=True, exist_ok=True)
        return output
    RUNS_FOLDER.mkdir(exist_ok=True)
    for number in count(1):
        folder = RUNS_FOLDER / f"{name}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError  # pragma: no cover  count() does not end


def _forget_if_nothing_began(folder: Path) -> None:
    """Remove the folder of a run that was refused before its first epoch."""
    from mstedge.run_card import CARD_NAME

    if not (folder / CARD_NAME).exists():
        shutil.rmtree(folder, ignore_errors=True)


def _point_latest_at(folder: Path) -> None:
    """Let `runs/latest` name a run that began, if it stands in `runs`."""
    if folder.parent != RUNS_FOLDER or not folder.exists():
        return
    temporary = RUNS_FOLDER / f".latest-{folder.name}"
    temporary.symlink_to(folder.name)
    temporary.replace(LATEST)


def _show(folder: Path, card: RunCard, comparison: Comparison | None, *, as_json: bool) -> None:
    from mstedge.cli.console import note, say, say_json, say_table
    from mstedge.cli.reports import write_report_where_possible
    from mstedge.cli.text import interval_text

    report = write_report_where_possible(folder)
    if as_json:
        say_json({"schema": "mstedge.distill/1", "folder": str(folder), "run": card, "comparison": comparison})
        return
    say(f"{card.name}: {card.student.network} on {card.student.modality}, {card.student.parameters:,} parameters")
    _say_metrics(card.metrics)
    if comparison is not None:
        say()
        methods = [(each.method, f"{each.mean:.1%}", interval_text(each.low, each.high)) for each in comparison.methods]
        say_table((f"test, {len(comparison.seeds)} seeds", "mean", "95 % interval"), methods, right=(1,))
        say(comparison.conclusion)
    _note_collapse(folder)
    if report is not None:
        note(f"report: {report}")
    if not card.dense:
        note(f"next: mstedge export {folder}")


def _say_metrics(metrics: tuple[Metrics, ...]) -> None:
    """Print how good the student is; figures that no part has get no column."""
    from mstedge.cli.console import say_table
    from mstedge.cli.text import interval_text

    columns: dict[str, list[str]] = {
        "part": [each.part for each in metrics],
        "accuracy": [f"{each.accuracy:.1%}" for each in metrics],
        "95 % interval": [interval_text(each.low, each.high) for each in metrics],
        "balanced": [_percent(each.average_accuracy) for each in metrics],
        "macro F1": ["" if each.macro_f1 is None else f"{each.macro_f1:.4f}" for each in metrics],
        "mIoU": [_percent(each.mean_iou) for each in metrics],
        "rows": [str(each.rows) for each in metrics],
        "recordings": [str(each.clusters) for each in metrics],
    }
    shown = {title: cells for title, cells in columns.items() if any(cells)}
    right = [place for place, title in enumerate(shown) if title not in ("part", "95 % interval")]
    say_table(tuple(shown), list(zip(*shown.values(), strict=True)), right=right)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _note_collapse(folder: Path) -> None:
    """Tell of a router that sends nearly every row to the same teachers: the others then taught nothing."""
    from mstedge.cli.console import note
    from mstedge.report.metrics import read_metrics
    from mstedge.run_card import METRICS_NAME

    alarms = [epoch for epoch in read_metrics(folder / METRICS_NAME) if epoch.alarm]
    if alarms:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in (alarms[-1].alarm or {}).items() if share)
        note(f"warning: the router collapsed in {len(alarms)} epochs, last in epoch {alarms[-1].epoch + 1}: {shares}")
