"""`mstedge report` as typed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from report_inputs import comparison

from mstedge.cli import run
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "comparison.json"
    path.write_bytes(encode_json(comparison(0.01, 0.02)))
    return path


def test_prints_where_the_report_stands(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(result)]) == 0
    expected = result.with_name("comparison.report.html")
    assert capsys.readouterr().out == f"{expected}\n"
    assert expected.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_writes_where_it_is_told(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(result), "-o", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert (tmp_path / "page.html").is_file()


def test_path_that_is_no_result_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "nothing")]) == 2
    assert "expected a run folder" in capsys.readouterr().err


def test_missing_package_ends_with_3(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["report", str(result)]) == 3
    assert "pip install 'mstedge[report]'" in capsys.readouterr().err
