"""A frozen network cut at its taps: what lies below them runs once for all, what depends on a tap runs by itself.

Teachers specialised at several taps of one network differ only above their taps, so all of them can share what is
below. The parts go on using the network's own modules: weights loaded, trained or moved later count, and so do forward
hooks above a tap.
"""

from __future__ import annotations

import operator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.training.models.forward_graph import Steps, followed
from mstedge.training.models.taps import output_passed_through
from mstedge.training.models.unpooling import pool_with_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch.fx import Graph, Node

_SEED = 507
_FEW, _MORE = 2, 3  # rows


@dataclass(frozen=True, slots=True, eq=False)
class SplitNetwork:
    """A network cut at its taps by `split_at_taps`. Whoever runs it keeps the network in evaluation mode.

    Attributes:
        taps: Module paths.
        network: The network, whose modules do the work.
        inputs: What `prefix` is given.
        below: What has to be computed below the taps.
        parts: What depends on each tap.
    """

    taps: tuple[str, ...]
    network: nn.Module
    inputs: tuple[Node, ...]
    below: Steps
    parts: Mapping[str, PartAbove]

    @torch.no_grad()
    def prefix(self, *inputs: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Compute what lies below the taps, without gradients and nothing twice.

        Args:
            inputs: Those of the network, each [rows, ...].

        Returns:
            For each tap its crossings: the tapped output first, then whatever else the part above it needs, each with
            the rows as its first axis, so that they can be kept and indexed by row. What several taps need is one
            object. A crossing may be an input itself.
        """
        values: dict[Node, Any] = dict(zip(self.inputs, inputs, strict=True))
        self.below.run(self.network, values)
        return {tap: tuple(values[node] for node in part.crossings) for tap, part in self.parts.items()}

    def finish(self, tap: str, crossings: Sequence[Tensor], change: Callable[[Tensor], Tensor] | None) -> Tensor:
        """Give the network's logits with the output at a tap changed.

        Gradients reach `change`, and what is above the tap where it asks for them.

        Args:
            tap: Which.
            crossings: Of this tap, from `prefix`; they stay as they are.
            change: Gets the tapped output, gives what goes on; none leaves it.
        """
        part = self.parts[tap]
        tapped = crossings[0] if change is None else change(crossings[0])
        values: dict[Node, Any] = dict(zip(part.crossings, (tapped, *crossings[1:]), strict=True))
        values |= dict.fromkeys(part.row_counts, len(crossings[0]))
        part.steps.run(self.network, values)
        return values[part.logits]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class PartAbove:
    """What depends on a tap.

    Attributes:
        crossings: What it needs from below, the tapped output first.
        row_counts: What else it needs that is nothing but the number of rows.
        steps: What to compute.
        logits: Its last result.
    """

    crossings: tuple[Node, ...]
    row_counts: tuple[Node, ...]
    steps: Steps
    logits: Node


def split_at_taps(network: nn.Module, taps: Sequence[str], inputs: Sequence[Tensor]) -> SplitNetwork | None:
    """Cut a network at its taps, and prove on made-up rows that the parts give what the whole gives, bit for bit.

    Every module that holds others and is not torch's own is looked into; if that fails, only those that hold a tap.
    Forward hooks on what was looked into do not run.

    Args:
        network: Any network; it comes back in the modes that it had.
        taps: Module paths.
        inputs: Rows that it takes: shape, dtype and device count.

    Returns:
        The parts. None where they cannot be had: the forward pass cannot be followed (a branch or a loop that depends
        on values, a tensor made on the way), a tap is not called exactly once, gives no tensor or leaves the logits
        alone, something that crosses has no axis of rows, or the proof fails.
    """
    with _evaluating(network), torch.no_grad():
        few, more = (_made_rows(inputs, rows) for rows in (_FEW, _MORE))
        for whole in (False, True):
            try:
                found = _cut(network, taps, followed(network, taps, len(inputs), whole=whole), few)
                if found is not None and _proven(found, few, more):
                    return found
            except Exception:  # noqa: BLE001, S112  anybody's forward pass meets what it was not written for
                continue
    return None


def crossing_bytes(split: SplitNetwork, inputs: Sequence[Tensor]) -> int:
    """Count the bytes of one row's crossings, all taps together, what they share once.

    Args:
        split: The parts.
        inputs: One row or more.
    """
    with _evaluating(split.network):
        crossings = split.prefix(*inputs)
    distinct = {id(each): each for of_tap in crossings.values() for each in of_tap}
    return sum(each[0].numel() * each.element_size() for each in distinct.values())


class _Kinds:
    """What the values of a forward pass are.

    Args:
        rows: Number of rows of the pass that it looks at.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.tensors: set[Node] = set()
        self.row_counts: set[Node] = set()

    def look(self, node: Node, value: Any) -> None:
        if isinstance(value, Tensor):
            self.tensors.add(node)
        elif _asks_for_rows(node) and value == self.rows:
            self.row_counts.add(node)


def _cut(network: nn.Module, taps: Sequence[str], graph: Graph, rows: Sequence[Tensor]) -> SplitNetwork | None:
    nodes = list(graph.nodes)
    inputs, inner, logits = nodes[: len(rows)], nodes[len(rows) : -1], nodes[-1].args[0]
    kinds = _Kinds(len(rows[0]))
    values: dict[Node, Any] = dict(zip(inputs, rows, strict=True))
    Steps.keeping(inner, ()).run(network, values, kinds.look)
    kinds.tensors.update(inputs)
    parts = {}
    for tap in taps:
        calls = [node for node in inner if node.op == "call_module" and node.target == tap]
        part = _part_above(calls[0], logits, nodes, kinds) if len(calls) == 1 else None
        if part is None:
            return None
        parts[tap] = part
    kept = {node for part in parts.values() for node in part.crossings}
    below = _reached(reversed(inner), kept, lambda node: node.users)
    return SplitNetwork(
        taps=tuple(taps),
        network=network,
        inputs=tuple(inputs),
        below=Steps.keeping([node for node in inner if node in below], kept),
        parts=parts,
    )


def _part_above(tap: Node, logits: Any, nodes: Sequence[Node], kinds: _Kinds) -> PartAbove | None:
    """Sort what the logits need: what depends on the tap, what crosses, and what is too small to cross."""
    depends = _reached(nodes, {tap}, lambda node: node.all_input_nodes)
    varies = _reached(nodes, {node for node in nodes if node.op == "placeholder"}, lambda node: node.all_input_nodes)
    if logits not in depends or tap not in kinds.tensors:
        return None
    crossings, row_counts, steps = {tap: None}, set(), set()
    wanted = [logits]
    while wanted:
        node = wanted.pop()
        if node in steps or node in crossings:
            continue
        if node in depends or node not in varies:
            steps.add(node)
        elif node in kinds.tensors:
            crossings[node] = None
            continue
        elif node in kinds.row_counts:
            row_counts.add(node)
            continue
        elif node.op == "call_module" or node.target is pool_with_places:
            return None  # several tensors at once: too dear to compute again
        else:
            steps.add(node)  # sizes, and tensors packed together
        wanted += node.all_input_nodes
    ordered = [node for node in nodes if node in steps]
    return PartAbove(tuple(crossings), tuple(row_counts), Steps.keeping(ordered, [logits]), logits)


def _reached(nodes: Iterable[Node], start: set[Node], sources: Callable[[Node], Iterable[Node]]) -> set[Node]:
    """Give `start` and what follows from it."""
    reached = set(start)
    for node in nodes:
        if not reached.isdisjoint(sources(node)):
            reached.add(node)
    return reached


def _asks_for_rows(node: Node) -> bool:
    if node.op == "call_method":
        return node.target == "size" and node.args[1:] == (0,)
    source = node.args[0] if node.target is operator.getitem and node.args[1] == 0 else None
    return getattr(source, "target", None) == "size" or getattr(source, "args", ())[1:] == ("shape",)


def _proven(split: SplitNetwork, few: Sequence[Tensor], more: Sequence[Tensor]) -> bool:
    expected, crossings = split.network(*more), split.prefix(*more)
    unchanged = [split.finish(tap, crossings[tap], None) for tap in split.taps]
    if not _have_rows(crossings, _MORE) or not all(torch.equal(logits, expected) for logits in unchanged):
        return False
    crossings = split.prefix(*few)
    for tap in split.taps:
        split.finish(tap, crossings[tap], None)  # must leave them as they are
    return _have_rows(crossings, _FEW) and all(
        torch.equal(split.finish(tap, crossings[tap], _made_change), _changed_logits(split.network, tap, few))
        for tap in split.taps
    )


def _have_rows(crossings: Mapping[str, Sequence[Tensor]], rows: int) -> bool:
    return all(each.shape[:1] == (rows,) for of_tap in crossings.values() for each in of_tap)


def _changed_logits(network: nn.Module, tap: str, rows: Sequence[Tensor]) -> Tensor:
    with output_passed_through(network.get_submodule(tap), _made_change):
        return network(*rows)  # type: ignore[no-any-return]


def _made_change(output: Tensor) -> Tensor:
    """Scale and shift every feature by numbers of its own, of either sign: no activation lets that pass."""
    generator = torch.Generator().manual_seed(_SEED)
    made = torch.randn((2, *output.shape[1:]), generator=generator).to(output)
    return output * made[0] + made[1]


def _made_rows(inputs: Sequence[Tensor], rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(_SEED + rows)
    return [
        torch.randn(rows, *each.shape[1:], generator=generator).to(each)
        if each.is_floating_point()
        else each[torch.arange(rows, device=each.device) % len(each)]
        for each in inputs
    ]


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
