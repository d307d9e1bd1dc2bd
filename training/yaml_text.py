"""Reading YAML that people write: recipes, and what describes a model that was trained elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without two of its traps: `1e-3` is a number, and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key_node, _value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a plain word", key_node.start_mark)
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def value_from_yaml(text: str, *, source: str) -> Any:
    """Parse YAML.

    Args:
        text: The document.
        source: Where it came from, for messages.

    Raises:
        ConfigError: It is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise ConfigError(f"{source}: not valid YAML: {problem}") from None


def mapping_from_yaml(text: str, *, source: str) -> dict[Any, Any]:
    """Parse YAML that holds keys and values.

    Args:
        text: The document.
        source: Where it came from, for messages.

    Raises:
        ConfigError: It is not valid YAML, or something else.
    """
    values = value_from_yaml(text, source=source)
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected keys and values, found {type(values).__name__}")
    return values


def text_of_file(path: Path) -> str:
    """Read a file that a person wrote.

    Raises:
        ConfigError: It cannot be read, is not UTF-8 or is far too long.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ConfigError(f"{path}: has {size} bytes: expected at most {_MAX_BYTES}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: cannot be read: {problem}") from None
