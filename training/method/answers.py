"""What frozen networks answer for the rows of a part: worked out in pieces, kept where that fits, or asked again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from mstedge.training.scores import Scorer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from mstedge.training.engine import Engine
    from mstedge.training.method.members import Member, SpecialisedTeacher
    from mstedge.training.method.setup import Setup
    from mstedge.training.rows import PartRows, Rows

_PIECE_BYTES = 1 << 20


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Put networks into evaluation mode, without gradients, while the block runs."""
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)


def pieces(rows: PartRows, batch_rows: int, own: range | None = None) -> tuple[Tensor, ...]:
    """Cut a part into pieces of as many rows as a step has, or as a MiB of features holds.

    Args:
        rows: The part.
        batch_rows: Rows of a step.
        own: Which of them; none takes all.

    Returns:
        Row indices of each piece, in order.
    """
    own = range(len(rows)) if own is None else own
    together = max(batch_rows, _PIECE_BYTES // max(1, rows.row_bytes))
    return torch.split(torch.arange(own.start, own.stop), together) if len(own) else ()


def each_logits(setup: Setup, member: Member | SpecialisedTeacher, rows: PartRows) -> Iterator[tuple[Tensor, Rows]]:
    """Run a network over a part in evaluation mode, at full precision: logits of some rows, and those rows."""
    with evaluating(*member.networks):
        for batch in rows.batches(pieces(rows, setup.recipe.optimiser.batch_rows)):
            yield widened(member.logits(batch.features)), batch


def all_logits(setup: Setup, member: Member | SpecialisedTeacher, rows: PartRows) -> Tensor:
    """Run a network over a part in evaluation mode, each process over its rows: [rows, classes, *places]."""
    engine = setup.engine
    own = engine.own_rows(len(rows))
    with evaluating(*member.networks):
        found = [
            answered(engine, member, batch.features)
            for batch in rows.batches(pieces(rows, setup.recipe.optimiser.batch_rows, own))
        ]
        return engine.gathered(torch.cat(found) if found else setup.answer[:0], len(rows))


def evaluated(setup: Setup, member: Member, rows: PartRows) -> Scorer:
    """Score a network on a part."""
    scorer = Scorer(setup.classes)
    for logits, batch in each_logits(setup, member, rows):
        scorer.add(logits, batch.labels)
    return scorer


def predicted_classes(setup: Setup, member: Member | SpecialisedTeacher, rows: PartRows) -> Tensor:
    """Run a network over a part and keep the class of the largest logit alone: [rows, *places]."""
    return torch.cat([_predicted(setup, logits) for logits, _rows in each_logits(setup, member, rows)])


def scored_and_predicted(setup: Setup, member: Member, rows: PartRows) -> tuple[Scorer, Tensor]:
    """Do both at once."""
    scorer = Scorer(setup.classes)
    found = []
    for logits, batch in each_logits(setup, member, rows):
        scorer.add(logits, batch.labels)
        found.append(_predicted(setup, logits))
    return scorer, torch.cat(found)


class Answers(Protocol):
    """The logits of a frozen network for any rows of a part."""

    def at(self, index: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Give logits [rows, classes, *places], detached.

        Args:
            index: The rows, on the CPU.
            features: Theirs, [rows, *feature_shape] per modality.
        """


class KeptAnswers:
    """Logits that were worked out once.

    Args:
        logits: [all rows, classes, *places].
    """

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    def at(self, index: Tensor, features: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002  the rows are known already
        """Give logits [rows, classes, *places], detached."""
        return self._logits[index.to(self._logits.device)]


class LiveAnswers:
    """Logits that are worked out when they are asked for.

    Args:
        engine: Has the arithmetic.
        member: The frozen network.
    """

    def __init__(self, engine: Engine, member: Member | SpecialisedTeacher) -> None:
        self._engine = engine
        self._member = member

    def at(self, index: Tensor, features: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002  features say which rows
        """Give logits [rows, classes, *places], detached."""
        with evaluating(*self._member.networks):
            return answered(self._engine, self._member, features)


def answers_of(setup: Setup, member: Member | SpecialisedTeacher, rows: PartRows, *, varied: bool) -> Answers:
    """Keep a network's logits where they fit into `cache.max_bytes`, else ask it again each time.

    Args:
        setup: The run.
        member: A frozen network.
        rows: The part.
        varied: Whether features are augmented, and answers differ from step to step.
    """
    if varied or logits_bytes(setup, rows) > setup.recipe.cache.max_bytes:
        return LiveAnswers(setup.engine, member)
    return KeptAnswers(all_logits(setup, member, rows))


def logits_bytes(setup: Setup, rows: PartRows) -> int:
    """Say what the logits of one network over a part take, in bytes."""
    each: int = setup.answer[0].numel() * 4
    return each * len(rows)


def answered(engine: Engine, member: Member | SpecialisedTeacher, features: Mapping[str, Tensor]) -> Tensor:
    """Run a network with the engine's arithmetic; its logits are float32 or wider."""
    with engine.fabric.autocast():
        logits = member.logits(features)
    return widened(logits)


def _predicted(setup: Setup, logits: Tensor) -> Tensor:
    small = torch.uint8 if setup.classes <= 1 << 8 else torch.int64
    return logits.argmax(dim=1).to(small)


def widened(logits: Tensor) -> Tensor:
    """Give logits in float32 or wider: losses of half precision would be coarser than the logits are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
