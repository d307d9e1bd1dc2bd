"""A bundle made ready to answer: files and arrays in, predictions out, and everything that can be wrong with them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundle_factory import LABELS, SPECS, change_manifest, make_bundle, wav_bytes

import mstedge
from mstedge.errors import BundleError, MachineError, SampleError, UsageError
from mstedge.manifest import Postprocess
from mstedge.prediction import Prediction
from mstedge.runtime.predictor import Predictor, load, open_predictor

KINDS = tuple(SPECS)


@pytest.fixture(scope="module", params=KINDS)
def predictor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_bundle(tmp_path_factory.mktemp("bundles") / request.param, request.param))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_bundle(tmp_path_factory.mktemp("bundles") / "audio", "audio"), threads=1)


def golden_paths(predictor: Predictor) -> list[Path]:
    return [predictor.bundle.path_of(str(case.file)) for case in predictor.bundle.golden_cases().cases]


def test_answers_what_the_golden_cases_say(predictor: Predictor) -> None:
    for case, path in zip(predictor.bundle.golden_cases().cases, golden_paths(predictor), strict=True):
        prediction = predictor.predict(path)
        assert prediction.index == case.label
        assert prediction.label == LABELS[case.label]
        assert prediction.source == str(path)
        assert prediction.probability == max(prediction.probabilities)
        assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-12)


def test_takes_names_paths_and_arrays(predictor: Predictor) -> None:
    path = golden_paths(predictor)[0]
    from_path, from_name = predictor.predict(path), predictor.predict(str(path))
    values = predictor.decode(path).values
    array = values[..., ::-1] if predictor.manifest.modality == "image" else values
    from_array = predictor.predict(np.ascontiguousarray(array))
    assert from_path.probabilities == from_name.probabilities == from_array.probabilities
    assert from_array.source == "array"
    assert from_array.times.decode_ms == 0.0
    assert from_array.start_seconds is None


def test_times_every_stage(predictor: Predictor) -> None:
    times = predictor.predict(golden_paths(predictor)[0]).times
    assert min(times.decode_ms, times.features_ms, times.engine_ms, times.after_ms) > 0
    assert times.total_ms < 10_000
    assert predictor.load_ms > 0


def test_threads_may_share_a_predictor(predictor: Predictor) -> None:
    paths = golden_paths(predictor) * 8
    expected = [predictor.predict(path).probabilities for path in paths]
    with ThreadPoolExecutor(8) as pool:
        found = [prediction.probabilities for prediction in pool.map(predictor.predict, paths)]
    assert found == expected


def test_prediction_survives_json(predictor: Predictor) -> None:
    prediction = predictor.predict(golden_paths(predictor)[0])
    assert msgspec.json.decode(msgspec.json.encode(prediction), type=Prediction) == prediction


@pytest.mark.parametrize(("samples", "end"), [(1000, 0.125), (2000, 0.25), (9000, 0.25)])
def test_says_which_part_of_a_recording_was_heard(sound: Predictor, tmp_path: Path, samples: int, end: float) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav_bytes(np.random.default_rng(0).normal(size=samples) * 0.1, 8000))
    prediction = sound.predict(path)
    assert (prediction.start_seconds, prediction.end_seconds) == (0.0, end)


def test_part_in_the_centre(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", "audio")
    spec = {**msgspec.to_builtins(SPECS["audio"]), "align": "centre"}
    predictor = load(change_manifest(folder, spec=spec))
    path = tmp_path / "clip.wav"
    path.write_bytes(wav_bytes(np.random.default_rng(0).normal(size=8000) * 0.1, 8000))
    prediction = predictor.predict(path)
    assert (prediction.start_seconds, prediction.end_seconds) == (0.375, 0.625)


def test_threshold_makes_unknown_and_temperature_moves_probability(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", "array", postprocess=Postprocess(threshold=0.999, unknown="nobody"))
    plain = load(make_bundle(tmp_path / "plain", "array")).predict(folder / "golden/raw/case-0.npy")
    strict = load(folder).predict(folder / "golden/raw/case-0.npy")
    assert plain.label in LABELS
    assert strict.label == "nobody"
    assert (strict.index, strict.probability) == (plain.index, plain.probability)
    cold = load(change_manifest(folder, postprocess={"temperature": 0.01, "threshold": 0.999}))
    assert cold.predict(folder / "golden/raw/case-0.npy").label == plain.label


def test_sample_that_cannot_be_read_names_itself_once(sound: Predictor, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF" + bytes(60))
    with pytest.raises(SampleError) as caught:
        sound.predict(tmp_path / "broken.wav")
    path = tmp_path / "broken.wav"
    assert str(caught.value).startswith(f"{path}: ")
    assert not str(caught.value).startswith(f"{path}: {path}")


def test_array_that_does_not_fit_is_a_sample_error(predictor: Predictor) -> None:
    with pytest.raises(SampleError):
        predictor.predict(np.zeros((3, 3, 3, 3), np.float32))


def test_name_that_is_no_unicode_can_be_written_as_json(sound: Predictor, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")
    Path(path).write_bytes((sound.bundle.folder / "golden/raw/case-0.wav").read_bytes())
    prediction = sound.predict(path)
    assert prediction.source.endswith("\\xff.wav")
    assert msgspec.json.encode(prediction)


def test_options_reach_the_engine(sound: Predictor) -> None:
    assert sound.session.threads == 1
    with pytest.raises(UsageError, match="threads is -1"):
        load(sound.bundle.folder, threads=-1)
    with pytest.raises(UsageError, match="no backend 'tensorflow'"):
        load(sound.bundle.folder, backend="tensorflow")


def test_missing_engine_is_the_machines_fault(sound: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MachineError, match="'onnxruntime' cannot be used here"):
        load(sound.bundle.folder)


def test_front_end_that_does_not_fit_the_network_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", "audio")
    spec = {**msgspec.to_builtins(SPECS["audio"]), "hop_samples": 50}
    change_manifest(folder, spec=spec)
    with pytest.raises(BundleError, match=r"front end \(spec\) makes features of shape \[1, 41, "):
        load(folder)
    assert open_predictor(folder).manifest.input.shape != SPECS["audio"].feature_shape[1:]


def test_network_that_gives_no_number_is_an_error(sound: Predictor) -> None:
    features = np.full(sound.manifest.input.shape, np.nan, np.float32)
    with pytest.raises(SampleError, match="logits that are not finite"):
        sound.logits(features)


def test_load_is_a_name_of_the_package() -> None:
    assert mstedge.load is load
    assert mstedge.runtime.Predictor is Predictor


def test_predicting_imports_only_what_a_device_has(sound: Predictor) -> None:
    source = (
        "import sys, mstedge\n"
        f"mstedge.load({str(sound.bundle.folder)!r}).predict({str(golden_paths(sound)[0])!r})\n"
        "heavy = {'torch', 'onnx', 'rich', 'typer', 'scipy', 'pandas', 'cv2', 'soundfile', 'soxr'}\n"
        "heavy |= {'mstedge.training', 'mstedge.export', 'mstedge.cli'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
