"""Training that is killed (SIGKILL) at any moment, and again while it goes on, ends in the bits of one that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_that_dies import KILLED, RECIPES, recipe_of, write_rows

from mstedge.training.checkpoint import read_checkpoint
from mstedge.training.recipe_files import recipe_text
from mstedge.training.runs import read_card
from mstedge.training.trainer import CHECKPOINT_NAME

STEPS_OF_AN_EPOCH = 4
MASKS = ("both@trunks.0.0", "both@hidden", "helper@trunk.0")
LINES = 5
REFUSED = 2

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
Train = Callable[..., int]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder)
    return folder


@pytest.fixture(scope="module")
def train(rows: Path) -> Iterator[Train]:
    """Give what trains in a process of its own, as an `Order` says, and tells how that process ended."""
    command = [sys.executable, str(Path(__file__).parents[1] / "training_that_dies.py"), str(rows)]
    log = rows / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as driver,
    ):
        assert driver.stdin is not None
        assert driver.stdout is not None
        orders, answers = driver.stdin, driver.stdout

        def ask(**order: Any) -> int:
            orders.write(json.dumps(order, default=str) + "\n")
            orders.flush()
            answer = answers.readline()
            assert answer, log.read_text()
            code = int(answer)
            assert code in {0, REFUSED, KILLED}, log.read_text()
            return code

        yield ask
        driver.stdin.close()


@pytest.fixture(scope="module")
def whole(train: Train, rows: Path) -> Path:
    """Train every recipe without a break; `NAME.json` lists the lines that write."""
    for name in RECIPES:
        lines = rows / f"{name}.json"
        if name == "command":
            (rows / "command.yaml").write_text(recipe_text(recipe_of(name, rows)))
            assert train(arguments=["distill", rows / "command.yaml", "-o", rows / name], lines=lines) == 0
        else:
            assert train(recipe=name, folder=rows / name, lines=lines) == 0
    return rows


def check_same(run: Path, expected: Path) -> None:
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    ours, theirs = read_card(run), read_card(expected)
    assert ours.metrics == theirs.metrics
    assert (ours.status, ours.lineage) == (theirs.status, theirs.lineage)
    assert set(ours.seconds) == set(theirs.seconds)


def steps_of(name: str, generator: np.random.Generator) -> list[str]:
    """Draw a step of every stage."""
    method, stages = RECIPES[name][0], recipe_of(name, Path()).stages
    if method == "labels-only":
        epochs = {"labels-only": stages.collaborative.epochs + stages.distill.epochs}
    else:
        mask = f"specialise {generator.choice(MASKS)}"
        kept = (("collaborative", stages.collaborative), (mask, stages.specialise), ("distill", stages.distill))
        epochs = {stage: config.epochs for stage, config in kept}
    return [
        f"{stage} epoch {generator.integers(count)} step {generator.integers(STEPS_OF_AN_EPOCH)}"
        for stage, count in epochs.items()
    ]


@pytest.mark.parametrize(
    ("name", "every_epoch"), [("kept", True), ("varied", True), ("filed", True), ("labels-only", True), ("kept", False)]
)
def test_killed_at_a_step_of_every_stage(
    train: Train, whole: Path, tmp_path: Path, name: str, *, every_epoch: bool
) -> None:
    generator = np.random.default_rng([len(name), every_epoch])
    order = {"recipe": name, "folder": tmp_path / "run", "every_epoch": every_epoch}
    for step in steps_of(name, generator):
        twice = 1 + int(generator.integers(2))
        for _ in range(twice):
            assert train(**order, step=step, after=bool(generator.integers(2))) == KILLED, step
            assert read_card(tmp_path / "run").status == "incomplete"
    assert train(**order) == 0
    check_same(tmp_path / "run", whole / name)


def lines_of(whole: Path, name: str) -> list[str]:
    """List what `tracer` saw: file, function and number of each line that a whole run passed."""
    lines: list[str] = json.loads((whole / f"{name}.json").read_text())
    return lines


def test_killed_at_any_line_that_writes(train: Train, whole: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    passes: dict[str, list[int]] = {}
    for number, line in enumerate(lines_of(whole, "kept")):
        passes.setdefault(line, []).append(number)
    once = [int(generator.choice(each)) for each in passes.values()]
    for number in generator.choice(once, LINES, replace=False).tolist():
        order = {"recipe": "kept", "folder": tmp_path / str(number)}
        assert train(**order, line=number) == KILLED
        assert train(**order) == 0
        check_same(tmp_path / str(number), whole / "kept")


@pytest.mark.xfail(strict=True, reason="Recorder empties metrics.jsonl before it writes the lines that stay")
def test_killed_while_it_takes_up_what_was_there(train: Train, whole: Path, tmp_path: Path) -> None:
    order = {"recipe": "kept", "folder": tmp_path}
    assert train(**order, step="distill epoch 1 step 1") == KILLED
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + b'{"stage":"disti')  # half a row, from a kill a moment later
    assert train(**order, shrinking=metrics) == KILLED
    assert train(**order) == 0
    check_same(tmp_path, whole / "kept")


@pytest.mark.xfail(strict=True, reason="unfinished files stay in the run folder, and the checkpoint of a finished run")
@pytest.mark.parametrize("left", [".checkpoint.safetensors.", "checkpoint.safetensors"])
def test_nothing_is_left_over(train: Train, whole: Path, tmp_path: Path, left: str) -> None:
    order = {"recipe": "kept", "folder": tmp_path / "run"}
    if left.startswith("."):
        assert train(**order, appearing=left) == KILLED
    else:
        lines = lines_of(whole, "kept")
        last = [number for number, line in enumerate(lines) if line.startswith("runs.py _finish")]
        assert train(**order, line=last[-2]) == KILLED  # the student and its card are there
    assert any(path.name.startswith(left) for path in (tmp_path / "run").iterdir())
    assert train(**order) == 0
    check_same(tmp_path / "run", whole / "kept")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in (whole / "kept").iterdir()}


@pytest.mark.xfail(strict=True, reason="a folder with a recipe and no plan is neither begun afresh nor gone on with")
def test_the_command_starts_again_where_nothing_had_begun(
    train: Train, whole: Path, rows: Path, tmp_path: Path
) -> None:
    lines = lines_of(whole, "command")
    training = next(number for number, line in enumerate(lines) if line.startswith("runs.py train_run"))
    for number in (1, training // 2):
        run = tmp_path / str(number)
        assert train(arguments=["distill", rows / "command.yaml", "-o", run], line=number) == KILLED
        if train(arguments=["distill", rows / "command.yaml", "-o", run]):
            assert train(arguments=["distill", "--resume", run]) == 0
        check_same(run, whole / "command")


def test_the_command_goes_on_with_what_was_killed(train: Train, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin, resume = ["distill", whole / "command.yaml", "-o", run], ["distill", "--resume", run]
    assert train(arguments=begin, step="specialise both@hidden epoch 1 step 2") == KILLED
    assert read_checkpoint(run / CHECKPOINT_NAME).cursor.epochs_done == 1
    assert train(arguments=resume, step="distill epoch 1 step 0", after=True) == KILLED
    assert train(arguments=resume) == 0
    check_same(run, whole / "command")
    assert {path.name for path in run.iterdir()} == {path.name for path in (whole / "command").iterdir()}
