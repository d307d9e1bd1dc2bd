"""`mstedge export`: turn a student into a bundle and prove that nothing was lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mstedge.cli.distill import LATEST

if TYPE_CHECKING:
    from mstedge.export.candidate import Candidate
    from mstedge.export.student import Student
    from mstedge.export.wish import ExportWish
    from mstedge.parity import ParityReport


_OUTPUT = typer.Option(None, "--output", "-o", help="Bundle folder [default: <run>/<target>-<precision>.bundle].")
_PRECISION = typer.Option("fp32", "--precision", help="Arithmetic that the graph carries: fp32, fp16 or int8.")
_ONNX = typer.Option(None, "--onnx", help="A student that was trained elsewhere, instead of a run.")
_ROWS = typer.Option(300, "--calibration-rows", help="Training rows that int8 ranges are fitted on.")
_METHOD = typer.Option("minmax", "--calibration-method", help="How ranges follow: minmax, entropy or percentile.")
_SEARCH = typer.Option(
    False, "--search-mixed-int8", help="Keep the most sensitive nodes in fp32 until the limits hold."
)
_MARGIN = typer.Option(
    None, "--margin", help="Accuracy that may be lost, in percentage points [default: the precision's]."
)
_ALLOW_FAILURE = typer.Option(
    False, "--allow-parity-failure", help="Write the bundle although the gate did not pass; it says so for ever."
)
_ENGINE = typer.Option(None, "--engine", help="How TensorRT shall build, as key=value; docs/export.md lists the keys.")


def command(
    run: Path | None = typer.Argument(None, help="Run folder [default: the latest run]."),
    output: Path | None = _OUTPUT,
    target: str = typer.Option("onnx", "--target", help="What the bundle is for: onnx, openvino or trt."),
    precision: str = _PRECISION,
    onnx: Path | None = _ONNX,
    spec: Path | None = typer.Option(None, "--spec", help="What that student takes and gives (YAML)."),
    data: Path | None = typer.Option(None, "--data", help="Rows for it: a manifest, .csv or .jsonl."),
    calibration_rows: int = _ROWS,
    calibration_method: str = _METHOD,
    search_mixed: bool = _SEARCH,
    margin: float | None = _MARGIN,
    allow_failure: bool = _ALLOW_FAILURE,
    engine: list[str] | None = _ENGINE,
    golden: str = typer.Option("auto", "--golden", help="What golden cases carry: auto, raw or features."),
    allow_code: bool = typer.Option(False, "--allow-code", help="Let the run name a network of your own."),
    as_json: bool = typer.Option(False, "--json", help="Print the parity report as JSON."),
) -> None:
    """Convert a student, prove its parity with training, and write the bundle that ships."""
    from mstedge.cli.packages import required

    _check_source(run, onnx, spec, data)
    with required("export", extra="export"):
        from mstedge.cli.export_wish import wish_from_options

        wish = wish_from_options(
            target=target,
            precision=precision,
            golden=golden,
            margin_points=margin,
            calibration_rows=calibration_rows,
            calibration_method=calibration_method,
            search_mixed=search_mixed,
            allow_failure=allow_failure,
            engine=engine or [],
        )
        folder = run if run is not None or onnx is not None else _latest()
        bundle = output if output is not None else _default_place(folder, onnx, wish)
        started = time.monotonic()
        student = _student(folder, onnx, spec, data, allow_code=allow_code)
        _export(student, bundle, wish, as_json=as_json, started=started)
    _finish(bundle, wish, as_json=as_json)


def _export(student: Student, bundle: Path, wish: ExportWish, *, as_json: bool, started: float) -> None:
    """Export and show what the gate found, also where it refused."""
    from mstedge.cli.console import note
    from mstedge.export.pipeline import GateRefusedError, export_student

    try:
        report, candidate, graph = export_student(student, bundle, wish, note=note)
    except GateRefusedError as problem:
        _show(problem.report, student, as_json=as_json)
        raise
    _measure(bundle, student, candidate, graph, wish, started=started)
    _show(report, student, as_json=as_json)


def _check_source(run: Path | None, onnx: Path | None, spec: Path | None, data: Path | None) -> None:
    from mstedge.errors import UsageError

    if onnx is None and (spec is not None or data is not None):
        raise UsageError("--spec and --data belong to --onnx", hint="a run knows its front end and its data")
    if onnx is not None and run is not None:
        raise UsageError("both a run and --onnx are given: which of them shall be exported?")
    if onnx is not None and (spec is None or data is None):
        missing = "--spec" if spec is None else "--data"
        raise UsageError(
            f"--onnx needs {missing}: a model says nothing about its front end, its classes and its rows",
            hint="docs/own-model.md shows both",
        )


def _student(
    folder: Path | None, onnx: Path | None, spec: Path | None, data: Path | None, *, allow_code: bool
) -> Student:
    from mstedge.cli.console import note

    if onnx is not None and spec is not None and data is not None:
        from mstedge.export.from_onnx import student_from_onnx

        note("reading the model and its rows")
        return student_from_onnx(onnx, spec, data, note=note)
    from mstedge.export.from_run import student_from_run

    note("building the student and its rows again")
    return student_from_run(folder or _latest(), allow_code=allow_code)


def _latest() -> Path:
    from mstedge.errors import UsageError

    if not LATEST.exists():
        raise UsageError("there is no latest run in this folder", hint="name a run, or make one with: mstedge distill")
    return LATEST.resolve().relative_to(Path.cwd().resolve())


def _default_place(folder: Path | None, onnx: Path | None, wish: ExportWish) -> Path:
    name = f"{wish.target}-{wish.precision}.bundle"
    if onnx is not None:
        return onnx.with_name(f"{onnx.stem}-{name}")
    return (folder or Path()) / name


def _measure(
    bundle: Path, student: Student, candidate: Candidate, graph: bytes, wish: ExportWish, *, started: float
) -> None:
    """Measure size and latency beside fp32, into a file beside the bundle: figures of this machine do not ship."""
    from mstedge.cli.console import note
    from mstedge.export.measure import measured
    from mstedge.files import write_atomically
    from mstedge.measurement import measurement_path
    from mstedge.schema import encode_json

    note("measuring size and latency beside fp32")
    measurement = measured(student, candidate, graph, wish, started=started)
    write_atomically(measurement_path(bundle), encode_json(measurement))


def _show(report: ParityReport, student: Student, *, as_json: bool) -> None:
    from mstedge.cli.console import say_json
    from mstedge.cli.parity_text import say_parity

    if as_json:
        say_json(report)
    else:
        say_parity(report, student.labels)


def _finish(bundle: Path, wish: ExportWish, *, as_json: bool) -> None:
    from mstedge.cli.console import note, say
    from mstedge.cli.reports import write_report_where_possible

    if not as_json:
        say(f"bundle: {bundle}")
    page = write_report_where_possible(bundle)
    if page is not None:
        note(f"report: {page}")
    if wish.target == "trt":
        note("engine parity pending: the graph passed in ONNX Runtime; TensorRT builds its engine on the device")
        note(f"next, there: mstedge build {bundle}")
    else:
        note(f"next: mstedge verify {bundle}")
