"""The table at the end of `make quickstart` shows what the files say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bundle_factory import SPECS, make_bundle

from mstedge.files import write_atomically
from mstedge.run_card import Comparison, MethodResult, Metrics, NetworkCard, RunCard, RunLineage
from mstedge.runtime.bench.run import run_bench
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from mstedge.schema import Record

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/quickstart_table.py"

RUN = RunCard(
    name="digits-audio",
    method="mst",
    seed=0,
    status="complete",
    labels=("low", "middle", "high"),
    specs={"audio": SPECS["audio"]},
    student=NetworkCard(network="cnn", options={}, modality="audio", parameters=7),
    lineage=RunLineage(recipe_sha256="0" * 64, data_sha256="1" * 64, versions={}, device="cpu", threads=1),
    metrics=(
        Metrics(part="test", accuracy=0.9, low=0.85, high=0.93, rows=400, clusters=390, cross_entropy=0.3),
        Metrics(part="validation", accuracy=0.5, low=0.4, high=0.6, rows=400, clusters=390, cross_entropy=0.3),
    ),
)
COMPARISON = Comparison(
    recipe="digits-audio",
    seeds=(0, 1),
    methods=(
        MethodResult(method="mst", accuracies=(0.9, 0.92), mean=0.91, low=0.78, high=1.0),
        MethodResult(method="labels-only", accuracies=(0.8, 0.84), mean=0.82, low=0.57, high=1.0),
    ),
    difference=0.09,
    low=-0.04,
    high=0.22,
    outcome="no gain shown",
    conclusion="no difference could be shown",
)


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "digits.bundle", "audio")
    (tmp_path / "run").mkdir()
    results: dict[str, Record] = {
        "run/run.json": RUN,
        "run/comparison.json": COMPARISON,
        "digits.bench.json": run_bench(tmp_path / "digits.bundle", seconds=0.2),
    }
    for name, value in results.items():
        write_atomically(tmp_path / name, encode_json(value))
    (tmp_path / "run/report.html").touch()
    (tmp_path / "seconds.tsv").write_text("distill\t10.5\nreport\t1.0\nreport\t2.0\n")
    return tmp_path


def table(folder: Path) -> dict[str, str]:
    done = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=True)
    rows = [line.split("  ", 1) for line in done.stdout.splitlines()]
    return {name: value.strip() for name, value in rows}


def test_table_shows_every_result(quickstart: Path) -> None:
    shown = table(quickstart)
    assert shown["test accuracy, this student"] == "90.0% [85.0% to 93.0%], 390 recordings"
    assert shown["test accuracy, mst"] == "91.0% [78.0% to 100.0%], mean of 2 seeds"
    assert shown["test accuracy, labels-only"].startswith("82.0% [57.0% to")
    assert shown["conclusion"] == "no difference could be shown"
    assert shown["parity"].startswith("pass (8 rows, graph, fp32")
    assert " parameters, " in shown["model"]
    assert shown["latency, engine"].startswith("p50 ")
    assert shown["seconds, report"] == "3.0"
    assert shown["seconds, all"] == "13.5"
    assert shown["report"].endswith("run/report.html")


def test_table_fails_where_a_step_left_nothing(quickstart: Path) -> None:
    (quickstart / "run/comparison.json").unlink()
    done = subprocess.run([sys.executable, SCRIPT, quickstart], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "comparison.json" in done.stderr
