"""`mstedge distill`: train a student with MST-Distill."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mstedge.run_card import Comparison, RunCard
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
    from mstedge.cli.console import note
    from mstedge.cli.packages import required
    from mstedge.cli.progress import shown_progress
    from mstedge.errors import MstedgeError

    with required("training", extra="train"):
        from mstedge.training.campaign import Plan, resume_campaign, run_campaign
        from mstedge.training.recipe_files import load_recipe

    if resume is not None:
        folder = resume

        def work(progress: Progress) -> tuple[RunCard, Comparison | None]:
            return resume_campaign(folder, progress=progress, allow_code=allow_code)
    else:
        declared = load_recipe(recipe, overrides)
        plan = _checked(Plan(seeds=seeds, compare=compare))
        folder = _new_folder(output, declared.name)

        def work(progress: Progress) -> tuple[RunCard, Comparison | None]:
            return run_campaign(declared, plan, folder, progress=progress, allow_code=allow_code)

    note(f"run folder: {folder}")
    try:
        with shown_progress() as progress:
            card, comparison = work(progress)
    except KeyboardInterrupt:
        note(f"stopped; go on with: mstedge distill --resume {folder}")
        raise
    except MstedgeError:
        if resume is None:
            _forget_if_nothing_began(folder)
        raise
    finally:
        _point_latest_at(folder)
    _show(folder, card, comparison, as_json=as_json)


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
    rows = [
        (each.part, f"{each.accuracy:.1%}", interval_text(each.low, each.high), str(each.rows), str(each.clusters))
        for each in card.metrics
    ]
    say(f"{card.name}: {card.student.network} on {card.student.modality}, {card.student.parameters:,} parameters")
    say_table(("part", "accuracy", "95 % interval", "rows", "recordings"), rows, right=(1, 3, 4))
    if comparison is not None:
        say()
        methods = [(each.method, f"{each.mean:.1%}", interval_text(each.low, each.high)) for each in comparison.methods]
        say_table((f"test, {len(comparison.seeds)} seeds", "mean", "95 % interval"), methods, right=(1,))
        say(comparison.conclusion)
    _note_collapse(folder)
    if report is not None:
        note(f"report: {report}")
    note(f"next: mstedge export {folder}")


def _note_collapse(folder: Path) -> None:
    """Tell of a router that sends nearly every row to the same teachers: the others then taught nothing."""
    from mstedge.cli.console import note
    from mstedge.report.metrics import read_metrics
    from mstedge.run_card import METRICS_NAME

    alarms = [epoch for epoch in read_metrics(folder / METRICS_NAME) if epoch.alarm]
    if alarms:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in (alarms[-1].alarm or {}).items() if share)
        note(f"warning: the router collapsed in {len(alarms)} epochs, last in epoch {alarms[-1].epoch + 1}: {shares}")
