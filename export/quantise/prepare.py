"""What happens to a graph before it is quantised: constants and BatchNorm folded into the layers, nodes named."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from mstedge.errors import CheckFailedError
from mstedge.export.quantise.graph_bytes import bytes_from_model, model_from_bytes

_LOG_ERRORS = 3


def prepared(graph: bytes) -> bytes:
    """Fold constants, and BatchNorm and bias additions into the layers before them, with ONNX Runtime's basic rules.

    Args:
        graph: The fp32 graph.

    Returns:
        The same function in fp32 with standard operators only; every node has a name. Tensors that both graphs have
        keep their names.

    Raises:
        CheckFailedError: ONNX Runtime does not take the graph.
    """
    import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed

    named = bytes_from_model(model_from_bytes(graph))
    with tempfile.TemporaryDirectory(prefix="mstedge-") as folder:
        written = Path(folder) / "prepared.onnx"
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        settings.optimized_model_filepath = str(written)
        settings.log_severity_level = _LOG_ERRORS
        try:
            onnxruntime.InferenceSession(named, settings, providers=["CPUExecutionProvider"])
        except Exception as problem:  # the engine's errors share no base class
            raise CheckFailedError(
                f"the graph cannot be prepared for int8: {str(problem).splitlines()[0]}"
            ) from problem
        model = onnx.load(written)
    return bytes_from_model(model_from_bytes(model.SerializeToString()))
