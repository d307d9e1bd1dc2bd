"""`mstedge predict`: answers for files and folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mstedge.prediction import Prediction
    from mstedge.runtime.predictor import Predictor


def command(
    bundle: Path = typer.Argument(..., help="Folder of the bundle."),
    inputs: list[str] = typer.Argument(..., help="Files and folders; folders are searched with their sub-folders."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document per line and answer."),
    threads: int | None = typer.Option(None, help="Threads of one inference [default: all cores]."),
    backend: str | None = typer.Option(None, help="Engine that runs the network [default: the bundle's]."),
) -> None:
    """Answer for files and folders."""
    from mstedge.cli.bundle_notes import note_engine_pending, note_parity, note_skipped
    from mstedge.cli.console import note
    from mstedge.runtime.predictor import load
    from mstedge.runtime.sources import expand_inputs

    predictor = load(bundle, backend=backend, threads=threads)
    found = expand_inputs(inputs, predictor.manifest.spec)
    note_parity(predictor.manifest.parity)
    note_engine_pending(predictor.manifest, bundle)
    note_skipped(found.skipped)
    predictions = _answers(predictor, found.files)
    answered = _say_lines(predictions) if json else _say_answers(predictor, predictions)
    failed = len(found.files) - answered
    if failed:
        note(f"{failed} of {len(found.files)} files could not be answered")
        raise typer.Exit(1)


def _answers(predictor: Predictor, files: list[Path]) -> Iterator[Prediction]:
    """Answer for every file that can be read; what a file lacks is said, and the others go on."""
    from mstedge.cli.console import note
    from mstedge.cli.text import printable
    from mstedge.errors import SampleError

    for path in files:
        try:
            yield predictor.predict(path)
        except SampleError as problem:
            note(f"error: {printable(problem.message)}")
            if problem.hint:
                note(f"  hint: {printable(problem.hint)}")


def _say_lines(predictions: Iterator[Prediction]) -> int:
    import msgspec

    count = 0
    for prediction in predictions:
        sys.stdout.write(msgspec.json.encode(prediction).decode() + "\n")
        sys.stdout.flush()
        count += 1
    return count


def _say_answers(predictor: Predictor, predictions: Iterator[Prediction]) -> int:
    from mstedge.cli.console import say_table
    from mstedge.cli.text import printable

    labels = predictor.manifest.labels
    rows = [
        (
            printable(each.source, limit=60),
            printable(each.label, limit=30),
            f"{each.probability:.4f}",
            _second_best(each, labels),
            f"{each.times.total_ms:.1f}",
        )
        for each in predictions
    ]
    if rows:
        say_table(("file", "label", "probability", "second best", "ms"), rows, right=(2, 4))
    return len(rows)


def _second_best(prediction: Prediction, labels: tuple[str, ...]) -> str:
    """Name the class to think of next: behind an unknown, that is the most probable one."""
    from mstedge.cli.text import printable

    order = sorted(range(len(labels)), key=lambda index: -prediction.probabilities[index])
    others = [index for index in order if index != prediction.index]
    if prediction.label != labels[prediction.index]:
        others = [prediction.index]
    if not others:
        return "-"
    return f"{printable(labels[others[0]], limit=30)} {prediction.probabilities[others[0]]:.4f}"
