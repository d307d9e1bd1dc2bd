"""Every kind of picture file that a camera, a phone or a drawing program writes: read as it looks, or refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mstedge.errors import SampleError
from mstedge.runtime.preprocess import decode_file, features_from_decoded
from mstedge.specs import ImageSpec

SPEC = ImageSpec(width=8, height=6)
NOISE = np.random.default_rng(7).integers(0, 256, (9, 14, 4)).astype(np.uint8)


def ramps(height: int = 16, width: int = 24) -> Any:
    rows, columns = np.mgrid[:height, :width]
    channels = [columns * 255 // (width - 1), rows * 255 // (height - 1), (rows + columns) * 255 // (height + width)]
    return np.stack(channels, axis=2).astype(np.uint8)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def read(path: Path) -> Any:
    """Pixels as the front end decodes them, red first."""
    return decode_file(path, SPEC).values[:, :, ::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(ramps()).save(path, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert np.array_equal(read(path), upright)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_of_16_bits_the_upper_8_are_kept(tmp_path: Path, channels: int) -> None:
    deep = np.random.default_rng(1).integers(0, 1 << 16, (5, 7, channels)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    expected = np.broadcast_to((deep >> 8)[:, :, :3], (5, 7, 3))
    assert np.array_equal(decode_file(tmp_path / "deep.png", SPEC).values, expected)


KINDS = {
    "transparent.png": (Image.fromarray(NOISE), NOISE[:, :, :3]),
    "transparent.bmp": (Image.fromarray(NOISE), NOISE[:, :, :3]),
    "transparent grey.png": (
        Image.merge("LA", [Image.fromarray(NOISE[:, :, 0]), Image.fromarray(NOISE[:, :, 1])]),
        np.repeat(NOISE[:, :, :1], 3, axis=2),
    ),
    "grey.bmp": (Image.fromarray(NOISE[:, :, 0]), np.repeat(NOISE[:, :, :1], 3, axis=2)),
    "one pixel.png": (Image.fromarray(NOISE[:1, :1, :3]), NOISE[:1, :1, :3]),
    "black and white.png": (Image.fromarray(NOISE[:, :, 0]).convert("1"), None),
    "black and white.bmp": (Image.fromarray(NOISE[:, :, 0]).convert("1"), None),
    "palette.png": (Image.fromarray(ramps()).quantize(16), None),
    "palette.bmp": (Image.fromarray(ramps()).quantize(16), None),
}


@pytest.mark.parametrize("name", KINDS)
def test_exact_kinds_are_read_as_pillow_reads_them(tmp_path: Path, name: str) -> None:
    picture, expected = KINDS[name]
    picture.save(tmp_path / name)
    assert np.array_equal(read(tmp_path / name), np.asarray(picture.convert("RGB")) if expected is None else expected)


def test_palette_with_a_transparent_colour_keeps_that_colour(tmp_path: Path) -> None:
    picture = Image.fromarray(ramps()).quantize(16)
    picture.save(tmp_path / "a.png", transparency=3)
    assert np.array_equal(read(tmp_path / "a.png"), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(("mode", "options"), [("CMYK", {}), ("L", {}), ("RGB", {"progressive": True})])
def test_jpegs_of_every_mode_are_within_a_level_of_pillow(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(ramps()).convert(mode).save(path, quality=95, **options)
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read(path) - expected).max() <= 1


def test_of_an_animated_png_the_first_picture_is_taken(tmp_path: Path) -> None:
    first, second = Image.fromarray(ramps()), Image.fromarray(255 - ramps())
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    assert np.array_equal(read(tmp_path / "a.png"), ramps())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_other_formats_are_refused_whatever_they_are_called(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(ramps()), kind))
    with pytest.raises(SampleError, match=r"a\.png: not a complete PNG, JPEG or BMP picture"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("kept", [0.3, 0.95, 1.0])
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("JPEG", {}), ("JPEG", {"progressive": True})])
def test_a_truncated_picture_is_refused(tmp_path: Path, kind: str, options: dict[str, Any], kept: float) -> None:
    content = encoded(Image.fromarray(ramps(120, 160)), kind, **options)
    (tmp_path / "a.png").write_bytes(content)
    read(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(content[: min(int(len(content) * kept), len(content) - 1)])
    with pytest.raises(SampleError, match=r"a\.png: (truncated|cannot be decoded)"):
        read(tmp_path / "a.png")


def test_a_truncated_jpeg_is_not_saved_by_the_thumbnail_in_it(tmp_path: Path) -> None:
    # OpenCV 4 fills what is missing with grey and says nothing: the product looks for the end itself.
    thumbnail = encoded(Image.fromarray(ramps(8, 8)), "JPEG")
    whole = encoded(Image.fromarray(ramps(120, 160)), "JPEG")
    content = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]
    (tmp_path / "a.jpg").write_bytes(content)
    assert read(tmp_path / "a.jpg").shape == (120, 160, 3)
    (tmp_path / "a.jpg").write_bytes(content[:-500])
    with pytest.raises(SampleError, match=r"a\.jpg: truncated: the end of the picture is missing"):
        read(tmp_path / "a.jpg")


def png_of_zeros(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_small_file_with_a_huge_picture_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = png_of_zeros(20_000, 20_000)
    assert len(content) < 100_000
    (tmp_path / "bomb.png").write_bytes(content)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(SampleError, match="20000 x 20000 pixels: expected 1 to 67108864 in all"):
        read(tmp_path / "bomb.png")


@pytest.mark.parametrize("colour", ["grey", "rgb", "bgr"])
def test_one_pixel_fills_the_whole_input(tmp_path: Path, colour: Any) -> None:
    Image.fromarray(np.full((1, 1, 3), 77, np.uint8)).save(tmp_path / "a.png")
    spec = ImageSpec(width=8, height=6, colour=colour, scale=1.0)
    assert np.unique(features_from_decoded(decode_file(tmp_path / "a.png", spec), spec)).tolist() == [77.0]
