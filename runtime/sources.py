"""From what stands on the command line to the files that are read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from mstedge.errors import UsageError
from mstedge.runtime.preprocess import READABLE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.specs import Spec


class Inputs(NamedTuple):
    """What was found.

    Attributes:
        files: What shall be read: in the order of the arguments, sorted inside a folder.
        skipped: Files in folders whose suffix says that they are something else.
    """

    files: list[Path]
    skipped: list[Path]


def readable_suffixes(spec: Spec) -> tuple[str, ...]:
    """List the suffixes that a folder is searched for: the modality decides, not what is installed here."""
    return READABLE_SUFFIXES[str(spec.__struct_config__.tag)]


def expand_inputs(arguments: Sequence[str], spec: Spec) -> Inputs:
    """Find the files to answer for.

    Args:
        arguments: Files, taken whatever they are called; folders, searched with their sub-folders; and patterns with
            `*`, `?`, `[...]` or `**` (any number of folders), which mean what they match, in sorted order, nothing
            hidden and nothing twice. Links to folders inside a folder, or matched, are not followed. A path that exists
            is no pattern.
        spec: What the network sees.

    Raises:
        UsageError: There is no such path, a pattern matches nothing, or there is no file that could be read.
    """
    inputs = Inputs([], [])
    for argument in arguments:
        if _is_pattern(argument):
            _add_matches(argument, spec, inputs)
        else:
            _add(Path(argument), argument, spec, inputs)
    if not inputs.files:
        raise UsageError(
            f"no file to answer for in: {', '.join(arguments)}",
            hint=f"files ending in {' '.join(readable_suffixes(spec))} are looked for",
        )
    return inputs


def _is_pattern(argument: str) -> bool:
    return any(sign in argument for sign in "*?[") and not os.path.lexists(argument)


def _add_matches(pattern: str, spec: Spec, inputs: Inputs) -> None:
    # A pattern that ends with ** means whole folders, as their names do.
    wanted = Path(pattern.removesuffix("/**") if pattern.endswith("/**") else pattern)
    try:
        matches = sorted(Path(wanted.anchor).glob(str(wanted.relative_to(wanted.anchor))))
    except (ValueError, NotImplementedError, OSError) as problem:
        raise UsageError(f"{pattern}: no pattern that can be searched: {problem}") from None
    visible = [each for each in matches if not _is_hidden(each, wanted)]
    if not visible:
        raise UsageError(f"{pattern}: matches nothing")
    found = Inputs([], [])
    for path in visible:
        if not (path.is_symlink() and path.is_dir()):
            _add(path, str(path), spec, found)
    inputs.files.extend(dict.fromkeys(found.files))
    inputs.skipped.extend(dict.fromkeys(found.skipped))


def _is_hidden(match: Path, pattern: Path) -> bool:
    """Say whether a name with a dot in front was matched by a wildcard: a pattern that writes the dot means it."""
    named = set(pattern.parts)
    return any(part.startswith(".") and part not in named for part in match.parts) and not pattern.name.startswith(".")


def _add(path: Path, argument: str, spec: Spec, inputs: Inputs) -> None:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as problem:
        raise UsageError(f"{argument}: cannot be read: {problem.strerror}") from None
    if is_folder:
        _search(path, readable_suffixes(spec), inputs)
    else:
        inputs.files.append(path)


def _search(folder: Path, suffixes: tuple[str, ...], inputs: Inputs) -> None:
    found: list[Path] = []
    for parent, _, names in os.walk(folder, onerror=_refuse):
        found.extend(Path(parent, name) for name in names)
    for path in sorted(found):
        hidden = path.name.startswith(".")
        wanted = path.suffix.lower() in suffixes and not hidden
        (inputs.files if wanted else inputs.skipped).append(path)


def _refuse(problem: OSError) -> NoReturn:
    raise UsageError(f"{problem.filename}: cannot be searched: {problem.strerror}")
