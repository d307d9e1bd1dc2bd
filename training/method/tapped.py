"""Features at the taps of frozen teachers, kept for all training rows where they fit and are met more than once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mstedge.training.method.answers import evaluating, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.training.method.batches import Batch
    from mstedge.training.method.members import Crossings, Sharing
    from mstedge.training.method.setup import Setup


class TappedFeatures:
    """What is below the taps of one member, for any batch of the training part.

    Args:
        sharing: The member, frozen, and its taps.
        kept: What all rows have there; none runs the member again for each batch.
    """

    def __init__(self, sharing: Sharing, kept: Crossings | None) -> None:
        self._sharing = sharing
        self._kept = kept

    @property
    def kept(self) -> bool:
        """Whether nothing is run again."""
        return self._kept is not None

    def at(self, batch: Batch) -> Crossings | None:
        """Give the crossings of a batch; none where the member cannot be cut."""
        if self._kept is None:
            return self._sharing.crossings(batch.features)
        index = batch.index.to(next(iter(self._kept.values()))[0].device)
        taken: dict[int, Tensor] = {}
        for values in {id(each): each for crossing in self._kept.values() for each in crossing}.values():
            taken[id(values)] = values[index]
        return {tap: tuple(taken[id(each)] for each in crossing) for tap, crossing in self._kept.items()}


def tapped_features(setup: Setup, sharings: Sequence[Sharing], passes: int) -> tuple[TappedFeatures, ...]:
    """Decide for each member whether features at its taps are kept, as long as `cache.max_bytes` last.

    Args:
        setup: The run.
        sharings: Its members, frozen and in evaluation mode.
        passes: How often all rows are met.
    """
    left = setup.recipe.cache.max_bytes if passes > 1 and not setup.recipe.augment else 0
    found = []
    for sharing in sharings:
        needed = _row_bytes(sharing.crossings(setup.example)) * len(setup.train)
        keeps = 0 < needed <= left
        left -= needed if keeps else 0
        found.append(TappedFeatures(sharing, _everything(setup, sharing) if keeps else None))
    return tuple(found)


def _everything(setup: Setup, sharing: Sharing) -> Crossings | None:
    """Run a member over all rows; what several taps need is kept once."""
    kept: Crossings | None = None
    with evaluating(sharing.member.network), setup.engine.fabric.autocast():
        start = 0
        for rows in setup.train.batches(pieces(setup.train, setup.recipe.optimiser.batch_rows)):
            found = sharing.crossings(rows.features)
            if found is None:
                return None
            kept = _room_for(found, len(setup.train)) if kept is None else kept
            for tap, crossing in found.items():
                for room, values in zip(kept[tap], crossing, strict=True):
                    room[start : start + len(rows)] = values
            start += len(rows)
    return kept


def _room_for(found: Crossings, rows: int) -> Crossings:
    room = {id(each): each.new_empty((rows, *each.shape[1:])) for crossing in found.values() for each in crossing}
    return {tap: tuple(room[id(each)] for each in crossing) for tap, crossing in found.items()}


def _row_bytes(crossings: Crossings | None) -> int:
    """Say what the crossings of one row take, each counted once; nothing where there are none."""
    if crossings is None:
        return 0
    each = {id(values): values for crossing in crossings.values() for values in crossing}
    return sum(values[:1].numel() * values.element_size() for values in each.values())
