"""Where stage 3 has the logits of specialised teachers from: a table, or the teachers themselves.

Teachers and masks are frozen. Where features are not augmented, a teacher's logits for a row never change, and a table
[rows, K, classes, *places] holds them all. Where that is too large, or features are augmented, only the teachers that
the router chose run, each for the rows that it was chosen for. Both give the same logits.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from mstedge.errors import ConfigError
from mstedge.training.method.answers import answered, evaluating, logits_bytes, pieces
from mstedge.training.method.members import Member, SpecialisedTeacher, shared_by_member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mstedge.training.method.batches import Batch
    from mstedge.training.method.setup import Setup
    from mstedge.training.rows import Rows

Kept = Literal["memory", "file", "routed"]
_FILE_OVER_MEMORY = 16


@dataclass(frozen=True, slots=True)
class TargetsPlan:
    """Where the logits are kept.

    Attributes:
        kept: In `memory`, in a `file`, or nowhere: `routed`.
        table_bytes: What the table takes or would take.
        reason: Why, in words.
    """

    kept: Kept
    table_bytes: int
    reason: str


class Targets(Protocol):
    """Logits of specialised teachers, detached."""

    def of_all(self, batch: Batch) -> Tensor:
        """Give those of every teacher: [rows, K, classes, *places]."""

    def of_chosen(self, batch: Batch, teachers: Tensor) -> Tensor:
        """Give those of each row's teachers, int64 [rows, n]: [rows, n, classes, *places]."""


class TableTargets:
    """Logits that were worked out once.

    Args:
        table: [all rows, K, classes, *places], in memory or in a mapped file.
        device: Where they are needed.
    """

    def __init__(self, table: Tensor, device: torch.device) -> None:
        self._table = table
        self._device = device

    def of_all(self, batch: Batch) -> Tensor:
        """Give those of every teacher: [rows, K, classes, *places]."""
        return self._table[batch.index.to(self._table.device)].to(self._device)

    def of_chosen(self, batch: Batch, teachers: Tensor) -> Tensor:
        """Give those of each row's teachers, int64 [rows, n]: [rows, n, classes, *places]."""
        index = batch.index.to(self._table.device)
        return self._table[index[:, None], teachers.to(self._table.device)].to(self._device)


class RoutedTargets:
    """Teachers that run again for the rows that they were chosen for.

    Args:
        setup: The run, teachers and masks frozen and in evaluation mode.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._candidates = setup.candidates

    def of_all(self, batch: Batch) -> Tensor:
        """Give those of every teacher: [rows, K, classes, *places]."""
        everybody = torch.arange(len(self._candidates), device=batch.labels.device)
        return self.of_chosen(batch, everybody.expand(len(batch.index), -1))

    def of_chosen(self, batch: Batch, teachers: Tensor) -> Tensor:
        """Give those of each row's teachers, int64 [rows, n]: [rows, n, classes, *places]."""
        answer = self._setup.answer
        found = answer.new_empty((*teachers.shape, *answer.shape[1:]))
        for number, teacher in enumerate(self._candidates):
            rows, places = torch.nonzero(teachers == number, as_tuple=True)
            if len(rows):
                features = {name: batch.features[name][rows] for name in _member_of(teacher).modalities}
                with evaluating(*teacher.networks):
                    found[rows, places] = answered(self._setup.engine, teacher, features).to(found.dtype)
        return found


def targets_of(setup: Setup) -> tuple[Targets, TargetsPlan]:
    """Choose where logits come from, and work them out if there is a table.

    Raises:
        ConfigError: A table was asked for and features are augmented.
    """
    plan = targets_plan(setup)
    if plan.kept == "routed":
        return RoutedTargets(setup), plan
    shape = (len(setup.train), len(setup.candidates), *setup.answer.shape[1:])
    table = setup.answer.new_empty(shape) if plan.kept == "memory" else _room_in_a_file(shape, setup.answer.dtype)
    own = setup.engine.own_rows(len(setup.train))
    for rows, logits in _every_teacher(setup, own):
        table[rows] = logits.to(table.device)
    return TableTargets(_from_all_processes(setup, table, own), setup.engine.device), plan


def targets_plan(setup: Setup) -> TargetsPlan:
    """Decide where logits come from, as `cache` of the recipe says.

    Raises:
        ConfigError: A table was asked for and features are augmented.
    """
    cache = setup.recipe.cache
    needed = logits_bytes(setup, setup.train) * len(setup.candidates)
    if setup.recipe.augment:
        if cache.targets not in {"auto", "routed"}:
            raise ConfigError(
                f"cache.targets is {cache.targets!r}: with augmented features teachers answer anew in every step",
                hint="leave cache.targets at auto, or remove augment",
            )
        return TargetsPlan("routed", needed, "features are augmented: teachers answer anew in every step")
    if cache.targets != "auto":
        return TargetsPlan(cache.targets, needed, "cache.targets says so")
    size = f"a table of teachers' logits takes {needed / (1 << 20):,.0f} MiB"
    if needed <= cache.max_bytes:
        return TargetsPlan("memory", needed, f"{size}: within cache.max_bytes")
    if setup.engine.processes == 1 and needed <= min(cache.max_bytes * _FILE_OVER_MEMORY, _free_disk_bytes() // 2):
        return TargetsPlan("file", needed, f"{size}: more than cache.max_bytes, little enough for a file")
    return TargetsPlan("routed", needed, f"{size}: too much to keep")


def _every_teacher(setup: Setup, own: range) -> Iterator[tuple[Tensor, Tensor]]:
    """Work out the logits of all candidates, members of several run once: rows, and [rows, K, classes, *places]."""
    networks = [network for each in setup.candidates for network in each.networks]
    answer_each = _answering(setup)
    with evaluating(*networks), setup.engine.fabric.autocast():
        cut = pieces(setup.train, setup.recipe.optimiser.batch_rows, own)
        for index, rows in zip(cut, setup.train.batches(cut), strict=True):
            room = setup.answer.new_empty((len(rows), len(setup.candidates), *setup.answer.shape[1:]))
            answer_each(rows, room)
            yield index, room


def _answering(setup: Setup) -> Callable[[Rows, Tensor], None]:
    """Write every candidate's logits of some rows into [rows, K, classes, *places]."""
    position_of = {each.name: position for position, each in enumerate(setup.candidates)}
    whole = [each for each in setup.candidates if isinstance(each, Member)]
    sharings = shared_by_member(
        [each for each in setup.candidates if isinstance(each, SpecialisedTeacher)], setup.example
    )

    def write(rows: Rows, room: Tensor) -> None:
        for member in whole:
            room[:, position_of[member.name]] = member.logits(rows.features)
        for sharing in sharings:
            crossings = sharing.crossings(rows.features)
            for teacher in sharing.teachers:
                room[:, position_of[teacher.name]] = sharing.logits(teacher, rows.features, crossings)

    return write


def _from_all_processes(setup: Setup, table: Tensor, own: range) -> Tensor:
    if setup.engine.processes == 1:
        return table
    return setup.engine.gathered(table[own.start : own.stop], len(setup.train))


def _room_in_a_file(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Map a file that is gone as soon as nobody maps it."""
    kind = torch.empty((), dtype=dtype).numpy().dtype
    with tempfile.TemporaryFile(prefix="mstedge-table-") as file:
        return torch.from_numpy(np.memmap(file, dtype=kind, mode="w+", shape=shape))


def _free_disk_bytes() -> int:
    return shutil.disk_usage(tempfile.gettempdir()).free


def _member_of(teacher: Member | SpecialisedTeacher) -> Member:
    return teacher if isinstance(teacher, Member) else teacher.member
