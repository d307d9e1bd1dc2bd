"""fp16: float16 weights and arithmetic, fp32 inputs and outputs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from mstedge.errors import CheckFailedError, UsageError, nearest
from mstedge.export.quantise.graph_bytes import bytes_from_model, consumers_of, model_from_bytes
from mstedge.export.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LARGEST = float(np.finfo(np.float16).max)
# Rounding to float16 alone moves a tensor by at most 2**-11 of its size; more is lost where values fall below 6e-8.
_MAX_RELATIVE_CHANGE = 1e-2
# Sums of squares overflow first, and ONNX Runtime's fp16 kernels for them have given wrong answers on a second run.
_ALWAYS_KEPT = ("GroupNormalization", "InstanceNormalization", "LayerNormalization")


def half_from_graph(graph: bytes, *, keep: Sequence[str] = ()) -> bytes:
    """Convert a graph to fp16; what goes in and out stays fp32, and so do normalisations over the values of one row.

    Args:
        graph: The fp32 graph.
        keep: Names of nodes that stay in fp32: they compute in it, and what one of them hands to the graph's output or
            to another of them is not rounded on the way.

    Returns:
        The converted graph: deterministic, standard operators only.

    Raises:
        UsageError: There is no node of such a name.
        CheckFailedError: A weight does not fit into float16, or the graph cannot be converted. An activation that
            overflows is found by `require_no_overflow`.
    """
    model = model_from_bytes(graph)
    _require_nodes(model, keep)
    before = _constants(model.graph)
    half = _converted(model, keep)
    _drop_needless_casts(half.graph)
    for name, tensor in _constants(half.graph).items():
        if tensor.data_type == TensorProto.FLOAT16 and name in before:
            _require_fit(name, numpy_helper.to_array(before[name]), numpy_helper.to_array(tensor))
    return bytes_from_model(half)


def last_layer(graph: bytes) -> str:
    """Name the node that makes the graph's output, past operators that compute nothing.

    Args:
        graph: An fp32 graph.

    Returns:
        The name that `half_from_graph` and `int8_from_graph` know the node by.
    """
    model = model_from_bytes(graph)
    makers = {name: node for node in model.graph.node for name in node.output}
    name = model.graph.output[0].name
    while name in makers and makers[name].op_type in {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose"}:
        name = makers[name].input[0]
    if name not in makers:
        raise CheckFailedError(f"the graph's output {model.graph.output[0].name!r} is not computed by any node")
    return str(makers[name].name)


def _require_nodes(model: onnx.ModelProto, names: Sequence[str]) -> None:
    known = [node.name for node in model.graph.node]
    for name in names:
        if name not in known:
            raise UsageError(f"the graph has no node {name!r}", hint=nearest(name, known))


def _converted(model: onnx.ModelProto, keep: Sequence[str]) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import (  # noqa: PLC0415  an engine
        DEFAULT_OP_BLOCK_LIST,
        convert_float_to_float16,
    )

    try:
        with quiet("onnxruntime.transformers.float16", level=logging.CRITICAL):
            half: onnx.ModelProto = convert_float_to_float16(
                model,
                keep_io_types=True,
                op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_ALWAYS_KEPT],
                node_block_list=list(keep),
            )
    except Exception as problem:  # the converter's errors share no base class, and assertions are among them
        raise CheckFailedError(
            f"the graph cannot be converted to fp16: {problem or type(problem).__name__}"
        ) from problem
    return half


def _constants(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """Find what the graph carries: initialisers, and the tensors of Constant nodes under the name of their output."""
    found = {tensor.name: TensorProto.FromString(tensor.SerializeToString()) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = TensorProto.FromString(attribute.t.SerializeToString())
    return found


def _require_fit(name: str, before: NDArray[np.float32], after: NDArray[np.float16]) -> None:
    """Refuse a weight that the converter has clipped, or lifted out of underflow."""
    finite = before[np.isfinite(before)].astype(np.float64)
    largest = float(np.abs(finite).max(initial=0.0))
    hint = "keep its layer in fp32, or use --precision fp32"
    if largest > _LARGEST:
        raise CheckFailedError(
            f"the weight {name!r} does not fit into fp16: its largest value is {largest:.4g}, fp16 ends at "
            f"{_LARGEST:.0f}",
            hint=hint,
        )
    change = np.linalg.norm(finite - after[np.isfinite(before)].astype(np.float64))
    if finite.size > 1 and change > _MAX_RELATIVE_CHANGE * np.linalg.norm(finite):
        raise CheckFailedError(
            f"the weight {name!r} is too small for fp16: its largest value is {largest:.4g}, and rounding changes it "
            f"by {change / np.linalg.norm(finite):.1%}",
            hint=hint,
        )


def _drop_needless_casts(graph: onnx.GraphProto) -> None:
    """Remove the converter's casts to float16 that are undone at once: they only lose what was kept in fp32."""
    readers = consumers_of(graph)
    outputs = {value.name for value in graph.output}
    dropped: list[onnx.NodeProto] = []
    for cast in [node for node in graph.node if _is_made_cast(node, TensorProto.FLOAT16)]:
        undone = readers.get(cast.output[0], [])
        if cast.output[0] in outputs or not all(_is_made_cast(node, TensorProto.FLOAT) for node in undone):
            continue
        for node in undone:
            kept, gone = cast.input[0], node.output[0]
            _rename(graph, *((kept, gone) if gone in outputs else (gone, kept)))
        dropped += [cast, *undone]
    for node in dropped:
        graph.node.remove(node)


def _is_made_cast(node: onnx.NodeProto, kind: int) -> bool:
    made = "_cast_to_fp" in node.name or node.name.startswith(("graph_input_cast", "graph_output_cast"))
    return node.op_type == "Cast" and made and any(each.name == "to" and each.i == kind for each in node.attribute)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
