"""Everything that the three stages share: members, masks, router and rows, made from the recipe's seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zlib import crc32

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError, MachineError
from mstedge.recipe import Student, Teacher
from mstedge.training.augment import check_augmentations
from mstedge.training.engine import Engine, seed_from_key
from mstedge.training.method.answers import evaluating
from mstedge.training.method.data_checks import check_rows
from mstedge.training.method.masknet import MaskNet
from mstedge.training.method.member_weights import load_weights
from mstedge.training.method.members import STUDENT, Member, Sharing, SpecialisedTeacher, shared_by_member
from mstedge.training.method.monitors import CollapseWatch
from mstedge.training.method.router import GateNet, MapGateNet
from mstedge.training.models.registry import build_network
from mstedge.training.models.taps import tap_shape
from mstedge.training.rows import PartRows, part_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mstedge.recipe import Recipe
    from mstedge.training.data.dataset import Dataset


_BYTES_PER_MASK_WEIGHT = 12  # itself and two averages, float32


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
        answer: Zeros of the shape of one row's logits [1, classes, *places].
    """

    recipe: Recipe
    engine: Engine
    train: PartRows
    validation: PartRows
    members: tuple[Member, ...]
    specialised: tuple[SpecialisedTeacher, ...]
    router: GateNet | MapGateNet
    watch: CollapseWatch
    train_ids: tuple[str, ...]
    weights_sha256: dict[str, str]
    answer: Tensor

    @property
    def student(self) -> Member:
        """The network that ships."""
        return self.members[0]

    @property
    def teachers(self) -> tuple[Member, ...]:
        """The networks that only exist during training."""
        return self.members[1:]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.answer.shape[1]

    @property
    def candidates(self) -> tuple[Member | SpecialisedTeacher, ...]:
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

    @property
    def example(self) -> Mapping[str, Tensor]:
        """Two rows of features."""
        return self.train.take(torch.arange(2)).features

    @property
    def sharings(self) -> tuple[Sharing, ...]:
        """The specialised teachers by member, each with its own mask alone, as stage 2 trains them."""
        return shared_by_member(self.specialised, self.example)

    def modules(self) -> dict[str, nn.Module]:
        """Name everything that holds weights, for checkpoints."""
        named: dict[str, nn.Module] = {f"members/{member.name}": member.network for member in self.members}
        named |= {f"masks/{teacher.name}": teacher.mask for teacher in self.specialised}
        return named | {"router": self.router, "watch": self.watch}


def make_setup(recipe: Recipe, dataset: Dataset, engine: Engine, *, allow_code: bool = False) -> Setup:
    """Build all networks of a run, each from a seed of its own.

    Raises:
        DataError: The rows cannot be trained on.
        ConfigError: A network or a tap does not exist, cannot take its modalities, or its weights do not fit; or
            augmentation asks for more than features have.
        UsageError: A network is a user's own code and `allow_code` is false.
    """
    check_rows(recipe, dataset)
    shapes = {name: spec.feature_shape for name, spec in dataset.specs.items()}
    places = dataset.parts["train"].labels.shape[1:]
    check_augmentations(recipe.augment, shapes, dense=bool(places))
    answer = torch.zeros((1, len(dataset.class_names), *places))
    digests: dict[str, str] = {}

    def member(name: str, modalities: tuple[str, ...], declared: Student | Teacher) -> Member:
        _seed(recipe.seed, name)
        inputs = [shapes[modality] for modality in modalities]
        built = build_network(declared.network, inputs, answer.shape[1], declared.options, allow_code=allow_code)
        if declared.weights is not None:
            digests[name] = load_weights(built, declared.weights, owner=name)
        _check_logits(name, built, inputs, answer)
        return Member(name, engine.place(built), modalities, isinstance(declared, Teacher) and declared.frozen)

    student = member(STUDENT, (recipe.student.modality,), recipe.student)
    if recipe.engine.compile:
        _compile(student, [shapes[recipe.student.modality]], engine)
    teachers = [member(each.name, each.modalities, each) for each in recipe.teachers]
    specialised = _specialised(recipe, teachers, shapes, engine)
    return Setup(
        recipe=recipe,
        engine=engine,
        train=part_rows(dataset.parts["train"], engine, recipe.engine),
        validation=part_rows(dataset.parts["validation"], engine, recipe.engine),
        members=(student, *teachers),
        specialised=specialised,
        router=_router(recipe, len(teachers), len(specialised), answer).to(engine.device),
        watch=CollapseWatch().to(engine.device),
        train_ids=dataset.parts["train"].ids,
        weights_sha256=digests,
        answer=answer.to(engine.device),
    )


