"""A model from elsewhere in ONNX Runtime: the reference, and the proof that the bundle's graph answers as it does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnxruntime

from mstedge.errors import UsageError, first_line
from mstedge.runtime.backends import usable_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.export.foreign_model import ForeignModel

    Floats: TypeAlias = NDArray[np.float32]

PROBE_BATCHES = (1, 2, 7)
_ROWS_AT_ONCE = 256
_EQUAL = 1e-4  # of the largest logit: kernels may add up in another order at another batch size
_SUM_TOLERANCE = 1e-4


class Network:
    """An ONNX model in ONNX Runtime as it is written: no optimisation, so that nothing but the file decides.

    Args:
        content: The model.
        fixed_rows: Number of rows that it insists on; none where the batch is free.
    """

    def __init__(self, content: bytes, *, fixed_rows: int | None = None) -> None:
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.intra_op_num_threads = usable_cores()
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        settings.log_severity_level = 4
        self._session: Any = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        self._fixed_rows = fixed_rows

    def run(self, features: Floats, *, rows_at_once: int = _ROWS_AT_ONCE) -> Floats:
        """Compute outputs [rows, ...] for features [rows, *feature_shape]."""
        step = self._fixed_rows or rows_at_once
        entry = self._session.get_inputs()[0].name
        found = []
        for start in range(0, len(features), step):
            chunk = features[start : start + step]
            missing = step - len(chunk) if self._fixed_rows else 0
            padded = np.concatenate([chunk, np.repeat(chunk[-1:], missing, axis=0)]) if missing else chunk
            found.append(self._session.run(None, {entry: padded})[0][: len(chunk)])
        return np.concatenate(found)


def proved_reference(foreign: ForeignModel, features: Floats, classes: int) -> Network:
    """Show that the graph of the bundle answers as the given file does, at every batch size.

    Args:
        foreign: The model.
        features: Some of the rows that it is for, float32 [rows, *feature_shape].
        classes: Number of labels.

    Returns:
        What answers with logits as the given file does: the file itself, or without its last softmax.

    Raises:
        UsageError: It does not, or the file does not give one finite logit per class.
    """
    probe = _probe(features)
    given = _loaded(foreign.content, foreign)
    ours = _loaded(foreign.graph, foreign, free=True)
    expected = _outputs(given, probe, foreign, foreign.fixed_rows or 1)
    if expected.shape != (len(probe), classes):
        shape = [foreign.fixed_rows or "batch", *expected.shape[1:]]
        raise UsageError(f"{foreign.source}: gives {shape} for each batch: expected [batch, {classes}]")
    if not np.isfinite(expected).all():
        raise UsageError(f"{foreign.source}: gives values that are not finite for rows of the data")
    if foreign.ending is None and _are_probabilities(expected):
        raise UsageError(
            f"{foreign.source}: gives probabilities, not logits: each row is positive and sums to one",
            hint="export the model without its last softmax",
        )
    for batch in PROBE_BATCHES:
        found = _ended(_outputs(ours, probe[:batch], foreign, batch), foreign.ending)
        _check_equal(found, expected[:batch], batch, foreign)
    return ours if foreign.ending else given


def _check_equal(found: Floats, expected: Floats, batch: int, foreign: ForeignModel) -> None:
    largest = float(np.abs(expected).max())
    same_shape = found.shape == expected.shape
    if same_shape and float(np.abs(found - expected).max()) <= _EQUAL * max(1.0, largest):
        return
    raise _frozen(foreign, f"its answers to {batch} rows at once are others")


def _loaded(content: bytes, foreign: ForeignModel, *, free: bool = False) -> Network:
    try:
        return Network(content, fixed_rows=None if free else foreign.fixed_rows)
    except Exception as problem:  # the engine's errors share no base class
        if free and foreign.fixed_rows is not None:
            raise _frozen(foreign, first_line(problem)) from problem
        raise UsageError(f"{foreign.source}: cannot be loaded by onnxruntime: {first_line(problem)}") from problem


def _outputs(network: Network, features: Floats, foreign: ForeignModel, rows_at_once: int) -> Floats:
    try:
        return network.run(features, rows_at_once=rows_at_once)
    except Exception as problem:  # the engine's errors share no base class
        raise _frozen(foreign, first_line(problem)) from problem


def _frozen(foreign: ForeignModel, reason: str) -> UsageError:
    """Say why the number of rows cannot be left free."""
    said = "" if foreign.fixed_rows is None else f"its batch is fixed to {foreign.fixed_rows}, and "
    return UsageError(
        f"{foreign.source}: {said}it cannot run with another number of rows: {reason}",
        hint="export the model again with a dynamic batch: torch.onnx.export(..., dynamic_shapes=...)",
    )


def _probe(features: Floats) -> Floats:
    """Give as many different rows as the largest batch: real ones, then real values in another order."""
    wanted = max(PROBE_BATCHES)
    generator = np.random.default_rng(0)
    rows = list(features[:wanted])
    while len(rows) < wanted:
        source = features[len(rows) % len(features)]
        rows.append(generator.permutation(source.ravel()).reshape(source.shape))
    return np.stack(rows)


def _ended(logits: Floats, ending: str | None) -> Floats:
    """Apply the softmax that was taken away."""
    if ending is None:
        return logits
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(logs if ending == "LogSoftmax" else np.exp(logs), dtype=np.float32)


def _are_probabilities(outputs: Floats) -> bool:
    sums = outputs.sum(axis=1)
    return bool((outputs >= 0).all() and (np.abs(sums - 1) <= _SUM_TOLERANCE).all())
