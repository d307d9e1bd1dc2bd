"""Pages of verification and bundles."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import pytest
from bundle_factory import change_json, make_bundle

from mstedge.errors import BundleError
from mstedge.report import bundle_page, write_report
from mstedge.schema import encode_json
from mstedge.verification import CaseResult, VerifyReport

if TYPE_CHECKING:
    from pathlib import Path


def test_verification_shows_every_case_and_its_first_difference(tmp_path: Path) -> None:
    good = CaseResult(
        id="one", first_difference=None, feature_difference=0.0, logit_difference=1e-6, label="yes", expected="yes"
    )
    bad = CaseResult(
        id="two",
        first_difference="features",
        feature_difference=0.31,
        logit_difference=None,
        label=None,
        expected="no",
        detail="another mel table",
    )
    report = VerifyReport(bundle="tiny", passed=False, backend="onnxruntime 1.32.0", files=9, cases=(good, bad))
    path = tmp_path / "verify.json"
    path.write_bytes(encode_json(report))
    page = write_report(path).read_text(encoding="utf-8")
    for words in (">FAIL<", "1 of 2 golden cases", "differs at features", "0.31", "another mel table"):
        assert words in page


@pytest.mark.parametrize(
    ("kind", "element", "media", "front_end"),
    [
        (
            "audio",
            r'<audio [^>]*src="data:audio/wav;base64,([^"]*)"',
            "wav",
            "8 kHz, channels averaged, clips of 0.25 s",
        ),
        (
            "image",
            r'<img [^>]*src="data:image/png;base64,([^"]*)"',
            "png",
            "rgb, stretched to 12 \N{MULTIPLICATION SIGN} 10 pixels",
        ),
    ],
)
def test_bundle_shows_its_golden_inputs_unchanged(
    tmp_path: Path, kind: str, element: str, media: str, front_end: str
) -> None:
    folder = make_bundle(tmp_path / "b.bundle", kind, cases=6)  # type: ignore[arg-type]
    page = write_report(folder).read_text(encoding="utf-8")
    shown = [base64.b64decode(text, validate=True) for text in re.findall(element, page)]
    assert shown == [(folder / f"golden/raw/case-{number}.{media}").read_bytes() for number in range(6)]
    assert front_end in page
    assert ">PASS<" in page
    assert page.index(">PASS<") < page.index("<h2>")


def test_bundle_lists_every_file_with_its_digest(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b.bundle", "array", cases=2)
    page = write_report(folder).read_text(encoding="utf-8")
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        assert f"<td>{name.lstrip('*')}</td><td><code>{digest}</code></td>" in page


def test_inputs_that_cannot_be_shown_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write_report(make_bundle(tmp_path / "a.bundle", "array", cases=1)).read_text(encoding="utf-8")
    assert "golden/raw/case-0.npy: cannot be shown in a browser" in page
    page = write_report(make_bundle(tmp_path / "b.bundle", "audio", cases=1, raw=False)).read_text(encoding="utf-8")
    assert "the recording is not in the bundle" in page
    monkeypatch.setattr(bundle_page, "MAX_PAGE_MEDIA_BYTES", 6000)
    page = write_report(make_bundle(tmp_path / "c.bundle", "audio", cases=2)).read_text(encoding="utf-8")
    assert page.count("<audio ") == 1
    assert page.count("too large for this page") == 1


def test_report_leaves_the_bundle_as_it_was(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b.bundle", "array", cases=1)
    assert write_report(folder) == tmp_path / "b.bundle.report.html"
    assert write_report(folder / "parity" / "report.json") == tmp_path / "b.bundle.parity-report.report.html"
    assert write_report(folder)  # opens it again, with every check


def test_damaged_bundle_gets_no_report(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b.bundle", "array", cases=1)
    (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        write_report(folder)
    assert list(tmp_path.glob("*.html")) == []


def test_script_in_a_bundle_is_text(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b.bundle", "array", cases=1)
    change_json(folder, "manifest.json", labels=["<script>alert(1)</script>", "middle", "high"])
    page = write_report(folder).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
