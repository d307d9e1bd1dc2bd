"""Size and latency of a bundle beside fp32, where its export measured them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.measurement import ExportMeasurement, PairedLatency, measurement_path
from mstedge.report.formats import ABSENT, duration, latency, number, size
from mstedge.report.page import Page
from mstedge.schema import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from mstedge.runtime.bundle import Bundle


@dataclass(frozen=True, slots=True)
class MeasuredView:
    """What stands under "Size and latency beside fp32".

    Attributes:
        lines: What was measured, of fp32, of the candidate, and the ratio.
        remarks: Where and how it was measured, or why there is nothing.
        candidate: What the candidate is called.
    """

    lines: tuple[tuple[str, str, str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    candidate: str = ""


def measured_page(path: Path) -> Page:
    """Show what an export measured."""
    measurement = read_json(path, ExportMeasurement)
    title = f"{measurement.precision} for {measurement.target}: {path.name}"
    return Page("measured", title, {"measured": _view(measurement)})


def measured_view(bundle: Bundle) -> MeasuredView:
    """Read the measurement beside a bundle.

    Raises:
        ConfigError: There is such a file, and it is none of ours.
    """
    path = measurement_path(bundle.folder)
    if not path.is_file():
        return MeasuredView(remarks=(f"Not measured: {path.name} does not stand beside the bundle.",))
    measurement = read_json(path, ExportMeasurement)
    if measurement.model_sha256 != bundle.digests[bundle.manifest.model]:
        return MeasuredView(remarks=(f"Not measured: {path.name} is about another model.",))
    return _view(measurement)


def _view(measurement: ExportMeasurement) -> MeasuredView:
    smaller = f"{measurement.shrinkage:.2f} times smaller" if measurement.precision != "fp32" else ABSENT
    sizes = (size(measurement.fp32_bytes), size(measurement.candidate_bytes))
    lines = [("bytes that the engine reads", *sizes, smaller)]
    remarks = [f"Measured by the export, in {duration(measurement.seconds)}, on {measurement.environment}."]
    if measurement.precision == "fp32":
        remarks.append("This bundle is the fp32 that others are held against.")
    elif not measurement.latencies:
        remarks.append("Latency was not measured.")
    for one in measurement.latencies:
        lines += _latency_lines(one)
        remarks.append(
            f"{one.backend} on {one.device}, batch 1, {one.threads} {'thread' if one.threads == 1 else 'threads'}: "
            f"{one.samples:,} inferences of each, taking turns in one run."
        )
    candidate = "this bundle" if measurement.precision == "fp32" else measurement.precision
    return MeasuredView(tuple(lines), tuple(remarks), candidate)


def _latency_lines(one: PairedLatency) -> list[tuple[str, str, str, str]]:
    tail = ABSENT
    if one.fp32_p99_ns is not None and one.candidate_p99_ns is not None:
        tail = f"{number(one.candidate_p99_ns / one.fp32_p99_ns)} of fp32"
    return [
        (
            f"median latency, {one.backend}",
            latency(one.fp32_p50_ns),
            latency(one.candidate_p50_ns),
            f"{number(one.ratio)} of fp32",
        ),
        (f"99th percentile, {one.backend}", latency(one.fp32_p99_ns), latency(one.candidate_p99_ns), tail),
    ]
