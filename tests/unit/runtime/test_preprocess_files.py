"""Files: what is decoded exactly, and what is refused before it can do harm."""

from __future__ import annotations

import io
import struct
import sys
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
from PIL import Image

from mstedge.errors import MissingPackageError, SampleError
from mstedge.runtime.preprocess import (
    decode_file,
    decoded_from_array,
    digest_of_decoded,
    features_from_decoded,
)
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec, Spec

SOUND = AudioSpec(
    sample_rate_hz=8000, clip_samples=2000, window_samples=200, hop_samples=80, fft_samples=256, mel_bands=24
)
PICTURE = ImageSpec(width=8, height=6)
ARRAY = ArraySpec(shape=(2, 3))


def samples_int16(channels: int = 1) -> Any:
    values = np.random.default_rng(5).integers(-32768, 32768, (2500, channels)).astype(np.int16)
    values[:2, 0] = -32768, 32767
    return values


def write_wav(path: Path, values: Any, rate_hz: int = 8000) -> Path:
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(values.shape[1])
        stream.setsampwidth(values.dtype.itemsize)
        stream.setframerate(rate_hz)
        stream.writeframes(values.tobytes())
    return path


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_wav_of_16_bits_is_exactly_k_over_32768_and_equals_the_array(tmp_path: Path, channels: int):
    values = samples_int16(channels)
    decoded = decode_file(write_wav(tmp_path / "a.wav", values), SOUND)
    assert decoded.rate_hz == 8000
    assert np.array_equal(decoded.values.astype(np.float64) * 32768, values)
    given = decoded_from_array(values, SOUND)
    assert digest_of_decoded(decoded) == digest_of_decoded(given)
    assert np.array_equal(features_from_decoded(decoded, SOUND), features_from_decoded(given, SOUND))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_every_encoding_equals_soundfile(tmp_path: Path, subtype: str, container: str):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples_int16(2) / 40000, 44100, subtype=subtype, format=container)
    expected, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    decoded = decode_file(path, SOUND)
    assert decoded.rate_hz == rate_hz
    assert np.array_equal(decoded.values, expected)


@pytest.mark.parametrize(("suffix", "exact"), [(".flac", True), (".ogg", False), (".mp3", False)])
def test_other_formats_come_through_soundfile(tmp_path: Path, suffix: str, exact: bool):  # noqa: FBT001
    path = tmp_path / f"a{suffix}"
    tone = (0.5 * np.sin(np.arange(16000) / 8)).astype(np.float32)
    soundfile.write(path, tone, 16000)
    decoded = decode_file(path, SOUND)
    assert decoded.rate_hz == 16000
    assert decoded.values.shape[1] == 1
    if exact:
        assert np.abs(decoded.values[:, 0] - tone).max() <= 1 / 32768


def test_plain_wav_needs_no_package_and_others_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    soundfile.write(tmp_path / "a.flac", samples_int16(), 8000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    decode_file(write_wav(tmp_path / "a.wav", samples_int16()), SOUND)
    with pytest.raises(MissingPackageError, match=r"reading .*a.flac needs the package 'soundfile'") as caught:
        decode_file(tmp_path / "a.flac", SOUND)
    assert caught.value.hint == "pip install 'mstedge[audio]'"


def wav_bytes(data: bytes = bytes(64), **changes: int) -> bytes:
    field = {"encoding": 1, "channels": 1, "rate": 8000, "frame": 2, "bits": 16, "size": len(data), **changes}
    head = struct.pack("<HHIIHH", field["encoding"], field["channels"], field["rate"], 0, field["frame"], field["bits"])
    return b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + head + b"data" + struct.pack("<I", field["size"]) + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"RIFF", "cannot be decoded"),
        (bytes(5000), "cannot be decoded"),
        (b"RIFF\0\0\0\0WAVE", "truncated: the file ends before its samples"),
        (wav_bytes(size=0xFFFFFFFF), "announces 4294967295 bytes of samples, 64 are there"),
        (wav_bytes(size=66), "announces 66 bytes of samples, 64 are there"),
        (wav_bytes(b""), "holds no samples"),
        (wav_bytes(bytes(63)), "63 bytes are no whole number of 2-byte frames"),
        (wav_bytes(rate=0), "a sample rate of 0 Hz"),
        (wav_bytes(rate=2_000_000), "a sample rate of 2000000 Hz"),
        (wav_bytes(channels=0, frame=0), "0 channels"),
        (wav_bytes(channels=100, frame=200), "100 channels"),
        (wav_bytes(frame=7), "7 bytes for 1 channels of 16 bits"),
        (wav_bytes(b"\0\0\xc0\x7f", encoding=3, frame=4, bits=32), "not finite"),
        (b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab", "the samples come before their format"),
        (b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 1000, "no samples in the first 1000 chunks"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "a format chunk of 4 bytes"),
    ],
)
def test_a_damaged_wav_is_refused_and_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(SampleError, match=message) as caught:
        decode_file(path, SOUND)
    assert "broken.wav" in caught.value.message


def test_a_recording_over_the_limit_is_refused_by_its_header(tmp_path: Path):
    path = tmp_path / "long.wav"
    path.write_bytes(wav_bytes(b"", size=1 << 28))
    with path.open("r+b") as stream:
        stream.truncate((1 << 28) + 44)  # sparse: takes no space
    with pytest.raises(SampleError, match="134217728 samples in 1 channels: at most 67108864"):
        decode_file(path, SOUND)


