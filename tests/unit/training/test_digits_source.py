"""The built-in digits as rows: parts apart, noise from the seed, features the same as the runtime's, bit for bit."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from mstedge.errors import DataError
from mstedge.runtime.preprocess import decode_file, decoded_from_array, features_from_decoded
from mstedge.training.data.dataset import labelled_rows
from mstedge.training.data.digits_source import RECORDING_SAMPLES, DigitsSource, recording
from mstedge.training.data.source import PARTS, UNLABELLED, PartIndex, PartName
from mstedge.training.recipe_files import load_recipe
from mstedge.training.sources import load_dataset

NO_NOISE = "data.snr_db=null"


@pytest.mark.parametrize("student", ["audio", "image"])
def test_no_recording_and_no_image_is_in_two_parts(student: str) -> None:
    source = DigitsSource(student, partners=2, snr_db=None, seed=0)
    for modality in ("audio", "image"):
        items = [set(source._items[part][modality].tolist()) for part in PARTS]
        assert not items[0] & items[1]
        assert not items[0] & items[2]
        assert not items[1] & items[2]
    assert len(set(sum((source.parts[part].ids for part in PARTS), ()))) == sum(len(source.parts[p].ids) for p in PARTS)


def test_pairs_show_the_same_digit_and_train_meets_every_clip_with_each_partner() -> None:
    source = DigitsSource("audio", partners=2, snr_db=None, seed=0)
    for part in PARTS:
        items = source._items[part]
        spoken = source._archive.clip_labels[items["audio"]]
        written = source._archive.image_labels[items["image"]]
        assert (spoken == written).all()
        assert (source.parts[part].labels == spoken).all()
    _clips, counts = np.unique(source._items["train"]["audio"], return_counts=True)
    assert (counts == 2).all()
    _clips, counts = np.unique(source._items["test"]["audio"], return_counts=True)
    assert (counts == 1).all()


def test_noise_has_the_drawn_ratio_and_comes_from_the_seed() -> None:
    clip = (8000 * np.sin(np.arange(2400) / 5)).astype(np.int16)
    noisy = recording(clip, (6.0, 6.0), np.random.default_rng(1)) / 32767
    start = int(np.random.default_rng(1).integers(0, RECORDING_SAMPLES - len(clip) + 1))
    clean = np.zeros(RECORDING_SAMPLES)
    clean[start : start + len(clip)] = clip / 32768
    ratio_db = 10 * np.log10(np.mean(np.square(clip / 32768.0)) / np.mean(np.square(noisy - clean)))
    assert ratio_db == pytest.approx(6.0, abs=0.3)
    same, other = (DigitsSource("audio", partners=1, snr_db=(0, 20), seed=seed) for seed in (4, 5))
    again = DigitsSource("audio", partners=1, snr_db=(0, 20), seed=4)
    assert np.array_equal(same.decoded("test", "audio", 3).values, again.decoded("test", "audio", 3).values)
    assert not np.array_equal(same.decoded("test", "audio", 3).values, other.decoded("test", "audio", 3).values)


def test_too_long_a_clip_is_cut_and_loud_noise_does_not_clip() -> None:
    loud = recording(np.full(9000, 30000, dtype=np.int16), (-10.0, -10.0), np.random.default_rng(0))
    assert loud.shape == (RECORDING_SAMPLES,)
    assert np.abs(loud.astype(int)).max() <= round(0.9 * 32767)


@pytest.mark.parametrize(("recipe", "modality"), [("digits-audio", "audio"), ("digits-image", "image")])
def test_training_and_runtime_features_have_the_same_bits(tmp_path: Path, recipe: str, modality: str) -> None:
    dataset = load_dataset(load_recipe(recipe))
    spec = dataset.specs[modality]
    for row in range(0, 300, 50):
        file = dataset.source.raw_file("test", modality, row)
        path = tmp_path / f"{row}{file.suffix}"
        path.write_bytes(file.content)
        from_file = features_from_decoded(decode_file(path, spec), spec)
        assert np.array_equal(from_file, dataset.parts["test"].features[modality][row])
        values = dataset.source.decoded("test", modality, row).values
        array = np.round(values * 32768).astype(np.int16) if modality == "audio" else values
        from_array = features_from_decoded(decoded_from_array(array, spec), spec)
        assert np.array_equal(from_array, from_file)


def test_scaling_is_fitted_on_the_training_part() -> None:
    dataset = load_dataset(load_recipe("digits-audio"))
    train = dataset.parts["train"].features["audio"].astype(np.float64)
    assert np.abs(train.mean(axis=(0, 1, 2))).max() < 1e-4
    assert train.std(axis=(0, 1, 2)) == pytest.approx(1.0, abs=1e-4)
    test = dataset.parts["test"].features["audio"].astype(np.float64)
    assert np.abs(test.mean(axis=(0, 1, 2))).max() > 1e-3


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_labels_are_kept_per_class_and_whole_clusters(fraction: float) -> None:
    labels = np.repeat(np.arange(4), 60)
    labels[::7] = UNLABELLED
    clusters = tuple(f"c{row // 2}" for row in range(240))
    index = PartIndex(labels, clusters, clusters)
    kept = labelled_rows(index, fraction, seed=3)
    assert not kept[labels == UNLABELLED].any()
    for label in range(4):
        of_class = {clusters[row] for row in np.flatnonzero(labels == label)}
        of_kept = {clusters[row] for row in np.flatnonzero(kept & (labels == label))}
        assert len(of_kept) == max(1, round(fraction * len(of_class)))
        assert all(kept[row] for row in np.flatnonzero(labels == label) if clusters[row] in of_kept)


def test_the_digest_follows_the_data() -> None:
    recipe = load_recipe("digits-image", (NO_NOISE,))
    digest = load_dataset(recipe).sha256
    assert load_dataset(recipe).sha256 == digest
    assert load_dataset(msgspec.structs.replace(recipe, seed=1)).sha256 != digest


def test_unknown_modalities_are_named() -> None:
    with pytest.raises(DataError, match=r"have no modality 'sound'[\s\S]*audio, image"):
        DigitsSource("sound", partners=1, snr_db=None, seed=0)
    part: PartName = "test"
    with pytest.raises(DataError, match="have no modality 'smell'"):
        DigitsSource("audio", partners=1, snr_db=None, seed=0).decoded(part, "smell", 0)
