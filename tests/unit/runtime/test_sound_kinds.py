"""Every kind of recording: 8 to 192 kHz, 8 bits to floats, many channels, none to an hour of samples."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mstedge.errors import MissingPackageError, SampleError
from mstedge.runtime.preprocess import decode_file, features_from_decoded
from mstedge.runtime.preprocess.sound_blocks import read_recording_head, sound_blocks
from mstedge.specs import AudioSpec

SPEC = AudioSpec(
    sample_rate_hz=16000, clip_samples=8000, window_samples=400, hop_samples=160, fft_samples=512, mel_bands=40
)
RATES_HZ = [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000]


def tone(rate_hz: int, seconds: float = 0.5) -> Any:
    times = np.arange(round(rate_hz * seconds)) / rate_hz
    return 0.3 * np.sin(2 * np.pi * 440 * times) + 0.3 * np.sin(2 * np.pi * 2500 * times)


def features(path: Path) -> Any:
    return features_from_decoded(decode_file(path, SPEC), SPEC)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_tone_sounds_the_same_at_every_rate(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "native.wav", tone(16000), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "other.wav", tone(rate_hz), rate_hz, subtype="FLOAT")
    native, other = features(tmp_path / "native.wav"), features(tmp_path / "other.wav")
    assert other.shape == SPEC.feature_shape
    inside = np.s_[:, 5:-5]  # the edges of a clip ring after resampling
    loud = native[inside] > native.max() - 5  # natural logarithm of power: 22 dB
    assert loud.any()
    assert np.abs(other[inside] - native[inside])[loud].max() < 0.02


@pytest.mark.parametrize("rate_hz", [8000, 192000])
def test_one_sample_is_a_recording(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), rate_hz)
    assert np.isfinite(features(tmp_path / "a.wav")).all()


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_no_samples_are_refused(tmp_path: Path, container: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((0, 1)), 8000, format=container)
    with pytest.raises(SampleError, match=r"a\.wav: holds no samples"):
        decode_file(path, SPEC)
    with pytest.raises(SampleError, match=r"a\.wav: holds no samples"):
        read_recording_head(path)


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_mixed_down_or_the_first_is_taken(tmp_path: Path, channels: int) -> None:
    many = np.random.default_rng(3).uniform(-0.5, 0.5, (8000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "many.wav", many, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "mean.wav", many.mean(axis=1, dtype=np.float32), 16000, subtype="FLOAT")
    assert decode_file(tmp_path / "many.wav", SPEC).values.shape == (8000, channels)
    assert np.array_equal(features(tmp_path / "many.wav"), features(tmp_path / "mean.wav"))


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def test_chunks_of_odd_sizes_are_stepped_over(tmp_path: Path) -> None:
    layout = struct.pack("<HHIIHHHB", 1, 1, 8000, 16000, 2, 16, 1, 0)  # 19 bytes: an extension of one
    samples = np.arange(-50, 51, dtype="<i2")
    parts = chunk(b"LIST", b"odd") + chunk(b"fmt ", layout) + chunk(b"note", b"x") + chunk(b"data", samples.tobytes())
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WAVE" + parts)
    assert np.array_equal(decode_file(tmp_path / "a.wav", SPEC).values[:, 0] * 32768, samples)


def test_rf64_is_read_where_soundfile_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000, format="RF64", subtype="PCM_16")
    soundfile.write(tmp_path / "b.wav", tone(16000), 16000, subtype="PCM_16")
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RF64"
    assert np.array_equal(decode_file(tmp_path / "a.wav", SPEC).values, decode_file(tmp_path / "b.wav", SPEC).values)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingPackageError, match="soundfile"):
        decode_file(tmp_path / "a.wav", SPEC)


def hour_of_silence(path: Path, rate_hz: int = 8000) -> Path:
    size = 3600 * rate_hz * 2
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE"
    head += chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16))
    path.write_bytes(head + b"data" + struct.pack("<I", size))
    with path.open("r+b") as stream:
        stream.truncate(44 + size)  # sparse: takes no space
    return path


def peak_bytes(work: Any) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_hour_is_read_in_three_times_its_size_and_block_by_block_in_next_to_nothing(tmp_path: Path) -> None:
    path = hour_of_silence(tmp_path / "hour.wav")
    size = path.stat().st_size
    assert peak_bytes(lambda: features_from_decoded(decode_file(path, SPEC8), SPEC8)) < 3.1 * size
    total = 0

    def read_in_blocks() -> None:
        nonlocal total
        total = sum(len(block) for block in sound_blocks(path, 8000))

    assert peak_bytes(read_in_blocks) < 1 << 20
    assert total == 3600 * 8000 == read_recording_head(path).samples


SPEC8 = AudioSpec(
    sample_rate_hz=8000, clip_samples=8000, window_samples=200, hop_samples=80, fft_samples=256, mel_bands=24
)


def test_an_hour_at_48_khz_is_refused_whole_and_read_in_blocks(tmp_path: Path) -> None:
    path = hour_of_silence(tmp_path / "hour.wav", 48000)
    with pytest.raises(SampleError, match="172800000 samples in 1 channels: at most 67108864") as caught:
        decode_file(path, SPEC)
    assert caught.value.hint == "cut it into recordings of at most 1398 s"
    assert next(sound_blocks(path, 100)).shape == (100, 1)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("block_samples", [1, 999, 100_000])
def test_blocks_together_are_the_whole_recording_bit_for_bit(tmp_path: Path, subtype: str, block_samples: int) -> None:
    noise = np.random.default_rng(4).uniform(-1, 1, (2000, 2))
    soundfile.write(tmp_path / "a.wav", noise, 44100, subtype=subtype)
    blocks = list(sound_blocks(tmp_path / "a.wav", block_samples))
    assert {len(block) for block in blocks[:-1]} <= {block_samples}
    assert np.array_equal(np.concatenate(blocks), decode_file(tmp_path / "a.wav", SPEC).values)
    head = read_recording_head(tmp_path / "a.wav")
    assert (head.rate_hz, head.channels, head.samples) == (44100, 2, 2000)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_blocks_of_a_truncated_recording_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.random.default_rng(4).uniform(-1, 1, 20_000), 16000)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(SampleError, match=rf"a\{suffix}: (truncated|cannot be decoded)"):
        list(sound_blocks(path, 1000))


def test_samples_that_are_not_finite_are_refused_in_blocks_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0] * 50 + [np.nan]), 8000, subtype="FLOAT")
    blocks = sound_blocks(tmp_path / "a.wav", 50)
    next(blocks)
    with pytest.raises(SampleError, match="not finite"):
        next(blocks)
