"""Eight bits for a real number: scales, zero points and rounding, as QuantizeLinear defines them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST = 127
_SMALLEST_AMPLITUDE = 1e-30
_INT32_ROOM = float(np.iinfo(np.int32).max) / 1.0001


def uint8_parameters(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Spread 256 levels over a range that holds zero; zero falls on a level.

    Returns:
        Scale and zero point.
    """
    scale = _scale(high - low, 255)
    return scale, np.uint8(np.clip(round(-low / float(scale)), 0, 255))


def symmetric_scale(reach: float) -> np.float32:
    """Spread the levels -127 to 127 over [-reach, reach]."""
    return _scale(reach, _LARGEST)


def weight_scales(weights: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Give each output channel a scale of its own.

    Args:
        weights: Any rank.
        axis: Where the output channels lie.

    Returns:
        float32 [channels].
    """
    others = tuple(each for each in range(weights.ndim) if each != axis)
    reach = np.abs(weights).max(axis=others)
    return np.array([_scale(float(each), _LARGEST) for each in reach], dtype=np.float32)


def room_for_bias(
    scales: NDArray[np.float32], bias: NDArray[np.float32], input_scale: np.float32
) -> NDArray[np.float32]:
    """Widen the scales of channels whose bias would not fit into 32 bits at input scale times weight scale."""
    needed = np.abs(bias.astype(np.float64)) / (float(input_scale) * _INT32_ROOM)
    return np.maximum(scales.astype(np.float64), needed).astype(np.float32)


def int8_weights(weights: NDArray[np.float32], scales: NDArray[np.float32], axis: int) -> NDArray[np.int8]:
    """Round weights to -127 ... 127, half to even."""
    shape = [1] * weights.ndim
    shape[axis] = -1
    levels = np.clip(np.rint(weights / scales.reshape(shape)), -_LARGEST, _LARGEST)
    rounded: NDArray[np.int8] = levels.astype(np.int8)
    return rounded


def int32_bias(bias: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int32]:
    """Round a bias to steps of input scale times weight scale."""
    limits = np.iinfo(np.int32)
    steps = np.clip(np.rint(bias.astype(np.float64) / scales), limits.min + 1, limits.max)
    rounded: NDArray[np.int32] = steps.astype(np.int32)
    return rounded


def _scale(extent: float, levels: int) -> np.float32:
    """A range of nothing gets the scale 1: it holds zeros only."""
    scale: np.float32 = np.float32(extent / levels if extent > _SMALLEST_AMPLITUDE else 1.0)
    return scale
