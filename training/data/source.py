"""What every source of paired rows offers: an index of each part, and decoded recordings on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mstedge.runtime.manifest_checks import PARTS, PartName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mstedge.runtime.preprocess import Decoded

__all__ = ["PARTS", "UNLABELLED", "PartIndex", "PartName", "RawFile", "Source"]

UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class PartIndex:
    """The rows of one part of the split, without their recordings.

    Attributes:
        labels: Integers [rows], index of the class or `UNLABELLED`; where every place of a map has a class of its own,
            [rows, *places] of a type as small as can be.
        ids: One name per row, unique over all parts.
        clusters: The independent unit that a row comes from: the student's recording.
    """

    labels: NDArray[np.integer]
    ids: tuple[str, ...]
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawFile:
    """A recording as a file that the runtime can decode.

    Attributes:
        suffix: `.wav`, `.png`, ...
        content: The file's bytes.
    """

    suffix: str
    content: bytes


class Source(Protocol):
    """Paired recordings with a split."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def licence(self) -> str:
        """Terms of the recordings."""

    @property
    def shareable(self) -> bool:
        """Whether raw recordings may leave in a bundle."""

    @property
    def parts(self) -> dict[PartName, PartIndex]:
        """Index of each part."""

    def decoded(self, part: PartName, modality: str, row: int) -> Decoded:
        """Give one recording.

        Raises:
            SampleError: It cannot be read.
        """

    def raw_file(self, part: PartName, modality: str, row: int) -> RawFile:
        """Give one recording as a file, for golden cases.

        Raises:
            SampleError: It cannot be read.
        """
