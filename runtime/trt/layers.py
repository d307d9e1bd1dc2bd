"""A network as TensorRT's parser understood it, as plain values: its tensors, and its layers with their types."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mstedge.engine_build import EngineTensor

if TYPE_CHECKING:
    from collections.abc import Iterable

# TensorRT's names for types, in numpy's words; the others are the same in small letters.
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
CONSTANT = "CONSTANT"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer.

    Attributes:
        name: Its name; the parser takes it from the node.
        kind: What it does, in TensorRT's words.
        inputs: Names of the tensors that it takes.
        outputs: Names of the tensors that it gives.
        dtype: Type of the first of them.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dtype: str


def tensors_of(network: Any) -> tuple[EngineTensor, ...]:
    """Read inputs and outputs of an INetworkDefinition."""
    inputs = [_tensor(network.get_input(number), "input") for number in range(network.num_inputs)]
    outputs = [_tensor(network.get_output(number), "output") for number in range(network.num_outputs)]
    return (*inputs, *outputs)


def layers_of(network: Any) -> tuple[Layer, ...]:
    """Read all layers of an INetworkDefinition, in their order."""
    return tuple(_layer(network.get_layer(number)) for number in range(network.num_layers))


def count_kinds(layers: Iterable[Layer]) -> dict[str, int]:
    """Count layers by kind, the most frequent first."""
    return _sorted_counts(Counter(layer.kind for layer in layers))


def count_dtypes(layers: Iterable[Layer]) -> dict[str, int]:
    """Count layers by the type that they give, constants aside, the most frequent first."""
    return _sorted_counts(Counter(layer.dtype for layer in layers if layer.kind != CONSTANT))


def _sorted_counts(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _tensor(tensor: Any, mode: Any) -> EngineTensor:
    return EngineTensor(name=tensor.name, mode=mode, dtype=dtype_word(tensor.dtype), shape=tuple(tensor.shape))


def _layer(layer: Any) -> Layer:
    taken = [layer.get_input(number) for number in range(layer.num_inputs)]
    given = [layer.get_output(number) for number in range(layer.num_outputs)]
    return Layer(
        name=layer.name,
        kind=layer.type.name,
        inputs=tuple(tensor.name for tensor in taken if tensor is not None),  # an optional input may be absent
        outputs=tuple(tensor.name for tensor in given),
        dtype=dtype_word(given[0].dtype) if given else "none",
    )


def dtype_word(dtype: Any) -> str:
    """Write one of TensorRT's types in numpy's words."""
    name: str = dtype.name
    return _DTYPES.get(name, name.lower())
