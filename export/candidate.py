"""From the fp32 graph to what a target runs: one ONNX graph carries the precision, targets are thin."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.errors import DataError
from mstedge.export.quantise.calibration import calibration_rows
from mstedge.export.quantise.half import half_from_graph
from mstedge.export.quantise.int8 import int8_from_graph, prepared
from mstedge.export.quantise.ranges import ranges_of
from mstedge.export.quantise.search import mixed_int8
from mstedge.export.student import Rows, Student, tensors_of
from mstedge.runtime.backends import BACKEND_OF_TARGET, EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.parity.rows import digests_of_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mstedge.export.wish import ExportWish
    from mstedge.parity import Calibration

MAX_SEARCH_ROWS = 512


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is held against the reference, and ships if it passes.

    Attributes:
        onnx: The graph in the precision that was asked for.
        ir: OpenVINO's form of it, for that target.
        calibration: The rows that int8 ranges were fitted on.
        kept: Nodes that stay in fp32.
    """

    onnx: bytes
    ir: tuple[bytes, bytes] | None = None
    calibration: Calibration | None = None
    kept: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest of the graph."""
        return hashlib.sha256(self.onnx).hexdigest()


def candidate_from_graph(
    graph: bytes, student: Student, wish: ExportWish, *, keep: Sequence[str] = (), note: Callable[[str], None]
) -> Candidate:
    """Give the graph its precision and the target its form.

    Args:
        graph: The student in fp32.
        student: Where calibration rows come from.
        wish: Target and precision.
        keep: Nodes of an fp16 graph that stay in fp32.
        note: Told what is being done.

    Raises:
        DataError: There are fewer calibration rows than asked for.
        CheckFailedError: The graph cannot be converted.
    """
    calibration, kept = None, tuple(keep)
    if wish.precision == "fp16":
        graph = half_from_graph(graph, keep=keep)
    elif wish.precision == "int8":
        graph, calibration, kept = _quantised(graph, student, wish, note)
    if wish.target != "openvino":
        return Candidate(graph, None, calibration, kept)
    from mstedge.export.openvino_ir import ir_from_onnx  # noqa: PLC0415  openvino is optional

    return Candidate(graph, ir_from_onnx(graph), calibration, kept)


def loaded(candidate: Candidate, student: Student, wish: ExportWish, *, threads: int | None = 1) -> EngineSession:
    """Make a candidate ready to run in the engine of its target.

    Args:
        candidate: Its files.
        student: Names and shapes of its tensors.
        wish: Target and precision.
        threads: One, so that a report does not depend on the machine's number of cores; none for all of them.

    Raises:
        MachineError: The engine is not here.
    """
    source, sink = tensors_of(student)
    network = Network(candidate.onnx, source, sink, wish.precision, candidate.ir)
    return backend_named(BACKEND_OF_TARGET[wish.target]).load(network, EngineOptions(threads=threads))


def _quantised(
    graph: bytes, student: Student, wish: ExportWish, note: Callable[[str], None]
) -> tuple[bytes, Calibration, tuple[str, ...]]:
    rows = student.training
    features, calibration = calibration_rows(rows, wish.calibration)
    note(f"fitting int8 ranges on {len(features)} training rows ({wish.calibration.method})")
    ready = prepared(graph)
    ranges = ranges_of(ready, features, wish.calibration.method, symmetric=wish.form == "symmetric")
    if not wish.search_mixed:
        return int8_from_graph(ready, ranges, form=wish.form), calibration, ()
    searched = _search_features(rows, calibration)
    note(f"searching for nodes that stay in fp32, on {len(searched)} further training rows")
    source, sink = tensors_of(student)
    found = mixed_int8(
        ready,
        ranges,
        form=wish.form,
        input=source,
        output=sink,
        features=searched,
        reference=student.reference_logits(searched),
        note=note,
    )
    return found.graph, calibration, found.kept


def _search_features(rows: Rows, calibration: Calibration) -> NDArray[np.float32]:
    """Take training rows that calibration has not seen."""
    seen = set(calibration.features_sha256)
    fresh = [row for row, digest in enumerate(digests_of_rows(rows.features)) if digest not in seen]
    if not fresh:
        raise DataError(
            f"all {len(rows)} training rows went into calibration: none is left for the search",
            hint=f"use fewer: --calibration-rows {max(1, len(rows) // 2)}",
        )
    return rows.features[fresh[:MAX_SEARCH_ROWS]]
