"""Everything that the three stages share: members, masks, router and rows, made from the recipe's seed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zlib import crc32

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError
from mstedge.recipe import Student, Teacher
from mstedge.training.engine import Engine, Rows, seed_from_key
from mstedge.training.method.data_checks import check_rows
from mstedge.training.method.masknet import MaskNet
from mstedge.training.method.member_weights import load_weights
from mstedge.training.method.monitors import CollapseWatch
from mstedge.training.method.router import GateNet
from mstedge.training.models.registry import build_network
from mstedge.training.models.taps import output_passed_through, tap_shape, tapped_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mstedge.recipe import Recipe
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

    def logits(self, features: Mapping[str, Tensor]) -> Tensor:
        """Give logits [rows, classes]."""
        return self.network(*(features[name] for name in self.modalities))  # type: ignore[no-any-return]


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
        """Give logits [rows, classes] with its masks in place."""
        with ExitStack() as masks:
            for each in (*self.earlier, self):
                module = tapped_module(self.member.network, each.tap, owner=each.name)
                masks.enter_context(output_passed_through(module, each.mask))
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
        specialised: One per tap of each teacher, each with its own mask alone.
        router: GateNet.
        watch: Watches over the router.
        train_ids: One name per training row.
        weights_sha256: Digest of the file that a member started from, by its name.
    """

    recipe: Recipe
    engine: Engine
    train: Rows
    validation: Rows
    members: tuple[Member, ...]
    specialised: tuple[SpecialisedTeacher, ...]
    router: GateNet
    watch: CollapseWatch
    train_ids: tuple[str, ...]
    weights_sha256: dict[str, str]

    @property
    def student(self) -> Member:
        """The network that ships."""
        return self.members[0]

    @property
    def teachers(self) -> tuple[Member, ...]:
        """The networks that only exist during training."""
        return self.members[1:]

    @property
    def candidates(self) -> tuple[Member, ...] | tuple[SpecialisedTeacher, ...]:
        """What the router of stage 3 chooses among, as `routing` and `masks` of the recipe say."""
        stages = self.recipe.stages
        if stages.distill.routing == "unmasked":
            return self.teachers
        if stages.specialise.masks == "isolated":
            return self.specialised
        return tuple(
            replace(each, earlier=tuple(one for one in self.specialised[:position] if one.member is each.member))
            for position, each in enumerate(self.specialised)
        )

    def modules(self) -> dict[str, nn.Module]:
        """Name everything that holds weights, for checkpoints."""
        named: dict[str, nn.Module] = {f"members/{member.name}": member.network for member in self.members}
        named |= {f"masks/{teacher.name}": teacher.mask for teacher in self.specialised}
        return named | {"router": self.router, "watch": self.watch}


def make_setup(recipe: Recipe, dataset: Dataset, engine: Engine, *, allow_code: bool = False) -> Setup:
    """Build all networks of a run, each from a seed of its own.

    Raises:
        DataError: The rows cannot be trained on.
        ConfigError: A network or a tap does not exist, cannot take its modalities, or its weights do not fit.
        UsageError: A network is a user's own code and `allow_code` is false.
    """
    check_rows(recipe, dataset)
    shapes = {name: spec.feature_shape for name, spec in dataset.specs.items()}
    digests: dict[str, str] = {}

    def member(name: str, modalities: tuple[str, ...], declared: Student | Teacher) -> Member:
        _seed(recipe.seed, name)
        inputs = [shapes[modality] for modality in modalities]
        built = build_network(declared.network, inputs, classes, declared.options, allow_code=allow_code)
        if declared.weights is not None:
            digests[name] = load_weights(built, declared.weights, owner=name)
        _check_logits(name, built, inputs, classes)
        return Member(name, built.to(engine.device), modalities, isinstance(declared, Teacher) and declared.frozen)

    classes = len(dataset.class_names)
    student = member(STUDENT, (recipe.student.modality,), recipe.student)
    teachers = [member(each.name, each.modalities, each) for each in recipe.teachers]
    specialised = _specialised(recipe, teachers, shapes, engine)
    unmasked = recipe.stages.distill.routing == "unmasked"
    _seed(recipe.seed, "router")
    router = GateNet(classes, len(teachers) if unmasked else len(specialised)).to(engine.device)
    return Setup(
        recipe=recipe,
        engine=engine,
        train=engine.rows(dataset.parts["train"]),
        validation=engine.rows(dataset.parts["validation"]),
        members=(student, *teachers),
        specialised=specialised,
        router=router,
        watch=CollapseWatch().to(engine.device),
        train_ids=dataset.parts["train"].ids,
        weights_sha256=digests,
    )


def all_logits(member: Member | SpecialisedTeacher, rows: Rows) -> Tensor:
    """Run a network over all rows in evaluation mode, without gradients: [rows, classes]."""
    modes = [module.training for module in member.networks]
    for module in member.networks:
        module.eval()
    with torch.no_grad():
        chunks = [
            member.logits({name: values[start : start + _EVALUATION_ROWS] for name, values in rows.features.items()})
            for start in range(0, len(rows), _EVALUATION_ROWS)
        ]
    for module, mode in zip(member.networks, modes, strict=True):
        module.train(mode)
    logits = torch.cat(chunks)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


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
