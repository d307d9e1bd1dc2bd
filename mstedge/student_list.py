"""What networks there are and what each costs: the record that `mstedge recipes --students --json` prints."""

from __future__ import annotations

from typing import Literal

from mstedge.recipe import OptionValue
from mstedge.schema import Record


class ListedStudent(Record, frozen=True, kw_only=True):
    """One network with one choice of options.

    Attributes:
        network: Its name in recipes.
        options: The options that it was measured with; empty for its defaults.
        takes: Axes of its features; with several modalities, of each, joined by `+`.
        inputs: The feature shapes that it was measured at, one per modality, without the batch.
        parameters: Trainable values.
        multiply_adds: Multiplications, each with its addition, of convolutions and matrix products for one answer.
        source: Where it was published; none for a network of mstedge's own.
    """

    network: str
    options: dict[str, OptionValue]
    takes: str
    inputs: tuple[tuple[int, ...], ...]
    parameters: int
    multiply_adds: int
    source: str | None


class StudentList(Record, frozen=True, kw_only=True):
    """Every built-in network.

    Attributes:
        schema: Version of this format.
        classes: Number of logits that they were measured with.
        students: The networks, by name.
    """

    schema: Literal["mstedge.students/1"] = "mstedge.students/1"
    classes: int
    students: tuple[ListedStudent, ...]
