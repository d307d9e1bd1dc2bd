"""The built-in digits: handwritten images and synthesised words (sources and licences: NOTICE.md)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 8000
PARTS = ("train", "validation", "test")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_MU = 255.0
_SILENCE_CODE = 128
_LARGEST_STEP = 127


@dataclass(frozen=True, slots=True, eq=False)
class DigitsArchive:
    """Images and clips with their labels (0 to 9) and parts (indices into `PARTS`), not paired.

    Attributes:
        images: [1797, 8, 8] uint8.
        image_labels: [1797] uint8.
        image_parts: [1797] uint8, stratified by label.
        mu_law: [total samples] uint8, the clips one after the other; 128 is silence.
        offsets: [clips + 1] int64, where each clip begins and ends in `mu_law`.
        clip_labels: [clips] uint8.
        clip_voices: [clips] uint16, indices into `voice_names`.
        clip_parts: [clips] uint8; a voice is in one part only.
        voice_names: [voices] names of espeak-ng voices, as `accent` or `accent+variant`.
    """

    images: NDArray[np.uint8]
    image_labels: NDArray[np.uint8]
    image_parts: NDArray[np.uint8]
    mu_law: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    clip_labels: NDArray[np.uint8]
    clip_voices: NDArray[np.uint16]
    clip_parts: NDArray[np.uint8]
    voice_names: NDArray[np.str_]

    def clip(self, index: int) -> NDArray[np.int16]:
        """Decode one clip: [samples] at 8 kHz.

        Raises:
            IndexError: there is no such clip.
        """
        position = range(len(self.clip_labels))[index]
        return _SAMPLE_FROM_CODE[self.mu_law[self.offsets[position] : self.offsets[position + 1]]]


def load_digits_archive() -> DigitsArchive:
    """Read the data file that is installed with this package."""
    with (files(__package__) / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
        voices = stored["speech_voices"]
        return DigitsArchive(
            images=stored["images"],
            image_labels=stored["image_labels"],
            image_parts=stored["image_parts"],
            mu_law=np.cumsum(stored["speech_mu_law_differences"], dtype=np.uint8),  # modulo 256, as they were made
            offsets=stored["speech_offsets"],
            clip_labels=stored["speech_labels"],
            clip_voices=voices,
            clip_parts=stored["voice_parts"][voices],
            voice_names=stored["voice_names"],
        )


def _samples_from_codes() -> NDArray[np.int16]:
    """Tabulate mu-law (mu = 255) around 128: [256] int16, full scale 32767."""
    steps = np.maximum(np.arange(256) - _SILENCE_CODE, -_LARGEST_STEP) / _LARGEST_STEP
    samples = np.sign(steps) * ((1.0 + _MU) ** np.abs(steps) - 1.0) / _MU
    return np.rint(samples * 32767.0).astype(np.int16)


_SAMPLE_FROM_CODE = _samples_from_codes()
