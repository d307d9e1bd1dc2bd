"""Level 0 of the gate: whether the candidate answers at all, always the same, and in the precision that it claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mstedge.errors import SampleError
from mstedge.runtime.parity.numbers import probability_differences
from mstedge.verdicts import Check, at_least, at_most, equals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mstedge.limits import Precision
    from mstedge.runtime.backends.protocol import EngineSession
    from mstedge.runtime.parity.rows import GateRows

    Floats: TypeAlias = NDArray[np.float32]

BATCHES = (1, 2, 7)
REPEATED_ROWS = 512
LEAST_SHARE_OF_WEIGHTS = 0.5
LEAST_SHARE_BESIDE_KEPT = 0.01
_ELEMENTS: dict[Precision, frozenset[str]] = {
    "fp32": frozenset({"float32"}),
    "fp16": frozenset({"float16"}),
    "int8": frozenset({"int8", "uint8"}),
}


@dataclass(frozen=True, slots=True)
class Run:
    """Rows given to the candidate, some at a time.

    Attributes:
        what: Which run it was, in words.
        logits: [rows, classes, *places]; none where it did not get through.
        refusal: The engine's words, where it refused a batch.
    """

    what: str
    logits: Floats | None
    refusal: str | None = None

    @property
    def unfinite(self) -> int:
        """Number of logits that are not finite."""
        return 0 if self.logits is None else int((~np.isfinite(self.logits)).sum())

    @property
    def finite_logits(self) -> Floats | None:
        """The logits, where all of them are finite."""
        return None if self.unfinite else self.logits


@dataclass(frozen=True, slots=True)
class Contract:
    """What level 0 found.

    Attributes:
        checks: The measurements.
        answers: The candidate's logits for all rows, complete and finite; none where level 0 leaves nothing to compare.
        edges: The same for the made-up extremes.
        refusals: What the engine said where it refused to run.
    """

    checks: tuple[Check, ...]
    answers: Floats | None
    edges: Floats | None
    refusals: tuple[str, ...]


def contract_of(session: EngineSession, rows: GateRows, max_repeat_difference: float) -> Contract:
    """Run every row alone, and the first 512 again alone and in batches of 2 and 7.

    Args:
        session: The candidate.
        rows: At least one row.
        max_repeat_difference: Largest |p - p'| between two runs of one row.
    """
    shape = rows.reference.shape[1:]
    some = rows.features[:REPEATED_ROWS]
    first = run_in_batches(session, rows.features, 1, shape, what="rows one at a time")
    edges = run_in_batches(session, rows.edges.features, 1, shape, what="made-up extremes")
    repeat = run_in_batches(session, some, 1, shape, what="the same rows again")
    batched = [run_in_batches(session, some, size, shape, what=f"batches of {size}") for size in BATCHES[1:]]
    runs = [first, edges, repeat, *batched]
    refusals = tuple(f"L0: {run.what}: {run.refusal}" for run in runs if run.refusal is not None)
    checks = [
        equals("L0", "runs that the engine refused", len(refusals), 0),
        equals("L0", "runs with a wrong shape", sum(run.logits is None for run in runs) - len(refusals), 0),
        # A value counts once, not in every run: the run that has most of them is shown.
        equals("L0", "logits that are not finite", max(run.unfinite for run in runs), 0),
    ]
    answers = first.finite_logits
    if answers is None:
        return Contract(tuple(checks), None, None, refusals)
    for name, others in (("batch sizes", batched), ("two runs", [repeat])):
        again = [run.finite_logits for run in others]
        spreads = [_largest_difference(answers, logits) for logits in again if logits is not None]
        if spreads:
            checks.append(at_most("L0", f"largest |dp| between {name}", max(spreads), max_repeat_difference))
    return Contract(tuple(checks), answers, edges.finite_logits, refusals)


def run_in_batches(session: EngineSession, features: Floats, size: int, shape: tuple[int, ...], *, what: str) -> Run:
    """Run rows, `size` at a time; the last batch may be smaller.

    Args:
        session: The candidate.
        features: float32 [rows, *feature_shape], at least one row.
        size: Rows of a batch.
        shape: Shape that one row's logits must have.
        what: Which run it is, in words.
    """
    parts = []
    for start in range(0, len(features), size):
        chunk = features[start : start + size]
        try:
            logits = session.run(chunk)
        except SampleError as problem:
            return Run(what, None, problem.message)
        if logits.shape != (len(chunk), *shape):
            return Run(what, None)
        parts.append(logits)
    return Run(what, np.concatenate(parts))


def precision_check(weights: Mapping[str, int], precision: Precision, kept: Sequence[str] = ()) -> Check:
    """Prove from the graph that products are computed in the precision that is claimed.

    Args:
        weights: Elements that the graph multiplies by, by element type.
        precision: What is claimed.
        kept: Nodes that are said to stay in fp32, however large they are.

    Returns:
        All weights for fp32, at least half of them for the others, and at least some where nodes are kept; a graph
        without weights proves fp32 alone.
    """
    total = sum(weights.values())
    claimed = sum(count for kind, count in weights.items() if kind in _ELEMENTS[precision])
    name = f"share of weights in {precision}"
    if precision == "fp32":
        return equals("L0", name, claimed / total if total else 1.0, 1.0)
    least = LEAST_SHARE_BESIDE_KEPT if kept else LEAST_SHARE_OF_WEIGHTS
    return at_least("L0", name, claimed / total if total else 0.0, least)


def _largest_difference(first: Floats, again: Floats) -> float:
    return float(probability_differences(first[: len(again)], again).max())
