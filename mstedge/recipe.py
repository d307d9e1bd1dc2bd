"""The recipe: everything that describes a training run, as one validated value.

Reading YAML and filling in what the data decide belongs to `mstedge.training`; this module only declares.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import msgspec

from mstedge.errors import ConfigError, nearest
from mstedge.schema import Record
from mstedge.specs import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OptionValue: TypeAlias = bool | int | float | str | list[int | str]
Routing: TypeAlias = Literal["gate", "soft", "straight_through", "random", "mean", "unmasked", "correctness"]


class DigitsData(Record, frozen=True, kw_only=True, tag_field="kind", tag="digits"):
    """The built-in digits: handwritten images and spoken words, paired by class.

    Attributes:
        partners: How many different partners each training sample of the student's modality is paired with.
        snr_db: Range that the signal-to-noise ratio of each spoken clip is drawn from, uniformly; none keeps it clean.
    """

    partners: int = 2
    snr_db: tuple[float, float] | None = (0.0, 20.0)

    def __post_init__(self) -> None:
        if self.partners < 1:
            raise ConfigError(f"partners is {self.partners}: expected 1 or more")
        if self.snr_db is not None and self.snr_db[0] > self.snr_db[1]:
            raise ConfigError(f"snr_db is {list(self.snr_db)}: expected [low, high]")


class ManifestData(Record, frozen=True, kw_only=True, tag_field="kind", tag="manifest"):
    """One's own rows: a CSV or JSONL file with a path per modality.

    Attributes:
        path: The manifest file; relative paths start at the folder of the recipe.
        licence: Licence of the recordings, carried into golden cases.
        shareable: Whether raw recordings may leave in a bundle.
    """

    path: str
    licence: str = "unstated"
    shareable: bool = False


class Labels(Record, frozen=True, kw_only=True):
    """How much of the training part counts as labelled.

    Attributes:
        fraction: Share of the labelled training samples, stratified by class, whose label is used; the rest are
            unlabelled pairs.
    """

    fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise ConfigError(f"labels.fraction is {self.fraction}: expected above 0 and at most 1")


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


def _check_epochs(epochs: int) -> None:
    if epochs < 0:
        raise ConfigError(f"epochs is {epochs}: expected 0 or more")


class Collaborative(Record, frozen=True, kw_only=True):
    """Stage 1: all members learn together.

    Attributes:
        epochs: Passes over the training part; 0 leaves members as they begin.
    """

    epochs: int = 40

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)


class Specialise(Record, frozen=True, kw_only=True):
    """Stage 2: one MaskNet per tap learns to bring its frozen teacher near the student.

    Attributes:
        epochs: Passes over the training part.
        heads: Attention heads of a MaskNet.
        hidden_dim_factor: Divides a MaskNet's hidden width.
        learning_rate: Step size of the MaskNets; none takes the optimiser's. Too large a one drives every mask to 1.
        masks: `isolated` lets each mask act alone, as in the paper. With `cumulative`, as in the reference
            implementation, those of a teacher's earlier taps act as well in stage 3, though each was trained alone.
    """

    epochs: int = 3
    heads: int = 3
    hidden_dim_factor: int = 2
    learning_rate: float | None = None
    masks: Literal["isolated", "cumulative"] = "isolated"

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)
        if self.heads < 1 or self.hidden_dim_factor < 1:
            raise ConfigError(
                f"heads is {self.heads} and hidden_dim_factor {self.hidden_dim_factor}: expected 1 or more of each"
            )


class Distill(Record, frozen=True, kw_only=True):
    """Stage 3: the router picks teachers for each sample while the student learns.

    Attributes:
        epochs: Passes over the training part.
        top_k: Number of specialised teachers per sample.
        kl_weight: Weight mu1 of the distillation term at epoch 0.
        kl_decay: Factor on mu1 after epochs 0, 30, 60, ...
        balance_weight: Weight mu2 of the load-balancing term at epoch 0.
        balance_decay: Factor on mu2 after epochs 0, 10, 20, ...
        learning_rate: Step size of student and router; none takes the optimiser's. The student has learnt already:
            a fresh Adam with large steps throws it back.
        routing: What each teacher counts for a row. `gate`: the router's top k, as in the paper. `soft`: all, by the
            router's probabilities. `straight_through`: the top k, with the gradient of `soft`. `correctness`: all, by
            how right they are about a labelled row. Controls: `random` (k at random), `mean` (all alike), `unmasked`
            (`gate` over the teachers without masks).
        balance: Load-balancing term: `kl` to uniform, or `cv`, the coefficient of variation.
        gate_input: Whether the router's gradient reaches the student's logits (`attached`, as published) or not.
    """

    epochs: int = 40
    top_k: int = 1
    kl_weight: float = 1.0
    kl_decay: float = 0.5
    balance_weight: float = 1.0
    balance_decay: float = 0.9
    learning_rate: float | None = None
    routing: Routing = "gate"
    balance: Literal["kl", "cv"] = "kl"
    gate_input: Literal["attached", "detached"] = "attached"

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)


class Stages(Record, frozen=True, kw_only=True):
    """The three stages of MST-Distill."""

    collaborative: Collaborative = Collaborative()
    specialise: Specialise = Specialise()
    distill: Distill = Distill()


class Optimiser(Record, frozen=True, kw_only=True):
    """Adam, the same in every stage.

    Attributes:
        learning_rate: Step size.
        batch_rows: Rows per step, labelled and unlabelled mixed.
    """

    learning_rate: float = 1e-3
    batch_rows: int = 128

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.batch_rows < 2:
            raise ConfigError("learning_rate must be above 0 and batch_rows at least 2 (BatchNorm needs two rows)")


class Engine(Record, frozen=True, kw_only=True):
    """Where and how training computes.

    Attributes:
        device: `auto` takes a GPU where there is one.
        precision: Arithmetic of forward and backward passes.
        threads: CPU threads; a run repeats bit for bit only with the same number. None: one per core.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed"] = "fp32"
    threads: int | None = None


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
        engine: Device and arithmetic.
    """

    schema: Literal["mstedge.recipe/1"] = "mstedge.recipe/1"
    name: str
    data: DigitsData | ManifestData
    modalities: dict[str, Spec]
    student: Student
    teachers: tuple[Teacher, ...]
    about: str = ""
    labels: Labels = Labels()
    stages: Stages = Stages()
    optimiser: Optimiser = Optimiser()
    temperature: float = 4.0
    seed: int = 0
    engine: Engine = Engine()

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
    """Change where a recipe's files lie: its manifest and the weights of its members.

    Args:
        recipe: The recipe.
        change: Gets a path as it stands in the recipe, gives the new one.
    """

    def moved(member: Member) -> Member:
        return member if member.weights is None else msgspec.structs.replace(member, weights=change(member.weights))

    data = recipe.data
    if isinstance(data, ManifestData):
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
