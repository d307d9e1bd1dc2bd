"""The built-in recipes: YAML files beside this one, first line a comment that says what they train."""

from __future__ import annotations

from importlib.resources import files

from mstedge.errors import UsageError, nearest


def built_in_names() -> list[str]:
    """List the recipes that ship with the package."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files(__package__).iterdir() if entry.name.endswith(".yaml")
    )


def built_in_text(name: str) -> str:
    """Read a built-in recipe as it was written.

    Raises:
        UsageError: There is no recipe of that name.
    """
    if name not in built_in_names():
        raise UsageError(f"there is no recipe {name!r}", hint=nearest(name, built_in_names()))
    return files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
