"""Declared structures from files: decoding with errors that carry the file, the key, the value and the way out.

msgspec validates; its messages carry neither the value nor a suggestion, so this wrapper adds both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, get_args

import msgspec

from mstedge.errors import ConfigError, MstedgeError, nearest

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
Step: TypeAlias = "str | int | None"
_PATH = re.compile(r" - at `\$?(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_REPEATED_VALUE = re.compile(r"^Invalid (enum )?value .*", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`")
_MISSING_FIELD = re.compile(r"Object missing required field `(?P<field>[^`]*)`")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value that is read from and written to files; unknown keys are errors."""


def convert(value: object, kind: type[T], *, source: str, error: type[MstedgeError] = ConfigError) -> T:
    """Validate plain data against a declared type.

    Args:
        value: What a parser returned: mappings, lists, strings, numbers.
        kind: The declared type.
        source: Where the value came from, for the message.
        error: The error class to raise.

    Raises:
        MstedgeError: (as `error`) with key path, value, expectation and nearest spelling.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        raise _explained(str(problem), value, kind, source, error) from None


def decode_json(text: bytes, kind: type[T], *, source: str, error: type[MstedgeError] = ConfigError) -> T:
    """Parse and validate a JSON document.

    Args:
        text: The document, UTF-8.
        kind: The declared type.
        source: Where the text came from, for the message.
        error: The error class to raise.

    Raises:
        MstedgeError: (as `error`) when the text is not JSON or does not fit the type.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise error(f"{source}: not a JSON document: {problem}") from None
    return convert(value, kind, source=source, error=error)


def read_json(path: Path, kind: type[T], *, error: type[MstedgeError] = ConfigError) -> T:
    """Read a JSON file of a declared type.

    Raises:
        MstedgeError: (as `error`) when the file cannot be read, is not JSON or does not fit the type.
    """
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from None
    return decode_json(text, kind, source=str(path), error=error)


def encode_json(value: object) -> bytes:
    """Write a value as indented JSON, UTF-8, keys in declared order, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _explained(problem: str, value: object, kind: type[Any], source: str, error: type[MstedgeError]) -> MstedgeError:
    match = _PATH.search(problem)
    what = problem[: match.start()] if match else problem
    what, _, hint = what.partition("\n  hint: ")
    what = _REPEATED_VALUE.sub("Not one of the choices", what)
    steps = _located(_steps(match["path"]) if match else [], kind, value)
    if unknown := _UNKNOWN_FIELD.match(what):
        field = unknown["field"]
        return error(
            f"{source}: unknown key {_dotted([*steps, field])}", hint=nearest(field, _keys_at(kind, value, steps))
        )
    if missing := _MISSING_FIELD.match(what):
        return error(f"{source}: {_dotted(steps) or 'the document'} lacks the key {missing['field']!r}")
    found = _value_at(value, steps)
    shown = "" if isinstance(found, (dict, list)) else f" is {_shown(found)}"
    where = f"{_dotted(steps)}{shown}: " if steps else ""
    return error(f"{source}: {where}{what[0].lower()}{what[1:]}", hint=hint or _choices_hint(kind, value, steps, found))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _steps(path: str) -> list[Step]:
    return [step["key"] or (int(step["index"]) if step["index"] else None) for step in _STEP.finditer(path)]


def _dotted(steps: list[Step]) -> str:
    return ".".join(str(step) for step in steps)


def _located(steps: list[Step], kind: Any, value: Any) -> list[Step]:
    """Replace each `[...]` (msgspec does not say which key of a mapping) by the first key whose value does not fit."""
    found: list[Step] = []
    for step in steps:
        inside = _value_at(value, found)
        if step is None and isinstance(inside, dict):
            found.append(next((key for key in inside if not _fits(kind, value, [*found, key])), None))
        else:
            found.append(step)
    return found


def _fits(kind: Any, value: Any, steps: list[Step]) -> bool:
    declared = [one for one in _types_at(kind, value, steps[:-1]) if get_args(one)]
    try:
        msgspec.convert(_value_at(value, steps), _inside(declared[0], steps[-1])[0] if declared else Any)
    except msgspec.ValidationError:
        return False
    return True


def _value_at(value: Any, steps: list[Step]) -> Any:
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _types_at(kind: Any, value: Any, steps: list[Step]) -> list[Any]:
    """List the declared types that may stand at a path, unions resolved by their tag where the value has one."""
    kinds = _alternatives(kind, value)
    for step in steps:
        inner = [declared for one in kinds for declared in _inside(one, step)]
        value = _value_at(value, [step])
        kinds = [alternative for one in inner for alternative in _alternatives(one, value)]
    return kinds


def _inside(kind: Any, step: Step) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [field.type for field in msgspec.structs.fields(kind) if field.encode_name == step]
    arguments = get_args(kind)
    return [arguments[-1] if arguments[-1] is not Ellipsis else arguments[0]] if arguments else []


def _alternatives(kind: Any, value: Any) -> list[Any]:
    origin = str(getattr(kind, "__origin__", None) or type(kind).__name__)
    options = list(get_args(kind)) if "Union" in origin else [kind]
    tagged = [
        one for one in options if isinstance(one, type) and issubclass(one, msgspec.Struct) and _tag_matches(one, value)
    ]
    return tagged or options


def _tag_matches(kind: type[msgspec.Struct], value: Any) -> bool:
    config = kind.__struct_config__
    return isinstance(value, dict) and config.tag is not None and value.get(config.tag_field) == config.tag


def _keys_at(kind: Any, value: Any, steps: list[Step]) -> list[str]:
    keys: list[str] = []
    for one in _types_at(kind, value, steps):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            tag = one.__struct_config__.tag_field
            keys += [tag] if tag else []
            keys += [field.encode_name for field in msgspec.structs.fields(one)]
    return keys


def _choices_hint(kind: Any, value: Any, steps: list[Step], found: object) -> str | None:
    choices = [str(choice) for one in _types_at(kind, value, steps) for choice in _literal_choices(one)]
    if not choices and steps:
        owners = [getattr(one, "__struct_config__", None) for one in _types_at(kind, value, steps[:-1])]
        choices = [str(owner.tag) for owner in owners if owner is not None and owner.tag_field == steps[-1]]
    return nearest(str(found), choices) if choices else None


def _literal_choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if "Literal" in str(kind)[:16] else ()
