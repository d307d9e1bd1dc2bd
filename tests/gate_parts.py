"""Rows, a setup and an engine for tests of the gate: a matrix product over a handful of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import SampleError
from mstedge.limits import Precision
from mstedge.parity import Calibration, ParityReport
from mstedge.runtime.bundle import OnnxSummary
from mstedge.runtime.parity.gate import GateSetup, run_gate
from mstedge.runtime.parity.rows import Edges, GateRows, digests_of_rows

ROWS, CLASSES, WIDTH = 400, 5, 3
Floats = NDArray[np.float32]
Change = Callable[[Floats], Floats]
WEIGHTS = np.random.default_rng(1).normal(size=(WIDTH, CLASSES)).astype(np.float32) * 3
TYPES = {"fp32": "float32", "fp16": "float16", "int8": "int8"}


@dataclass
class FakeSession:
    """Stands in for an engine that can be broken at will: a matrix product, then what a test does to its logits."""

    change: Change
    precision: Precision = "fp32"
    largest_batch: int = 1000
    backend: str = "fake 1"
    device: str = "CPU"
    arithmetic: str = "as the graph says"
    threads: int = 1

    def run(self, features: Floats) -> Floats:
        if len(features) > self.largest_batch:
            raise SampleError(f"fake 1 could not run the network: got {len(features)} rows, expected 1")
        return self.change(product(features))


def product(features: Floats) -> Floats:
    return (features.reshape(-1, WIDTH) @ WEIGHTS).astype(np.float32)


def unchanged(logits: Floats) -> Floats:
    return logits


def gate_rows(
    rows: int = ROWS, *, labels: NDArray[np.int64] | None = None, rows_of_a_cluster: int = 1, **more: Any
) -> GateRows:
    """Make rows whose reference is right unless labels say otherwise."""
    features = np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(np.float32)
    edges = np.stack([np.zeros(WIDTH), np.full(WIDTH, 100.0)]).astype(np.float32)
    reference = product(features)
    return GateRows(
        ids=tuple(f"row-{row}" for row in range(rows)),
        clusters=tuple(f"recording-{row // rows_of_a_cluster}" for row in range(rows)),
        labels=reference.argmax(axis=1) if labels is None else labels,
        features=features,
        reference=reference,
        edges=Edges(("zeros", "hundreds"), edges, product(edges)),
        **more,
    )


def gate_setup(precision: Precision = "fp32", **more: Any) -> GateSetup:
    graph = OnnxSummary(
        opset=20, nodes=1, parameters_bytes=0, inputs={}, outputs={}, operators={}, weights={TYPES[precision]: 15}
    )
    given = {"target": "onnx", "scope": "engine", "labels": tuple("abcde"), "model_sha256": "0" * 64, "graph": graph}
    return GateSetup(**{**given, **more})


def gate(
    change: Change = unchanged,
    *,
    precision: Precision = "fp32",
    rows: GateRows | None = None,
    setup: GateSetup | None = None,
    largest_batch: int = 1000,
) -> ParityReport:
    session = FakeSession(change, precision=precision, largest_batch=largest_batch)
    return run_gate(session, gate_rows() if rows is None else rows, setup or gate_setup(precision))


def calibrated_on(rows: GateRows, *positions: int) -> Calibration:
    digests = digests_of_rows(rows.features)
    return Calibration(
        method="minmax",
        ids=tuple(f"training-{position}" for position in positions),
        features_sha256=tuple(digests[position] for position in positions),
    )
