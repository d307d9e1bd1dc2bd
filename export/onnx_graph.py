"""From a torch network to one ONNX file: named tensors, a dynamic batch, nothing of the machine that made it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import onnx
import torch

from mstedge.errors import CheckFailedError, first_line
from mstedge.export.quiet import quiet

if TYPE_CHECKING:
    from torch import nn

OPSET = 20
_TRACE_ROWS = 2


def onnx_from_network(
    network: nn.Module, input_shape: tuple[int, ...], *, input_name: str, output_name: str = "logits"
) -> bytes:
    """Convert a network in evaluation mode.

    Args:
        network: Takes float32 [batch, *input_shape], gives [batch, classes].
        input_shape: Feature shape without the batch.
        input_name: Name of the graph's input.
        output_name: Name of the graph's output.

    Returns:
        A self-contained ONNX model, fp32, opset 20, first dimension named "batch".

    Raises:
        CheckFailedError: The network cannot be converted.
    """
    network = network.eval().cpu()
    example = torch.zeros((_TRACE_ROWS, *input_shape))
    stream = io.BytesIO()
    try:
        with quiet("torch.onnx"), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[input_name],
                output_names=[output_name],
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
            onnx.save(program.model_proto, stream)  # type: ignore[union-attr]
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError) as problem:
        raise CheckFailedError(f"the network cannot be converted to ONNX: {first_line(problem)}") from problem
    model: bytes = _cleaned(onnx.load_from_string(stream.getvalue())).SerializeToString(deterministic=True)
    return model


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what tells about the exporting machine (stack traces, paths) and name the batch in every value."""
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ClearField("functions")
    model.producer_name, model.producer_version = "mstedge", ""
    graph = model.graph
    graph.name = "student"
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")
    for item in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model, full_check=True)
    return model
