"""`mstedge init`: a recipe that fits one's own recordings and can be trained as it stands."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from mstedge.cli import run
from mstedge.errors import ConfigError
from mstedge.recipe import Recipe
from mstedge.runtime.preprocess import Decoded, features_from_decoded
from mstedge.schema import convert
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

yaml = pytest.importorskip("yaml")
cv2 = pytest.importorskip("cv2")

CLASSES = ("left", "right")
GROUPS = 6


def write_wav(path: Path, samples: int, rate_hz: int) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate_hz)
        sound.writeframes(bytes(2 * samples))


def write_data(
    folder: Path,
    columns: Sequence[str] = ("picture", "sound"),
    *,
    rate_hz: int = 16000,
    seconds: float = 0.52,
    size: tuple[int, int] = (28, 28),
    coloured: bool = False,
    name: str = "rows.csv",
) -> Path:
    """Two classes in six groups; returns the manifest."""
    folder.mkdir(exist_ok=True)
    lines = [",".join([*columns, "label", "group"])]
    for number in range(GROUPS * len(CLASSES)):
        pixels = np.full((*size, 3), number, dtype=np.uint8)
        pixels[0, 0, 0] += 100 * coloured
        files = {"picture": f"p{number}.png", "sound": f"s{number}.wav", "motion": f"m{number}.npy"}
        cv2.imwrite(str(folder / files["picture"]), pixels if coloured else pixels[..., 0])
        write_wav(folder / files["sound"], round(seconds * rate_hz), rate_hz)
        np.save(folder / files["motion"], np.zeros((50, 6), dtype=np.float32))
        label, group = CLASSES[number % 2], f"g{number // 2}"
        lines.append(",".join([*(files[column.split()[0]] for column in columns), label, group]))
    manifest = folder / name
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def printed_recipe(capsys: pytest.CaptureFixture[str], *arguments: str) -> Recipe:
    assert run(["init", *arguments]) == 0
    return convert(yaml.safe_load(capsys.readouterr().out), Recipe, source="stdout")


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["init", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_recipe_fits_the_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = printed_recipe(capsys, str(write_data(tmp_path)))
    sound, picture = recipe.modalities["sound"], recipe.modalities["picture"]
    assert isinstance(sound, AudioSpec)
    assert (sound.sample_rate_hz, sound.clip_samples) == (16000, 9600)
    assert (sound.window_samples, sound.hop_samples, sound.fft_samples, sound.mel_bands) == (400, 160, 512, 40)
    assert isinstance(picture, ImageSpec)
    assert (picture.width, picture.height, picture.colour) == (28, 28, "grey")


def test_sound_is_the_student_unless_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = str(write_data(tmp_path, ("picture", "sound", "motion")))
    recipe = printed_recipe(capsys, manifest)
    assert (recipe.student.modality, recipe.student.network) == ("sound", "temporal")
    assert [(each.name, each.modalities, each.network) for each in recipe.teachers] == [
        ("multimodal", ("picture", "sound", "motion"), "fusion"),
        ("picture", ("picture",), "cnn"),
        ("motion", ("motion",), "mlp"),
    ]
    recipe = printed_recipe(capsys, manifest, "--student", "motion")
    assert (recipe.student.modality, recipe.student.network) == ("motion", "mlp")
    assert recipe.modalities["motion"] == ArraySpec(shape=(50, 6))


def test_names_of_columns_become_names_that_a_recipe_may_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_data(tmp_path, ("sound", "picture", "motion"))
    text = manifest.read_text(encoding="utf-8")
    header, _, rest = text.partition("\n")
    manifest.write_text(header.replace("picture", "\u00fc").replace("motion", "\u00e4") + "\n" + rest, encoding="utf-8")
    recipe = printed_recipe(capsys, str(manifest))
    assert [each.name for each in recipe.teachers] == ["multimodal", "helper", "helper-teacher"]
    assert set(recipe.modalities) == {"sound", "\u00fc", "\u00e4"}


def test_networks_can_be_built_and_have_the_taps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from mstedge.training.models.registry import build_network

    recipe = printed_recipe(capsys, str(write_data(tmp_path, ("picture", "sound", "motion"))))
    for teacher in recipe.teachers:
        shapes = [recipe.modalities[name].feature_shape for name in teacher.modalities]
        network = build_network(teacher.network, shapes, 2, teacher.options)
        assert set(teacher.taps) <= {name for name, _ in network.named_modules()}
    build_network(recipe.student.network, [recipe.student_spec.feature_shape], 2, recipe.student.options)


def test_path_starts_where_the_recipe_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_data(tmp_path / "data")
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    assert data_of(printed_recipe(capsys, str(manifest))).path == "data/rows.csv"
    output = tmp_path / "recipes" / "own.yaml"
    assert run(["init", str(manifest), "-o", str(output)]) == 0
    assert capsys.readouterr().out == ""
    written = convert(yaml.safe_load(output.read_text()), Recipe, source="file")
    assert (output.parent / data_of(written).path).samefile(manifest)


def data_of(recipe: Recipe) -> Any:
    return recipe.data


def test_recipe_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "own.yaml"
    output.write_text("mine\n")
    assert "is there already" in failure(capsys, str(write_data(tmp_path)), "-o", str(output))
    assert output.read_text() == "mine\n"


def test_split_is_told_beside_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(write_data(tmp_path))]) == 0
    assert "2 classes; rows: " in capsys.readouterr().err


@pytest.mark.parametrize(("rate_hz", "bands"), [(48000, 40), (16000, 40), (8000, 40), (2000, 32)])
def test_bands_are_no_narrower_than_the_transform(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate_hz: int, bands: int
) -> None:
    recipe = printed_recipe(capsys, str(write_data(tmp_path, rate_hz=rate_hz)))
    sound = recipe.modalities["sound"]
    assert isinstance(sound, AudioSpec)
    assert sound.mel_bands == bands
    if bands < 40:
        silence = Decoded(np.zeros((100, 1), dtype=np.float32), rate_hz)
        with pytest.raises(ConfigError, match="mel band"):
            features_from_decoded(silence, msgspec.structs.replace(sound, mel_bands=40))


def test_long_sound_is_cut_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(write_data(tmp_path, seconds=12.0, rate_hz=4000))]) == 0
    text = capsys.readouterr().out
    assert "clip_samples: 40000" in text
    assert "of which the first 10 s are heard" in text


def test_large_pictures_in_colour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = printed_recipe(capsys, str(write_data(tmp_path, size=(120, 160), coloured=True)))
    picture = recipe.modalities["picture"]
    assert isinstance(picture, ImageSpec)
    assert (picture.width, picture.height, picture.colour, picture.resize) == (64, 48, "rgb", "stretch")


@pytest.mark.parametrize("column", ['picture of: a "face" # 1', "picture é\\n"])
def test_any_column_name_survives_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str) -> None:
    manifest = write_data(tmp_path, ("sound", "picture"))
    quoted = '"' + column.replace('"', '""') + '"'
    manifest.write_text(manifest.read_text().replace("sound,picture", f"on,{quoted}", 1))
    recipe = printed_recipe(capsys, str(manifest))
    assert list(recipe.modalities) == ["on", column]
    assert recipe.teachers[1].modalities == (column,)


def test_modality_may_be_called_like_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_data(tmp_path, ("sound", "picture", "motion"))
    manifest.write_text(manifest.read_text().replace("sound,picture,motion", "sound,multimodal,student", 1))
    recipe = printed_recipe(capsys, str(manifest))
    assert [each.name for each in recipe.teachers] == ["multimodal", "multimodal-teacher", "student-teacher"]


def test_unreadable_files_are_passed_over_while_one_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_data(tmp_path)
    (tmp_path / "s0.wav").write_bytes(b"nothing")
    assert printed_recipe(capsys, str(manifest)).modalities["sound"].feature_shape == (1, 61, 40)
    for path in tmp_path.glob("s*.wav"):
        path.write_bytes(b"nothing")
    assert "column 'sound': none of 12 files looked at can be read" in failure(capsys, str(manifest))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("picture,sound,label", "picture,sound,lable", "has no column 'label'"),
        ("p3.png", "p3.tiff", "column 'picture' holds 'p3.tiff': expected files that end in .wav"),
        ("p3.png", "s3.wav", "column 'picture' mixes .png and .wav"),
        ("p3.png", "q3.png", "1 of 24 files do not exist"),
        (",right,", ",left,", "expected at least two classes"),
    ],
)
def test_manifests_that_cannot_be_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    manifest = write_data(tmp_path)
    manifest.write_text(manifest.read_text().replace(old, new))
    assert message in failure(capsys, str(manifest))


def test_one_modality_is_not_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = failure(capsys, str(write_data(tmp_path, ["sound"])))
    assert "has the modalities ['sound']: distillation needs two or more" in message


def test_misspelt_student_has_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'sound'?" in failure(capsys, str(write_data(tmp_path)), "--student", "sund")


def test_arrays_of_several_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_data(tmp_path, ("sound", "motion"))
    np.save(tmp_path / "m3.npy", np.zeros((60, 6), dtype=np.float32))
    assert "arrays of the shapes (50, 6), (60, 6): expected one shape" in failure(capsys, str(manifest))


def test_pickled_array_is_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_data(tmp_path, ("sound", "motion"))
    for path in tmp_path.glob("m*.npy"):
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert "column 'motion': none of 12 files looked at can be read" in failure(capsys, str(manifest))
