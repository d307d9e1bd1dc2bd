"""Mixed int8: which layers must stay in fp32 for the limits to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import CheckFailedError
from mstedge.export.quantise.int8 import int8_from_graph, quantisable_nodes
from mstedge.limits import LIMITS
from mstedge.runtime.backends import EngineOptions, Network, backend_named
from mstedge.runtime.parity.levels import decisions_of, number_checks
from mstedge.runtime.parity.numbers import kl_rows
from mstedge.runtime.parity.rows import UNLABELLED, Edges, GateRows
from mstedge.verdicts import sentence

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from mstedge.export.quantise.placement import Form
    from mstedge.export.quantise.ranges import ActivationRanges
    from mstedge.manifest import Tensor

    Floats: TypeAlias = NDArray[np.float32]

_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class MixedInt8:
    """An int8 graph with some layers in fp32.

    Attributes:
        graph: The graph.
        kept: Names of the layers in fp32, the most sensitive first.
        sensitivities: What int8 costs each layer alone: mean KL(reference || candidate) of the probabilities in nats on
            the search rows, the most sensitive first; infinite where the answers are not finite.
    """

    graph: bytes
    kept: tuple[str, ...]
    sensitivities: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class _Trial:
    """Quantises with some layers kept, and runs the search rows."""

    prepared: bytes
    ranges: ActivationRanges
    form: Form
    input: Tensor
    output: Tensor
    features: Floats

    def graph(self, keep: tuple[str, ...]) -> bytes:
        return int8_from_graph(self.prepared, self.ranges, form=self.form, keep=keep)

    def answers(self, graph: bytes) -> Floats:
        network = Network(graph, self.input, self.output, "int8")
        session = backend_named("onnxruntime").load(network, EngineOptions(threads=1))
        starts = range(0, len(self.features), _ROWS_AT_ONCE)
        return np.concatenate([session.run(self.features[start : start + _ROWS_AT_ONCE]) for start in starts])


def mixed_int8(
    prepared: bytes,
    ranges: ActivationRanges,
    *,
    form: Form,
    input: Tensor,  # noqa: A002  the name of the network's field
    output: Tensor,
    features: Floats,
    reference: Floats,
    note: Callable[[str], None],
) -> MixedInt8:
    """Keep the fewest of the most sensitive layers in fp32 with which the limits of int8 hold.

    First every layer is quantised alone, all others in fp32, which ranks them by the KL divergence of the answers. Then
    none, the worst 1, 2, 3, 4, 6, 8, 12, ... of them stay in fp32 until every limit of levels 1 and 2 holds, also those
    that the gate only warns about. Everything runs in ONNX Runtime, on the search rows alone: the choice is fitted to
    them, so they must be training rows that calibration did not use, and the result must be gated on held-out rows.

    Args:
        prepared: Result of `prepared`.
        ranges: Of its activations.
        form: For whom.
        input: What goes in.
        output: What comes out.
        features: The search rows, float32 [rows, *feature_shape].
        reference: The student's answers to them, float32 [rows, classes, *places].
        note: Told what is being done.

    Raises:
        CheckFailedError: The limits do not hold even with a single layer in int8.
    """
    trial = _Trial(prepared, ranges, form, input, output, features)
    sensitivities = _ranked(trial, quantisable_nodes(prepared), reference)
    names = tuple(name for name, _ in sensitivities)
    broken: tuple[str, ...] = ("the graph has no layer that can compute in int8",)
    for count in _counts(len(names)):
        graph = trial.graph(names[:count])
        broken = _broken_limits(reference, trial.answers(graph))
        if not broken:
            note(f"{count} of {len(names)} layers stay in fp32" + "".join(f"\n  {name}" for name in names[:count]))
            return MixedInt8(graph, names[:count], sensitivities)
        note(f"with {count} of {len(names)} layers in fp32: {broken[0]}")
    raise CheckFailedError(
        f"no mixture of int8 and fp32 holds the limits on {len(features)} search rows, not even with all but one of "
        f"{len(names)} layers in fp32: {'; '.join(broken)}",
        hint="use --precision fp16, or calibrate on other rows or with another --calibration-method",
    )


def _ranked(trial: _Trial, names: tuple[str, ...], reference: Floats) -> tuple[tuple[str, float], ...]:
    """Measure each layer alone; layers that cost the same stay in the order of the graph."""
    costs = []
    for name in names:
        answers = trial.answers(trial.graph(tuple(other for other in names if other != name)))
        finite = bool(np.isfinite(answers).all())
        costs.append((name, float(kl_rows(reference, answers).mean()) if finite else float("inf")))
    return tuple(sorted(costs, key=lambda cost: -cost[1]))


def _counts(layers: int) -> Iterator[int]:
    """Count 0, 1, 2, 3, 4, 6, 8, 12, 16, ..., leaving at least one layer in int8, and all but one at last."""
    last = layers - 1
    count = 0
    while count < last:
        yield count
        count = count + 1 if count < 4 else count + (1 << (count.bit_length() - 2))
    if last >= 0:
        yield last


def _broken_limits(reference: Floats, answers: Floats) -> tuple[str, ...]:
    """Say which limits of levels 1 and 2 do not hold, refused or only warned about."""
    if not np.isfinite(answers).all():
        return ("the answers are not finite",)
    limits = LIMITS["int8"]
    checks = (
        *number_checks(reference, answers, limits),
        *decisions_of(_unlabelled(reference), answers, limits).checks,
    )
    return tuple(sentence(check) for check in checks if not check.passed)


def _unlabelled(reference: Floats) -> GateRows:
    """Dress answers as rows of a gate, for the measurements that need no more."""
    names = tuple(str(row) for row in range(len(reference)))
    nothing = np.zeros((0, 1), dtype=np.float32)
    labels = np.full(len(reference), UNLABELLED, dtype=np.int64)
    return GateRows(names, names, labels, nothing, reference, Edges((), nothing, nothing))
