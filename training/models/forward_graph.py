"""A network's forward pass as steps, followed by `torch.fx`, that go on using the network's own modules."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.fx import Graph, Node, Tracer
from torch.fx.node import map_arg
from torch.fx.proxy import TraceError

from mstedge.training.models.unpooling import pool_with_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_OPERATORS = "_operator"  # whose `and_` changes nothing


@dataclass(frozen=True, slots=True)
class Steps:
    """Some of a forward pass.

    Attributes:
        steps: What to compute, in order, each with what nothing needs after it.
    """

    steps: tuple[tuple[Node, tuple[Node, ...]], ...]

    @classmethod
    def keeping(cls, nodes: Sequence[Node], kept: Iterable[Node]) -> Steps:
        """Drop everything but `kept` after its last use.

        Args:
            nodes: What to compute, in order.
            kept: What to keep.
        """
        needed_later, steps = set(kept), []
        for node in reversed(nodes):
            dropped = [each for each in (*node.all_input_nodes, node) if each not in needed_later]
            needed_later.update(dropped)
            steps.append((node, tuple(dropped)))
        return cls(tuple(reversed(steps)))

    def run(self, network: nn.Module, values: dict[Node, Any], look: Callable[[Node, Any], None] | None = None) -> None:
        """Add to `values` what follows from them, and take out what is no longer needed.

        Args:
            network: Whose modules and tensors the steps use, as they are now.
            values: What is known.
            look: Sees each value.
        """
        for node, dropped in self.steps:
            values[node] = _computed(network, node, values)
            if look is not None:
                look(node, values[node])
            for each in dropped:
                del values[each]


def followed(network: nn.Module, taps: Sequence[str], inputs: int, *, whole: bool) -> Graph:
    """Follow a forward pass, written so that nothing is changed in place and no attribute is read twice.

    Args:
        network: Whose; in evaluation mode.
        taps: Module paths; a tapped module is one step.
        inputs: Number of inputs.
        whole: Whether every module that holds no tap is one step, or only torch's own and those that hold no others.

    Raises:
        Exception: It cannot be followed; any error of the network's own code, which meets values that are no tensors.
    """
    graph = _Follower(taps, inputs, whole=whole).trace(network)
    past: set[Node] = set()
    read: dict[Any, Node] = {}
    for node in list(graph.nodes):
        past.add(node)
        if node.target is getattr and read.setdefault(node.args, node) is not node:
            node.replace_all_uses_with(read[node.args])
            graph.erase_node(node)
        elif _changes_its_input(network, node):
            source = node.all_input_nodes[0]
            with graph.inserting_before(node):
                copy = graph.call_method("clone", (source,))
            node.replace_input_with(source, copy)
            past.add(copy)
            source.replace_all_uses_with(node, delete_user_cb=lambda user: user not in past)
    return graph


class _Follower(Tracer):
    proxy_buffer_attributes = True  # so that arithmetic on a buffer is a step, too

    def __init__(self, taps: Sequence[str], inputs: int, *, whole: bool) -> None:
        super().__init__(autowrap_functions=(pool_with_places,))  # its check of the sides cannot be followed
        self.taps, self.inputs, self.whole = taps, inputs, whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.taps:
            return True
        if any(tap.startswith(f"{module_qualified_name}.") for tap in self.taps):
            return False
        return self.whole or not any(m.children()) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, root_fn: Any, *_signature: Any, **_concrete: Any) -> tuple[Any, list[Any]]:
        """Give one proxy per input, which also follows `forward(self, *values)`."""
        proxies = [self.create_proxy("placeholder", f"input_{number}", (), {}) for number in range(self.inputs)]
        return root_fn, [self.root, *proxies]

    def create_arg(self, a: Any) -> Any:
        """Refuse a tensor that the network does not hold: it would stay on its device, and be stored in the network."""
        held = not isinstance(a, Tensor) or isinstance(a, nn.Parameter) or a in self.tensor_attrs
        if not held and all(a is not each for each in self.root.buffers()):
            raise TraceError("a tensor is made on the way")
        return super().create_arg(a)


def _changes_its_input(network: nn.Module, node: Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(network.get_submodule(str(node.target)), "inplace", False))
    name = getattr(node.target, "__name__", node.target)
    named_so = str(name).endswith("_") and not str(name).endswith("__")
    if node.op == "call_function" and getattr(node.target, "__module__", None) == _OPERATORS:
        return False
    return node.op.startswith("call") and (named_so or node.kwargs.get("inplace") is True)


def _computed(network: nn.Module, node: Node, values: dict[Node, Any]) -> Any:
    arguments: Any = map_arg(node.args, values.__getitem__)
    named: Any = map_arg(node.kwargs, values.__getitem__)
    if callable(node.target):
        return node.target(*arguments, **named)
    if node.op == "call_module":
        return network.get_submodule(node.target)(*arguments, **named)
    if node.op == "call_method":
        return getattr(arguments[0], node.target)(*arguments[1:], **named)
    return attrgetter(node.target)(network)
