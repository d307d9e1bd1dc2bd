"""An ONNX model from elsewhere: what it must be, and the graph that it becomes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto

from mstedge.errors import BundleError, UsageError
from mstedge.export.foreign_graph import declare_shapes, free_reshapes, rename, strip_ending, tensors_of
from mstedge.export.quantise.graph_bytes import OLDEST_OPSET, bytes_from_model, model_from_bytes
from mstedge.export.student import OUTPUT_NAME
from mstedge.runtime.bundle import check_onnx
from mstedge.runtime.bundle.inventory import DAMAGED, MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mstedge.model_spec import ModelSpec
    from mstedge.runtime.bundle.onnx_limits import OnnxSummary, TensorType

_INTEGER_PRODUCTS = {"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear"}
_QUANTISED = _INTEGER_PRODUCTS | {"QuantizeLinear", "DequantizeLinear"}
_BATCH = "batch"


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A model from elsewhere, checked as far as one can without running it.

    Attributes:
        source: Its file name, for messages.
        content: The file, unchanged.
        input: Name of its input.
        fixed_rows: Number of rows that it insists on; none where the batch is free.
        ending: Softmax or LogSoftmax, where it ends in one.
        graph: The same network as a bundle carries it: names of ours, a free batch, logits.
        network: Name of its graph.
        producer: Tool that wrote it.
        parameters: Number of floating-point constants in it.
    """

    source: str
    content: bytes
    input: str
    fixed_rows: int | None
    ending: str | None
    graph: bytes
    network: str
    producer: str
    parameters: int


def foreign_model(path: Path, spec: ModelSpec) -> ForeignModel:
    """Read a model and fit it to its description.

    Args:
        path: The ONNX file.
        spec: What it is said to be.

    Raises:
        UsageError: It cannot be read, or is not an fp32 classifier of what the front end makes.
    """
    source = path.name
    content = _content(path)
    summary = _summary(content, source)
    _check_arithmetic(summary, source)
    input_name, fixed_rows = _checked_input(summary.inputs, spec, source)
    _check_output(summary.outputs, spec, source)
    model = _checked_model(content, source)
    network, producer = model.graph.name, f"{model.producer_name} {model.producer_version}".strip()
    parameters = sum(math.prod(each.dims) for each in tensors_of(model.graph) if each.data_type == TensorProto.FLOAT)
    ending = strip_ending(model.graph, source)
    rename(model.graph, {input_name: spec.modality, model.graph.output[0].name: OUTPUT_NAME})
    if fixed_rows is not None:
        free_reshapes(model.graph, fixed_rows)
    declare_shapes(model.graph, (_BATCH, *spec.front_end.feature_shape), (_BATCH, len(spec.labels)))
    return ForeignModel(
        source=source,
        content=content,
        input=input_name,
        fixed_rows=fixed_rows,
        ending=ending,
        graph=bytes_from_model(model),
        network=network if network.isprintable() and network else "onnx",
        producer=producer if producer.isprintable() and producer else "unknown",
        parameters=parameters,
    )


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: has {size} bytes: expected at most {MAX_FILE_BYTES}")
        return path.read_bytes()
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from None


def _summary(content: bytes, source: str) -> OnnxSummary:
    try:
        summary = check_onnx(content, source=source)
    except BundleError as problem:
        hint = problem.hint if problem.hint != DAMAGED else "export the model again"
        if "external data" in problem.message:
            hint = "write it as one file: onnx.save(onnx.load('model.onnx'), 'one.onnx')"
        raise UsageError(problem.message, hint=hint) from None
    if summary.opset < OLDEST_OPSET:
        raise UsageError(
            f"{source}: uses operator set {summary.opset}: expected {OLDEST_OPSET} or newer",
            hint=f"export it with operator set {OLDEST_OPSET} to 20; older ones cannot be quantised per channel",
        )
    return summary


def _checked_model(content: bytes, source: str) -> onnx.ModelProto:
    model = model_from_bytes(content)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise UsageError(f"{source}: is not valid ONNX: {str(problem).strip().splitlines()[0]}") from None
    # Up to IR version 3 initialisers stand among the inputs, too.
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    model.graph.ClearField("input")
    model.graph.input.extend(inputs)
    return model


def _check_arithmetic(summary: OnnxSummary, source: str) -> None:
    quantised = sorted(_QUANTISED & set(summary.operators))
    others = sorted(set(summary.weights) - {"float32"})
    if quantised or others:
        found = f"the operator {quantised[0]}" if quantised else f"weights of type {others[0]}"
        raise UsageError(
            f"{source}: has {found}: expected the float32 model",
            hint="give the model as it was trained; mstedge export --precision fp16 or int8 converts it and proves it",
        )


def _checked_input(found: Mapping[str, TensorType], spec: ModelSpec, source: str) -> tuple[str, int | None]:
    name, dims = _only(found, "input", source)
    shape = spec.front_end.feature_shape
    fits = len(dims) == len(shape) + 1 and all(
        isinstance(size, str) or size == wanted for size, wanted in zip(dims[1:], shape, strict=False)
    )
    if not fits:
        raise UsageError(
            f"{source}: its input {name!r} takes {_shown(dims)}, but the front end makes {_shown((_BATCH, *shape))}",
            hint=_layout_hint(dims, shape),
        )
    return name, dims[0] if isinstance(dims[0], int) else None


def _layout_hint(dims: tuple[int | str, ...], shape: tuple[int, ...]) -> str:
    sizes = [size for size in dims if isinstance(size, int)]
    if len(dims) == len(shape) + 1 and sorted(sizes[-len(shape) :]) == sorted(shape):
        return "the axes stand in another order: export the model so that it takes channels first"
    if len(dims) == len(shape):
        return "export the model with the batch as its first dimension"
    return "correct front_end in the specification, or export the model for another input"


def _check_output(found: Mapping[str, TensorType], spec: ModelSpec, source: str) -> None:
    name, dims = _only(found, "output", source)
    classes = len(spec.labels)
    if dims and (len(dims) != 2 or (isinstance(dims[1], int) and dims[1] != classes)):
        raise UsageError(
            f"{source}: its output {name!r} gives {_shown(dims)}, but the specification names {classes} labels",
            hint="expected [batch, classes]: one value per label, in the order of the labels",
        )


def _only(found: Mapping[str, TensorType], role: str, source: str) -> tuple[str, tuple[int | str, ...]]:
    shown = ", ".join(f"{name} {kind} {_shown(dims)}" for name, (kind, dims) in found.items()) or "none"
    if len(found) != 1 or next(iter(found.values()))[0] != "float32":
        raise UsageError(f"{source}: its {role}s are: {shown}: expected one, of float32")
    name, (_, dims) = next(iter(found.items()))
    return name, dims


def _shown(dims: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, dims))}]"