def _compile(student: Member, inputs: list[tuple[int, ...]], engine: Engine) -> None:
    """Let torch compile the student, and try it: what a machine lacks for it shows in the first call."""
    student.network.compile()
    try:
        with evaluating(student.network):
            student.network(*(torch.zeros(2, *shape, device=engine.device) for shape in inputs))
    except Exception as problem:  # compilers and torch's errors share no base class
        raise MachineError(
            f"engine.compile: torch could not compile the student: {' '.join(str(problem).splitlines()[:2])}",
            hint="leave engine.compile out, or install what it lacks: a C++ compiler, or Triton on a GPU",
        ) from problem


def _router(recipe: Recipe, teachers: int, specialised: int, answer: Tensor) -> GateNet | MapGateNet:
    _seed(recipe.seed, "router")
    choices = teachers if recipe.stages.distill.routing == "unmasked" else specialised
    kind = GateNet if answer.ndim == 2 else MapGateNet
    return kind(answer.shape[1], choices)


def _specialised(
    recipe: Recipe, teachers: list[Member], shapes: Mapping[str, tuple[int, ...]], engine: Engine
) -> tuple[SpecialisedTeacher, ...]:
    config = recipe.stages.specialise
    taps: list[tuple[Member, str, tuple[int, ...]]] = []
    for teacher, declared in zip(teachers, recipe.teachers, strict=True):
        inputs = [torch.zeros((2, *shapes[name]), device=engine.device) for name in teacher.modalities]
        owner = f"teacher {teacher.name!r}"
        taps += [(teacher, tap, tap_shape(teacher.network, tap, inputs, owner=owner)) for tap in declared.taps]
    _check_mask_memory(config.hidden_dim_factor, {f"{each.name}@{tap}": shape[0] for each, tap, shape in taps}, engine)
    made: list[SpecialisedTeacher] = []
    for teacher, tap, shape in taps:
        name = f"{teacher.name}@{tap}"
        _seed(recipe.seed, name)
        mask = MaskNet(shape, heads=config.heads, hidden_dim_factor=config.hidden_dim_factor).to(engine.device)
        made.append(SpecialisedTeacher(name, teacher, tap, mask))
    return tuple(made)


def _check_mask_memory(factor: int, widths: Mapping[str, int], engine: Engine) -> None:
    """Refuse masks whose weights and Adam's averages, width^3 / factor each, take more than the device has."""
    needed = {name: _BYTES_PER_MASK_WEIGHT * width**3 // factor for name, width in widths.items()}
    there = engine.memory_bytes
    if sum(needed.values()) > there:
        widest = max(needed, key=lambda name: needed[name])
        raise ConfigError(
            f"the masks need {sum(needed.values()) / 2**30:.0f} GiB, the {engine.device.type} has "
            f"{there / 2**30:.0f} GiB; most of it is for {widest}, a tap of width {widths[widest]}",
            hint=f"raise stages.specialise.hidden_dim_factor above {factor}, or tap a narrower layer",
        )


def _check_logits(name: str, network: nn.Module, shapes: list[tuple[int, ...]], answer: Tensor) -> None:
    network.eval()
    try:
        with torch.no_grad():
            given = list(network(*(torch.zeros(2, *shape) for shape in shapes)).shape)
    except (RuntimeError, TypeError) as problem:
        raise ConfigError(f"{name} cannot take features of shape {shapes}: {problem}") from problem
    expected = [2, *answer.shape[1:]]
    if given != expected:
        raise ConfigError(f"{name} gives logits {given} for 2 rows: expected {expected}, as the labels are")
    network.train()


def _seed(seed: int, name: str) -> None:
    """Let a network's first weights depend on the run's seed and its own name, not on what was made before it."""
    torch.manual_seed(seed_from_key((seed, crc32(name.encode()))))
