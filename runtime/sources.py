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
        arguments: Files, taken whatever they are called, and folders, searched with their sub-folders. Links to folders
            inside a folder are not followed.
        spec: What the network sees.

    Raises:
        UsageError: There is no such path, or no file that could be read.
    """
    inputs = Inputs([], [])
    for argument in arguments:
        path = Path(argument)
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as problem:
            raise UsageError(f"{argument}: cannot be read: {problem.strerror}") from None
        if is_folder:
            _search(path, readable_suffixes(spec), inputs)
        else:
            inputs.files.append(path)
    if not inputs.files:
        raise UsageError(
            f"no file to answer for in: {', '.join(arguments)}",
            hint=f"files ending in {' '.join(readable_suffixes(spec))} are looked for",
        )
    return inputs


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
