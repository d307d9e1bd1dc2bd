"""Whether a network computes in the precision that its bundle claims, from the types of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.errors import CheckFailedError
from mstedge.runtime.trt.layers import CONSTANT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mstedge.limits import Precision
    from mstedge.runtime.trt.layers import Layer

_COUNTING_TYPES = frozenset({"int32", "int64", "bool"})  # shapes, indices and masks
_ALLOWED: dict[Precision, frozenset[str]] = {
    "fp32": _COUNTING_TYPES | {"float32"},
    "fp16": _COUNTING_TYPES | {"float32", "float16"},
    "int8": _COUNTING_TYPES | {"float32", "int8"},
}
_CONVOLUTIONS = frozenset({"CONVOLUTION", "DECONVOLUTION"})
_PRODUCT = "MATRIX_MULTIPLY"
# They hand numbers on as they are, in another shape.
_PASSING = frozenset({"SHUFFLE", "SQUEEZE", "UNSQUEEZE", "IDENTITY"})
_SCALING = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})


@dataclass(frozen=True, slots=True)
class PrecisionProof:
    """What the layers that multiply with weights compute in.

    Attributes:
        weighted: Their number.
        proved: How many of them compute in the precision that is claimed.
    """

    weighted: int
    proved: int


def prove_precision(layers: Sequence[Layer], precision: Precision) -> PrecisionProof:
    """Require that a network is of the precision that is claimed.

    fp32: every layer gives float32. fp16: layers with weights give float16. int8: both operands of layers with weights
    come out of a DEQUANTIZE layer whose input is int8, which TensorRT fuses into an int8 kernel. Single layers may stay
    in fp32; that all of them do is refused.

    Args:
        layers: All layers of the network.
        precision: What is claimed.

    Raises:
        CheckFailedError: A layer has a type that the precision does not have, or no layer with weights computes in it.
    """
    for layer in layers:
        if layer.dtype not in _ALLOWED[precision]:
            raise CheckFailedError(
                f"the bundle is {precision}, but layer {layer.name!r} ({layer.kind}) gives {layer.dtype}"
            )
    made_by = {output: layer for layer in layers for output in layer.outputs}
    weighted = [layer for layer in layers if _has_weights(layer, made_by)]
    proved = sum(_computes_in(layer, precision, made_by) for layer in weighted)
    if proved == 0 and (weighted or precision != "fp32"):
        raise CheckFailedError(
            f"the bundle is {precision}, but none of the {len(weighted)} layers with weights computes in it"
        )
    return PrecisionProof(weighted=len(weighted), proved=proved)


def _has_weights(layer: Layer, made_by: Mapping[str, Layer]) -> bool:
    if layer.kind in _CONVOLUTIONS:
        return True
    sources = (_source(name, made_by, _PASSING | _SCALING) for name in layer.inputs)
    return layer.kind == _PRODUCT and any(source is not None and source.kind == CONSTANT for source in sources)


def _computes_in(layer: Layer, precision: Precision, made_by: Mapping[str, Layer]) -> bool:
    if precision != "int8":
        return layer.dtype == {"fp32": "float32", "fp16": "float16"}[precision]
    operands = [_source(name, made_by, _PASSING) for name in layer.inputs[:2]]
    # Weights that are not quantised are no input of a convolution at all: it holds them.
    return len(operands) == 2 and all(_is_from_int8(operand, made_by) for operand in operands)


def _is_from_int8(layer: Layer | None, made_by: Mapping[str, Layer]) -> bool:
    if layer is None or layer.kind != "DEQUANTIZE":
        return False
    source = made_by.get(layer.inputs[0])
    return source is not None and source.dtype == "int8"


def _source(name: str, made_by: Mapping[str, Layer], through: frozenset[str]) -> Layer | None:
    """Find the layer that made a tensor's numbers; none for an input of the network."""
    layer = made_by.get(name)
    while layer is not None and layer.kind in through and layer.inputs:
        layer = made_by.get(layer.inputs[0])
    return layer
