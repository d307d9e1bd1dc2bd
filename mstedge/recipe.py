"""The recipe: everything that describes a training run, as one validated value.

Reading YAML and filling in what the data decide belongs to `mstedge.training`; this module only declares.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import msgspec

from mstedge.errors import ConfigError, nearest
from mstedge.recipe_data import Augmentation, Data, Labels, ManifestData, MfeatData, PublishedData
from mstedge.recipe_stages import Cache, Engine, Optimiser, Stages
from mstedge.schema import Record
from mstedge.specs import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OptionValue: TypeAlias = bool | int | float | str | list[int | str]


class Student(Record, frozen=True, kw_only=True):
    """The network that ships.

    Attributes:
        modality: The one modality that the device has.
        network: Name in the registry, or `module:Class`.
        options: Keyword arguments of the network.
        weights: Safetensors file that it starts from, beside the recipe; none starts afresh.
    """

    modality: str
    network: str
    options: dict[str, OptionValue] = {}
    weights: str | None = None


class Teacher(Record, frozen=True, kw_only=True):
    """A network that only exists during training.

    Attributes:
        name: What it is called in metrics.
        modalities: What it sees, in the order of its inputs: all modalities, or another than the student's.
        network: Name in the registry, or `module:Class`.
        taps: Module paths whose outputs a MaskNet masks; each makes one specialised teacher.
        options: Keyword arguments of the network.
        weights: Safetensors file that it starts from, beside the recipe; none starts afresh.
        frozen: Whether it teaches in stage 1 without learning there.
    """

    name: str
    modalities: tuple[str, ...]
    network: str
    taps: tuple[str, ...]
    options: dict[str, OptionValue] = {}
    weights: str | None = None
    frozen: bool = False


Member = TypeVar("Member", Student, Teacher)


class Recipe(Record, frozen=True, kw_only=True):
    """A training run, fully described.

    Attributes:
        schema: Version of this format.
        name: Names the run folder: letters, digits, `.`, `_` and `-`.
        about: One line for people.
        data: Where rows come from.
        modalities: Front end of each modality, by name.
        student: The network that ships.
        teachers: The networks that teach it.
        labels: How much is labelled.
        stages: The three stages.
        optimiser: Adam's settings.
        temperature: Softens both sides of every KL term (T in the paper).
        seed: Decides pairs, noise, labelled rows, weights and order.
        augment: How training features of a modality are varied, by its name.
        engine: Device and arithmetic.
        cache: What may be kept in memory or on disk.
    """

    schema: Literal["mstedge.recipe/1"] = "mstedge.recipe/1"
    name: str
    data: Data
    modalities: dict[str, Spec]
    student: Student
    teachers: tuple[Teacher, ...]
    about: str = ""
    labels: Labels = Labels()
    stages: Stages = Stages()
    optimiser: Optimiser = Optimiser()
    temperature: float = 4.0
    seed: int = 0
    augment: dict[str, Augmentation] = {}
    engine: Engine = Engine()
    cache: Cache = Cache()

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        _check_modalities(self)
        _check_teachers(self)
        _check_top_k(self)
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}: expected above 0")

    @property
    def student_spec(self) -> Spec:
        """Front end of the modality that ships."""
        return self.modalities[self.student.modality]


def recipe_hash(recipe: Recipe) -> str:
    """Digest of a recipe: sha256 over its JSON with sorted keys."""
    from hashlib import sha256  # noqa: PLC0415  only needed here

    return sha256(msgspec.json.encode(recipe, order="sorted")).hexdigest()


def with_paths(recipe: Recipe, change: Callable[[str], str]) -> Recipe:
    """Change where a recipe's files lie: its data and the weights of its members.

    Args:
        recipe: The recipe.
        change: Gets a path as it stands in the recipe, gives the new one.
    """

    def moved(member: Member) -> Member:
        return member if member.weights is None else msgspec.structs.replace(member, weights=change(member.weights))

    data = recipe.data
    if isinstance(data, ManifestData | PublishedData | MfeatData) and data.path is not None:
        data = msgspec.structs.replace(data, path=change(data.path))
    teachers = tuple(moved(teacher) for teacher in recipe.teachers)
    return msgspec.structs.replace(recipe, data=data, student=moved(recipe.student), teachers=teachers)


def _check_top_k(recipe: Recipe) -> None:
    distill = recipe.stages.distill
    if distill.routing == "unmasked":
        choices, kind = len(recipe.teachers), "teachers"
    else:
        choices, kind = sum(len(teacher.taps) for teacher in recipe.teachers), "specialised teachers"
    if not 1 <= distill.top_k <= choices:
        raise ConfigError(f"stages.distill.top_k is {distill.top_k}: there are {choices} {kind}")


def _check_name(where: str, name: str) -> None:
    """Names become folders and keys of metrics and checkpoints, which use other signs as separators."""
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"{where} is {name!r}: expected letters, digits, '.', '_' and '-', a letter or digit first")


def _check_modalities(recipe: Recipe) -> None:
    if len(recipe.modalities) < 2:
        raise ConfigError(
            f"modalities are {sorted(recipe.modalities)}: distillation across modalities needs two or more"
        )
    wanted = [("student.modality", recipe.student.modality)]
    wanted += [(f"teacher {teacher.name!r}", name) for teacher in recipe.teachers for name in teacher.modalities]
    wanted += [("augment", name) for name in recipe.augment]
    for where, name in wanted:
        if name not in recipe.modalities:
            raise ConfigError(
                f"{where} names the modality {name!r}, which the recipe lacks", hint=nearest(name, recipe.modalities)
            )


def _check_teachers(recipe: Recipe) -> None:
    if not recipe.teachers:
        raise ConfigError("teachers is empty: expected at least one")
    names = [teacher.name for teacher in recipe.teachers]
    if len(set(names)) != len(names) or "student" in names:
        raise ConfigError(f"teacher names are {names}: expected distinct names other than 'student'")
    for teacher in recipe.teachers:
        _check_name("a teacher's name", teacher.name)
        if not teacher.taps or not teacher.modalities:
            raise ConfigError(f"teacher {teacher.name!r} needs at least one modality and one tap")
