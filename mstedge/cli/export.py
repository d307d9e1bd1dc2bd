"""`mstedge export`: turn a run into a bundle and prove that nothing was lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer

from mstedge.cli.distill import LATEST

if TYPE_CHECKING:
    from mstedge.verdicts import ParityReport


def command(
    run: Path | None = typer.Argument(None, help="Run folder [default: the latest run]."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Bundle folder [default: <run>/<target>-<precision>.bundle]."
    ),
    target: str = typer.Option("onnx", "--target", help="What the bundle is for: onnx."),
    precision: str = typer.Option("fp32", "--precision", help="Arithmetic that the graph carries: fp32."),
    golden: str = typer.Option("auto", "--golden", help="What golden cases carry: auto, raw or features."),
    allow_code: bool = typer.Option(False, "--allow-code", help="Let the run name a network of your own."),
    as_json: bool = typer.Option(False, "--json", help="Print the parity report as JSON."),
) -> None:
    """Convert a student, prove its parity with training, and write the bundle that ships."""
    from mstedge.cli.console import note
    from mstedge.cli.packages import required
    from mstedge.cli.reports import write_report_where_possible

    folder = run if run is not None else _latest()
    bundle = output if output is not None else folder / f"{target}-{precision}.bundle"
    chosen = _checked(target, precision, golden)
    with required("export", extra="export"):
        from mstedge.export.bundle_writer import export_run

        report = export_run(folder, bundle, golden=chosen, allow_code=allow_code, note=note)
    _show(report, bundle, as_json=as_json)
    page = write_report_where_possible(bundle)
    if page is not None:
        note(f"report: {page}")
    note(f"next: mstedge verify {bundle}")


def _latest() -> Path:
    from mstedge.errors import UsageError

    if not LATEST.exists():
        raise UsageError("there is no latest run in this folder", hint="name a run, or make one with: mstedge distill")
    return LATEST.resolve().relative_to(Path.cwd().resolve())


def _checked(target: str, precision: str, golden: str) -> Literal["auto", "raw", "features"]:
    from mstedge.errors import UsageError, nearest

    choices: dict[str, tuple[str, tuple[str, ...]]] = {
        "--target": (target, ("onnx",)),
        "--precision": (precision, ("fp32",)),
        "--golden": (golden, ("auto", "raw", "features")),
    }
    for option, (value, known) in choices.items():
        if value not in known:
            raise UsageError(f"{option} {value!r} is not known", hint=nearest(value, known))
    return cast("Literal['auto', 'raw', 'features']", golden)


def _show(report: ParityReport, bundle: Path, *, as_json: bool) -> None:
    from mstedge.cli.console import say, say_json, say_table
    from mstedge.cli.text import measured_text

    if as_json:
        say_json(report)
        return
    rows = [
        (
            check.name,
            measured_text(check.value),
            f"{check.relation} {check.limit:.3g}",
            "ok" if check.passed else "FAILED",
        )
        for check in report.checks
    ]
    say_table(("check", "measured", "allowed", ""), rows, right=(1,))
    say(
        f"parity {report.verdict.upper()} on {report.rows} held-out rows, batches {', '.join(map(str, report.batches))}"
    )
    say(f"bundle: {bundle}")
