"""The built-in digits as a source: images and spoken words paired by class, noise drawn from the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mstedge.errors import DataError, nearest
from mstedge.runtime.preprocess import Decoded
from mstedge.training.data.raw_files import png_from_grey, wav_from_samples
from mstedge.training.data.source import PARTS, PartIndex, PartName, RawFile
from mstedge.training.datasets.digits import SAMPLE_RATE_HZ, WORDS, DigitsArchive, load_digits_archive

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODALITIES = ("audio", "image")
RECORDING_SAMPLES = 4800
_NOISE_STREAM = 0xD1
_PAIR_STREAM = 0xD2
_PEAK = 0.9


class DigitsSource:
    """Handwritten and spoken digits; every student sample stands `partners` times in the training part, once elsewhere.

    Args:
        student_modality: `audio` or `image`: whose samples are each met.
        partners: Partners per training sample.
        snr_db: Range of the signal-to-noise ratio of spoken clips, or none for clean ones.
        seed: Decides pairs, offsets and noise.

    Raises:
        DataError: The student's modality is not one of the two.
    """

    class_names = WORDS
    licence = "CC BY 4.0 (images: E. Alpaydin, C. Kaynak), Apache-2.0 (speech)"
    shareable = True

    def __init__(self, student_modality: str, *, partners: int, snr_db: tuple[float, float] | None, seed: int) -> None:
        if student_modality not in MODALITIES:
            hint = nearest(student_modality, MODALITIES)
            raise DataError(f"the built-in digits have no modality {student_modality!r}", hint=hint)
        self._archive = load_digits_archive()
        self._snr_db = snr_db
        self._seed = seed
        self._items = {
            part: _paired(self._archive, part, student_modality, partners if part == "train" else 1, seed)
            for part in PARTS
        }
        self.parts = {part: _index(items, self._archive, part, student_modality) for part, items in self._items.items()}

    def decoded(self, part: PartName, modality: str, row: int) -> Decoded:
        """Give one recording: a 0.6 s clip at 8 kHz, or an 8x8 grey image.

        Raises:
            DataError: There is no such modality.
        """
        if modality not in MODALITIES:
            raise DataError(f"the built-in digits have no modality {modality!r}", hint=nearest(modality, MODALITIES))
        if modality == "image":
            return Decoded(values=self._image(part, row), rate_hz=None, colour="grey")
        values = self._samples(part, row).astype(np.float32)[:, None] / np.float32(32768)
        return Decoded(values=values, rate_hz=SAMPLE_RATE_HZ, colour=None)

    def raw_file(self, part: PartName, modality: str, row: int) -> RawFile:
        """Give one recording as 16-bit WAV or 8-bit PNG."""
        if modality == "image":
            return RawFile(".png", png_from_grey(self._image(part, row)))
        return RawFile(".wav", wav_from_samples(self._samples(part, row), SAMPLE_RATE_HZ))

    def _image(self, part: PartName, row: int) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = self._archive.images[int(self._items[part]["image"][row])]
        return pixels

    def _samples(self, part: PartName, row: int) -> NDArray[np.int16]:
        generator = np.random.default_rng([self._seed, _NOISE_STREAM, PARTS.index(part), row])
        return recording(self._archive.clip(int(self._items[part]["audio"][row])), self._snr_db, generator)


def recording(
    clip: NDArray[np.int16], snr_db: tuple[float, float] | None, generator: np.random.Generator
) -> NDArray[np.int16]:
    """Place a clean clip somewhere in 0.6 s of white noise.

    Args:
        clip: int16 [samples] at 8 kHz; what is longer than the recording is cut.
        snr_db: Range of the ratio of the clip's mean power to the noise's, in dB.
        generator: Decides place, ratio and noise.

    Returns:
        int16 [4800], as a microphone's file would hold it.
    """
    clip = clip[:RECORDING_SAMPLES]
    start = int(generator.integers(0, RECORDING_SAMPLES - len(clip) + 1))
    mixed = np.zeros(RECORDING_SAMPLES)
    mixed[start : start + len(clip)] = clip / 32768.0
    if snr_db is not None:
        power = float(np.mean(np.square(clip / 32768.0)))
        noise_power = power / 10.0 ** (generator.uniform(*snr_db) / 10.0)
        mixed += generator.normal(0.0, np.sqrt(noise_power), RECORDING_SAMPLES)
    peak = float(np.abs(mixed).max())
    if peak > _PEAK:
        mixed *= _PEAK / peak
    return np.round(mixed * 32767.0).astype(np.int16)


def _paired(
    archive: DigitsArchive, part: PartName, student: str, partners: int, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Pair every student sample of a part with samples of the same class, each partner used about equally often."""
    generator = np.random.default_rng([seed, _PAIR_STREAM, PARTS.index(part)])
    other: Literal["audio", "image"] = "image" if student == "audio" else "audio"
    own_rows: list[NDArray[np.int64]] = []
    other_rows: list[NDArray[np.int64]] = []
    for label in range(len(WORDS)):
        own = np.tile(_items_of(archive, part, student, label), partners)
        pool = _items_of(archive, part, other, label)
        rounds = -(-len(own) // len(pool))
        drawn = np.concatenate([generator.permutation(pool) for _ in range(rounds)])
        own_rows.append(own)
        other_rows.append(drawn[: len(own)])
    return {student: np.concatenate(own_rows), other: np.concatenate(other_rows)}


def _items_of(archive: DigitsArchive, part: PartName, modality: str, label: int) -> NDArray[np.int64]:
    parts, labels = (
        (archive.clip_parts, archive.clip_labels)
        if modality == "audio"
        else (archive.image_parts, archive.image_labels)
    )
    return np.flatnonzero((parts == PARTS.index(part)) & (labels == label))


def _index(items: dict[str, NDArray[np.int64]], archive: DigitsArchive, part: PartName, student: str) -> PartIndex:
    labels = (archive.clip_labels if student == "audio" else archive.image_labels)[items[student]]
    pairs = list(zip(items["audio"].tolist(), items["image"].tolist(), strict=True))
    ids = tuple(f"{part}-{row:04d}-clip{audio}-image{image}" for row, (audio, image) in enumerate(pairs))
    clusters = tuple(f"{student}{item}" for item in items[student].tolist())
    return PartIndex(labels.astype(np.int64), ids, clusters)
