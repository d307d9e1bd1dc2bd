"""Recipes from YAML: reading, overriding by `key=value`, writing back as resolved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from mstedge.errors import UsageError, nearest
from mstedge.recipe import Recipe, with_paths
from mstedge.schema import convert
from mstedge.training.recipes import built_in_names, built_in_text
from mstedge.training.yaml_text import mapping_from_yaml, text_of_file, value_from_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a built-in recipe or a recipe file.

    Args:
        name: Name of a built-in recipe, or path of a YAML file.
        overrides: `key.path=value` each, the value in YAML.

    Raises:
        UsageError: There is no such recipe or file.
        ConfigError: It does not say something that can be done.
    """
    path = Path(name)
    if name in built_in_names():
        text, source, folder = built_in_text(name), f"recipe {name}", None
    elif path.is_file():
        text, source, folder = text_of_file(path), str(path), path.parent
    else:
        hint = nearest(name, built_in_names()) + ", or give the path of a YAML file"
        raise UsageError(f"there is no recipe or file {name!r}", hint=hint)
    recipe = recipe_from_text(text, source=source, overrides=overrides)
    return with_paths(recipe, lambda beside: str(folder / beside)) if folder is not None else recipe


def recipe_from_text(text: str, *, source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Parse and validate a recipe.

    Args:
        text: YAML.
        source: Where it came from, for messages.
        overrides: `key.path=value` each.

    Raises:
        ConfigError: It is not YAML, or does not say something that can be done.
    """
    values = mapping_from_yaml(text, source=source)
    for override in overrides:
        _override(values, override)
    return convert(values, Recipe, source=source)


def recipe_text(recipe: Recipe) -> str:
    """Write a recipe as YAML, every default spelt out."""
    return yaml.safe_dump(msgspec.to_builtins(recipe), sort_keys=False, allow_unicode=True)


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {override!r}: expected key=value", hint="for example --set stages.distill.epochs=5")
    *parents, last = path.split(".")
    place: Any = values
    for parent in parents:
        place = place[_position(place, parent, override)] if isinstance(place, list) else place.setdefault(parent, {})
        if not isinstance(place, (dict, list)):
            raise UsageError(f"--set {override!r}: {parent!r} holds a value, not further keys")
    key: Any = _position(place, last, override) if isinstance(place, list) else last
    place[key] = value_from_yaml(text, source=f"--set {override}")


def _position(items: list[Any], text: str, override: str) -> int:
    if not text.isdecimal() or int(text) >= len(items):
        raise UsageError(f"--set {override!r}: {text!r} is not a position in a list of {len(items)}")
    return int(text)
