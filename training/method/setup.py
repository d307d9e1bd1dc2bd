"""Everything that the three stages share: members, masks, router and rows, made from the recipe's seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError
from mstedge.training.engine import Engine, Rows, seed_from_key
from mstedge.training.method.masknet import MaskNet
from mstedge.training.method.router import GateNet
from mstedge.training.models.registry import build_network
from mstedge.training.models.taps import output_passed_through, tap_shape, tapped_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mstedge.recipe import OptionValue, Recipe
    from mstedge.training.data.dataset import Dataset

STUDENT = "student"
_EVALUATION_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Member:
    """A network that learns in stage 1, with the modalities it sees.

    Attributes:
        name: `student`, or the teacher's name.
        network: The network.
        modalities: What it sees, in the order of its inputs.
    """

    name: str
    network: nn.Module
    modalities: tuple[str, ...]

    def logits(self, features: Mapping[str, Tensor]) -> Tensor:
        """Give logits [rows, classes]."""
        return self.network(*(features[name] for name in self.modalities))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class SpecialisedTeacher:
    """A frozen teacher with one MaskNet at one tap.

    Attributes:
        name: `teacher@tap`.
        member: The teacher.
        tap: Module path of the tap.
        mask: Its MaskNet.
    """

    name: str
    member: Member
    tap: str
    mask: MaskNet

    def logits(self, features: Mapping[str, Tensor]) -> Tensor:
        """Give logits [rows, classes] with this mask alone in place (masks `isolated`, as in the paper)."""
        module = tapped_module(self.member.network, self.tap, owner=self.name)
        with output_passed_through(module, self.mask):
            return self.member.logits(features)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run trains, and on what.

    Attributes:
        recipe: The recipe.
        engine: Device and arithmetic.
        train: Training rows; labels partly hidden.
        validation: Validation rows.
        members: Student first, then the teachers.
        specialised: One per tap of each teacher.
        router: GateNet.
    """

    recipe: Recipe
    engine: Engine
    train: Rows
    validation: Rows
    members: tuple[Member, ...]
    specialised: tuple[SpecialisedTeacher, ...]
    router: GateNet

    @property
    def student(self) -> Member:
        """The network that ships."""
        return self.members[0]

    @property
    def teachers(self) -> tuple[Member, ...]:
        """The networks that only exist during training."""
        return self.members[1:]

    def modules(self) -> dict[str, nn.Module]:
        """Name everything that holds weights, for checkpoints."""
        named: dict[str, nn.Module] = {f"members/{member.name}": member.network for member in self.members}
        named |= {f"masks/{teacher.name}": teacher.mask for teacher in self.specialised}
        return named | {"router": self.router}


def make_setup(recipe: Recipe, dataset: Dataset, engine: Engine, *, allow_code: bool = False) -> Setup:
    """Build all networks of a run, each from a seed of its own.

    Raises:
        ConfigError: A network or a tap does not exist, or cannot take its modalities.
        UsageError: A network is a user's own code and `allow_code` is false.
    """
    shapes = {name: spec.feature_shape for name, spec in dataset.specs.items()}
    classes = len(dataset.class_names)

    def member(name: str, network: str, modalities: tuple[str, ...], options: Mapping[str, OptionValue]) -> Member:
        _seed(recipe.seed, name)
        inputs = [shapes[modality] for modality in modalities]
        built = build_network(network, inputs, classes, options, allow_code=allow_code)
        _check_logits(name, built, inputs, classes)
        return Member(name, built.to(engine.device), modalities)

    student = member(STUDENT, recipe.student.network, (recipe.student.modality,), recipe.student.options)
    teachers = [member(each.name, each.network, each.modalities, each.options) for each in recipe.teachers]
    specialised = _specialised(recipe, teachers, shapes, engine)
    _seed(recipe.seed, "router")
    router = GateNet(classes, len(specialised)).to(engine.device)
    train, validation = engine.rows(dataset.parts["train"]), engine.rows(dataset.parts["validation"])
    return Setup(recipe, engine, train, validation, (student, *teachers), specialised, router)


def all_logits(member: Member | SpecialisedTeacher, rows: Rows) -> Tensor:
    """Run a network over all rows in evaluation mode, without gradients: [rows, classes]."""
    modules = [member.network] if isinstance(member, Member) else [member.member.network, member.mask]
    modes = [module.training for module in modules]
    for module in modules:
        module.eval()
    with torch.no_grad():
        chunks = [
            member.logits({name: values[start : start + _EVALUATION_ROWS] for name, values in rows.features.items()})
            for start in range(0, len(rows), _EVALUATION_ROWS)
        ]
    for module, mode in zip(modules, modes, strict=True):
        module.train(mode)
    return torch.cat(chunks).float()


def _specialised(
    recipe: Recipe, teachers: list[Member], shapes: Mapping[str, tuple[int, ...]], engine: Engine
) -> tuple[SpecialisedTeacher, ...]:
    config = recipe.stages.specialise
    made: list[SpecialisedTeacher] = []
    for teacher, declared in zip(teachers, recipe.teachers, strict=True):
        inputs = [torch.zeros((2, *shapes[name]), device=engine.device) for name in teacher.modalities]
        for tap in declared.taps:
            shape = tap_shape(teacher.network, tap, inputs, owner=f"teacher {teacher.name!r}")
            name = f"{teacher.name}@{tap}"
            _seed(recipe.seed, name)
            mask = MaskNet(shape, heads=config.heads, hidden_dim_factor=config.hidden_dim_factor).to(engine.device)
            made.append(SpecialisedTeacher(name, teacher, tap, mask))
    return tuple(made)


def _check_logits(name: str, network: nn.Module, shapes: list[tuple[int, ...]], classes: int) -> None:
    network.eval()
    try:
        with torch.no_grad():
            given = tuple(network(*(torch.zeros(2, *shape) for shape in shapes)).shape)
    except (RuntimeError, TypeError) as problem:
        raise ConfigError(f"{name} cannot take features of shape {shapes}: {problem}") from problem
    if given != (2, classes):
        raise ConfigError(f"{name} gives logits {list(given)} for 2 rows: expected [2, {classes}]")
    network.train()


def _seed(seed: int, name: str) -> None:
    """Let a network's first weights depend on the run's seed and its own name, not on what was made before it."""
    torch.manual_seed(seed_from_key((seed, crc32(name.encode()))))
