"""What an ONNX model of a bundle may be, decided from its bytes without the onnx package.

The bounds keep an engine from being handed a file that reads other files (external data), needs code that is not the
engine's own (custom operators) or makes it allocate without measure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from mstedge.errors import BundleError
from mstedge.runtime.bundle.inventory import DAMAGED, MIB
from mstedge.runtime.bundle.onnx_grammar import ONNX_GRAMMAR
from mstedge.runtime.bundle.onnx_tensors import ELEMENTS, MAX_DIMENSION, check_tensor
from mstedge.runtime.bundle.onnx_weights import weights_by_type
from mstedge.runtime.bundle.wire import Message, Parser

ALLOWED_DOMAINS = frozenset({"", "ai.onnx"})
MIN_IR_VERSION, MAX_IR_VERSION = 3, 14
MIN_OPSET, MAX_OPSET = 7, 28
MAX_NODES = 20_000
MAX_GRAPH_DEPTH = 4
MAX_PARAMETER_BYTES = 512 * MIB

TensorType: TypeAlias = tuple[str, tuple[int | str, ...]]


@dataclass(frozen=True, slots=True)
class OnnxSummary:
    """What a model is, as far as its bytes say.

    Attributes:
        opset: Version of the standard operators.
        nodes: Number of nodes, those of nested graphs included.
        parameters_bytes: Bytes of all tensors that the graph carries, initialisers and constants.
        inputs: Element type and dimensions by name, without initialisers; a free dimension is its symbol or `?`.
        outputs: The same for outputs.
        operators: How often each operator is used.
        weights: Elements that convolutions and matrix products multiply by, by element type.
    """

    opset: int
    nodes: int
    parameters_bytes: int
    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]
    operators: dict[str, int]
    weights: dict[str, int]


@dataclass(slots=True)
class _Tally:
    nodes: int = 0
    tensor_bytes: int = 0
    operators: dict[str, int] = field(default_factory=dict)


def check_onnx(model: bytes, *, source: str = "model.onnx") -> OnnxSummary:
    """Hold a model against the limits.

    Args:
        model: The bytes of the file.
        source: Its name, for messages.

    Raises:
        BundleError: It is damaged, or carries what a bundle may not: external data, other operators than the standard
            ones, functions, training graphs, sparse tensors, or too much of anything.
    """
    try:
        return _checked(model)
    except BundleError as problem:
        raise BundleError(f"{source}: {problem.message}", hint=problem.hint or DAMAGED) from None


def _checked(model: bytes) -> OnnxSummary:
    if model[4:8] == b"ORTM":
        raise BundleError("is in (or pretends to be in) ONNX Runtime's own format", hint="export it as ONNX")
    parsed = Parser(ONNX_GRAMMAR).parse(memoryview(model), "Model")
    version = parsed.get("ir_version", [0])[0]
    if not MIN_IR_VERSION <= version <= MAX_IR_VERSION:
        raise BundleError(f"has IR version {version}: expected {MIN_IR_VERSION} to {MAX_IR_VERSION}")
    opset = _opset(parsed.get("opset_import", []))
    if "graph" not in parsed:
        raise BundleError("holds no graph")
    graph: Message = parsed["graph"][0]
    tally = _Tally()
    _visit_graph(graph, 1, tally)
    initialisers = {name for tensor in graph.get("initializer", []) for name in tensor.get("name", [])}
    inputs = _values(graph.get("input", []), "input")
    return OnnxSummary(
        opset=opset,
        nodes=tally.nodes,
        parameters_bytes=tally.tensor_bytes,
        inputs={name: kind for name, kind in inputs.items() if name not in initialisers},
        outputs=_values(graph.get("output", []), "output"),
        operators=dict(sorted(tally.operators.items())),
        weights=weights_by_type(graph),
    )


def _opset(imports: list[Message]) -> int:
    domains = [entry.get("domain", [""])[0] for entry in imports]
    for domain in domains:
        _check_domain(domain, "imports operators")
    if len(imports) != 1:
        raise BundleError(f"imports {len(imports)} operator sets: expected the standard one, once")
    version = int(imports[0].get("version", [0])[0])
    if not MIN_OPSET <= version <= MAX_OPSET:
        raise BundleError(
            f"uses operator set {version}: expected {MIN_OPSET} to {MAX_OPSET}",
            hint=f"export the model with an operator set from {MIN_OPSET} to {MAX_OPSET}",
        )
    return version


def _check_domain(domain: str, what: str) -> None:
    if domain not in ALLOWED_DOMAINS:
        raise BundleError(
            f"{what} of the domain {domain[:80]!r}: expected standard ONNX operators",
            hint="export the model with standard operators only: a device never loads code from a bundle",
        )


def _visit_graph(graph: Message, depth: int, tally: _Tally) -> None:
    if depth > MAX_GRAPH_DEPTH:
        raise BundleError(f"has graphs nested deeper than {MAX_GRAPH_DEPTH}", hint="export a simpler model")
    for tensor in graph.get("initializer", []):
        _visit_tensor(tensor, tally)
    for node in graph.get("node", []):
        _visit_node(node, depth, tally)


def _visit_tensor(tensor: Message, tally: _Tally) -> None:
    tally.tensor_bytes += check_tensor(tensor)
    if tally.tensor_bytes > MAX_PARAMETER_BYTES:
        raise BundleError(f"carries more than {MAX_PARAMETER_BYTES} bytes of tensors", hint="export a smaller model")


def _visit_node(node: Message, depth: int, tally: _Tally) -> None:
    operator = node.get("op_type", [""])[0]
    if not operator.isidentifier():
        raise BundleError(f"has a node whose operator is {operator[:80]!r}")
    _check_domain(node.get("domain", [""])[0], f"uses the operator {operator!r}")
    if node.get("overload", [""])[0]:
        raise BundleError(f"calls {operator!r} with an overload, which only functions have")
    tally.nodes += 1
    tally.operators[operator] = tally.operators.get(operator, 0) + 1
    if tally.nodes > MAX_NODES:
        raise BundleError(f"has more than {MAX_NODES} nodes", hint="export a smaller model")
    for attribute in node.get("attribute", []):
        for tensor in [*attribute.get("t", []), *attribute.get("tensors", [])]:
            _visit_tensor(tensor, tally)
        for graph in [*attribute.get("g", []), *attribute.get("graphs", [])]:
            _visit_graph(graph, depth + 1, tally)


def _values(values: list[Message], role: str) -> dict[str, TensorType]:
    found: dict[str, TensorType] = {}
    for value in values:
        name = value.get("name", [""])[0]
        kinds = value.get("type", [{}])[0]
        element = ELEMENTS.get(kinds.get("tensor", [{}])[0].get("elem_type", [0])[0])
        if name in found or set(kinds) - {"denotation"} != {"tensor"} or element is None:
            raise BundleError(f"has the {role} {name[:80]!r}, which stands twice or is not a tensor")
        shape = kinds["tensor"][0].get("shape", [{}])[0]
        found[name] = (element.name, tuple(_dimension(size) for size in shape.get("dim", [])))
    return found


def _dimension(size: Message) -> int | str:
    if "value" not in size:
        return str(size.get("symbol", ["?"])[0] or "?")
    if "symbol" in size or size["value"][0] > MAX_DIMENSION:
        raise BundleError(f"has a dimension of {size['value'][0]}: negative, too large, or both number and symbol")
    return int(size["value"][0])
