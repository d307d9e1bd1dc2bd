"""The level of a clip: the formula, and that it is measured over what the front end cuts."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundle_factory import make_bundle, seal

from mstedge.manifest import Postprocess
from mstedge.runtime.level import level_dbfs, level_of_decoded
from mstedge.runtime.predictor import Predictor, load
from mstedge.runtime.preprocess import decoded_from_array
from mstedge.schema import encode_json

RATE_HZ, CLIP = 8000, 2000
TONE = np.sin(2 * np.pi * 1000 * np.arange(CLIP) / RATE_HZ).astype(np.float32)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Make a bundle that answers silence below -30 dB."""
    folder = make_bundle(tmp_path_factory.mktemp("level") / "tones", "audio", cases=2)
    return load(rewritten(folder, Postprocess(silence_dbfs=-30.0, silence="hush")), threads=1)


def rewritten(folder: Path, rule: Postprocess) -> Path:
    document = msgspec.json.decode((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(encode_json({**document, "postprocess": msgspec.to_builtins(rule)}))
    return seal(folder)


def test_level_is_the_formula() -> None:
    assert level_dbfs(np.ones(7, np.float32)) == 0.0
    assert level_dbfs(-np.ones(7, np.float32)) == 0.0
    assert level_dbfs(TONE) == pytest.approx(20 * math.log10(math.sqrt(0.5)), abs=1e-3)
    assert level_dbfs(TONE * np.float32(0.1)) == pytest.approx(level_dbfs(TONE) - 20, abs=1e-5)
    assert level_dbfs(np.zeros(7, np.float32)) == -math.inf
    assert level_dbfs(np.full(7, 1e-30, np.float32)) == pytest.approx(-600, abs=1e-3), "float32 squares would be zero"


@pytest.mark.parametrize("edges", ["reflect", "zero", "none"])
def test_level_is_that_of_the_clip_and_not_of_its_edges(predictor: Predictor, edges: str) -> None:
    manifest = predictor.manifest
    manifest = msgspec.structs.replace(manifest, spec=msgspec.structs.replace(manifest.spec, edges=edges))

    def measured(samples: np.ndarray) -> float | None:
        return level_of_decoded(decoded_from_array(samples, manifest.spec), manifest)

    assert measured(TONE) == level_dbfs(TONE)
    assert measured(np.concatenate([TONE, np.ones(5 * CLIP, np.float32)])) == level_dbfs(TONE), "cut away"
    half = measured(TONE[: CLIP // 2])
    assert half == pytest.approx(level_dbfs(TONE) - 10 * math.log10(2), abs=1e-3), "filled with zeros"
    assert measured(np.stack([TONE, -TONE], axis=1)) == -math.inf, "mixed down"


def test_predictor_answers_silence(predictor: Predictor) -> None:
    loud, quiet = predictor.predict(TONE), predictor.predict(TONE * np.float32(0.01))
    assert loud.label in predictor.manifest.labels
    assert quiet.label == "hush"
    assert predictor.manifest.labels[quiet.index] == predictor.manifest.labels[int(np.argmax(quiet.probabilities))]


def test_no_level_is_measured_where_none_matters(tmp_path: Path) -> None:
    plain = load(make_bundle(tmp_path / "plain", "audio", cases=1), threads=1)
    decoded = decoded_from_array(np.zeros(CLIP, np.float32), plain.manifest.spec)
    assert level_of_decoded(decoded, plain.manifest) is None
    assert plain.predict(np.zeros(CLIP, np.float32)).label in plain.manifest.labels
