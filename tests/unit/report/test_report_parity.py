"""Pages of parity, alone and in a bundle: the verdict first, every level, and the rows whose answer changed."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bundle_factory import LABELS, SPECS, make_bundle
from report_inputs import (
    bundle_with_report,
    failed_parity_report,
    flip,
    measurement,
    parity_report,
    task_result,
)

from mstedge.errors import ConfigError
from mstedge.files import sha256_of_file
from mstedge.measurement import measurement_path
from mstedge.parity import Histogram
from mstedge.report import write_report
from mstedge.report.parity_plots import histogram_chart, interval_chart
from mstedge.report.samples import drawing_of, pixels_of
from mstedge.runtime.bundle.signature import Signature, text_of
from mstedge.schema import encode_json
from mstedge.specs import ArraySpec, ImageSpec, Scaling

if TYPE_CHECKING:
    from pathlib import Path


def page_of(path: Path) -> str:
    return write_report(path).read_text(encoding="utf-8")


def parity_page(tmp_path: Path, report: Any) -> str:
    path = tmp_path / "parity.json"
    path.write_bytes(encode_json(report))
    return page_of(path)


@pytest.mark.parametrize(
    ("verdict", "badge"),
    [("pass", "pass"), ("fail", "fail"), ("inconclusive", "unsure"), ("invalid", "unsure")],
)
def test_verdict_stands_first_with_what_it_rests_on(tmp_path: Path, verdict: str, badge: str) -> None:
    page = parity_page(tmp_path, parity_report(verdict=verdict, reasons=() if verdict == "pass" else ("L3: because",)))
    assert f'<span class="badge {badge}">{verdict.upper()}</span>' in page
    first = page.index(f">{verdict.upper()}<")
    assert first < page.index("Rests on 480 labelled held-out rows from 24 independent clusters") < page.index("<h2>")
    assert ("L3: because" in page) == (verdict != "pass")


def test_every_level_has_its_table(tmp_path: Path) -> None:
    page = parity_page(tmp_path, parity_report())
    levels = [page.index(f">{name}<") for name in ("L0: contract", "L1: numbers", "L2: decisions", "L3: task")]
    assert levels == sorted(levels)
    assert re.search(r"median SQNR, dB</td>.*12\.3.*≥ 15.*unsure.*warning.*a limit of 12\.3 would have passed", page)
    assert re.search(r"99th percentile of \|dp\|</td>.*0\.0413.*≤ 0\.15.*>ok<", page)
    assert re.search(r"accuracy, lower bound</td>.*.0\.85 points.*&gt; .1\.00 points.*>ok<", page)


def test_failed_check_names_the_limit_that_would_have_passed(tmp_path: Path) -> None:
    page = parity_page(tmp_path, failed_parity_report())
    assert re.search(r"largest \|dp\|</td>.*0\.25.*≤ 0\.0001.*>FAILED<.*a limit of 0\.25 would have passed", page)
    assert re.search(r"accuracy, lower bound</td>.*>FAILED<.*a margin above 9 points would have passed", page)
    assert "Nothing was measured at this level." in page


def test_charts_and_classes(tmp_path: Path) -> None:
    page = parity_page(tmp_path, parity_report())
    titles = re.findall(r'<svg class="chart" role="img" aria-label="(.*?)"', page)
    assert titles == ["Candidate minus reference: accuracy", "How far probabilities moved"]
    for count in ("1,200", "3,200", "717"):
        assert f">{count}</text>" in page
    assert re.search(r"<td>class 2</td>.*98\.0 %.*92\.0 %.*.6\.0", page)


def test_report_without_labels_has_no_third_level(tmp_path: Path) -> None:
    page = parity_page(tmp_path, parity_report(verdict="invalid", reasons=("no held-out row has a label",), task=None))
    assert "what is lost in accuracy was not measured" in page
    assert "Candidate minus reference" not in page


def test_interval_says_where_there_is_none() -> None:
    chart = interval_chart(task_result(low=None, high=None))
    assert "too few independent clusters" in chart.caption
    assert [key.name for key in chart.keys] == ["difference", "margin"]


def test_histogram_of_nothing_is_not_drawn() -> None:
    assert histogram_chart(Histogram(edges=(1e-3,), counts=(0, 0)), None) is None


@pytest.mark.parametrize(("edges", "counts"), [((), ()), ((), (1,)), ((1e-3,), (1,))])
def test_a_histogram_whose_counts_do_not_fit_is_none(edges: tuple[float, ...], counts: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="the histogram has"):
        Histogram(edges=edges, counts=counts)


def test_changed_rows_without_features_are_listed(tmp_path: Path) -> None:
    page = parity_page(tmp_path, parity_report(flipped=120))
    assert re.search(r"<td>row-7</td><td>class 2</td><td>class 2</td><td>class 0</td>.*0\.31.*hard", page)
    assert re.search(r"<td>row-9</td><td>.</td>", page)
    assert "117 more changed, and the report does not list them." in page


@pytest.mark.parametrize("kind", ["audio", "image", "array"])
def test_changed_rows_of_a_bundle_are_drawn(tmp_path: Path, kind: str) -> None:
    flips = (flip("case-1", hard=True), flip("case-0", label=None), flip("elsewhere"))
    report = failed_parity_report(flips=flips, flipped=3, hard_flips=1)
    page = page_of(bundle_with_report(tmp_path / "b.bundle", kind, report))
    figures = re.findall(r'<div class="flips">(.*?)</div>', page, re.DOTALL)
    assert len(figures) == 1
    assert figures[0].count("<figure>") == 2
    assert figures[0].index("features of case-1") < figures[0].index("features of case-0")
    assert f"<b>{LABELS[2]} → {LABELS[0]}</b>" in figures[0]
    assert figures[0].count(">hard<") == 1
    assert "label unknown" in figures[0]
    assert re.search(r"<td>elsewhere</td><td>high</td>", page)


def test_at_most_so_many_rows_are_drawn(tmp_path: Path) -> None:
    flips = tuple(flip(f"case-{number}") for number in range(30))
    report = failed_parity_report(flips=flips, flipped=30)
    page = page_of(bundle_with_report(tmp_path / "b.bundle", "array", report, cases=30))
    assert page.count('<svg class="lines"') == 24
    assert "<td>case-24</td>" in page


def test_allowed_failure_is_said_in_alarming_words(tmp_path: Path) -> None:
    page = page_of(bundle_with_report(tmp_path / "b.bundle", "array", failed_parity_report()))
    assert page.index('<p class="alarm">This bundle FAILED its parity gate') < page.index(">FAIL<")
    assert 'class="alarm"' not in page_of(make_bundle(tmp_path / "good.bundle", "array", cases=1))


def test_picture_has_the_pixels_that_the_file_had(tmp_path: Path) -> None:
    from PIL import Image

    make_bundle(tmp_path / "b.bundle", "image", cases=1)
    features = np.load(tmp_path / "b.bundle/golden/features.npy")[0]
    original = np.asarray(Image.open(tmp_path / "b.bundle/golden/raw/case-0.png"))
    drawing = str(drawing_of(features, SPECS["image"], words="x"))
    found = re.search(r'src="data:image/png;base64,([^"]*)"', drawing)
    assert found is not None
    content = base64.b64decode(found[1], validate=True)
    assert b"Software" not in content
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), original)


@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
def test_scaling_of_a_picture_is_undone(colour: Any) -> None:
    spec = ImageSpec(width=3, height=2, colour=colour, scaling=Scaling(mean=(0.4,), std=(0.2,)))
    levels = np.arange(spec.channels * 6).reshape(spec.feature_shape) * 10
    features = ((levels * spec.scale - 0.4) / 0.2).astype(np.float32)
    wanted = levels[::-1] if colour == "bgr" else np.repeat(levels, 3 // spec.channels, axis=0)
    np.testing.assert_array_equal(pixels_of(features, spec), wanted.transpose(1, 2, 0))


def test_low_tones_lie_at_the_bottom_of_a_spectrogram() -> None:
    from PIL import Image

    spec = SPECS["audio"]
    features = np.zeros(spec.feature_shape, dtype=np.float32)
    features[0, 0, 0] = 1.0  # first frame, lowest band
    found = re.search(r"base64,([^\"]*)", str(drawing_of(features, spec, words="x")))
    assert found is not None
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("L"))
    assert picture.shape == spec.feature_shape[:0:-1]
    assert np.unravel_index(picture.argmax(), picture.shape) == (picture.shape[0] - 1, 0)


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 50), (2, 3, 4, 1000)])
def test_any_array_can_be_drawn(shape: tuple[int, ...]) -> None:
    drawing = str(drawing_of(np.ones(shape, dtype=np.float32), ArraySpec(shape=shape), words="<x>"))
    assert drawing.count("<polyline") == min(8, int(np.prod(shape[:-1])))
    assert "&lt;x&gt;" in drawing
    assert "nan" not in drawing


def test_size_and_latency_stand_beside_fp32(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b.bundle", "array", cases=1)
    page = page_of(folder)
    assert "Not measured: b.bundle.measured.json does not stand beside the bundle." in page
    path = measurement_path(folder)
    assert path == tmp_path / "b.bundle.measured.json"
    path.write_bytes(encode_json(measurement(model_sha256=sha256_of_file(folder / "model.onnx"))))
    page = page_of(folder)
    assert re.search(r"bytes that the engine reads</td>.*1\.0 MiB.*293\.0 KiB.*3\.50 times smaller", page)
    assert re.search(r"median latency, onnxruntime 1\.32\.0</td>.*1\.00 ms.*640 µs.*0\.64 of fp32", page)
    assert re.search(r"99th percentile, .*2\.00 ms.*1\.50 ms.*0\.75 of fp32", page)
    assert "1,500 inferences of each, taking turns in one run" in page
    path.write_bytes(encode_json(measurement()))
    assert "b.bundle.measured.json is about another model" in page_of(folder)
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"b\.bundle\.measured\.json"):
        page_of(folder)


def test_measurement_has_a_page_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "b.bundle.measured.json"
    path.write_bytes(encode_json(measurement(latencies=())))
    page = page_of(path)
    assert "3.50 times smaller" in page
    assert "Latency was not measured." in page


def test_signature_is_shown_as_unchecked(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b.bundle", "array", cases=1)
    assert "The bundle is not signed." in page_of(folder)
    (folder / "SIGNATURE").write_bytes(text_of(Signature("ab" * 32, b"\0" * 64)))
    assert re.search(rf"names the key <code>{'ab' * 32}</code>; a report does not check it", page_of(folder))
