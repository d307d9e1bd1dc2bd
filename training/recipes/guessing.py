"""Guessing the front end of a modality from some recordings: a start that a person can improve on."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from mstedge.errors import ConfigError, DataError, SampleError, nearest
from mstedge.runtime.manifest_rows import RESERVED_COLUMNS
from mstedge.runtime.preprocess import READABLE_SUFFIXES, Decoded, decode_file, features_from_decoded
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_Fact = TypeVar("_Fact")
_KIND_OF_SUFFIX = {suffix: kind for kind, suffixes in READABLE_SUFFIXES.items() for suffix in suffixes}
LOOKED_AT = 200
_LOOKED_AT_PICTURES = 50
_MEL_BANDS = (40, 32, 24, 20, 16, 12, 8, 4)
_LONGEST_CLIP_SECONDS = 10.0
_LONGEST_SIDE_PIXELS = 64
_SAME_ASPECT = 0.02
# Decoding asks for a spec of the right kind; what it says is not used before features are made.
_ANY_SOUND = AudioSpec(
    sample_rate_hz=16000, clip_samples=16000, window_samples=400, hop_samples=160, fft_samples=512, mel_bands=40
)
_ANY_PICTURE = ImageSpec(width=1, height=1)


@dataclass(frozen=True, slots=True)
class Guess:
    """A front end and what it rests on.

    Attributes:
        spec: The front end.
        why: One line for the reader of the recipe.
    """

    spec: Spec
    why: str


def guessed_spec(column: str, files: Sequence[Path]) -> Guess:
    """Guess the front end that suits some recordings.

    Args:
        column: Name of the modality, for messages.
        files: Recordings, at least one; those that cannot be read are passed over.

    Raises:
        DataError: They are of no kind that can be read, of several kinds, or none can be read.
        MissingPackageError: Reading them needs a package that is not installed here.
    """
    kinds = {suffix: _KIND_OF_SUFFIX.get(suffix) for suffix in sorted({file.suffix.lower() for file in files})}
    if None in kinds.values():
        file = next(file for file in files if file.suffix.lower() not in _KIND_OF_SUFFIX)
        raise DataError(
            f"column {column!r} holds {file.name!r}: expected files that end in {', '.join(_KIND_OF_SUFFIX)}",
            hint=f"a column that is no modality is left out or has a meaning: {nearest(column, RESERVED_COLUMNS)}",
        )
    if len(set(kinds.values())) > 1:
        raise DataError(f"column {column!r} mixes {' and '.join(kinds)}: expected one kind of recording")
    guess = {"audio": _guessed_audio, "image": _guessed_image, "array": _guessed_array}[
        next(iter(kinds.values())) or ""
    ]
    return guess(column, files)


def _guessed_audio(column: str, files: Sequence[Path]) -> Guess:
    facts = _read_all(column, _spread(files, LOOKED_AT), _rate_and_seconds)
    rates = Counter(rate for rate, _ in facts)
    rate, at_that_rate = rates.most_common(1)[0]
    usual_seconds = float(np.percentile([seconds for _, seconds in facts], 95))
    seconds = min(_LONGEST_CLIP_SECONDS, max(0.1, math.ceil(round(usual_seconds * 10, 6)) / 10))
    window_samples = max(2, round(0.025 * rate))
    spec = AudioSpec(
        sample_rate_hz=rate,
        clip_samples=round(seconds * rate),
        window_samples=window_samples,
        hop_samples=max(1, round(0.010 * rate)),
        fft_samples=1 << (window_samples - 1).bit_length(),
        mel_bands=40,
    )
    why = f"{at_that_rate} of {len(facts)} files are at {rate} Hz; 95 % last up to {usual_seconds:.2f} s"
    if seconds < usual_seconds:
        why += f", of which the first {seconds:g} s are heard"
    return Guess(_with_bands(spec), why)


def _with_bands(spec: AudioSpec) -> AudioSpec:
    """Take as many mel bands as the front end allows: at low rates the lowest are narrower than a line of the FFT."""
    silence = Decoded(np.zeros((spec.clip_samples, 1), dtype=np.float32), spec.sample_rate_hz)
    for bands in _MEL_BANDS:
        candidate = msgspec.structs.replace(spec, mel_bands=bands, mfcc_count=min(spec.mfcc_count, bands))
        try:
            features_from_decoded(silence, candidate)
        except ConfigError:
            continue
        return candidate
    raise DataError(
        f"sound at {spec.sample_rate_hz} Hz is too slow for mel bands: not even {_MEL_BANDS[-1]} fit",
        hint="give such a signal as arrays (.npy)",
    )


def _rate_and_seconds(file: Path) -> tuple[int, float]:
    sound = decode_file(file, _ANY_SOUND)
    rate_hz = sound.rate_hz or 0
    if not len(sound.values) or not rate_hz:
        raise SampleError(f"{file}: holds no sound")
    return rate_hz, len(sound.values) / rate_hz


def _guessed_image(column: str, files: Sequence[Path]) -> Guess:
    facts = _read_all(column, _spread(files, _LOOKED_AT_PICTURES), _size_and_greyness)
    heights, widths = np.array([fact[0] for fact in facts]), np.array([fact[1] for fact in facts])
    height, width = float(np.median(heights)), float(np.median(widths))
    shrink = min(1.0, _LONGEST_SIDE_PIXELS / max(height, width))
    grey = all(fact[2] for fact in facts)
    aspects = widths / heights
    same_aspect = float(aspects.max() / aspects.min()) <= 1 + _SAME_ASPECT
    spec = ImageSpec(
        width=max(1, round(width * shrink)),
        height=max(1, round(height * shrink)),
        colour="grey" if grey else "rgb",
        resize="stretch" if same_aspect else "letterbox",
    )
    colour = "grey" if grey else "in colour"
    return Guess(spec, f"{len(facts)} files looked at: {width:g} x {height:g} pixels at the median, {colour}")


def _size_and_greyness(file: Path) -> tuple[int, int, bool]:
    pixels = decode_file(file, _ANY_PICTURE).values
    grey = pixels.ndim == 2 or bool((pixels[..., :1] == pixels).all())
    return pixels.shape[0], pixels.shape[1], grey


def _guessed_array(column: str, files: Sequence[Path]) -> Guess:
    shapes = Counter(_read_all(column, _spread(files, LOOKED_AT), _array_shape))
    if len(shapes) > 1:
        raise DataError(
            f"column {column!r} holds arrays of the shapes {', '.join(map(str, sorted(shapes)))}: expected one shape",
            hint="cut or pad them to one shape",
        )
    return Guess(ArraySpec(shape=next(iter(shapes))), f"{shapes.total()} files looked at, all of this shape")


def _array_shape(file: Path) -> tuple[int, ...]:
    try:
        shape = np.load(file, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, EOFError) as problem:
        raise SampleError(f"{file}: {problem}") from None
    if not shape or 0 in shape:
        raise SampleError(f"{file}: has the shape {list(shape)}: expected at least one axis, and values")
    decode_file(file, ArraySpec(shape=shape))
    return tuple(shape)


def _spread(files: Sequence[Path], count: int) -> Sequence[Path]:
    """Take at most so many, evenly."""
    return files[:: -(-len(files) // count)]


def _read_all(column: str, files: Sequence[Path], read: Callable[[Path], _Fact]) -> list[_Fact]:
    facts: list[_Fact] = []
    problems: list[SampleError] = []
    for file in files:
        try:
            facts.append(read(file))
        except SampleError as problem:
            problems.append(problem)
        except OSError as problem:
            problems.append(SampleError(f"{file}: {problem.strerror}"))
    if not facts:
        raise DataError(
            f"column {column!r}: none of {len(files)} files looked at can be read; {problems[0].message}",
            hint=problems[0].hint,
        )
    return facts
