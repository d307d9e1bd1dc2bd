"""A first recipe for one's own data, written from what the manifest and some recordings show."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from mstedge.errors import DataError, MissingPackageError, UsageError, nearest
from mstedge.recipe import Recipe
from mstedge.recipe_data import Labels, ManifestData
from mstedge.recipe_stages import Collaborative, Distill, Engine, Optimiser, Specialise
from mstedge.runtime.manifest_rows import RESERVED_COLUMNS, records
from mstedge.schema import convert
from mstedge.specs import ArraySpec, AudioSpec, Spec
from mstedge.training.recipes.guessing import LOOKED_AT, Guess, guessed_spec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}
_OPTIONS = {
    "cnn": "{channels: [16, 32, 64], hidden: 64}",
    "mlp": "{widths: [128, 64]}",
    "temporal": "{channels: [32, 48, 64], hidden: 64}",
}
_MULTIMODAL = "multimodal"
_SMALLEST_BATCH = 16
_LATER_LEARNING_RATES = ("3.0e-4", "1.0e-4")  # stages 2 and 3, as in the built-in recipes
# Shown only where they are not the default: few people change them.
_RARE_KEYS = {"scaling", "low_hz", "high_hz", "log_floor", "mfcc_count", "pad_value", "scale"}


@dataclass(frozen=True, slots=True)
class Starter:
    """A first recipe.

    Attributes:
        text: YAML with comments.
        recipe: The same, validated.
    """

    text: str
    recipe: Recipe


def starter_recipe(manifest: Path, *, student: str | None, folder: Path) -> Starter:
    """Write a complete recipe for a manifest.

    Args:
        manifest: A `.csv` or `.jsonl` file with one column per modality.
        student: The modality that the device will have; none takes the first that is sound, else the first.
        folder: Where the recipe will stand: the manifest's path in it starts there.

    Raises:
        UsageError: There are fewer than two modalities, or none of that name.
        DataError: The manifest or its recordings cannot be used.
        MissingPackageError: Something needed is not installed.
    """
    files_of_column, rows = _files_of_columns(manifest)
    guesses = {column: guessed_spec(column, files) for column, files in files_of_column.items()}
    if len(guesses) < 2:
        raise UsageError(
            f"{manifest}: has the modalities {list(guesses)}: distillation needs two or more",
            hint="a column per modality, with the path of a file in each row",
        )
    if student is None:
        sounds = [name for name, guess in guesses.items() if isinstance(guess.spec, AudioSpec)]
        student = next(iter(sounds or guesses))
    elif student not in guesses:
        raise UsageError(f"{manifest}: has no modality {student!r}", hint=nearest(student, guesses))
    path = os.path.relpath(manifest.resolve(), folder.resolve())
    text = _text(manifest, student, guesses, path, rows)
    return Starter(text, convert(_parsed(text), Recipe, source="the recipe that was to be written"))


def _files_of_columns(manifest: Path) -> tuple[dict[str, list[Path]], int]:
    """List some files of each column that has no meaning of its own, and count the rows.

    The files are from all over the manifest: those at its start are often of one class or one speaker.
    """
    columns: dict[str, None] = {}
    kept: list[Mapping[str, str]] = []
    stride = 1
    rows = 0
    for record in records(manifest):
        columns |= dict.fromkeys(record.values)
        if rows % stride == 0:
            kept.append(record.values)
        if len(kept) == 2 * LOOKED_AT:
            kept, stride = kept[::2], 2 * stride
        rows += 1
    if not rows:
        raise DataError(f"{manifest}: holds no rows")
    if "label" not in columns:
        raise DataError(f"{manifest}: has no column 'label'", hint=nearest("label", columns))
    modalities = [column for column in columns if column not in RESERVED_COLUMNS]
    files = {name: [manifest.parent / values[name] for values in kept if values.get(name)] for name in modalities}
    return {name: some for name, some in files.items() if some}, rows


def _parsed(text: str) -> object:
    try:
        import yaml  # noqa: PLC0415  an extra
    except ImportError:
        raise MissingPackageError("yaml", purpose="writing a recipe", extra="train") from None
    return yaml.safe_load(text)


def _text(manifest: Path, student: str, guesses: Mapping[str, Guess], path: str, rows: int) -> str:
    name = f"{_fit_name(manifest.stem, 'own-data')}-{_fit_name(student, 'student')}".lower()
    others = [each for each in guesses if each != student]
    return "\n".join(
        [
            f"# Own data: {_quoted(student)} learns from {', '.join(map(_quoted, others))}. Written by `mstedge init`.",
            "schema: mstedge.recipe/1",
            f"name: {_quoted(name)}  # names the run folder",
            "",
            *_data_lines(path),
            "",
            "# Front ends, guessed from some of the files: check them. The device will run the same. `scaling` (mean",
            "# and standard deviation) is measured on the training part.",
            "modalities:",
            *(line for each, guess in guesses.items() for line in _modality_lines(each, guess)),
            "",
            *_student_lines(student, guesses[student].spec),
            "",
            *_teacher_lines(student, guesses),
            "",
            *_training_lines(rows),
            "",
        ]
    )


def _data_lines(path: str) -> list[str]:
    defaults = ManifestData(path=path)
    return [
        "# Columns: a file per modality, `label` (empty: unlabelled), and where wanted `split` (train, validation,",
        "# test), `group` (what must not be split: a speaker), `cluster` (one recording) and `id`. Without `split`,",
        "# one is drawn from the seed: whole groups, about 60/20/20.",
        "data:",
        "  kind: manifest",
        f"  path: {_quoted(path)}  # starts at the folder of this recipe",
        f"  licence: {defaults.licence}  # of the recordings; stands beside the golden cases of a bundle",
        f"  shareable: {str(defaults.shareable).lower()}  # whether raw recordings may leave in a bundle",
    ]


def _modality_lines(name: str, guess: Guess) -> list[str]:
    kind = type(guess.spec).__struct_config__.tag
    lines = [f"  {_quoted(name)}:  # {guess.why}", f"    kind: {kind}"]
    for field in msgspec.structs.fields(guess.spec):
        key, value = field.name, getattr(guess.spec, field.name)
        if key not in _RARE_KEYS or value != field.default:
            lines.append(f"    {key}: {list(value) if isinstance(value, tuple) else value}")
    return lines


def _student_lines(student: str, spec: Spec) -> list[str]:
    return [
        "# The network that ships: temporal takes sound, cnn takes images and sound, mlp takes arrays.",
        "student:",
        f"  modality: {_quoted(student)}",
        *(f"  {line}" for line in _network_lines(spec)),
    ]


def _teacher_lines(student: str, guesses: Mapping[str, Guess]) -> list[str]:
    taken = {student, "student", _MULTIMODAL}
    trunks = ", ".join(_network_of(guess.spec) for guess in guesses.values())
    lines = [
        "# Networks that only exist in training. Each tap (a layer) of a frozen teacher gets a MaskNet.",
        "teachers:",
        f"  - name: {_MULTIMODAL}",
        f"    modalities: [{', '.join(map(_quoted, guesses))}]",
        "    network: fusion",
        f"    options: {{trunks: [{trunks}], channels: [32, 32, 48], hidden: 64}}",
        "    taps: [fused, hidden]",
    ]
    for name, guess in guesses.items():
        if name == student:
            continue
        lines += [
            f"  - name: {_quoted(_teacher_name(name, taken))}",
            f"    modalities: [{_quoted(name)}]",
            *(f"    {line}" for line in _network_lines(guess.spec)),
            "    taps: [hidden]",
        ]
    return lines


def _teacher_name(modality: str, taken: set[str]) -> str:
    """Name a teacher after what it sees, and like nobody else."""
    name = _fit_name(modality, "helper")
    while name in taken:
        name = f"{name}-teacher"
    taken.add(name)
    return name


def _fit_name(text: str, otherwise: str) -> str:
    """Turn the name of a file or column into one that a recipe may have."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or otherwise


