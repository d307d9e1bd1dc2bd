"""What a published network takes: modalities, axes, and the smallest sides that survive its pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.training.models.classifier import Shape


@dataclass(frozen=True, slots=True)
class Input:
    """Features of one modality, without the batch.

    Attributes:
        name: What is sensed.
        axes: What each axis is.
        least: The shortest that each may be.
    """

    name: str
    axes: tuple[str, ...]
    least: tuple[int, ...]

    def fits(self, shape: Shape) -> bool:
        """Say whether a shape has these axes, none too short."""
        return len(shape) == len(self.axes) and all(
            side >= least for side, least in zip(shape, self.least, strict=True)
        )

    def __str__(self) -> str:
        sides = ", ".join(
            axis if least == 1 else f"{axis} >= {least}" for axis, least in zip(self.axes, self.least, strict=True)
        )
        return f"{self.name} [{sides}]"


def checked_shapes(input_shapes: Sequence[Shape], network: str, *inputs: Input) -> list[Shape]:
    """Check one shape per input.

    Args:
        input_shapes: Feature shapes in the order of the network's inputs.
        network: What the network is called, for the message.
        inputs: What it takes.

    Raises:
        ConfigError: There are more or fewer, or one has other axes, or is too small to be pooled.
    """
    shapes = [tuple(shape) for shape in input_shapes]
    if len(shapes) != len(inputs) or not all(one.fits(shape) for one, shape in zip(inputs, shapes, strict=True)):
        raise ConfigError(f"network {network!r} takes {' and '.join(map(str, inputs))}, not {shapes}")
    return shapes