def test_a_truncated_flac_is_refused(tmp_path: Path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.tile(samples_int16(), (10, 1)), 8000)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(SampleError, match=r"a\.flac: (truncated|cannot be decoded)"):
        decode_file(path, SOUND)


@pytest.mark.parametrize(
    ("spec", "kind", "suffixes"),
    [(SOUND, "audio", ".wav, .flac"), (PICTURE, "image", ".png, .jpg"), (ARRAY, "array", ".npy")],
)
def test_an_unknown_suffix_names_those_that_are_read(tmp_path: Path, spec: Spec, kind: str, suffixes: str):
    with pytest.raises(SampleError, match=rf"'\.txt' is not one that this {kind} front end reads: {suffixes}"):
        decode_file(tmp_path / "a.txt", spec)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    with pytest.raises(SampleError, match=r"gone\.wav: cannot be read: No such file"):
        decode_file(tmp_path / "gone.wav", SOUND)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(SampleError, match=r"folder\.wav: not a regular file"):
        decode_file(tmp_path / "folder.wav", SOUND)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".PNG"])
def test_pictures_equal_pillow(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    colours = np.random.default_rng(2).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    Image.fromarray(colours).save(path)
    decoded = decode_file(path, PICTURE)
    assert decoded.colour == "bgr"
    assert np.array_equal(decoded.values[:, :, ::-1], colours)


def test_a_grey_picture_stays_the_same_grey(tmp_path: Path):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    Image.fromarray(grey).save(tmp_path / "a.png")
    spec = ImageSpec(width=8, height=6, colour="grey", scale=1.0)
    from_file = features_from_decoded(decode_file(tmp_path / "a.png", spec), spec)
    assert np.array_equal(from_file, features_from_decoded(decoded_from_array(grey, spec), spec))
    assert np.array_equal(from_file[0], grey)


def test_exif_orientation_is_carried_out(tmp_path: Path):
    colours = np.zeros((16, 32, 3), np.uint8)
    colours[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(colours).save(tmp_path / "a.jpg", exif=exif, quality=95)
    values = decode_file(tmp_path / "a.jpg", PICTURE).values
    assert values.shape == (32, 16, 3)
    assert values[:12].mean() > 200
    assert values[-12:].mean() < 50


def png_with_size(width: int, height: int) -> bytes:
    content = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    content[16:24] = struct.pack(">II", width, height)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "not a complete PNG, JPEG or BMP"),
        (b"GIF89a" + bytes(100), "not a complete PNG, JPEG or BMP"),
        (b"\xff\xd8\xff\xe0\x00", "not a complete PNG, JPEG or BMP"),
        (b"\xff\xd8\xff\xe0\x00\x00", "not a complete PNG, JPEG or BMP"),
        (png_with_size(100_000, 100_000), "100000 x 100000 pixels: expected 1 to 67108864"),
        (png_with_size(0, 4), "0 x 4 pixels"),
        (png_with_size(4, 4)[:40], "cannot be decoded"),
    ],
)
def test_a_damaged_picture_is_refused_and_named(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(SampleError, match=message) as caught:
        decode_file(tmp_path / "broken.png", PICTURE)
    assert "broken.png" in caught.value.message


def test_the_size_of_a_jpeg_is_read_before_it_is_decoded(tmp_path: Path):
    content = bytearray(cv2.imencode(".jpg", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(SampleError, match="60000 x 60000 pixels"):
        decode_file(tmp_path / "a.jpg", PICTURE)


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "i1", "<u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_real_type_are_read(tmp_path: Path, kind: str, order: Any):
    values = np.array([[0, 1, 2], [3, 4, 5]]).astype(kind, order=order)
    np.save(tmp_path / "a.npy", values)
    decoded = decode_file(tmp_path / "a.npy", ARRAY)
    assert decoded.values.dtype == np.float32
    assert np.array_equal(decoded.values, values.astype(np.float32))
    assert np.array_equal(features_from_decoded(decoded, ARRAY), values.astype(np.float32))


def npy_bytes(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04" + bytes(50), "not a .npy file"),
        (npy_bytes(np.zeros((2, 3)))[:-1], "announces 48 bytes of numbers, 47 are there"),
        (npy_bytes(np.zeros((3, 2))), r"has the shape \[3, 2\]: expected \[2, 3\]"),
        (npy_bytes(np.full((2, 3), None)), "element type object: expected real numbers"),
        (npy_bytes(np.zeros((2, 3), complex)), "element type complex128: expected real numbers"),
        (npy_bytes(np.full((2, 3), np.nan)), "not finite"),
        (npy_bytes(np.full((2, 3), 1e300)), "not finite"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "version 9.0 of the .npy format"),
        (npy_bytes(np.zeros((2, 3))).replace(b"'descr'", b"'nonse'"), "not a .npy file"),
    ],
)
def test_a_damaged_array_is_refused_and_named(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "broken.npy").write_bytes(content)
    with pytest.raises(SampleError, match=message) as caught:
        decode_file(tmp_path / "broken.npy", ARRAY)
    assert "broken.npy" in caught.value.message


def test_the_digest_tells_content_type_and_rate_apart():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    first = digest_of_decoded(decoded_from_array(values, ARRAY))
    assert first == digest_of_decoded(decoded_from_array(np.asfortranarray(values), ARRAY))
    sound = decoded_from_array(values.T / 8, SOUND)
    digests = {first, digest_of_decoded(decoded_from_array(values + 1, ARRAY)), digest_of_decoded(sound)}
    digests.add(digest_of_decoded(type(sound)(sound.values, rate_hz=16000)))
    assert len(digests) == 4
