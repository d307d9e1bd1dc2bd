"""One run in one folder: from a recipe to student.safetensors and run.json."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from safetensors.torch import save

from mstedge.errors import UsageError
from mstedge.files import write_atomically
from mstedge.recipe import Recipe, recipe_hash, with_paths
from mstedge.run_card import CARD_NAME, RECIPE_NAME, WEIGHTS_NAME, Metrics, NetworkCard, RunCard, RunLineage
from mstedge.schema import encode_json, read_json
from mstedge.training.checkpoint import Checkpoint, read_checkpoint
from mstedge.training.engine import make_engine
from mstedge.training.lineage import git_commit, package_versions
from mstedge.training.method.answers import each_logits
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.method.sharing_out import share_out
from mstedge.training.models.registry import parameter_count
from mstedge.training.recipe_files import load_recipe, recipe_text
from mstedge.training.recorder import NoRecorder, Recorder
from mstedge.training.rows import part_rows
from mstedge.training.scores import metrics_of
from mstedge.training.trainer import CHECKPOINT_NAME, EpochListener, Trainer

if TYPE_CHECKING:
    from mstedge.training.data.dataset import Dataset

Method = Literal["mst", "labels-only"]


def read_card(folder: Path) -> RunCard:
    """Read run.json.

    Raises:
        UsageError: The folder is not a run.
    """
    if not (folder / CARD_NAME).is_file():
        raise UsageError(f"{folder} is not a run: it has no {CARD_NAME}", hint="mstedge distill makes one")
    return read_json(folder / CARD_NAME, RunCard)


def train_run(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    *,
    method: Method,
    listener: EpochListener,
    allow_code: bool = False,
) -> RunCard:
    """Train in a folder, or go on where an earlier process stopped there; a complete run is left as it is.

    Of several processes that train together, each has the dataset, and the first one writes.

    Args:
        recipe: The recipe, its seed included.
        dataset: Built from that recipe.
        folder: The run folder; made when missing.
        method: What to train with.
        listener: Hears of every epoch.
        allow_code: Whether a recipe may name a user's own network.

    Returns:
        The card of the finished run.

    Raises:
        UsageError: The folder holds a run of another recipe or other data.
        DataError: Processes do not have the same data, or do not see the same folder.
        DivergedError: A loss is not finite; the last checkpoint stays.
    """
    engine = make_engine(recipe.engine)
    setup = make_setup(recipe, dataset, engine, allow_code=allow_code)
    if engine.processes > 1:
        share_out(setup, method)
    card = _fresh_card(setup, dataset, method)
    old, checkpoint = _found(folder, card)
    engine.check_agreement(_facts(card, old, checkpoint))
    if old is not None and old.status == "complete":
        return old
    recorder: Recorder | NoRecorder = NoRecorder()
    if engine.rank == 0:
        store_recipe(recipe, folder)
        write_atomically(folder / CARD_NAME, encode_json(card))
        recorder = Recorder(folder, keep_rows=checkpoint.cursor.metric_rows if checkpoint else 0)
    trainer = Trainer(setup, method, folder, recorder, listener)
    try:
        trainer.train(checkpoint)
    finally:
        recorder.close()
    return _finish(folder, card, setup, dataset, trainer.seconds)


def _found(folder: Path, card: RunCard) -> tuple[RunCard | None, Checkpoint | None]:
    """Look for what an earlier process left of the same run."""
    if not (folder / CARD_NAME).is_file():
        return None, None
    old = read_card(folder)
    _check_same(folder, old, card)
    path = folder / CHECKPOINT_NAME
    return old, read_checkpoint(path) if old.status == "incomplete" and path.exists() else None


def _facts(card: RunCard, old: RunCard | None, checkpoint: Checkpoint | None) -> dict[str, str]:
    """List what processes that train together have to have in common."""
    return {
        "method": card.method,
        "recipe": card.lineage.recipe_sha256,
        "data": card.lineage.data_sha256,
        "file of weights": str(card.lineage.weights_sha256),
        "run in its folder": "nothing" if old is None else old.status,
        "checkpoint": "nothing" if checkpoint is None else str(checkpoint.cursor),
    }


def store_recipe(recipe: Recipe, folder: Path) -> None:
    """Write a recipe as resolved into a run folder, made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECIPE_NAME, recipe_text(_beside(recipe, folder)).encode())


def stored_recipe(folder: Path) -> Recipe:
    """Read the recipe that a run was made from."""
    return load_recipe(str(folder / RECIPE_NAME))


def _fresh_card(setup: Setup, dataset: Dataset, method: Method) -> RunCard:
    recipe = setup.recipe
    lineage = RunLineage(
        recipe_sha256=recipe_hash(_without_folders(recipe)),
        data_sha256=dataset.sha256,
        versions=package_versions(),
        device=str(setup.engine.device),
        threads=setup.engine.threads,
        git_commit=git_commit(),
        weights_sha256=setup.weights_sha256,
        processes=setup.engine.processes,
    )
    student = NetworkCard(
        network=recipe.student.network,
        options=dict(recipe.student.options),
        modality=recipe.student.modality,
        parameters=parameter_count(setup.student.network),
    )
    return RunCard(
        name=recipe.name,
        method=method,
        seed=recipe.seed,
        status="incomplete",
        labels=dataset.class_names,
        specs=dataset.specs,
        student=student,
        lineage=lineage,
    )


def _check_same(folder: Path, old: RunCard, new: RunCard) -> None:
    for what, before, now in (
        ("method", old.method, new.method),
        ("recipe", old.lineage.recipe_sha256, new.lineage.recipe_sha256),
        ("data", old.lineage.data_sha256, new.lineage.data_sha256),
        ("weights", str(old.lineage.weights_sha256), str(new.lineage.weights_sha256)),
    ):
        if before != now:
            raise UsageError(
                f"{folder} holds a run with another {what} ({before[:12]}, now {now[:12]})",
                hint="choose another folder with -o, or undo the change",
            )


def _finish(folder: Path, card: RunCard, setup: Setup, dataset: Dataset, seconds: dict[str, float]) -> RunCard:
    done = msgspec.structs.replace(
        card,
        status="complete",
        metrics=(_scored(setup, dataset, "validation"), _scored(setup, dataset, "test")),
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
    )
    if setup.engine.rank:
        return done
    weights = {name: value.detach().cpu().contiguous() for name, value in setup.student.network.state_dict().items()}
    write_atomically(folder / WEIGHTS_NAME, save(weights))
    write_atomically(folder / CARD_NAME, encode_json(done))
    (folder / CHECKPOINT_NAME).unlink(missing_ok=True)
    return done


def _scored(setup: Setup, dataset: Dataset, name: Literal["validation", "test"]) -> Metrics:
    part = dataset.parts[name]
    rows = part_rows(part, setup.engine, setup.recipe.engine)
    answers = ((logits, batch.labels) for logits, batch in each_logits(setup, setup.student, rows))
    return metrics_of(answers, setup.classes, part.clusters, name, dense=rows.dense)


def _beside(recipe: Recipe, folder: Path) -> Recipe:
    """Let the stored recipe find its manifest and weights from the run folder."""
    return with_paths(recipe, lambda path: os.path.relpath(path, folder))


def _without_folders(recipe: Recipe) -> Recipe:
    """Leave out where files lie: their contents have digests of their own."""
    return with_paths(recipe, lambda path: Path(path).name)
