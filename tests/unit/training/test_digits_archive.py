"""The built-in digits data: counts, parts, clips and the note beside the file."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import numpy as np
import pytest

from mstedge.training.datasets.digits import PARTS, SAMPLE_RATE_HZ, WORDS, DigitsArchive, load_digits_archive

PACKAGE = files("mstedge.training.datasets.digits")
LARGEST_FILE_BYTES = 5_000_000
LARGEST_SAMPLE = round(0.7 * 32767)


@pytest.fixture(scope="module")
def archive() -> DigitsArchive:
    return load_digits_archive()


def parts_by_content(contents: list[bytes], parts: np.ndarray) -> dict[bytes, set[int]]:
    found: dict[bytes, set[int]] = {}
    for content, part in zip(contents, parts.tolist(), strict=True):
        found.setdefault(hashlib.sha256(content).digest(), set()).add(part)
    return found


def test_file_is_small() -> None:
    assert len((PACKAGE / "digits.npz").read_bytes()) <= LARGEST_FILE_BYTES


def test_file_is_the_one_the_notice_names() -> None:
    notice = (PACKAGE / "NOTICE.md").read_text(encoding="utf-8")
    assert re.findall(r"\b[0-9a-f]{64}\b", notice) == [
        hashlib.sha256((PACKAGE / "digits.npz").read_bytes()).hexdigest()
    ]


def test_notice_states_the_counts(archive: DigitsArchive) -> None:
    notice = (PACKAGE / "NOTICE.md").read_text(encoding="utf-8")
    for part, name in enumerate(PARTS):
        clips = archive.clip_parts == part
        voice_count = len(np.unique(archive.clip_voices[clips]))
        row = f"| {name} | {np.sum(archive.image_parts == part)} | {voice_count} | {np.sum(clips)} |"
        assert row in notice


def test_images_are_complete(archive: DigitsArchive) -> None:
    assert archive.images.shape == (1797, 8, 8)
    assert archive.images.dtype == np.uint8
    assert (archive.images.min(), archive.images.max()) == (0, 255)
    assert archive.image_labels.shape == archive.image_parts.shape == (1797,)


def test_each_voice_says_each_word_twice(archive: DigitsArchive) -> None:
    counts = np.zeros((len(archive.voice_names), len(WORDS)), dtype=int)
    np.add.at(counts, (archive.clip_voices, archive.clip_labels), 1)
    assert len(archive.voice_names) >= 95
    assert len(set(archive.voice_names.tolist())) == len(archive.voice_names)
    assert (counts == 2).all()


def test_no_voice_is_in_two_parts(archive: DigitsArchive) -> None:
    voices = [set(archive.clip_voices[archive.clip_parts == part].tolist()) for part in range(len(PARTS))]
    assert sum(map(len, voices)) == len(set.union(*voices)) == len(archive.voice_names)


def test_parts_have_their_shares_of_every_word(archive: DigitsArchive) -> None:
    for labels, parts in ((archive.image_labels, archive.image_parts), (archive.clip_labels, archive.clip_parts)):
        for label in range(len(WORDS)):
            shares = np.bincount(parts[labels == label], minlength=3) / np.sum(labels == label)
            np.testing.assert_allclose(shares, (0.6, 0.2, 0.2), atol=0.02)


def test_no_image_is_in_two_parts(archive: DigitsArchive) -> None:
    found = parts_by_content([image.tobytes() for image in archive.images], archive.image_parts)
    assert all(len(parts) == 1 for parts in found.values())


def test_all_clips_differ(archive: DigitsArchive) -> None:
    contents = [archive.clip(index).tobytes() for index in range(len(archive.clip_labels))]
    assert len(parts_by_content(contents, archive.clip_parts)) == len(contents)


def test_clips_are_audible_words(archive: DigitsArchive) -> None:
    assert archive.offsets[0] == 0
    assert archive.offsets[-1] == len(archive.mu_law)
    for index in range(len(archive.clip_labels)):
        clip = archive.clip(index)
        assert clip.dtype == np.int16
        assert 0.1 <= len(clip) / SAMPLE_RATE_HZ <= 1.05
        assert np.abs(clip.astype(int)).max() == pytest.approx(LARGEST_SAMPLE, rel=0.03)
        assert np.sqrt(np.mean(clip.astype(float) ** 2)) > 1000


def test_clip_counts_from_the_end_like_a_list(archive: DigitsArchive) -> None:
    last = len(archive.clip_labels) - 1
    np.testing.assert_array_equal(archive.clip(-1), archive.clip(last))


def test_unknown_clip_is_an_error(archive: DigitsArchive) -> None:
    with pytest.raises(IndexError):
        archive.clip(len(archive.clip_labels))


def test_silence_decodes_to_zero_and_scale_is_symmetric() -> None:
    codes = np.arange(256, dtype=np.uint8)
    nothing = np.zeros(1, dtype=np.uint8)
    archive = DigitsArchive(
        images=np.zeros((1, 8, 8), dtype=np.uint8),
        image_labels=nothing,
        image_parts=nothing,
        mu_law=codes,
        offsets=np.array([0, 256], dtype=np.int64),
        clip_labels=nothing,
        clip_voices=np.zeros(1, dtype=np.uint16),
        clip_parts=nothing,
        voice_names=np.array(["x"]),
    )
    samples = archive.clip(0)
    assert samples[128] == 0
    assert samples[255] == 32767
    np.testing.assert_array_equal(samples[1:128], -samples[:128:-1])
