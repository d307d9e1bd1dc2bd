"""The complete front end of one modality, as data: everything that decides which numbers reach the network.

A specification stands in the recipe, in the run and in the bundle's manifest; `mstedge.runtime.preprocess` is the
only code that carries it out, in training and on the device.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from mstedge.errors import ConfigError
from mstedge.schema import Record

MAX_CLIP_SAMPLES = 16_000_000
MAX_IMAGE_SIDE = 8192
MAX_ARRAY_ELEMENTS = 1 << 28
SMALLEST_STD = 1e-30


class Scaling(Record, frozen=True, kw_only=True):
    """Statistics fitted on the training part: `(x - mean) / std`.

    Each tuple has one element (for all features) or one per band, channel or last-axis element.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise ConfigError(f"scaling has {len(self.mean)} means and {len(self.std)} standard deviations")
        if not all(math.isfinite(value) for value in self.mean):
            raise ConfigError(f"scaling has a mean that is not finite: {self.mean}")
        if not all(SMALLEST_STD <= value < math.inf for value in self.std):
            raise ConfigError(f"scaling has a standard deviation that is not above zero: {min(self.std)}")


class AudioSpec(Record, frozen=True, kw_only=True, tag_field="kind", tag="audio"):
    """A clip of sound to log-mel bands or MFCC.

    Attributes:
        sample_rate_hz: Rate that the network was trained at; other inputs are resampled (soxr, HQ) or refused.
        clip_samples: Length of the clip that one answer is given for, in samples.
        mixdown: How several channels become one.
        align: Where a clip of another length is placed: cut or zero-padded at the end, or on both sides.
        features: `log_mel` or `mfcc` (orthonormal DCT-II of the log-mel bands).
        window_samples: Length of the periodic Hann window.
        hop_samples: Step between frames.
        fft_samples: Length of the transform; the window is zero-padded on both sides to it.
        edges: How frames at the edges are made: `reflect` or `zero` centre the first frame on sample 0, `none`
            starts it there.
        mel_bands: Number of triangular filters.
        mel_scale: `slaney` (linear below 1 kHz) or `htk`.
        mel_norm: `slaney` (unit area in Hz) or `none` (unit height).
        low_hz: Lower edge of the lowest filter.
        high_hz: Upper edge of the highest filter; at most half the sample rate.
        log_floor: Band power below it is raised to it before the natural logarithm (full scale is 1.0).
        mfcc_count: Number of cepstral coefficients that are kept, for `mfcc`.
        scaling: Statistics per band or coefficient, or none yet.
    """

    sample_rate_hz: int
    clip_samples: int
    window_samples: int
    hop_samples: int
    fft_samples: int
    mel_bands: int
    mixdown: Literal["mean", "first"] = "mean"
    align: Literal["start", "centre"] = "start"
    features: Literal["log_mel", "mfcc"] = "log_mel"
    edges: Literal["reflect", "zero", "none"] = "reflect"
    mel_scale: Literal["slaney", "htk"] = "htk"
    mel_norm: Literal["slaney", "none"] = "none"
    low_hz: float = 0.0
    high_hz: float | None = None
    log_floor: float = 1e-6
    mfcc_count: int = 13
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        _require_positive(self, ("sample_rate_hz", "clip_samples", "window_samples", "hop_samples", "mel_bands"))
        _require_positive(self, ("mfcc_count", "log_floor"))
        _require(
            self.clip_samples <= MAX_CLIP_SAMPLES, "clip_samples", self.clip_samples, f"at most {MAX_CLIP_SAMPLES}"
        )
        _require(self.fft_samples >= self.window_samples, "fft_samples", self.fft_samples, "at least window_samples")
        _require(self.clip_samples >= self.fft_samples, "clip_samples", self.clip_samples, "at least fft_samples")
        if self.features == "mfcc":
            _require(self.mfcc_count <= self.mel_bands, "mfcc_count", self.mfcc_count, "at most mel_bands")
        top = self.upper_hz
        _require(0 <= self.low_hz < top <= self.sample_rate_hz / 2, "high_hz", top, "low_hz < high_hz <= rate / 2")
        _check_scaling(self.scaling, self.feature_shape[-1])
        if self.frames * self.mel_bands > MAX_ARRAY_ELEMENTS:
            raise ConfigError(
                f"the clip has {self.frames} frames of {self.mel_bands} bands: expected at most {MAX_ARRAY_ELEMENTS}"
                " values in all"
            )

    @property
    def upper_hz(self) -> float:
        """Upper edge of the highest filter, in Hz."""
        return self.sample_rate_hz / 2 if self.high_hz is None else self.high_hz

    @property
    def frames(self) -> int:
        """Number of feature frames of one clip."""
        covered = self.clip_samples - (self.fft_samples if self.edges == "none" else 0)
        return 1 + covered // self.hop_samples

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Shape of one sample as the network sees it: [1, frames, bands]."""
        bands = self.mfcc_count if self.features == "mfcc" else self.mel_bands
        return (1, self.frames, bands)

    @property
    def scaled_axis(self) -> int:
        """Axis of a sample whose elements have statistics of their own: bands."""
        return 2


class ImageSpec(Record, frozen=True, kw_only=True, tag_field="kind", tag="image"):
    """A picture to a tensor.

    Attributes:
        width: Width that the network sees, in pixels.
        height: Height that the network sees, in pixels.
        colour: Colour order that the network sees; arrays given to a predictor are in this order already.
        resize: `stretch` to the size; `letterbox` inside it, padded; or `crop` the largest centred part of the
            size's proportions.
        interpolation: OpenCV's filter; `linear` is its bit-exact form.
        pad_value: Grey level of letterbox bars, 0 to 255.
        scale: Factor from 0..255 to the network's range, before `scaling`.
        scaling: Statistics per channel, or none yet.
    """

    width: int
    height: int
    colour: Literal["grey", "rgb", "bgr"] = "rgb"
    resize: Literal["stretch", "letterbox", "crop"] = "stretch"
    interpolation: Literal["linear", "area", "nearest"] = "linear"
    pad_value: int = 0
    scale: float = 1.0 / 255.0
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        _require_positive(self, ("width", "height", "scale"))
        _require(
            max(self.width, self.height) <= MAX_IMAGE_SIDE,
            "width, height",
            max(self.width, self.height),
            "at most 8192",
        )
        _require(0 <= self.pad_value <= 255, "pad_value", self.pad_value, "0 to 255")
        _check_scaling(self.scaling, self.channels)

    @property
    def channels(self) -> int:
        """Number of colour channels that the network sees."""
        return 1 if self.colour == "grey" else 3

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Shape of one sample as the network sees it: [channels, height, width]."""
        return (self.channels, self.height, self.width)

    @property
    def scaled_axis(self) -> int:
        """Axis of a sample whose elements have statistics of their own: channels."""
        return 0


