"""The networks of a run: members that learn in stage 1, and the specialised teachers made of frozen ones."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mstedge.training.models.split import split_at_taps
from mstedge.training.models.taps import output_passed_through, tapped_module

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mstedge.training.method.masknet import MaskNet
    from mstedge.training.models.split import SplitNetwork

STUDENT = "student"


@dataclass(frozen=True, slots=True)
class Member:
    """A network that learns in stage 1, with the modalities it sees.

    Attributes:
        name: `student`, or the teacher's name.
        network: The network.
        modalities: What it sees, in the order of its inputs.
        frozen: Whether it stays as it is in stage 1.
    """

    name: str
    network: nn.Module
    modalities: tuple[str, ...]
    frozen: bool = False

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """What computes its logits."""
        return (self.network,)

    def inputs(self, features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Select what it sees."""
        return tuple(features[name] for name in self.modalities)

    def logits(self, features: Mapping[str, Tensor]) -> Tensor:
        """Give logits [rows, classes, *places]."""
        return self.network(*self.inputs(features))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class SpecialisedTeacher:
    """A frozen teacher with one MaskNet at one tap (masks `isolated`, as in the paper) unless there are earlier ones.

    Attributes:
        name: `teacher@tap`.
        member: The teacher.
        tap: Module path of the tap.
        mask: Its MaskNet.
        earlier: Those of the same teacher whose masks act as well (masks `cumulative`).
    """

    name: str
    member: Member
    tap: str
    mask: MaskNet
    earlier: tuple[SpecialisedTeacher, ...] = ()

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """What computes its logits."""
        return (self.member.network, *(each.mask for each in (*self.earlier, self)))

    def logits(self, features: Mapping[str, Tensor]) -> Tensor:
        """Give logits [rows, classes, *places] with its masks in place."""
        with ExitStack() as masks:
            for each in (*self.earlier, self):
                module = tapped_module(self.member.network, each.tap, owner=each.name)
                masks.enter_context(output_passed_through(module, each.mask))
            return self.member.logits(features)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Specialised teachers of one frozen member, which is run once up to its taps and then on from each.

    Attributes:
        member: What they share.
        teachers: The specialised teachers.
        split: The member cut at its taps; none where it cannot be cut, and each teacher runs as a whole.
    """

    member: Member
    teachers: tuple[SpecialisedTeacher, ...]
    split: SplitNetwork | None

    def crossings(self, features: Mapping[str, Tensor]) -> Crossings | None:
        """Run the member up to its taps, without gradients; none where it is not cut."""
        if self.split is None:
            return None
        with torch.no_grad():
            return self.split.prefix(*self.member.inputs(features))

    def logits(
        self, teacher: SpecialisedTeacher, features: Mapping[str, Tensor], crossings: Crossings | None
    ) -> Tensor:
        """Give a teacher's logits [rows, classes, *places].

        Args:
            teacher: One of the teachers.
            features: [rows, *feature_shape] per modality.
            crossings: What `crossings` gave for these rows.
        """
        if self.split is None or crossings is None:
            return teacher.logits(features)
        return self.split.finish(teacher.tap, crossings[teacher.tap], teacher.mask)


# What the part of a network above each tap needs from below it.
Crossings = dict[str, tuple[Tensor, ...]]


def shared_by_member(teachers: Sequence[SpecialisedTeacher], example: Mapping[str, Tensor]) -> tuple[Sharing, ...]:
    """Put specialised teachers of one member together, in their order, and cut what can be cut.

    A teacher with masks at several taps runs as a whole: an earlier mask may change what is below the next tap.

    Args:
        teachers: Specialised teachers of frozen members in evaluation mode.
        example: A few rows of features.
    """
    members = {id(each.member): each.member for each in teachers}
    return tuple(
        sharing
        for member in members.values()
        for sharing in _sharings(member, [each for each in teachers if each.member is member], example)
    )


def _sharings(member: Member, teachers: list[SpecialisedTeacher], example: Mapping[str, Tensor]) -> list[Sharing]:
    alone = tuple(each for each in teachers if not each.earlier)
    several = tuple(each for each in teachers if each.earlier)
    split = split_at_taps(member.network, [each.tap for each in alone], member.inputs(example))
    found = [Sharing(member, alone, split)]
    return [*found, Sharing(member, several, None)] if several else found
