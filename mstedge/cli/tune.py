"""`mstedge tune`: temperature and threshold of a bundle, fitted on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mstedge.runtime.predictor import Predictor
    from mstedge.tuning import AlarmRate, Tuning

_FAILED_SHOWN = 20


def command(
    bundle: Path = typer.Argument(..., help="Folder of the bundle."),
    data: Path = typer.Option(..., "--data", help="Manifest, or folder with one sub-folder per label."),
    false_alarms: float | None = typer.Option(
        None, "--false-alarms", metavar="RATE", help="Fit the threshold so that at most this share are; 0.01 is 1 %."
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Where the new bundle goes  [default: beside the old one, NAME-tuned.bundle]."
    ),
    backend: str | None = typer.Option(None, help="Engine that runs the network  [default: the bundle's target]."),
    threads: int | None = typer.Option(None, min=1, help="Threads of one inference  [default: all usable cores]."),
    as_json: bool = typer.Option(False, "--json", help="Print what was fitted and measured as JSON."),
) -> None:
    """Fit temperature and threshold on labelled rows and write a new bundle; the network stays as it is.

    Rows labelled with the bundle's word for unknown are negatives: false alarms are the share of them that is answered
    with a class. Without such rows they are the share of all rows that is answered with a wrong class.
    """
    from mstedge.cli.console import note, say_json
    from mstedge.manifest import SIGNATURE_NAME
    from mstedge.runtime.bundle.rewritten import check_new_place, write_with_postprocess
    from mstedge.runtime.predictor import load

    target = output or _beside(bundle)
    check_new_place(bundle, target)
    predictor = load(bundle, backend=backend, threads=threads)
    found = _tuned(predictor, data, false_alarms)
    write_with_postprocess(predictor.bundle, target, found.new_rule)
    if as_json:
        say_json(found)
    else:
        say_tuning(found)
    note(f"bundle: {target}")
    if (bundle / SIGNATURE_NAME).exists():
        note(f"note: the signature of {bundle} says nothing of the new bundle: mstedge sign {target} --key key.pem")
    note(f"next: mstedge verify {target}")
    if found.failed:
        raise typer.Exit(1)


def say_tuning(found: Tuning) -> None:
    """Print what was fitted, and the figures before and after on rows that it was not fitted on."""
    from mstedge.cli.console import say, say_table
    from mstedge.cli.text import printable

    say(f"{printable(found.bundle, limit=60)} · {found.backend}")
    say(_rows_text(found))
    say()
    before, after, old, new = found.before, found.after, found.old_rule, found.new_rule
    rows = [
        ("temperature", f"{old.temperature:g}", f"{new.temperature:g}"),
        ("threshold", f"{old.threshold:g}", f"{new.threshold:g}"),
        ("negative log likelihood", f"{before.nll:.4f}", f"{after.nll:.4f}"),
        ("calibration error", f"{before.ece:.4f}", f"{after.ece:.4f}"),
        ("answered with a class", f"{before.coverage:.2%}", f"{after.coverage:.2%}"),
        ("false alarms", _rate_text(before.false_alarms), _rate_text(after.false_alarms)),
        ("  95 %", _bounds_text(before.false_alarms), _bounds_text(after.false_alarms)),
    ]
    say_table(("", "before", "after"), rows, right=(1, 2))
    say()
    say(f"accuracy: {found.accuracy:.2%} before and after; neither value makes another class the most probable one")
    say(_alarms_text(found))
    if found.asked_rate is not None:
        say(_verdict(found, found.asked_rate))
    for text in found.notes:
        say(f"note: {printable(text)}")
    _say_failed(found)


def _tuned(predictor: Predictor, data: Path, false_alarms: float | None) -> Tuning:
    from mstedge.cli.bundle_notes import note_parity, note_skipped
    from mstedge.cli.console import note
    from mstedge.cli.progress import shown_progress
    from mstedge.runtime.labelled_logits import logits_of_files, read_rows_with_negatives
    from mstedge.runtime.tune import tune

    note_parity(predictor.manifest.parity)
    files = read_rows_with_negatives(data, predictor.manifest)
    note_skipped(files.skipped)
    if files.left_out:
        note(f"note: {files.left_out} rows of the train split left out: the student learnt from them")
    with shown_progress() as progress:
        given, failed = logits_of_files(predictor, files, progress)
    found = tune(predictor, files, given, failed, false_alarms=false_alarms)
    if found.perhaps_learnt:
        note(
            f"warning: {found.perhaps_learnt} of {found.rows} rows are not among those held out at export: the student "
            "may have learnt from them, and would be too sure of them; a column `split` tells them apart"
        )
    return found


def _rows_text(found: Tuning) -> str:
    """Say which rows did what: figures from the rows of the fit would flatter it."""
    if found.halves == "split":
        halves = "fitted on the validation rows, measured on the test rows"
    else:
        halves = "fitted on one half of the recordings, measured on the other"
    return (
        f"{halves}: {found.fitted_rows} rows of {found.fitted_clusters} recordings, "
        f"{found.measured_rows} rows of {found.measured_clusters}"
    )


def _rate_text(rate: AlarmRate) -> str:
    return f"{rate.rate:.2%} ({rate.alarms} of {rate.rows})"


def _bounds_text(rate: AlarmRate) -> str:
    return f"{rate.low:.2%} to {rate.high:.2%}"


def _alarms_text(found: Tuning) -> str:
    from mstedge.cli.text import printable

    unknown = printable(found.old_rule.unknown, limit=30)
    if found.alarms_over == "negatives":
        return f"false alarms: negatives (rows labelled {unknown!r}) that are answered with a class"
    return f"false alarms: rows that are answered with a wrong class, among all, for want of rows labelled {unknown!r}"


def _verdict(found: Tuning, asked: float) -> str:
    high = found.after.false_alarms.high
    if found.shown:
        return f"SHOWN: false alarms are at most {asked:.2%}, as was asked: 95 % bound {high:.2%}"
    if found.after.false_alarms.rate <= asked:
        return f"NOT SHOWN: at most {asked:.2%} was asked, the measured rows bound false alarms at {high:.2%} only"
    return f"NOT KEPT: at most {asked:.2%} was asked, the measured rows have more"


def _say_failed(found: Tuning) -> None:
    from mstedge.cli.console import say
    from mstedge.cli.text import printable

    if not found.failed:
        return
    say()
    say(f"{len(found.failed)} of {found.rows} files could not be read and count nowhere above:")
    for each in found.failed[:_FAILED_SHOWN]:
        say(f"  {printable(each.id, limit=60)}: {printable(each.reason, limit=160)}")
    if len(found.failed) > _FAILED_SHOWN:
        say(f"  and {len(found.failed) - _FAILED_SHOWN} more (--json has all)")


def _beside(bundle: Path) -> Path:
    folder = bundle.resolve()
    return folder.with_name(f"{folder.name.removesuffix('.bundle')}-tuned.bundle")