class ArraySpec(Record, frozen=True, kw_only=True, tag_field="kind", tag="array"):
    """Numbers of a fixed shape (an inertial window, a feature vector) to a float32 tensor.

    Attributes:
        shape: Shape of one sample.
        scaling: Statistics per element of one axis, or none yet.
        scaling_axis: That axis, counted from the front or, below zero, from the end: -1 for the last.
    """

    shape: tuple[int, ...]
    scaling: Scaling | None = None
    scaling_axis: int = -1

    def __post_init__(self) -> None:
        elements = 1
        for size in self.shape:
            _require(size > 0, "shape", self.shape, "sizes above zero")
            elements *= size
        _require(
            bool(self.shape) and elements <= MAX_ARRAY_ELEMENTS,
            "shape",
            self.shape,
            f"1 to {MAX_ARRAY_ELEMENTS} elements",
        )
        rank = len(self.shape)
        _require(-rank <= self.scaling_axis < rank, "scaling_axis", self.scaling_axis, f"{-rank} to {rank - 1}")
        _check_scaling(self.scaling, self.shape[self.scaling_axis])

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one sample as the network sees it."""
        return self.shape

    @property
    def scaled_axis(self) -> int:
        """Axis of a sample whose elements have statistics of their own, counted from the front."""
        return self.scaling_axis % len(self.shape)


Spec: TypeAlias = AudioSpec | ImageSpec | ArraySpec


def statistics_shape(spec: Spec) -> tuple[int, ...]:
    """Give the shape in which statistics broadcast over features: -1, then a 1 for each axis behind the scaled one."""
    return (-1, *[1] * (len(spec.feature_shape) - 1 - spec.scaled_axis))


def _require(holds: bool, key: str, value: object, expected: str) -> None:  # noqa: FBT001
    if not holds:
        raise ConfigError(f"{key} is {value}: expected {expected}")


def _require_positive(spec: Spec, keys: tuple[str, ...]) -> None:
    for key in keys:
        value = getattr(spec, key)
        _require(value > 0, key, value, "a value above zero")


def _check_scaling(scaling: Scaling | None, features: int) -> None:
    if scaling is not None and len(scaling.mean) not in {1, features}:
        raise ConfigError(f"scaling has {len(scaling.mean)} values: expected 1 or {features}")
