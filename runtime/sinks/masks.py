"""Dense answers as files: a coloured mask to look at, an array to compute with."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.errors import ConfigError, UsageError
from mstedge.runtime.sinks.palette import MAX_CLASSES, class_colours
from mstedge.runtime.sinks.png import png_from_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LONGEST_STEM = 100


@dataclass(frozen=True, slots=True)
class DenseAnswer:
    """A class for every place of one input.

    Attributes:
        source: The file or device.
        classes: Whole numbers [height, width], each the position of a label.
        index: Number of the picture, for sources of many; none for a picture that is a file of its own.
    """

    source: str
    classes: NDArray[Any]
    index: int | None = None


class MaskSink:
    """Writes `NAME.png` and `NAME.npy` for every dense answer into a folder.

    The mask is a palette PNG: its pixels are the class numbers, its palette gives class 0 black and the others the
    colours of `class_colours`. The array is uint8, or uint16 where there are more than 256 classes. NAME is the
    source's without folder and suffix, with `-000017` for the picture of that number of a camera or video, and `-2`
    where another source had the name before. Each file is whole or not there.

    Args:
        folder: Where to; it is made where it is missing. Older files of the same name are replaced.
        classes: Number of classes.
        kinds: What is written: `png`, `npy` or both.

    Raises:
        ConfigError: There are too many classes for a mask, or none.
        UsageError: The folder cannot be made.
    """

    def __init__(self, folder: Path, *, classes: int, kinds: Sequence[str] = ("png", "npy")) -> None:
        if not kinds or not {"png", "npy"}.issuperset(kinds):
            raise UsageError(f"dense answers as {', '.join(kinds) or 'nothing'}: expected png, npy or both")
        most = MAX_CLASSES if "png" in kinds else 1 << 16
        if not 1 <= classes <= most:
            raise ConfigError(
                f"{classes} classes: expected 1 to {most}", hint="a mask has 256 colours; an npy file holds more"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise UsageError(f"{folder}: cannot be made: {problem.strerror}") from None
        self._folder, self._classes, self._kinds = folder, classes, frozenset(kinds)
        self._colours = class_colours(min(classes, MAX_CLASSES))
        self._names: dict[str, str] = {}
        self._uses: dict[str, int] = {}

    def write(self, answer: DenseAnswer) -> list[Path]:
        """Write one answer.

        Returns:
            The files.

        Raises:
            ConfigError: It is not [height, width] of whole numbers below the number of classes.
            UsageError: The folder cannot be written.
        """
        found = answer.classes
        fits = found.ndim == 2 and found.size and found.dtype.kind in "iu"
        if not fits or not 0 <= int(found.min()) <= int(found.max()) < self._classes:
            raise ConfigError(
                f"{answer.source}: a dense answer of shape {list(found.shape)} and type {found.dtype}: expected whole "
                f"numbers [height, width] from 0 to {self._classes - 1}"
            )
        smallest = found.astype(np.uint8 if self._classes <= MAX_CLASSES else np.uint16)
        name = self._name(answer)
        written = []
        if "png" in self._kinds:
            written.append(self._put(f"{name}.png", png_from_indices(smallest.astype(np.uint8), self._colours)))
        if "npy" in self._kinds:
            stream = io.BytesIO()
            np.save(stream, smallest, allow_pickle=False)
            written.append(self._put(f"{name}.npy", stream.getvalue()))
        return written

    def close(self) -> None:
        """Do nothing: every file is closed already."""

    def _name(self, answer: DenseAnswer) -> str:
        """Make a file name of letters, digits, dots, dashes and underscores that no other source has."""
        if answer.index is not None and answer.source in self._names:
            return f"{self._names[answer.source]}-{answer.index:06d}"
        plain = re.sub(r"[^\w.-]+", "_", Path(answer.source).stem, flags=re.ASCII).strip("._")
        stem = plain[:_LONGEST_STEM] or "answer"
        uses = self._uses[stem] = self._uses.get(stem, 0) + 1
        name = stem if uses == 1 else f"{stem}-{uses}"
        if answer.index is None:
            return name
        self._names[answer.source] = name
        return f"{name}-{answer.index:06d}"

    def _put(self, name: str, content: bytes) -> Path:
        """Write a file under another name first; the disk is not waited for, a camera gives many a second."""
        target, temporary = self._folder / name, self._folder / f".{name}.part"
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        except OSError as problem:
            temporary.unlink(missing_ok=True)
            raise UsageError(f"{target}: cannot be written: {problem.strerror}") from None
        return target
