"""The documentation says what the code does: commands, keys, limits and columns."""

from __future__ import annotations

import re
from functools import reduce
from inspect import signature
from pathlib import Path
from textwrap import dedent
from typing import Any, get_type_hints

import msgspec
import pytest

from mstedge.cli import app, export
from mstedge.engine_recipe import EngineRecipe
from mstedge.limits import LIMITS, PRECISIONS
from mstedge.recipe import Recipe
from mstedge.runtime.manifest_rows import RESERVED_COLUMNS
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec
from mstedge.training.models.registry import NETWORKS
from mstedge.training.recipe_files import recipe_from_text

CHECKOUT = Path(__file__).resolve().parents[2]


def page(name: str) -> str:
    return (CHECKOUT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def in_code(text: str) -> set[str]:
    codes = re.findall(r"`([^`\n]+)`", text)
    return {word for code in codes for pattern in (r"[\w.]+", r"[\w.-]+") for word in re.findall(pattern, code)}


def keys_of(kind: type[Any], prefix: str = "") -> set[str]:
    keys = set()
    for name, declared in get_type_hints(kind).items():
        nested = isinstance(declared, type) and issubclass(declared, msgspec.Struct)
        if not name.startswith("__"):
            keys |= (
                keys_of(declared, f"{prefix}{name}.") if nested and name not in {"student", "data"} else {prefix + name}
            )
    return keys


def test_every_command_is_documented() -> None:
    commands = {each.name for each in [*app.registered_commands, *app.registered_groups]}
    documented = set(re.findall(r"^\| `mstedge (\w+)", page("cli"), flags=re.MULTILINE))
    assert commands == documented


def test_every_recipe_key_is_documented() -> None:
    keys = keys_of(Recipe) - {"schema"}
    assert {"stages.distill.epochs", "engine.device", "temperature"} <= keys
    assert keys - in_code(page("recipes")) == set()


@pytest.mark.parametrize("spec", [AudioSpec, ImageSpec, ArraySpec])
def test_every_key_of_a_front_end_is_documented(spec: type[Any]) -> None:
    assert set(spec.__struct_fields__) - in_code(page("recipes")) == set()


def test_the_example_recipe_is_one_and_its_defaults_are_documented() -> None:
    example = page("recipes").split("## Example\n\n")[1].split("\n\nTwo modalities")[0]
    recipe = recipe_from_text(dedent(example), source="docs/recipes.md")
    row = re.compile(r"^\| `(stages[\w.]+|optimiser[\w.]+|labels[\w.]+|temperature|seed)` \| ([\d.]+) \|", re.MULTILINE)
    documented = dict(row.findall(page("recipes")))
    assert len(documented) == 15
    found = {key: float(reduce(getattr, key.split("."), recipe)) for key in documented}
    assert {key: float(value) for key, value in documented.items()} == found


def test_every_network_and_column_is_documented() -> None:
    assert set(NETWORKS) - in_code(page("recipes")) == set()
    assert set(RESERVED_COLUMNS) - in_code(page("data")) == set()


def cells_of_row(pattern: str) -> list[str]:
    """Find the one row of the gate's table in docs/export.md that says this, and give the cell of each precision."""
    rows = [line.strip("| ").split(" | ") for line in page("export").splitlines() if line.startswith("| ")]
    (found,) = [cells for cells in rows if len(cells) >= 4 and re.search(pattern, " ".join(cells[:-3]))]
    return found[-3:]


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("median signal-to-noise", lambda limits: limits.min_median_sqnr_db),
        ("99th percentile", lambda limits: limits.max_p99_probability_difference),
        ("largest .*at most$", lambda limits: limits.max_probability_difference),
        ("mean KL", lambda limits: limits.max_mean_kl),
        ("between batches of 1, 2 and 7, and between two runs", lambda limits: limits.max_repeat_difference),
        ("keep their label", lambda limits: 100 * limits.min_agreement),
        ("hard flips: ", lambda limits: limits.hard_flip_margin),
        ("hard flips allowed", lambda limits: 100 * limits.max_hard_flip_share),
        ("accuracy that may be lost", lambda limits: limits.margin_points),
    ],
)
def test_limits_are_documented(row: str, value: Any) -> None:
    numbers = [re.match(r"[\d.e-]+", cell) for cell in cells_of_row(row)]
    expected = [value(LIMITS[each]) for each in PRECISIONS]
    assert [number and float(number[0]) for number in numbers] == [
        limit if limit is None else pytest.approx(limit) for limit in expected
    ]


def test_engine_keys_are_documented() -> None:
    assert set(EngineRecipe.__struct_fields__) - in_code(page("export")) == set()


def test_options_of_export_are_documented() -> None:
    options = {
        name for each in signature(export.command).parameters.values() for name in each.default.param_decls or ()
    }
    written = set(re.findall(r"--[a-z0-9-]+", page("export") + page("own-model") + page("cli")))
    assert options - {"-o", "--output", "--json", "--allow-code", "--golden"} - written == set()


def test_exit_codes_are_documented() -> None:
    from mstedge import errors
    from mstedge.cli import EXIT_BUG, EXIT_INTERRUPTED

    classes = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.MstedgeError)
    ]
    codes = {0, EXIT_BUG, EXIT_INTERRUPTED} | {each.exit_code for each in classes}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page("cli"), flags=re.MULTILINE)} == codes
