"""A front end in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mstedge.report.formats import number
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec, Scaling, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = "\N{MULTIPLICATION SIGN}"
_MIXDOWN = {"mean": "channels averaged", "first": "first channel"}
_ALIGN = {"start": "at the end", "centre": "on both sides"}
_EDGES = {
    "reflect": "edges reflected",
    "zero": "edges padded with zeros",
    "none": "only whole windows",
}
_RESIZE = {"stretch": "stretched to", "letterbox": "letterboxed into", "crop": "filled and cropped to"}


def front_end_words(spec: Spec) -> tuple[tuple[str, str], ...]:
    """Describe a front end as pairs of a word and what it means here."""
    return (*_WORDS[type(spec)](spec), ("Scaling", _scaling(spec.scaling)), ("Tensor", _shape(spec.feature_shape)))


def _audio(spec: AudioSpec) -> tuple[tuple[str, str], ...]:
    rate = spec.sample_rate_hz
    window_ms, hop_ms = 1000 * spec.window_samples / rate, 1000 * spec.hop_samples / rate
    clip = f"{number(rate / 1000)} kHz, {_MIXDOWN[spec.mixdown]}, clips of {spec.clip_samples / rate:.2f} s"
    frames = f"{spec.frames} windows of {window_ms:.1f} ms every {hop_ms:.1f} ms, {spec.fft_samples}-point transform"
    filters = f"{spec.mel_bands} {spec.mel_scale} mel bands from {number(spec.low_hz)} to {number(spec.upper_hz)} Hz"
    kept = f"{spec.mfcc_count} MFCC of {filters}" if spec.features == "mfcc" else f"logarithm of {filters}"
    return (
        ("Sound", f"{clip}; others are cut or padded {_ALIGN[spec.align]}"),
        ("Frames", f"{frames}, {_EDGES[spec.edges]}"),
        ("Features", f"{kept}, power floor {spec.log_floor:g}"),
    )


def _image(spec: ImageSpec) -> tuple[tuple[str, str], ...]:
    fitted = f"{_RESIZE[spec.resize]} {_shape((spec.width, spec.height))} pixels"
    return (
        ("Picture", f"{spec.colour}, {fitted}, {spec.interpolation} filter"),
        ("Range", f"grey levels times {spec.scale:.4g}"),
    )


def _array(spec: ArraySpec) -> tuple[tuple[str, str], ...]:
    return (("Numbers", f"an array of shape {_shape(spec.shape)}"),)


_WORDS: dict[type, Callable[[Any], tuple[tuple[str, str], ...]]] = {
    AudioSpec: _audio,
    ImageSpec: _image,
    ArraySpec: _array,
}


def _scaling(scaling: Scaling | None) -> str:
    if scaling is None:
        return "none"
    if len(scaling.mean) > 1:
        return f"mean and deviation of the training part, for each of {len(scaling.mean)} features"
    return f"minus {number(scaling.mean[0])}, divided by {number(scaling.std[0])}"


def _shape(sizes: tuple[int, ...]) -> str:
    return f" {TIMES} ".join(map(str, sizes))
