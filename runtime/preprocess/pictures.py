"""From a picture of any size and colour order to the spec's."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import MissingPackageError
from mstedge.specs import ImageSpec

Pixels = NDArray[np.uint8]
Colour = Literal["grey", "rgb", "bgr"]


def picture_of_size(pixels: Pixels, colour: Colour, spec: ImageSpec) -> Pixels:
    """Convert the colour order, then resize.

    `letterbox` keeps the proportions (rounded to whole pixels) and centres the picture between bars of `pad_value`.
    `crop` takes the largest centred part that has the spec's proportions and resizes that. OpenCV is needed only
    where a size changes or colours become grey.

    Args:
        pixels: uint8 [height, width] or [height, width, 3].
        colour: Their order.
        spec: The front end.

    Returns:
        uint8 [spec.height, spec.width] for grey, else [spec.height, spec.width, 3]; may be a view of the input.

    Raises:
        MissingPackageError: OpenCV is needed and not installed.
    """
    converted = _recoloured(pixels, colour, spec.colour)
    if spec.resize == "stretch":
        return _resized(converted, spec.width, spec.height, spec)
    if spec.resize == "crop":
        return _resized(_cropped(converted, spec), spec.width, spec.height, spec)
    return _letterboxed(converted, spec)


def import_opencv(purpose: str) -> Any:
    """Give the module cv2.

    Args:
        purpose: What needs it, as the subject of a sentence.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import cv2  # noqa: PLC0415  200 ms, and only pictures need it
    except ImportError:
        raise MissingPackageError("cv2", purpose=purpose, extra="image") from None
    return cv2


def _recoloured(pixels: Pixels, colour: Colour, wanted: Colour) -> Pixels:
    if colour == wanted:
        return pixels
    if colour == "grey":
        return np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    if wanted == "grey":
        cv2 = import_opencv("turning a colour picture grey")
        code = cv2.COLOR_BGR2GRAY if colour == "bgr" else cv2.COLOR_RGB2GRAY
        grey: Pixels = cv2.cvtColor(np.ascontiguousarray(pixels), code)
        return grey
    return pixels[:, :, ::-1]


def _resized(pixels: Pixels, width: int, height: int, spec: ImageSpec) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    cv2 = import_opencv(f"resizing a picture of {pixels.shape[1]} x {pixels.shape[0]} to {width} x {height}")
    # The exact forms give equal bits whatever instructions a build of OpenCV uses.
    filters = {"linear": cv2.INTER_LINEAR_EXACT, "area": cv2.INTER_AREA, "nearest": cv2.INTER_NEAREST_EXACT}
    resized: Pixels = cv2.resize(
        np.ascontiguousarray(pixels), (width, height), interpolation=filters[spec.interpolation]
    )
    return resized


def _cropped(pixels: Pixels, spec: ImageSpec) -> Pixels:
    height, width = pixels.shape[:2]
    if width * spec.height >= height * spec.width:
        kept = max(1, _divided(height * spec.width, spec.height))
        left = (width - kept) // 2
        return pixels[:, left : left + kept]
    kept = max(1, _divided(width * spec.height, spec.width))
    top = (height - kept) // 2
    return pixels[top : top + kept]


def _letterboxed(pixels: Pixels, spec: ImageSpec) -> Pixels:
    height, width = pixels.shape[:2]
    if width * spec.height >= height * spec.width:
        inner_width, inner_height = spec.width, max(1, _divided(height * spec.width, width))
    else:
        inner_width, inner_height = max(1, _divided(width * spec.height, height)), spec.height
    inner = _resized(pixels, inner_width, inner_height, spec)
    if (inner_width, inner_height) == (spec.width, spec.height):
        return inner
    framed = np.full((spec.height, spec.width, *pixels.shape[2:]), spec.pad_value, dtype=np.uint8)
    top, left = (spec.height - inner_height) // 2, (spec.width - inner_width) // 2
    framed[top : top + inner_height, left : left + inner_width] = inner
    return framed


def _divided(numerator: int, denominator: int) -> int:
    """Divide and round half up, in whole numbers: the same on every machine."""
    return (2 * numerator + denominator) // (2 * denominator)
