"""`mstedge verify`: is this bundle whole, and does it give on this machine what it gave where it was made?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mstedge.verification import CaseResult, VerifyReport


def command(
    bundle: Path = typer.Argument(..., help="Folder of the bundle."),
    key: Path | None = typer.Option(
        None, "--key", help="Public Ed25519 key, PEM: require its signature.  [default: signatures are not looked at]"
    ),
    json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Check a bundle's files and replay its golden cases on this machine, stage by stage."""
    from mstedge.cli.console import say, say_json

    report = _verified(bundle, key)
    if json:
        say_json(report)
    else:
        _say_cases(report)
        say(_verdict(report))
    if not report.passed:
        raise typer.Exit(1)


def _verified(folder: Path, key: Path | None) -> VerifyReport:
    """Check the signature, if one is asked for, before anything else of the bundle is parsed."""
    from mstedge.cli.bundle_notes import note_parity
    from mstedge.runtime.bundle.signature import check_signature
    from mstedge.runtime.predictor import open_predictor
    from mstedge.runtime.verify import verify

    signed = None if key is None else check_signature(folder, key)
    predictor = open_predictor(folder)
    note_parity(predictor.manifest.parity)
    if signed is None:
        return verify(predictor)
    signed.require(predictor.bundle)
    return verify(predictor, signature=signed.fingerprint)


def _say_cases(report: VerifyReport) -> None:
    from mstedge.cli.console import say, say_table
    from mstedge.cli.text import printable

    rows = [
        (
            printable(case.id, limit=40),
            _decode_cell(case),
            _difference_cell(case.feature_difference),
            _difference_cell(case.logit_difference),
            printable(case.label or "-", limit=30),
            "ok" if case.first_difference is None else f"differs at {case.first_difference}",
        )
        for case in report.cases
    ]
    say_table(("case", "decode", "features |d|", "logits |d|", "label", "verdict"), rows, right=(2, 3))
    say()
    for case in report.cases:
        if case.first_difference is not None:
            say(f"{printable(case.id, limit=40)}: {printable(case.detail)}")


def _decode_cell(case: CaseResult) -> str:
    if case.first_difference == "decode":
        return "differs"
    started_at_features = case.feature_difference is None and case.first_difference != "features"
    return "-" if started_at_features else "equal"


def _difference_cell(difference: float | None) -> str:
    if difference is None:
        return "-"
    return "bit-equal" if difference == 0 else f"{difference:.2e}"


def _verdict(report: VerifyReport) -> str:
    from mstedge.cli.text import printable

    name, count = printable(report.bundle, limit=60), len(report.cases)
    without_file = sum(_decode_cell(case) == "-" for case in report.cases)
    partly = f", {without_file} of them without a raw file: from the golden features on" if without_file else ""
    signed = f", signed with the key {report.signature[:16]}…" if report.signature else ""
    how = f"{report.files} files whole{signed}, {count} golden cases{partly}, {report.backend}"
    wrong = [case for case in report.cases if case.first_difference is not None]
    if not wrong:
        return f"PASS: {name}: {how}"
    stages = ", ".join(sorted({str(case.first_difference) for case in wrong}, key=_ORDER.index))
    return f"FAIL: {name}: {len(wrong)} of {count} cases differ, first at: {stages} ({how})"


_ORDER = ("decode", "features", "logits", "label")