def _network_lines(spec: Spec) -> list[str]:
    network = _network_of(spec)
    return [f"network: {network}", f"options: {_OPTIONS[network]}"]


def _network_of(spec: Spec) -> str:
    """Choose a small network for what a front end makes."""
    if isinstance(spec, ArraySpec):
        return "mlp"
    return "temporal" if isinstance(spec, AudioSpec) else "cnn"


def _training_lines(rows: int) -> list[str]:
    first, second, third = Collaborative(), Specialise(), Distill()
    defaults = {field.name: field.default for field in msgspec.structs.fields(Recipe)}
    return [
        "labels:",
        f"  fraction: {Labels().fraction}  # share of the training labels that is used; the rest are unlabelled pairs",
        "stages:",
        f"  collaborative: {{epochs: {first.epochs}}}  # all networks learn together",
        "  # a MaskNet per tap brings its frozen teacher near the student",
        f"  specialise: {{epochs: {second.epochs}, learning_rate: {_LATER_LEARNING_RATES[0]}}}",
        "  # a router picks top_k teachers per sample; small steps, since the student has learnt already",
        f"  distill: {{epochs: {third.epochs}, top_k: {third.top_k}, learning_rate: {_LATER_LEARNING_RATES[1]}}}",
        "optimiser:",
        f"  learning_rate: {Optimiser().learning_rate}",
        f"  batch_rows: {_batch_rows(rows)}  # the manifest has {rows} rows",
        f"temperature: {defaults['temperature']}  # softens both sides of every comparison of networks",
        f"seed: {defaults['seed']}  # decides the split, weights and order",
        "engine:",
        f"  device: {Engine().device}  # a GPU where there is one",
    ]


def _batch_rows(rows: int) -> int:
    """Take the usual batch, or a smaller power of two where an epoch would have fewer than about ten steps."""
    training_rows = round(0.6 * rows)
    smallest = min(_SMALLEST_BATCH, max(2, rows // 2))  # a batch may not be larger than the training part
    return max(smallest, min(Optimiser().batch_rows, 1 << max(0, (training_rows // 10).bit_length() - 1)))


def _quoted(text: str) -> str:
    """Write text so that YAML reads it back as the same text."""
    if _PLAIN_WORD.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(mark if mark.isprintable() else f"\\U{ord(mark):08x}" for mark in escaped) + '"'
