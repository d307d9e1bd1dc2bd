"""Features as something to look at: a picture, a spectrogram or a line, from the kind of the front end."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.specs import AudioSpec, ImageSpec

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

    from mstedge.specs import Spec

MAX_LINES = 8
MAX_LINE_POINTS = 400
LINE_WIDTH, LINE_HEIGHT = 192, 96


def drawing_of(features: NDArray[np.float32], spec: Spec, *, words: str) -> Markup:
    """Draw one row's features as an element of a page.

    Args:
        features: float32 [*spec.feature_shape].
        spec: The front end that made them.
        words: What a screen reader says.
    """
    from markupsafe import Markup  # noqa: PLC0415  comes with the optional jinja2

    if isinstance(spec, ImageSpec):
        return Markup('<img class="case" alt="{}" src="{}">').format(words, _png(pixels_of(features, spec)))
    if isinstance(spec, AudioSpec):
        # Time runs to the right and low bands lie at the bottom.
        bands = features.reshape(features.shape[-2:]).T[::-1]
        return Markup('<img class="case wide" alt="{}" src="{}">').format(words, _png(bands))
    return _lines(features, words)


def pixels_of(features: NDArray[np.float32], spec: ImageSpec) -> NDArray[np.uint8]:
    """Undo the scaling of a picture.

    Args:
        features: float32 [channels, height, width].
        spec: The front end that made them.

    Returns:
        uint8 [height, width, 3] in the order red, green, blue.
    """
    values = features.astype(np.float64)
    if spec.scaling is not None:
        mean, std = (np.reshape(one, (-1, 1, 1)) for one in (spec.scaling.mean, spec.scaling.std))
        values = values * std + mean
    levels = np.clip(np.rint(values / spec.scale), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    if spec.colour == "bgr":
        levels = levels[..., ::-1]
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels


def _png(pixels: NDArray[Any]) -> Markup:
    """Write a picture, or values as colours, as a data URI; the bytes name no program and no time."""
    from markupsafe import Markup  # noqa: PLC0415  comes with the optional jinja2
    from matplotlib.image import imsave  # noqa: PLC0415  optional

    stream = io.BytesIO()
    no_program: Any = {"Software": None}
    imsave(stream, np.ascontiguousarray(pixels), format="png", cmap="magma", metadata=no_program)
    return Markup("data:image/png;base64," + base64.b64encode(stream.getvalue()).decode())  # noqa: S704  our own bytes


def _lines(features: NDArray[np.float32], words: str) -> Markup:
    """Draw the last axis as lines, one per row before it, as many as can be told apart."""
    from markupsafe import Markup  # noqa: PLC0415  comes with the optional jinja2

    rows = features.reshape(-1, features.shape[-1])[:MAX_LINES]
    low, high = float(rows.min()), float(rows.max())
    span = (high - low) or 1.0
    lines = [
        Markup('<polyline points="{}" stroke="var(--series-{})"/>').format(_points(row, low, span), index)
        for index, row in enumerate(rows)
    ]
    return Markup('<svg class="lines" role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
        words, LINE_WIDTH, LINE_HEIGHT, Markup().join(lines)
    )


def _points(values: NDArray[np.float32], low: float, span: float) -> str:
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_LINE_POINTS)).round().astype(int))
    step = LINE_WIDTH / max(1, len(values) - 1)
    heights = LINE_HEIGHT * (1 - (values[kept].astype(np.float64) - low) / span)
    pairs = [f"{index * step:.1f},{height:.1f}" for index, height in zip(kept.tolist(), heights.tolist(), strict=True)]
    if len(pairs) == 1:  # one value has no extent: it is drawn as a level
        pairs.append(f"{LINE_WIDTH:.1f},{heights[0]:.1f}")
    return " ".join(pairs)
