"""Where an fp16 graph overflows: engines without fp16 arithmetic compute in fp32 and hide it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto

from mstedge.errors import CheckFailedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS_AT_ONCE = 8
_LOG_ERRORS = 3


def overflowing_tensors(half: bytes, features: NDArray[np.float32]) -> tuple[str, ...]:
    """Run an fp16 graph and find the tensors that float16 cannot hold.

    ONNX Runtime has few fp16 operators for the CPU: it computes in fp32 and drops the casts between, so that a model
    which overflows on a GPU passes. Here every float16 tensor is an output, and therefore really float16.

    Args:
        half: Result of `half_from_graph`.
        features: float32 [rows, *feature_shape].

    Returns:
        Names of the tensors that are not finite on some row, in the order of the graph.
    """
    model = onnx.load_from_string(half)
    names = _float16_tensors(model)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT16, None) for name in names if name not in known
    )
    session = _session(model)
    entry = model.graph.input[0].name
    beyond: set[str] = set()
    for start in range(0, len(features) if names else 0, _ROWS_AT_ONCE):
        found = session.run(names, {entry: features[start : start + _ROWS_AT_ONCE]})
        beyond |= {name for name, values in zip(names, found, strict=True) if not np.isfinite(values).all()}
    return tuple(name for name in names if name in beyond)


def require_no_overflow(half: bytes, features: NDArray[np.float32]) -> None:
    """Refuse an fp16 graph that overflows on some row.

    Args:
        half: Result of `half_from_graph`.
        features: float32 [rows, *feature_shape].

    Raises:
        CheckFailedError: It does; the first tensor that overflows, and the node that makes it, are named.
    """
    beyond = overflowing_tensors(half, features)
    if not beyond:
        return
    maker = next(node.name for node in onnx.load_from_string(half).graph.node if beyond[0] in node.output)
    others = f", and {len(beyond) - 1} tensors after it" if len(beyond) > 1 else ""
    raise CheckFailedError(
        f"fp16 overflows on {len(features)} rows: the tensor {beyond[0]!r} of the node {maker!r} exceeds 65504{others}",
        hint="use --precision fp32, or int8; or train with smaller weights",
    )


def _float16_tensors(model: onnx.ModelProto) -> list[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*inferred.value_info, *inferred.output]}
    made = [name for node in model.graph.node for name in node.output]
    return [name for name in made if kinds.get(name) == TensorProto.FLOAT16]


def _session(model: onnx.ModelProto) -> Any:
    import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed

    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = _LOG_ERRORS
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
