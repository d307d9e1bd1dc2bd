"""What activations range over, seen on calibration rows in fp32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from mstedge.errors import CheckFailedError
from mstedge.export.quantise.placement import measured_tensors
from mstedge.export.quantise.thresholds import BINS, entropy_bins, percentile_bins
from mstedge.runtime.backends import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from mstedge.export.quantise.calibration import CalibrationMethod

    Range = tuple[float, float]
    Seen = dict[str, NDArray[np.float32]]

PERCENTILE_SHARE = 0.9999
_ROWS_AT_ONCE = 8
_LOG_ERRORS = 3


@dataclass(frozen=True, slots=True)
class ActivationRanges:
    """What 8 bits shall cover, per activation.

    Attributes:
        method: How it follows from what was seen.
        symmetric: Whether every range lies evenly around zero.
        values: Lowest and highest value by tensor name; zero lies between them.
    """

    method: CalibrationMethod
    symmetric: bool
    values: Mapping[str, tuple[float, float]]


def ranges_of(
    prepared: bytes, features: NDArray[np.float32], method: CalibrationMethod, *, symmetric: bool
) -> ActivationRanges:
    """Run a graph over calibration rows and see what its activations range over.

    `minmax` keeps everything; `percentile` the middle 99.99 % of each tensor's values; `entropy` clips where 128 levels
    lose the least information. Histograms are taken in a second pass, so memory does not grow with the rows.

    Args:
        prepared: Result of `prepared`.
        features: float32 [rows, *feature_shape].
        method: How ranges follow from what is seen.
        symmetric: Whether ranges shall lie evenly around zero.

    Raises:
        CheckFailedError: An activation is not finite.
    """
    model = onnx.load_from_string(prepared)
    names = measured_tensors(model.graph)
    session, entry = _session(model, names), model.graph.input[0].name
    inner = [name for name in names if name != entry]

    def passes() -> Iterator[Seen]:
        for start in range(0, len(features), _ROWS_AT_ONCE):
            rows = features[start : start + _ROWS_AT_ONCE]
            found = session.run(inner, {entry: rows}) if inner else []
            yield {entry: rows, **dict(zip(inner, found, strict=True))}

    widest = _widest(names, passes())
    if method == "percentile":
        seen = _clipped(widest, passes(), _percentile_range, absolute=False)
    elif method == "entropy":
        seen = _clipped(widest, passes(), _entropy_range, absolute=True)
    else:
        seen = widest
    return ActivationRanges(method, symmetric, {name: _around_zero(seen[name], symmetric=symmetric) for name in names})


def _session(model: onnx.ModelProto, names: tuple[str, ...]) -> Any:
    """Load the graph with every tensor that shall be seen as an output."""
    import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed

    known = {value.name for value in [*model.graph.input, *model.graph.output]}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in known
    )
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = usable_cores()
    settings.log_severity_level = _LOG_ERRORS
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def _widest(names: tuple[str, ...], passes: Iterator[Seen]) -> dict[str, Range]:
    found = dict.fromkeys(names, (np.inf, -np.inf))
    for seen in passes:
        for name in names:
            low, high = float(seen[name].min()), float(seen[name].max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise CheckFailedError(
                    f"the tensor {name!r} of the fp32 graph is not finite on calibration rows",
                    hint="the student itself overflows: look at its training, and at its rows",
                )
            found[name] = (min(found[name][0], low), max(found[name][1], high))
    return found


def _clipped(
    widest: dict[str, Range],
    passes: Iterator[Seen],
    clip: Callable[[NDArray[np.int64], Range], Range],
    *,
    absolute: bool,
) -> dict[str, Range]:
    """Take a histogram of each tensor and clip its range accordingly, never beyond what was seen."""
    spans = {name: (0.0, max(map(abs, ends))) if absolute else ends for name, ends in widest.items()}
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in widest}
    for seen in passes:
        for name, span in spans.items():
            values = np.abs(seen[name]) if absolute else seen[name]
            counts[name] += np.histogram(values, bins=BINS, range=span)[0]
    found = {}
    for name, (low, high) in widest.items():
        first, last = clip(counts[name], spans[name])
        found[name] = (max(low, first), min(high, last))
    return found


def _percentile_range(counts: NDArray[np.int64], span: Range) -> Range:
    first, last = percentile_bins(counts, PERCENTILE_SHARE)
    width = (span[1] - span[0]) / len(counts)
    return span[0] + first * width, span[0] + last * width


def _entropy_range(counts: NDArray[np.int64], span: Range) -> Range:
    reach = span[1] * entropy_bins(counts) / len(counts)
    return -reach, reach


def _around_zero(ends: Range, *, symmetric: bool) -> Range:
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    reach = max(-low, high)
    return (-reach, reach) if symmetric else (low, high)
