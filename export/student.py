"""What export needs of a student, wherever it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mstedge.manifest import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mstedge.manifest import Lineage, Postprocess
    from mstedge.specs import Spec
    from mstedge.training.data.source import RawFile

OUTPUT_NAME = "logits"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one's data as the student sees them.

    Attributes:
        ids: One name per row.
        clusters: The independent unit that each row comes from.
        labels: int64 [rows]; negative for rows without one.
        features: float32 [rows, *feature_shape].
    """

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    labels: NDArray[np.int64]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


class Student(Protocol):
    """A trained network for one modality, with its rows."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes, in the order of the logits."""

    @property
    def modality(self) -> str:
        """What the device senses; also the name of the graph's input."""

    @property
    def spec(self) -> Spec:
        """Its complete front end."""

    @property
    def postprocess(self) -> Postprocess:
        """From logits to an answer."""

    @property
    def lineage(self) -> Lineage:
        """How it came to be."""

    @property
    def licence(self) -> str:
        """Terms of the recordings."""

    @property
    def shareable(self) -> bool:
        """Whether recordings may travel in a bundle."""

    @property
    def training(self) -> Rows:
        """Rows that it learnt from: calibration takes its rows from here."""

    @property
    def held_out(self) -> Rows:
        """Rows that it has never seen: the gate's."""

    def graph(self) -> bytes:
        """Give the student as an fp32 ONNX graph: input named after the modality, output `logits`, any batch.

        Raises:
            CheckFailedError: It cannot be converted.
        """

    def reference_logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answer as the student was trained to.

        Args:
            features: float32 [rows, *feature_shape].

        Returns:
            float32 [rows, classes].
        """

    def recording(self, row: int) -> RawFile:
        """Give a held-out row as the file that a device would read.

        Raises:
            SampleError: It cannot be read.
        """


def tensors_of(student: Student) -> tuple[Tensor, Tensor]:
    """Describe the input and the output of a student's graph."""
    return (
        Tensor(name=student.modality, shape=student.spec.feature_shape),
        Tensor(name=OUTPUT_NAME, shape=(len(student.labels),)),
    )
