"""`mstedge evaluate`: how good a bundle's answers are on labelled files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mstedge.evaluation import Evaluation, Score

_WIDEST = 100
_MOST_CLASSES_IN_A_MATRIX = 20
_MISTAKES_SHOWN = 10
_FAILED_SHOWN = 20


def command(
    bundle: Path = typer.Argument(..., help="Folder of the bundle."),
    data: Path = typer.Option(..., "--data", help="Manifest, or folder with one sub-folder per label."),
    backend: str | None = typer.Option(None, help="Engine that runs the network  [default: the bundle's target]."),
    threads: int | None = typer.Option(None, min=1, help="Threads of one inference  [default: all usable cores]."),
    as_json: bool = typer.Option(False, "--json", help="Print the evaluation as JSON."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the evaluation to this JSON file, too."),
) -> None:
    """Answer for labelled files and compare: accuracy, classes, confusions. Rows of the train split are left out."""
    from mstedge.cli.bench import output_for
    from mstedge.cli.bundle_notes import note_parity, note_skipped
    from mstedge.cli.console import note, say_json
    from mstedge.cli.progress import shown_progress
    from mstedge.runtime.evaluate import evaluate
    from mstedge.runtime.labelled_files import read_labelled
    from mstedge.runtime.predictor import load

    target = output_for(bundle, output) if output is not None else None
    predictor = load(bundle, backend=backend, threads=threads)
    note_parity(predictor.manifest.parity)
    files = read_labelled(data, predictor.manifest)
    note_skipped(files.skipped)
    if files.left_out:
        note(f"note: {files.left_out} rows of the train split left out: the student learnt from them")
    with shown_progress() as progress:
        found = evaluate(predictor, files, progress)
    if found.perhaps_learnt:
        note(
            f"warning: {found.perhaps_learnt} of {found.rows} rows are not among those held out at export: the student "
            "may have learnt from them, and the figures flatter it; a column `split` tells them apart"
        )
    if as_json:
        say_json(found)
    else:
        say_evaluation(found)
    if target is not None:
        _write(found, target)
    if found.failed:
        raise typer.Exit(1)


def say_evaluation(found: Evaluation) -> None:
    """Print an evaluation: where it ran, the figures, every class, the confusions and the files that failed."""
    from mstedge.cli.console import say
    from mstedge.cli.text import printable

    threads = f"{found.threads} thread{'' if found.threads == 1 else 's'}"
    name = printable(found.bundle, limit=60)
    say(f"{name} · {found.precision} · {found.backend} · {found.device} · {found.arithmetic} · {threads}")
    say(f"{_rows_text(found)}{_time_text(found)}")
    if found.score is None:
        say("no labelled row could be answered for")
    else:
        _say_score(found, found.score)
    _say_failed(found)


def _say_score(found: Evaluation, score: Score) -> None:
    from mstedge.cli.console import say

    interval = f"95 %: {score.low:.2%} to {score.high:.2%}, over {found.clusters} clusters"
    say()
    say(f"accuracy           {score.accuracy:.2%} ({interval})")
    say(f"balanced accuracy  {score.balanced_accuracy:.2%}")
    say(f"macro F1           {score.macro_f1:.4f}")
    say(f"calibration error  {score.ece:.4f} (expected, 15 bins)")
    if found.unknown:
        say(f"answered unknown   {found.unknown_share:.2%}, above counted as the class behind it")
    say()
    _say_classes(score)
    say()
    if len(found.labels) <= _MOST_CLASSES_IN_A_MATRIX:
        _say_matrix(found.labels, score.confusion)
    else:
        _say_mistakes(found.labels, score.confusion)


def _say_classes(score: Score) -> None:
    from mstedge.cli.console import say_table
    from mstedge.cli.text import printable

    rows = [
        (
            printable(each.label, limit=30),
            str(each.rows),
            _share(each.precision),
            _share(each.recall),
            f"{each.low:.1%} to {each.high:.1%}" if each.low is not None and each.high is not None else "-",
            f"{each.f1:.4f}" if each.f1 is not None else "-",
        )
        for each in score.classes
    ]
    say_table(("class", "rows", "precision", "recall", "95 %", "F1"), rows, right=(1, 2, 3, 4, 5))


def _say_matrix(labels: tuple[str, ...], confusion: tuple[tuple[int, ...], ...]) -> None:
    """Print counts; columns are called by number where their names would not fit side by side."""
    from mstedge.cli.console import say, say_table
    from mstedge.cli.text import printable

    names = [printable(label, limit=20) for label in labels]
    widths = [max(len(name), *(len(str(row[column])) for row in confusion)) for column, name in enumerate(names)]
    numbered = max(map(len, names)) + sum(widths) + 2 * len(names) > _WIDEST
    titles = [str(number) for number in range(len(names))] if numbered else names
    firsts = [f"{number} {name}" for number, name in enumerate(names)] if numbered else names
    rows = [
        (first, *(str(count) if count else "·" for count in row)) for first, row in zip(firsts, confusion, strict=True)
    ]
    say("confusion: rows are the truth, columns what was answered")
    say_table(("", *titles), rows, right=range(1, len(names) + 1))


def _say_mistakes(labels: tuple[str, ...], confusion: tuple[tuple[int, ...], ...]) -> None:
    from mstedge.cli.console import say, say_table
    from mstedge.cli.text import printable

    mistakes = sorted(
        (-count, truth, answer)
        for truth, row in enumerate(confusion)
        for answer, count in enumerate(row)
        if count and truth != answer
    )
    if not mistakes:
        return
    say(f"most frequent mistakes of {len(mistakes)} (--json has the whole matrix)")
    rows = [
        (printable(labels[truth], limit=30), printable(labels[answer], limit=30), str(-count))
        for count, truth, answer in mistakes[:_MISTAKES_SHOWN]
    ]
    say_table(("truth", "answered", "rows"), rows, right=(2,))


def _say_failed(found: Evaluation) -> None:
    from mstedge.cli.console import say
    from mstedge.cli.text import printable

    if not found.failed:
        return
    say()
    say(f"{len(found.failed)} of {found.rows} files could not be answered and count nowhere above:")
    for each in found.failed[:_FAILED_SHOWN]:
        say(f"  {printable(each.id, limit=60)}: {printable(each.reason, limit=160)}")
    if len(found.failed) > _FAILED_SHOWN:
        say(f"  and {len(found.failed) - _FAILED_SHOWN} more (--json has all)")


def _rows_text(found: Evaluation) -> str:
    parts = f" of {' and '.join(found.parts)}" if found.parts else ""
    unlabelled = found.answered - found.labelled
    more = f", {unlabelled} more without a label" if unlabelled else ""
    return f"{found.labelled} labelled rows{parts}{more}"


def _time_text(found: Evaluation) -> str:
    return "" if found.mean_seconds is None else f" · {found.mean_seconds * 1e3:.1f} ms per file on average"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _write(found: Evaluation, target: Path) -> None:
    from mstedge.cli.console import note
    from mstedge.cli.reports import write_report_where_possible
    from mstedge.files import write_atomically
    from mstedge.schema import encode_json

    write_atomically(target, encode_json(found))
    note(f"written to {target}")
    page = write_report_where_possible(target)
    if page is not None:
        note(f"report: {page}")
